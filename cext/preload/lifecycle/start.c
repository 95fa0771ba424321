/* The provider's start in a process: settings from the environment, the tables, and what a fork changes. */
#include "internal.h"
#include "parts.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool vn_ready;
pid_t vn_pid;
struct vn_settings vn_settings;

static uint64_t number(const char *name, uint64_t otherwise, uint64_t most) {
    const char *text = getenv(name);
    char *end;
    if (text == NULL || *text == '\0')
        return otherwise;
    unsigned long long value = strtoull(text, &end, 10);
    return *end != '\0' || value > most ? otherwise : value;
}

bool signals_restart(void) {
    struct sigaction action;
    for (int signal = 1; signal < NSIG; signal++)
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN &&
            !(action.sa_flags & SA_RESTART))
            return false;
    return true;
}

static void before_fork(void) {
    table_before_fork();
    pool_before_fork();
}

static void after_fork_here(void) {
    pool_after_fork(false);
}

static void after_fork(void) {
    vn_pid = getpid();
    table_after_fork();
    broker_after_fork();
    fabric_after_fork();
    door_after_fork();
    pool_after_fork(true);
    epoll_after_fork();
    report_after_fork();
    withdraw_after_fork();
}

static void start_once(void) {
    int saved = errno;
    const char *direct = getenv("VNICD_DIRECT"), *broker = getenv("VNICD_BROKER"), *loopback = getenv("VNICD_LOOPBACK");
    real_init();
    vn_pid = getpid();
    vn_settings.broker = broker != NULL && *broker != '\0' ? strdup(broker) : VN_BROKER_NAME;
    vn_settings.off = (direct != NULL && strcmp(direct, "0") == 0) || !table_init();
    vn_settings.loopback = loopback != NULL && strcmp(loopback, "1") == 0;
    vn_settings.poll_ns = number("VNICD_POLL_US", 50, 1000000) * 1000;
    vn_settings.large = number("VNICD_LARGE", VN_LARGE_WHEN_FAST, 1);
    vn_settings.answer_ns = number("VNICD_ANSWER_MS", 200, 60000) * 1000000;
    pthread_atfork(before_fork, after_fork_here, after_fork);
    vn_ready = true;
    errno = saved;
}

__attribute__((constructor)) void vn_start(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_once);
}
