/* How the conductor finds out what has become of a call: it returned, it blocks, or its process has ended. */
#include "conductor.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int64_t now_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

/* The state of an actor's thread as the kernel has it: 'S' while it sleeps in a call; 'X' when it has gone. */
char thread_state(int actor) {
    struct watch *watch = &watches[actor];
    char text[256];
    if (watch->stat < 0) {
        snprintf(text, sizeof text, "/proc/%d/task/%d/stat", board->mailbox[actor].pid, board->mailbox[actor].tid);
        watch->stat = open(text, O_RDONLY | O_CLOEXEC);
    }
    ssize_t length = watch->stat < 0 ? -1 : pread(watch->stat, text, sizeof text - 1, 0);
    if (length <= 0)
        return 'X';
    text[length] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end == NULL || name_end[1] == '\0' ? 'X' : name_end[2];
}

bool is_gone(int actor) {
    struct watch *watch = &watches[actor];
    int end = actor / ACTORS;
    if (board->mailbox[actor].cancelled)
        return true;
    if (actor % ACTORS < THREADS && board->ended[end] == board->run[end])
        return true;
    if (watch->pidfd < 0)
        watch->pidfd = (int)syscall(SYS_pidfd_open, board->mailbox[actor].pid, 0);
    struct pollfd ended = {watch->pidfd, POLLIN, 0};
    return watch->pidfd < 0 || poll(&ended, 1, 0) > 0;
}

static bool is_done(int actor) {
    return __atomic_load_n(&board->mailbox[actor].done, __ATOMIC_SEQ_CST) == watches[actor].go;
}

/* Waits for the outstanding call to return, for as long as it may take; RUNNING if it has not. */
enum found wait_return(int actor, int64_t budget_us) {
    int64_t end = now_us() + budget_us;
    for (;;) {
        uint32_t events = __atomic_load_n(&board->events, __ATOMIC_SEQ_CST);
        if (is_done(actor))
            return RETURNED;
        int64_t left = end - now_us();
        if (left <= 0)
            return is_gone(actor) ? ENDED : RUNNING;
        futex_wait(&board->events, events, left < 20000 ? left : 20000);
        if (!is_done(actor) && is_gone(actor))
            return is_done(actor) ? RETURNED : ENDED;
    }
}

/* Waits until the call has returned, or its thread sleeps each time it is looked at. */
enum found wait_stable(int actor, int looks) {
    int asleep = 0;
    for (int64_t end = now_us() + PATIENCE_US; asleep < looks && now_us() < end;) {
        enum found found = wait_return(actor, looks > 1 ? 120 : 80);
        if (found != RUNNING)
            return found;
        asleep = thread_state(actor) == 'S' ? asleep + 1 : 0;
    }
    return is_done(actor) ? RETURNED : RUNNING;
}

/* Whether the call sleeps still, or has returned: at once if that can be seen without waiting. */
enum found look(int actor) {
    if (is_done(actor))
        return RETURNED;
    char state = thread_state(actor);
    if (state == 'S' && !is_done(actor))
        return RUNNING;
    return wait_stable(actor, 1);
}
