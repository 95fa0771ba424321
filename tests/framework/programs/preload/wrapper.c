/* Defines functions that the library has as well, and goes on with the next ones, as Erlang does. */
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int __sigaction(int number, const struct sigaction *action, struct sigaction *old);

int __sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    return NEXT(__sigaction)(number, action, old);
}

int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    return NEXT(__sigaction)(number, action, old);
}

int __close(int fd);

int close(int fd) {
    return NEXT(__close)(fd);
}

int main(void) {
    struct sigaction action = {.sa_handler = SIG_IGN};
    return sigaction(SIGUSR1, &action, NULL) != 0 || __sigaction(SIGUSR2, &action, NULL) != 0 || close(0) != 0;
}
