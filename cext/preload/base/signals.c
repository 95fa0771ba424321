/* Which handlers let a call be restarted. A wait of ours is not restarted by the kernel, so it has to know.
 *
 * Where all handlers agree, the answer for each EINTR is the same. Where they do not, a wait blocks the signals and
 * watches a signalfd instead: then it can see which ones have come before their handlers run (wait/sleeper.c). */
#include "base/signals.h"

#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/real.h"

static _Atomic uint32_t changes = 1;
static _Atomic uint32_t seen;
static _Atomic int last;

#define FIRST_INTERNAL 32   /* the C library's own real-time signals, for cancellation and set*id */
#define LAST_INTERNAL 33

void signals_all(sigset_t *set) {
    int saved = errno;
    sigfillset(set);
    for (int signal = FIRST_INTERNAL; signal <= LAST_INTERNAL; signal++)
        sigdelset(set, signal);   /* fails where the C library hides them, and has left them out */
    errno = saved;
}

void signals_block(sigset_t *before) {
    sigset_t all;
    signals_all(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

void signals_restore(const sigset_t *before) {
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

void signals_shield(struct shield *shield) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &shield->cancelling);
    signals_block(&shield->mask);
}

void signals_unshield(const struct shield *shield) {
    signals_restore(&shield->mask);
    pthread_setcancelstate(shield->cancelling, NULL);
}

static bool has_handler(int signal, bool *restarts) {
    struct sigaction action;
    if (sigaction(signal, NULL, &action) != 0 || action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN)
        return false;
    *restarts = (action.sa_flags & SA_RESTART) != 0;
    return true;
}

static enum restarting look(void) {
    bool some = false, others = false, restarts;
    for (int signal = 1; signal < NSIG; signal++)
        if (has_handler(signal, &restarts))
            *(restarts ? &some : &others) = true;
    return !others ? RESTART_ALWAYS : some ? RESTART_MIXED : RESTART_NEVER;
}

enum restarting signals_restarting(void) {
    uint32_t now = atomic_load(&changes);
    if (UNLIKELY(atomic_load(&seen) != now)) {
        atomic_store(&last, look());
        atomic_store(&seen, now);
    }
    return (enum restarting)atomic_load(&last);
}

void signals_changed(void) {
    atomic_fetch_add(&changes, 1);
}

bool signals_pending_interrupt(const sigset_t *mask) {
    sigset_t pending;
    bool restarts;
    if (sigpending(&pending) != 0)
        return true;
    for (int signal = 1; signal < NSIG; signal++)
        if (sigismember(&pending, signal) == 1 && sigismember(mask, signal) == 0 &&
            has_handler(signal, &restarts) && !restarts)
            return true;
    return false;
}

bool signals_stay_pending(const sigset_t *mask) {
    sigset_t pending;
    if (sigpending(&pending) != 0)
        return false;
    for (int signal = 1; signal < NSIG; signal++)
        if (sigismember(&pending, signal) == 1 && sigismember(mask, signal) == 1)
            return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------ handlers wait
 *
 * A handler may call most of what the library replaces, in a thread that is anywhere, and may leave it by a jump. A
 * system call is safe from that: handlers run before it, when it sleeps, or after it. The library's calls are to be the
 * same. To block the signals around each would cost two system calls. So the kernel has `run` as the handler of every
 * signal, and run looks whether its thread holds handlers back. If not, it calls the program's handler. If so, it keeps
 * the signal, and blocks all signals by changing the mask that the kernel restores when a handler returns. The release
 * sends the kept signals to the thread again, with all that the kernel had said of them, and restores the mask: now the
 * handlers run, in the order that they would have had.
 *
 * Handlers of signals that an instruction causes run at once, as the instruction can't go on; so do those with
 * SA_RESETHAND, which the kernel has forgotten by then. While they run nothing is held back, so they may jump. Handlers
 * set by the program's own instructions are the kernel's alone. */

#define MOST_WAITING 16   /* that come at one instruction: once one waits, all are blocked */

struct known {
    _Atomic(void (*)(int, siginfo_t *, void *)) handler;
    _Atomic bool takes_info, may_wait;
};

__thread struct handlers handlers;
static __thread struct {
    siginfo_t signals[MOST_WAITING];
    sigset_t mask;   /* of the thread, before the first was kept */
} kept;
static struct known known[NSIG];

static bool is_of_instruction(int signal) {
    return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL || signal == SIGTRAP ||
           signal == SIGSYS;
}

#define MASK_BYTES 8      /* of a mask as the kernel has it: in a signal's context, other things stand behind it */

/* To be waited for. An instruction that faults while its signal is blocked would end the process. */
static void fill_mask(sigset_t *mask) {
    signals_all(mask);
    for (int signal = 1; signal < NSIG; signal++)
        if (is_of_instruction(signal))
            sigdelset(mask, signal);
}

/* The last to be kept at one instruction is the first that was interrupted by it: its mask is the thread's. */
static bool keep(int signal, const siginfo_t *info, ucontext_t *context) {
    sigset_t all;
    if (handlers.waiting == MOST_WAITING)
        return false;
    siginfo_t *place = &kept.signals[handlers.waiting++];
    memcpy(place, info, sizeof(*place));
    place->si_signo = signal;
    fill_mask(&all);
    sigemptyset(&kept.mask);
    memcpy(&kept.mask, &context->uc_sigmask, MASK_BYTES);
    memcpy(&context->uc_sigmask, &all, MASK_BYTES);
    return true;
}

static void run(int signal, siginfo_t *info, void *context) {
    struct known *its = &known[signal];
    unsigned depth = handlers.depth;
    if (UNLIKELY(depth != 0) && its->may_wait && keep(signal, info, context))
        return;
    handlers.depth = 0;
    its->handler(signal, info, context);
    handlers.depth = depth;
}

/* All signals are blocked: these wait in the kernel from now on. */
static void send_again(void) {
    pid_t process = getpid(), thread = (pid_t)real_syscall(SYS_gettid);
    unsigned count = handlers.waiting;
    handlers.waiting = 0;
    for (unsigned i = 0; i < count; i++) {
        int signal = kept.signals[i].si_signo;
        if (real_syscall(SYS_rt_tgsigqueueinfo, process, thread, signal, &kept.signals[i]) != 0)
            real_syscall(SYS_tgkill, process, thread, signal);   /* the queue is full */
    }
}

void handlers_run(void) {
    int saved = errno;
    send_again();
    signals_restore(&kept.mask);
    errno = saved;
}

static void open_up(struct opening *opening) {
    opening->depth = handlers.depth;
    opening->masked = false;
    handlers.depth = 0;
    atomic_signal_fence(memory_order_seq_cst);
}

void handlers_open(struct opening *opening) {
    open_up(opening);
    if (UNLIKELY(handlers.waiting != 0))
        handlers_run();
}

const sigset_t *handlers_open_with(struct opening *opening, const sigset_t *mask) {
    open_up(opening);
    if (LIKELY(handlers.waiting == 0))
        return mask;
    if (mask != NULL) {   /* they came before the call that brings a mask of its own */
        handlers_run();
        return mask;
    }
    int saved = errno;
    send_again();
    opening->masked = true;
    opening->mask = kept.mask;
    errno = saved;
    return &opening->mask;
}

void handlers_close(const struct opening *opening) {
    if (UNLIKELY(opening->masked)) {
        int saved = errno;
        signals_restore(&opening->mask);
        errno = saved;
    }
    atomic_signal_fence(memory_order_seq_cst);
    handlers.depth = opening->depth;
}

void handlers_after_fork(void) {
    handlers.depth = 0;
    if (handlers.waiting != 0)
        signals_restore(&kept.mask);
    handlers.waiting = 0;
}

static bool is_handler(const struct sigaction *action) {
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN && action->sa_handler != SIG_ERR;
}

int handlers_action(int signal, const struct sigaction *action, struct sigaction *old) {
    REAL(int, "sigaction", (int, const struct sigaction *, struct sigaction *));
    if (signal < 1 || signal >= NSIG || (action != NULL && is_bad(action)) || (old != NULL && is_bad(old)))
        return real(signal, action, old);
    struct known *its = &known[signal];
    void (*handler)(int, siginfo_t *, void *) = its->handler;
    bool takes_info = its->takes_info, may_wait = its->may_wait;
    struct sigaction ours;
    if (action != NULL && is_handler(action)) {
        ours = *action;
        its->handler = action->sa_sigaction;
        its->takes_info = (action->sa_flags & SA_SIGINFO) != 0;
        its->may_wait = !is_of_instruction(signal) && !(action->sa_flags & (int)SA_RESETHAND);
        ours.sa_sigaction = run;
        ours.sa_flags |= SA_SIGINFO;
        action = &ours;
    }
    int result = real(signal, action, old);
    if (result != 0) {
        its->handler = handler;
        its->takes_info = takes_info;
        its->may_wait = may_wait;
    } else if (old != NULL && old->sa_sigaction == run) {
        old->sa_sigaction = handler;
        old->sa_flags = takes_info ? old->sa_flags : old->sa_flags & ~SA_SIGINFO;
    }
    return result;
}
