/* sigaction and its kin: the program's handlers wait while a call of the library is in the middle of something. */
#include <signal.h>

#include "base/process.h"
#include "base/real.h"
#include "base/settings.h"
#include "base/signals.h"

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

static _Atomic bool interrupts[NSIG];   /* by siginterrupt, for handlers that `signal` sets */

static sighandler_t set(int number, sighandler_t handler, int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags}, old;
    if (handler == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
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
    if (result == 0)
        interrupts[number] = interrupt != 0;
    signals_changed();
    return result;
}
