/* Threads that wait in an epoll before it has its first connection. */
#include "case.h"

struct sleeper {
    int epoll;
    struct epoll_event event;
};

static void *sleep_in_epoll(void *about) {
    struct sleeper *sleeper = about;
    say("epoll_wait", epoll_wait(sleeper->epoll, &sleeper->event, 1, -1));
    return NULL;
}

/* As in MariaDB's pool: one thread sleeps already, another one adds the connection and looks without waiting. */
static void another_looks(void) {
    struct sleeper sleeper = {epoll_create1(0), {0, {0}}};
    struct worker *worker = work_asleep(sleep_in_epoll, &sleeper);
    struct link link = link_open();
    struct epoll_event event = {EPOLLIN | EPOLLET | EPOLLONESHOT | EPOLLRDHUP, {.u32 = 7}}, seen;
    say("epoll_ctl", epoll_ctl(sleeper.epoll, EPOLL_CTL_ADD, link.near, &event));
    say("look", epoll_wait(sleeper.epoll, &seen, 1, 0));
    far_send(&link, "x", 1);
    say_is("it wakes", is_over(worker, 3000));
    say("data", sleeper.event.data.u32);
    close(sleeper.epoll);
    link_close(&link);
}

CASES({"another_looks", another_looks})
