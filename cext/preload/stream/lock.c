/* The locks of a stream: see lock.h. */
#include "stream/lock.h"

#include <sched.h>
#include <signal.h>
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
static __thread uintptr_t frame;   /* of the call that holds a lock; 0: none does */

static inline uint32_t own_number(void) {
    if (UNLIKELY(self == 0 || self_process != process_id)) {
        self = (uint32_t)real_syscall(SYS_gettid);
        self_process = process_id;
    }
    return self;
}

static bool is_on_signal_stack(void) {
    stack_t stack;
    return sigaltstack(NULL, &stack) == 0 && (stack.ss_flags & SS_ONSTACK);
}

/* The lock is in our own hands. A handler lies below the call that it has interrupted, on the same stack or another. */
static bool is_interrupted(uintptr_t here) {
    return frame != 0 && (here < frame || is_on_signal_stack());
}

static inline bool take(_Atomic uint32_t *word, uint32_t number) {
    uint32_t nobody = 0;
    return atomic_compare_exchange_strong_explicit(word, &nobody, number, memory_order_acquire, memory_order_relaxed);
}

static void pause_for_holder(_Atomic uint32_t *word, unsigned tries) {
    struct timespec nap = {0, NAP_NS};
    uint32_t holder = atomic_load_explicit(word, memory_order_relaxed);
    if (tries % TRIES_A_YIELD == 0)
        sched_yield();
    if (tries % TRIES_A_NAP == 0)
        real_syscall(SYS_nanosleep, &nap, NULL);
    if (tries % TRIES_A_CHECK == 0 && holder != 0 && real_syscall(SYS_tkill, holder, 0) != 0 && errno == ESRCH)
        atomic_compare_exchange_strong(word, &holder, 0);
}

/* Somebody has it. False: this thread itself does, in a call that this one has interrupted, so it goes on without. */
__attribute__((noinline)) static bool wait_for_lock(_Atomic uint32_t *word, uint32_t number, uintptr_t here) {
    int saved = errno;
    for (unsigned tries = 1; !take(word, number); tries++) {
        if (atomic_load_explicit(word, memory_order_relaxed) == number) {
            if (is_interrupted(here))
                return false;
            break;
        }
        pause_for_holder(word, tries);
    }
    errno = saved;
    return true;
}

struct stream_lock stream_lock(const struct conn *conn, _Atomic uint32_t *word) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    struct stream_lock lock = {NULL, 0};
    if (__libc_single_threaded && !atomic_load_explicit(&conn->own->forked, memory_order_relaxed))
        return lock;
    uint32_t number = own_number();
    if (LIKELY(take(word, number)) || wait_for_lock(word, number, here)) {
        lock.word = word;
        lock.outer = frame;
        frame = here;
    }
    return lock;
}

/* A holder that was killed, or that a handler has jumped out of, gives nothing back. */
static void free_of_dead(_Atomic uint32_t *word, uintptr_t here) {
    uint32_t holder = atomic_load_explicit(word, memory_order_relaxed);
    bool is_own = holder == own_number();
    int saved = errno;
    if (holder != 0 && (is_own ? !is_interrupted(here) : real_syscall(SYS_tkill, holder, 0) != 0 && errno == ESRCH))
        atomic_compare_exchange_strong(word, &holder, 0);
    errno = saved;
}

bool stream_try_lock(_Atomic uint32_t *word, struct stream_lock *lock) {
    if (!take(word, own_number())) {
        free_of_dead(word, (uintptr_t)__builtin_frame_address(0));
        if (!take(word, own_number()))
            return false;
    }
    *lock = (struct stream_lock){word, frame};
    frame = (uintptr_t)__builtin_frame_address(0);
    return true;
}

void stream_unlock(const struct stream_lock *lock) {
    if (lock->word == NULL)
        return;
    frame = lock->outer;
    atomic_store_explicit(lock->word, 0, memory_order_release);
}

void stream_unlock_fenced(const struct stream_lock *lock) {
#if defined(__x86_64__)
    if (lock->word != NULL) {
        frame = lock->outer;
        atomic_exchange(lock->word, 0);   /* which is a fence here, and costs no more than one */
        return;
    }
#endif
    stream_unlock(lock);
    atomic_thread_fence(memory_order_seq_cst);
}
