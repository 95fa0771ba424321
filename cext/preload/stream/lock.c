/* The locks of a stream: see lock.h. */
#include "stream/lock.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"

#define TRIES_A_YIELD 64
#define TRIES_A_NAP 1024
#define TRIES_A_CHECK 65536
#define NAP_NS 50000

static __thread uint32_t self;
static __thread pid_t self_process;

static inline uint32_t own_number(void) {
    if (UNLIKELY(self == 0 || self_process != process_id)) {
        self = (uint32_t)real_syscall(SYS_gettid);
        self_process = process_id;
    }
    return self;
}

static inline bool take(_Atomic uint32_t *word, uint32_t number) {
    uint32_t nobody = 0;
    return atomic_compare_exchange_strong_explicit(word, &nobody, number, memory_order_acquire, memory_order_relaxed);
}

/* A killed process gives nothing back. This thread itself has it only if it was taken out of the call that took it. */
static void free_of_dead(_Atomic uint32_t *word) {
    uint32_t holder = atomic_load_explicit(word, memory_order_relaxed);
    int saved = errno;
    if (holder == own_number() || (holder != 0 && real_syscall(SYS_tkill, holder, 0) != 0 && errno == ESRCH))
        atomic_compare_exchange_strong(word, &holder, 0);
    errno = saved;
}

static void pause_for_holder(_Atomic uint32_t *word, unsigned tries) {
    struct timespec nap = {0, NAP_NS};
    if (tries % TRIES_A_YIELD == 0)
        sched_yield();
    if (tries % TRIES_A_NAP == 0)
        real_syscall(SYS_nanosleep, &nap, NULL);
    if (tries % TRIES_A_CHECK == 0)
        free_of_dead(word);
}

__attribute__((noinline)) static void wait_for_lock(_Atomic uint32_t *word, uint32_t number) {
    int saved = errno;
    if (atomic_load_explicit(word, memory_order_relaxed) == number)
        free_of_dead(word);
    for (unsigned tries = 1; !take(word, number); tries++)
        pause_for_holder(word, tries);
    errno = saved;
}

struct stream_lock stream_lock(const struct conn *conn, _Atomic uint32_t *word) {
    if (__libc_single_threaded && !atomic_load_explicit(&conn->own->forked, memory_order_relaxed))
        return (struct stream_lock){NULL};
    uint32_t number = own_number();
    if (UNLIKELY(!take(word, number)))
        wait_for_lock(word, number);
    return (struct stream_lock){word};
}

bool stream_try_lock(_Atomic uint32_t *word, struct stream_lock *lock) {
    if (!take(word, own_number())) {
        free_of_dead(word);
        if (!take(word, own_number()))
            return false;
    }
    *lock = (struct stream_lock){word};
    return true;
}

void stream_unlock(const struct stream_lock *lock) {
    if (lock->word != NULL)
        atomic_store_explicit(lock->word, 0, memory_order_release);
}

void stream_unlock_fenced(const struct stream_lock *lock) {
#if defined(__x86_64__)
    if (lock->word != NULL) {
        atomic_exchange(lock->word, 0); /* which is a fence here, and costs no more than one */
        return;
    }
#endif
    stream_unlock(lock);
    atomic_thread_fence(memory_order_seq_cst);
}
