/* Signals that interrupt a wait, and handlers that wait while a call of the library is half done. */
#include "base/signals.h"

#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"

static _Atomic uint32_t changes = 1;
static _Atomic uint32_t seen;
static _Atomic bool last;

#define FIRST_INTERNAL 32 /* the C library's own real-time signals, for cancellation and set*id */
#define LAST_INTERNAL 33

void signals_all(sigset_t *set) {
    int saved = errno;
    sigfillset(set);
    for (int signal = FIRST_INTERNAL; signal <= LAST_INTERNAL; signal++)
        sigdelset(set, signal); /* fails where the C library hides them, and has left them out */
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

/* Of handlers that are unknown here, see below: whether all let a call be restarted. */
static bool look(void) {
    struct sigaction action;
    for (int signal = 1; signal < NSIG; signal++)
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN &&
            !(action.sa_flags & SA_RESTART))
            return false;
    return true;
}

bool signals_all_restart(void) {
    uint32_t now = atomic_load(&changes);
    if (UNLIKELY(atomic_load(&seen) != now)) {
        atomic_store(&last, look());
        atomic_store(&seen, now);
    }
    return atomic_load(&last);
}

void signals_changed(void) {
    atomic_fetch_add(&changes, 1);
}

/* With all signals blocked, it stays pending. */
static bool send_to_self(int signal, const siginfo_t *info) {
    pid_t thread = (pid_t)real_syscall(SYS_gettid);
    return real_syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, signal, info) == 0 ||
           real_syscall(SYS_tgkill, getpid(), thread, signal) == 0;
}

void signals_broken_pipe(void) {
    siginfo_t info = {.si_signo = SIGPIPE, .si_code = SI_USER};
    info.si_pid = getpid();
    info.si_uid = getuid();
    send_to_self(SIGPIPE, &info);
}

/* ------------------------------------------------------------------------------------------------ handlers wait
 *
 * A handler may call most of what the library replaces, in a thread that is anywhere, and may leave it by a jump. A
 * system call is safe from that: handlers run before it, when it sleeps, or after it. The library's calls are to be the
 * same. To block the signals around each would cost two system calls. So the kernel has `run` as the handler of every
 * signal, and run looks whether its thread holds handlers back. If not, it calls the program's handler. If so, it defers
 * the signal, and blocks all signals by changing the mask that the kernel restores when a handler returns. The release
 * calls the handlers of what was deferred, as the kernel would have: in the order in which it called run, each with its
 * mask, and with a context in which it may change the thread's mask. A handler that wants the alternate stack has its signal
 * sent again instead, as the kernel alone can change stacks.
 *
 * Handlers of signals that an instruction causes run at once, as the instruction can't go on; so do those with
 * SA_RESETHAND, which the kernel has forgotten by then. While they run nothing is held back, so they may jump. Handlers
 * set by the program's own instructions are the kernel's alone. */

#define MOST_WAITING 16 /* that come at one instruction: once one waits, all are blocked */

#if defined(__aarch64__)
#define REGISTERS_BYTES offsetof(mcontext_t, __reserved)
#else
#define REGISTERS_BYTES sizeof(gregset_t)
#endif

struct known {
    _Atomic(void (*)(int, siginfo_t *, void *)) handler;
    _Atomic bool takes_info, may_wait, restarts;
};

__thread struct handlers handlers;
static __thread struct {
    siginfo_t signals[MOST_WAITING];
    sigset_t mask; /* of the thread, before the first was deferred */
    char registers[REGISTERS_BYTES];
} deferred;
static struct known known[NSIG];

static bool is_of_instruction(int signal) {
    return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL || signal == SIGTRAP ||
           signal == SIGSYS;
}

/* To be waited for. An instruction that faults while its signal is blocked would end the process. */
static void fill_mask(sigset_t *mask) {
    signals_all(mask);
    for (int signal = 1; signal < NSIG; signal++)
        if (is_of_instruction(signal))
            sigdelset(mask, signal);
}

/* The last to be deferred at one instruction is the first that was interrupted by it: its mask is the thread's. */
static void defer_signal(int signal, const siginfo_t *info, ucontext_t *context) {
    sigset_t all;
    fill_mask(&all);
    if (LIKELY(handlers.waiting < MOST_WAITING)) {
        siginfo_t *place = &deferred.signals[handlers.waiting++];
        memcpy(place, info, sizeof(*place));
        place->si_signo = signal;
    } else {
        pthread_sigmask(SIG_SETMASK, &all, NULL);
        send_to_self(signal, info);
    }
    sigemptyset(&deferred.mask);
    memcpy(&deferred.mask, &context->uc_sigmask, KERNEL_MASK_BYTES);
    memcpy(deferred.registers, &context->uc_mcontext, REGISTERS_BYTES);
    memcpy(&context->uc_sigmask, &all, KERNEL_MASK_BYTES);
}

static void call(const struct known *its, int signal, siginfo_t *info, void *context) {
    handlers.runs++;
    handlers.ends += !its->restarts;
    its->handler(signal, info, context);
}

static void run(int signal, siginfo_t *info, void *context) {
    const struct known *its = &known[signal];
    unsigned depth = handlers.depth;
    if (UNLIKELY(depth != 0) && its->may_wait) {
        int saved = errno;
        defer_signal(signal, info, context);
        errno = saved;
        return;
    }
    handlers.depth = 0;
    call(its, signal, info, context);
    handlers.depth = depth;
}

static int real_action(int signal, const struct sigaction *action, struct sigaction *old) {
    REAL(int, "sigaction", (int, const struct sigaction *, struct sigaction *));
    return real(signal, action, old);
}

static bool wants_other_stack(const struct sigaction *action) {
    stack_t stack;
    return action->sa_flags & SA_ONSTACK && sigaltstack(NULL, &stack) == 0 &&
           !(stack.ss_flags & (SS_DISABLE | SS_ONSTACK));
}

/* All signals are blocked. mask: the thread's own, which the handler may change. */
static void call_deferred(siginfo_t *info, const void *registers, sigset_t *mask) {
    ucontext_t context;
    struct sigaction action;
    sigset_t during = *mask;
    int signal = info->si_signo;
    if (real_action(signal, NULL, &action) != 0 || action.sa_sigaction != run || wants_other_stack(&action)) {
        send_to_self(signal, info); /* or another thread has changed what becomes of it */
        return;
    }
    memset(&context, 0, sizeof(context));
    memcpy(&context.uc_mcontext, registers, REGISTERS_BYTES);
    memcpy(&context.uc_sigmask, mask, KERNEL_MASK_BYTES);
    for (int other = 1; other < NSIG; other++)
        if (sigismember(&action.sa_mask, other) == 1 || (other == signal && !(action.sa_flags & SA_NODEFER)))
            sigaddset(&during, other);
    pthread_sigmask(SIG_SETMASK, &during, NULL);
    call(&known[signal], signal, info, &context);
    memcpy(mask, &context.uc_sigmask, KERNEL_MASK_BYTES);
    signals_block(&during);
}

void handlers_run(void) {
    siginfo_t signals[MOST_WAITING];
    char registers[REGISTERS_BYTES];
    sigset_t mask = deferred.mask;
    unsigned count = handlers.waiting;
    int saved = errno;
    memcpy(signals, deferred.signals, count * sizeof(*signals));
    memcpy(registers, deferred.registers, sizeof(registers));
    handlers.waiting = 0; /* where one jumps, the others are lost, as in the kernel */
    for (unsigned i = 0; i < count; i++)
        call_deferred(&signals[i], registers, &mask);
    signals_restore(&mask);
    errno = saved;
}

bool handlers_open(struct opening *opening) {
    *opening = (struct opening){handlers.depth, handlers.runs, handlers.ends};
    handlers.depth = 0;
    atomic_signal_fence(memory_order_seq_cst);
    if (LIKELY(handlers.waiting == 0))
        return false;
    handlers_run();
    return true;
}

enum interruption handlers_close(const struct opening *opening) {
    atomic_signal_fence(memory_order_seq_cst);
    handlers.depth = opening->depth;
    if (LIKELY(handlers.runs == opening->runs))
        return INTERRUPTION_NONE;
    return handlers.ends != opening->ends ? INTERRUPTION_ENDS : INTERRUPTION_RESTARTS;
}

void handlers_after_fork(void) {
    handlers.depth = 0;
    if (handlers.waiting != 0)
        signals_restore(&deferred.mask);
    handlers.waiting = 0;
}

static bool is_handler(const struct sigaction *action) {
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN && action->sa_handler != SIG_ERR;
}

/* As the program would see it. */
static void translate(const struct known *was, struct sigaction *old) {
    if (old->sa_sigaction == run)
        old->sa_sigaction = was->handler;
    else if (old->sa_handler != SIG_DFL) /* to which SA_RESETHAND has set it back */
        return;
    if (!was->takes_info)
        old->sa_flags &= ~SA_SIGINFO;
}

int handlers_action(int signal, const struct sigaction *action, struct sigaction *old) {
    if (signal < 1 || signal >= NSIG || (action != NULL && is_bad(action)) || (old != NULL && is_bad(old)))
        return real_action(signal, action, old);
    struct known *its = &known[signal];
    struct known before = {its->handler, its->takes_info, its->may_wait, its->restarts};
    struct sigaction ours;
    /* The table of a child of vfork is its parent's. */
    if (action != NULL && is_handler(action) && !process_is_borrowed()) {
        ours = *action;
        if (action->sa_sigaction != run) { /* which the program may have seen by its own instructions */
            its->handler = action->sa_sigaction;
            its->takes_info = (action->sa_flags & SA_SIGINFO) != 0;
        }
        its->may_wait = !is_of_instruction(signal) && !(action->sa_flags & (int)SA_RESETHAND);
        its->restarts = (action->sa_flags & SA_RESTART) != 0;
        ours.sa_sigaction = run;
        ours.sa_flags |= SA_SIGINFO;
        action = &ours;
    }
    int result = real_action(signal, action, old);
    if (result != 0) {
        its->handler = before.handler;
        its->takes_info = before.takes_info;
        its->may_wait = before.may_wait;
        its->restarts = before.restarts;
    } else if (old != NULL) {
        translate(&before, old);
    }
    return result;
}

void handlers_restart(int signal, bool restarts) {
    if (signal > 0 && signal < NSIG)
        known[signal].restarts = restarts;
}

/* As the kernel has it, which puts the handler first and the flags behind it, on the machines that we know. What is set
 * so is the kernel's alone; what is asked for is shown as the program has set it. */
struct kernel_action {
    void (*handler)(int, siginfo_t *, void *);
    unsigned long flags;
};

bool handlers_system_call(int signal, void *action, void *old, size_t bytes, long *result) {
    struct kernel_action *was = old;
    if (signal < 1 || signal >= NSIG)
        return false;
    *result = real_syscall(SYS_rt_sigaction, signal, action, old, bytes);
    signals_changed();
    if (*result == 0 && was != NULL && was->handler == run) {
        was->handler = known[signal].handler;
        was->flags &= known[signal].takes_info ? ~0ul : ~(unsigned long)SA_SIGINFO;
    }
    return true;
}
