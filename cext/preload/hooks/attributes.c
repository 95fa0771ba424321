/* What a program sets for its process: handlers of signals, limits, a filter for system calls. */
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/process.h"
#include "base/real.h"
#include "base/settings.h"
#include "base/signals.h"
#include "discovery/policy.h"
#include "fdtable/limit.h"
#include "relay/relay.h"

/* -------------------------------------------------------------------------------------------------- handlers */

EXPORT int sigaction(int signal, const struct sigaction *action, struct sigaction *old) {
    READY();
    int result = handlers_action(signal, action, old);
    if (action != NULL)
        signals_changed();
    return result;
}

EXPORT int __sigaction(int signal, const struct sigaction *action, struct sigaction *old) {
    return sigaction(signal, action, old);
}

#define HOLD ((sighandler_t)2) /* SIG_HOLD, which <signal.h> has for X/Open programs only */

static _Atomic bool interrupts[NSIG]; /* by siginterrupt, for handlers that `signal` sets */

static sighandler_t set(int number, sighandler_t handler, int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags}, old;
    if (handler == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    if (flags & SA_RESTART || flags == 0)
        sigaddset(&action.sa_mask, number);
    return sigaction(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

EXPORT sighandler_t signal(int number, sighandler_t handler) {
    return set(number, handler, number > 0 && number < NSIG && interrupts[number] ? 0 : SA_RESTART);
}

EXPORT sighandler_t bsd_signal(int number, sighandler_t handler) {
    return signal(number, handler);
}

EXPORT sighandler_t ssignal(int number, sighandler_t handler) {
    return signal(number, handler);
}

EXPORT sighandler_t sysv_signal(int number, sighandler_t handler) {
    return set(number, handler, (int)SA_RESETHAND | SA_NODEFER);
}

EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler) {
    return sysv_signal(number, handler);
}

EXPORT int siginterrupt(int number, int interrupt) {
    REAL(int, "siginterrupt", (int, int));
    int result = real(number, interrupt);
    if (result == 0) {
        interrupts[number] = interrupt != 0;
        handlers_restart(number, interrupt == 0);
    }
    signals_changed();
    return result;
}

/* Of System V: SIG_HOLD blocks the signal, everything else unblocks it. */
EXPORT sighandler_t sigset(int number, sighandler_t handler) {
    struct sigaction action = {.sa_handler = handler}, old;
    sigset_t only, before;
    sigemptyset(&only);
    if (handler == SIG_ERR || sigaddset(&only, number) != 0) {
        errno = EINVAL;
        return SIG_ERR;
    }
    if (sigaction(number, handler == HOLD ? NULL : &action, &old) != 0 ||
        pthread_sigmask(handler == HOLD ? SIG_BLOCK : SIG_UNBLOCK, &only, &before) != 0)
        return SIG_ERR;
    return sigismember(&before, number) == 1 ? HOLD : old.sa_handler;
}

/* ---------------------------------------------------------------------------------------------------- limits */

/* Programs that give up their own means: few descriptors, no processes, a filter for system calls.
 *
 * What the library does for a connection needs calls that such a filter does not know, and may end the process for. So
 * before the first of these the connections of the process become relays' ends: plain Unix sockets, which a process
 * outside serves. */
static bool takes_means_away(int resource, const struct rlimit *limit) {
    if (is_bad(limit))
        return false;
    return resource == RLIMIT_NOFILE ? limit->rlim_cur < LIMIT_FEW : resource == RLIMIT_NPROC && limit->rlim_cur == 0;
}

static bool is_of_descriptors(pid_t process, int resource) {
    return resource == RLIMIT_NOFILE && !settings.off && (process == 0 || process == getpid());
}

static int change(pid_t process, int resource, const struct rlimit *set, struct rlimit *old) {
    REAL(int, "prlimit", (pid_t, int, const struct rlimit *, struct rlimit *));
    if (UNLIKELY(process_page == NULL)) /* another library asks before this one has started */
        return real(process, resource, set, old);
    READY();
    if (UNLIKELY(takes_means_away(resource, set)))
        relay_replace_all();
    bool own = is_of_descriptors(process, resource) && (set == NULL || !is_bad(set)) && (old == NULL || !is_bad(old));
    return own ? limit_change(set, old) : real(process, resource, set, old);
}

EXPORT int prlimit(pid_t process, rlimit_resource resource, const struct rlimit *set, struct rlimit *old) {
    return change(process, (int)resource, set, old);
}

EXPORT int setrlimit(rlimit_resource resource, const struct rlimit *limit) {
    return change(0, (int)resource, limit, NULL);
}

EXPORT int getrlimit(rlimit_resource resource, struct rlimit *limit) {
    return change(0, (int)resource, NULL, limit);
}

#ifdef __GLIBC__ /* programs for large files; on 64-bit machines both structs are one */
EXPORT int prlimit64(pid_t process, rlimit_resource resource, const struct rlimit64 *set, struct rlimit64 *old) {
    return change(process, (int)resource, (const struct rlimit *)set, (struct rlimit *)old);
}

EXPORT int setrlimit64(rlimit_resource resource, const struct rlimit64 *limit) {
    return change(0, (int)resource, (const struct rlimit *)limit, NULL);
}

EXPORT int getrlimit64(rlimit_resource resource, struct rlimit64 *limit) {
    return change(0, (int)resource, NULL, (struct rlimit *)limit);
}
#endif

static int most_descriptors(void) {
    struct rlimit limit;
    return change(0, RLIMIT_NOFILE, NULL, &limit) == 0 && limit.rlim_cur <= INT_MAX ? (int)limit.rlim_cur : INT_MAX;
}

EXPORT int getdtablesize(void) {
    return most_descriptors();
}

EXPORT long sysconf(int name) {
    REAL(long, "sysconf", (int));
    return name == _SC_OPEN_MAX && process_page != NULL && !settings.off ? most_descriptors() : real(name);
}

EXPORT int prctl(int operation, ...) {
    REAL(int, "prctl", (int, ...));
    va_list list;
    va_start(list, operation);
    unsigned long b = va_arg(list, unsigned long), c = va_arg(list, unsigned long), d = va_arg(list, unsigned long),
                  e = va_arg(list, unsigned long);
    va_end(list);
    READY();
    if (operation == PR_SET_SECCOMP) {
        relay_replace_all();
        policy_seal();
    }
    return real(operation, b, c, d, e);
}
