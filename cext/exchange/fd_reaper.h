/* An fd reaper: a thread that closes descriptors which strangers have sent.
 *
 * Closing one takes as long as its owner likes: a TCP socket with SO_LINGER blocks in its last close, and so does a Unix
 * socket with such a one in its queue, or a file of a file system that a program serves. So whoever serves programs only
 * puts descriptors here. Each namespace has a reaper of its own and can therefore only hold up itself; `unclosed` is
 * what it is judged by.
 *
 * The thread starts with the first descriptor and ends when there has been none for a while. It can let descriptors pile
 * up (FD_REAPER_BATCH_MS), but does not: as long as we have a copy of a socket, its owner's close or death notifies
 * nobody.
 */
#pragma once

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    FD_REAPER_ROOM = 32768, /* a power of two; who puts must stay below it */
    FD_REAPER_BATCH = 64,   /* descriptors closed between two looks at the ring */
    FD_REAPER_CROWD = 128,  /* waiting descriptors that end the wait early */
    FD_REAPER_BATCH_MS = 0,
    FD_REAPER_IDLE_MS = 10000,
    FD_REAPER_STACK = 256 * 1024,
};

struct fd_reaper {
    pthread_mutex_t mutex; /* held for moments, never while a descriptor is closed */
    pthread_cond_t changed;
    bool released;             /* by its owner; the last of the two frees it */
    bool working;              /* there is a thread */
    bool urgent;               /* what waits is to be closed at once */
    uint32_t wake_at;          /* the thread wants to be woken when so many wait */
    uint32_t head, tail;       /* free-running */
    _Atomic uint32_t unclosed; /* waiting, or in the thread's hands */
    int ring[FD_REAPER_ROOM];
};

/* What waits in all reapers of this process. */
static _Atomic uint32_t fd_reaper_all;

static inline uint32_t fd_reaper_unclosed(const struct fd_reaper *reaper) {
    return atomic_load_explicit(&reaper->unclosed, memory_order_relaxed);
}

static inline struct fd_reaper *fd_reaper_new(void) {
    struct fd_reaper *reaper = calloc(1, sizeof(*reaper));
    pthread_condattr_t attributes;
    if (reaper == NULL)
        return NULL;
    pthread_mutex_init(&reaper->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&reaper->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return reaper;
}

static void fd_reaper_free(struct fd_reaper *reaper) {
    pthread_cond_destroy(&reaper->changed);
    pthread_mutex_destroy(&reaper->mutex);
    free(reaper);
}

/* With the mutex: waits until `count` descriptors are there, the owner is gone, or the time is over. */
static void fd_reaper_wait(struct fd_reaper *reaper, uint32_t count, long milliseconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += milliseconds % 1000 * 1000000;
    until.tv_sec += milliseconds / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    reaper->wake_at = count;
    while (reaper->tail - reaper->head < count && !reaper->released && !reaper->urgent)
        if (pthread_cond_timedwait(&reaper->changed, &reaper->mutex, &until) != 0)
            break;
    reaper->wake_at = UINT32_MAX;
}

/* With the mutex, which is given up meanwhile. */
static void fd_reaper_close_batch(struct fd_reaper *reaper) {
    int fds[FD_REAPER_BATCH], count = 0;
    reaper->urgent = false;
    while (count < FD_REAPER_BATCH && reaper->head != reaper->tail)
        fds[count++] = reaper->ring[reaper->head++ % FD_REAPER_ROOM];
    pthread_mutex_unlock(&reaper->mutex);
    for (int i = 0; i < count; i++) {
        close(fds[i]);
        atomic_fetch_sub_explicit(&reaper->unclosed, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&fd_reaper_all, 1, memory_order_relaxed);
    }
    pthread_mutex_lock(&reaper->mutex);
}

static void *fd_reaper_run(void *argument) {
    struct fd_reaper *reaper = argument;
    pthread_mutex_lock(&reaper->mutex);
    for (;;) {
        fd_reaper_wait(reaper, FD_REAPER_CROWD, FD_REAPER_BATCH_MS);
        if (reaper->head == reaper->tail) {
            fd_reaper_wait(reaper, 1, FD_REAPER_IDLE_MS);
            if (reaper->head == reaper->tail)
                break;
            continue;
        }
        while (reaper->head != reaper->tail)
            fd_reaper_close_batch(reaper);
    }
    reaper->working = false;
    bool is_last = reaper->released;
    pthread_mutex_unlock(&reaper->mutex);
    if (is_last)
        fd_reaper_free(reaper);
    return NULL;
}

/* With the mutex. Without memory for a thread the descriptors wait for the next call. */
static void fd_reaper_start(struct fd_reaper *reaper) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, FD_REAPER_STACK);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    reaper->wake_at = UINT32_MAX;
    reaper->working = pthread_create(&thread, &attributes, fd_reaper_run, reaper) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

/* Has these closed soon, or as soon as can be; never blocks. */
static inline void fd_reaper_put(struct fd_reaper *reaper, const int *fds, int count, bool urgent) {
    if (count <= 0)
        return;
    atomic_fetch_add_explicit(&reaper->unclosed, (uint32_t)count, memory_order_relaxed);
    atomic_fetch_add_explicit(&fd_reaper_all, (uint32_t)count, memory_order_relaxed);
    pthread_mutex_lock(&reaper->mutex);
    for (int i = 0; i < count; i++)
        reaper->ring[reaper->tail++ % FD_REAPER_ROOM] = fds[i];
    reaper->urgent = reaper->urgent || urgent;
    if (!reaper->working)
        fd_reaper_start(reaper);
    else if (urgent || reaper->tail - reaper->head >= reaper->wake_at)
        pthread_cond_signal(&reaper->changed);
    pthread_mutex_unlock(&reaper->mutex);
}

/* Its owner puts nothing any more; what waits is still closed. */
static inline void fd_reaper_release(struct fd_reaper *reaper) {
    pthread_mutex_lock(&reaper->mutex);
    reaper->released = true;
    if (!reaper->working && reaper->head != reaper->tail)
        fd_reaper_start(reaper);
    bool is_last = !reaper->working;
    pthread_cond_signal(&reaper->changed);
    pthread_mutex_unlock(&reaper->mutex);
    if (is_last)
        fd_reaper_free(reaper);
}
