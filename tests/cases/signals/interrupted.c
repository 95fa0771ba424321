/* Calls that a signal interrupts: the flags of the handler that ran decide, and no others. */
#include "case.h"

#include <sys/select.h>

enum call { RECV, READ, RECV_TIMED, SEND, POLL, SELECT, EPOLL, ACCEPT };
enum how { RESTART, PLAIN, OTHER_PLAIN, OTHER_RESTART, IGNORED, DEFAULT };

struct stage {
    enum call call;
    struct link link;
    int epoll;
    pthread_t main;
    int number;
};

static atomic_int handled;
static atomic_bool is_call_over;

static void handle(int number) {
    (void)number;
    handled++;
}

static long block(struct stage *stage) {
    static char zeros[1 << 20];
    char data[64];
    struct epoll_event event;
    fd_set fds;
    int server;
    switch (stage->call) {
    case RECV:
    case RECV_TIMED: return recv(stage->link.near, data, sizeof(data), 0);
    case READ: return read(stage->link.near, data, sizeof(data));
    case SEND: return send(stage->link.near, zeros, 1, MSG_NOSIGNAL);
    case POLL: return poll(&(struct pollfd){stage->link.near, POLLIN, 0}, 1, 5000);
    case EPOLL: return epoll_wait(stage->epoll, &event, 1, 5000);
    case ACCEPT:
        server = accept(listener, NULL, NULL);
        return server < 0 ? server : close(server);
    case SELECT:
        FD_ZERO(&fds);
        FD_SET(stage->link.near, &fds);
        return select(stage->link.near + 1, &fds, NULL, NULL, &(struct timeval){5, 0});
    }
    return -1;
}

static bool is_over_or_asleep(void *about) {
    (void)about;
    if (is_call_over)
        return true;
    await_asleep(getpid());
    return true;
}

static bool has_handled(void *about) {
    return handled >= *(int *)about;
}

/* What ends the call if the signal does not. */
static void complete(struct stage *stage) {
    static char data[1 << 16];
    if (stage->call == ACCEPT)
        close(connect_to(&address));
    else if (stage->call != SEND)
        far_send(&stage->link, "hello", 5);
    while (stage->call == SEND && !is_call_over)   /* which may not be known yet when all has been received */
        if (await_events(stage->link.far, POLLIN, 20) != 0)
            far_receive(&stage->link, data, sizeof(data));
}

static void *disturb(void *about) {
    struct stage *stage = about;
    int one = 1;
    await_asleep(getpid());
    pthread_kill(stage->main, stage->number);
    if (stage->number == SIGUSR1)
        await(has_handled, &one, 2000);
    if (!is_call_over) {
        await(is_over_or_asleep, NULL, 0);
        if (!is_call_over)
            complete(stage);
    }
    return NULL;
}

static void set_handler(int number, int flags) {
    struct sigaction action = {.sa_handler = handle, .sa_flags = flags};
    sigaction(number, &action, NULL);
}

static void prepare_signals(enum how how) {
    signal(SIGUSR2, SIG_DFL);
    if (how == RESTART || how == OTHER_PLAIN)
        set_handler(SIGUSR1, SA_RESTART);
    else if (how == PLAIN || how == OTHER_RESTART)
        set_handler(SIGUSR1, 0);
    if (how == OTHER_PLAIN)
        set_handler(SIGUSR2, 0);
    if (how == OTHER_RESTART)
        set_handler(SIGUSR2, SA_RESTART);
    if (how == IGNORED)
        signal(SIGALRM, SIG_IGN);
}

static void interrupted(enum call call, enum how how) {
    static struct stage stage;
    struct epoll_event event = {.events = EPOLLIN};
    struct timeval limit = {5, 0};
    stage = (struct stage){.call = call, .link = link_open(), .epoll = epoll_create1(0), .main = pthread_self()};
    stage.number = how == IGNORED ? SIGALRM : how == DEFAULT ? SIGCHLD : SIGUSR1;
    epoll_ctl(stage.epoll, EPOLL_CTL_ADD, stage.link.near, &event);
    if (call == RECV_TIMED)
        setsockopt(stage.link.near, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (call == SEND)
        fill(stage.link.near);
    handled = 0;
    is_call_over = false;
    prepare_signals(how);
    struct worker *worker = work(disturb, &stage);
    long result = block(&stage);
    is_call_over = true;
    say("the call", result);
    must(is_over(worker, 5000), "the thread that disturbs ends");
    say("handled", handled);
    close(stage.epoll);
    link_close(&stage.link);
}

#define ALL(name, call)                                                                     \
    static void name##_restart(void) { interrupted(call, RESTART); }                       \
    static void name##_no_restart(void) { interrupted(call, PLAIN); }                      \
    static void name##_restart_beside_other(void) { interrupted(call, OTHER_PLAIN); }      \
    static void name##_no_restart_beside_other(void) { interrupted(call, OTHER_RESTART); } \
    static void name##_ignored(void) { interrupted(call, IGNORED); }                       \
    static void name##_default(void) { interrupted(call, DEFAULT); }
#define TESTS(name)                                                                                      \
    {#name "_restart", name##_restart}, {#name "_no_restart", name##_no_restart},                        \
        {#name "_restart_beside_other", name##_restart_beside_other},                                    \
        {#name "_no_restart_beside_other", name##_no_restart_beside_other}, {#name "_ignored", name##_ignored}, \
        {#name "_default", name##_default}

ALL(recv, RECV)
ALL(read, READ)
ALL(recv_timed, RECV_TIMED)
ALL(send, SEND)
ALL(poll, POLL)
ALL(select, SELECT)
ALL(epoll_wait, EPOLL)
ALL(accept, ACCEPT)

CASES(TESTS(recv), TESTS(read), TESTS(recv_timed), TESTS(send), TESTS(poll), TESTS(select), TESTS(epoll_wait),
      TESTS(accept))
