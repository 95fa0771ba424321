/* Events of a connection: edges, once-only, nested epolls, and the turn of a writer that fills the buffer. */
#include "case.h"

static int watch(int fd, uint32_t events) {
    struct epoll_event event = {.events = events};
    int epoll = epoll_create1(0);
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    return epoll;
}

static void look(const char *what, int epoll, int ms) {
    struct epoll_event event = {.events = 0};
    say_events(what, epoll_wait(epoll, &event, 1, ms) > 0 ? event.events : 0);
}

static void eat(int fd, size_t count) {
    char data[256];
    must(recv(fd, data, count, MSG_DONTWAIT) > 0, "there is something to read");
}

/* A partial read makes no new edge; new bytes do. */
static void edge_of_reading(void) {
    struct link link = link_open();
    char data[100] = "";
    int epoll = watch(link.near, EPOLLIN | EPOLLET);
    far_send(&link, data, 100);
    await_bytes(link.near, 100);
    look("bytes", epoll, 1000);
    look("again", epoll, 50);
    eat(link.near, 40);
    look("after a part was read", epoll, 50);
    far_send(&link, data, 1);
    look("more bytes", epoll, 1000);
    eat(link.near, 200);
    look("all were read", epoll, 50);
    close(epoll);
    link_close(&link);
}

static void edge_of_writing(void) {
    struct link link = link_open();
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
    int epoll = watch(link.near, EPOLLOUT | EPOLLET);
    look("writable", epoll, 1000);
    look("again", epoll, 50);
    epoll_ctl(epoll, EPOLL_CTL_MOD, link.near, &event);
    look("armed anew", epoll, 1000);
    fill(link.near);
    look("full", epoll, 0);
    close(epoll);
    link_close(&link);
}

static void edge_after_full(void) {
    static char data[1 << 16];
    struct link link = link_open();
    int epoll = watch(link.near, EPOLLOUT | EPOLLET);
    fill(link.near);
    look("writable before", epoll, 0);
    look("full", epoll, 0);
    struct link *far = &link;
    while (await_events(link.near, POLLOUT, 20) == 0)
        far_receive(far, data, sizeof(data));
    look("room again", epoll, 1000);
    close(epoll);
    link_close(&link);
}

static void once(void) {
    struct link link = link_open();
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT};
    int epoll = watch(link.near, EPOLLIN | EPOLLONESHOT);
    far_send(&link, "abc", 3);
    look("bytes", epoll, 1000);
    look("again", epoll, 50);
    far_send(&link, "def", 3);
    look("more bytes", epoll, 50);
    epoll_ctl(epoll, EPOLL_CTL_MOD, link.near, &event);
    look("armed anew", epoll, 1000);
    close(epoll);
    link_close(&link);
}

/* One event for a listener, although two connections wait. */
static void once_listener(void) {
    struct sockaddr_in at;
    int fd = listen_at(&at, 8), epoll = watch(fd, EPOLLIN | EPOLLONESHOT);
    int one = connect_to(&at);
    look("a connection", epoll, 1000);
    int two = connect_to(&at);
    look("a second one", epoll, 50);
    close(accept(fd, NULL, NULL));
    look("one was accepted", epoll, 50);
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT};
    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
    look("armed anew", epoll, 1000);
    close(accept(fd, NULL, NULL));
    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
    look("none waits", epoll, 50);
    close(one);
    close(two);
    close(epoll);
    close(fd);
}

static void nested(void) {
    struct link link = link_open();
    int inner = watch(link.near, EPOLLIN), outer = watch(inner, EPOLLIN | EPOLLET);
    look("nothing", outer, 50);
    far_send(&link, "abc", 3);
    look("bytes", outer, 1000);
    look("again", outer, 50);
    look("the inner one", inner, 0);
    eat(link.near, 100);
    look("all were read", outer, 50);
    look("the inner one", inner, 0);
    far_send(&link, "def", 3);
    look("more bytes", outer, 1000);
    close(outer);
    close(inner);
    link_close(&link);
}

static void nested_level(void) {
    struct link link = link_open();
    int inner = watch(link.near, EPOLLIN), outer = watch(inner, EPOLLIN);
    far_send(&link, "abc", 3);
    look("bytes", outer, 1000);
    look("again", outer, 50);
    say_events("poll of the inner one", (unsigned)await_events(inner, POLLIN, 0));
    eat(link.near, 100);
    look("all were read", outer, 50);
    say_events("poll of the inner one", (unsigned)await_events(inner, POLLIN, 0));
    close(outer);
    close(inner);
    link_close(&link);
}

/* Nobody looks while nothing is there. */
static void nested_anew(void) {
    struct link link = link_open();
    int inner = watch(link.near, EPOLLIN), outer = watch(inner, EPOLLIN | EPOLLET);
    for (int i = 0; i < 3; i++) {
        far_send(&link, "abc", 3);
        look("bytes", outer, 1000);
        eat(link.near, 3);
    }
    far_send(&link, "def", 3);
    await_bytes(link.near, 3);
    look("bytes", outer, 1000);
    far_send(&link, "ghi", 3);
    await_bytes(link.near, 6);
    look("more of them", outer, 1000);
    close(outer);
    close(inner);
    link_close(&link);
}

/* The inner one asks for no events, so only an end of the connection makes it ready: not that it was accepted. */
static void nested_for_ends(void) {
    struct sockaddr_in at;
    int fd = listen_at(&at, 8);
    struct link link = {.near = connect_to(&at), .far = accept(fd, NULL, NULL)};
    int inner = watch(link.near, 0), outer = watch(inner, EPOLLIN);
    look("the outer one", outer, 0);
    far_send(&link, "abc", 3);
    await_bytes(link.near, 3);
    look("bytes", outer, 50);
    look("the inner one", inner, 0);
    look("the outer one", outer, 0);
    close(outer);
    close(inner);
    link_close(&link);
    close(fd);
}

static bool are_two_ready(void *about) {
    struct epoll_event events[4];
    return epoll_wait(*(int *)about, events, 4, 0) == 2;
}

/* All events of the outer one have the same data. */
static void nested_unnamed(void) {
    struct link link = link_open();
    struct epoll_event events[4];
    int ends[2], inner = watch(link.near, EPOLLIN), outer = watch(inner, EPOLLIN);
    must(pipe(ends) == 0 && write(ends[1], "x", 1) == 1, "pipe");
    events[0] = (struct epoll_event){.events = EPOLLIN};
    must(epoll_ctl(outer, EPOLL_CTL_ADD, ends[0], &events[0]) == 0, "epoll_ctl");
    say("the pipe's", epoll_wait(outer, events, 4, 1000));
    far_send(&link, "abc", 3);
    await_bytes(link.near, 3);
    say_is("both", await(are_two_ready, &outer, 1000));   /* one call need not tell of all */
    eat(link.near, 3);
    say("the pipe's", epoll_wait(outer, events, 4, 1000));
    close(ends[0]);
    close(ends[1]);
    close(outer);
    close(inner);
    link_close(&link);
}

static void nested_deep(void) {
    struct link link = link_open();
    int inner = watch(link.near, EPOLLIN), middle = watch(inner, EPOLLIN), outer = watch(middle, EPOLLIN);
    far_send(&link, "abc", 3);
    say_events("bytes", (unsigned)await_events(outer, POLLIN, 1000));
    eat(link.near, 3);
    say_events("all were read", (unsigned)await_events(outer, POLLIN, 0));
    far_send(&link, "def", 3);
    look("more bytes", outer, 1000);
    eat(link.near, 3);
    look("all were read", outer, 0);
    far_close(&link);
    look("the end", outer, 1000);
    close(outer);
    close(middle);
    close(inner);
    link_close(&link);
}

/* Errors and the end are told unasked. */
static void no_events(void) {
    struct link link = link_open();
    int epoll = watch(link.near, 0);
    far_send(&link, "abc", 3);
    await_bytes(link.near, 3);
    look("bytes", epoll, 50);
    far_reset(&link);
    look("reset", epoll, 1000);
    close(epoll);
    link_close(&link);
}

static void twice_by_dup(void) {
    struct link link = link_open();
    struct epoll_event events[4] = {{.events = EPOLLIN}};
    int epoll = watch(link.near, EPOLLIN), other = dup(link.near);
    say("add the duplicate", epoll_ctl(epoll, EPOLL_CTL_ADD, other, &events[0]));
    say("add it again", epoll_ctl(epoll, EPOLL_CTL_ADD, other, &events[0]));
    far_send(&link, "abc", 3);
    await_bytes(link.near, 3);
    say("events", epoll_wait(epoll, events, 4, 1000));
    close(other);
    close(epoll);
    link_close(&link);
}

/* In nanoseconds these 584 years are 0.3 s more than 64 bits hold. */
static const struct timespec centuries = {18446744074, 0};

static void *ppoll_for_long(void *about) {
    struct pollfd fd = {((struct link *)about)->near, POLLIN, 0};
    say("ppoll", ppoll(&fd, 1, &centuries, NULL));
    return NULL;
}

static void *pselect_for_long(void *about) {
    int near = ((struct link *)about)->near;
    fd_set set;
    FD_ZERO(&set);
    FD_SET(near, &set);
    say("pselect", pselect(near + 1, &set, NULL, NULL, &centuries, NULL));
    return NULL;
}

static void *select_for_long(void *about) {
    int near = ((struct link *)about)->near;
    struct timeval time = {centuries.tv_sec, 0};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(near, &set);
    say("select", select(near + 1, &set, NULL, NULL, &time));
    return NULL;
}

static void long_timeouts(void) {
    void *(*const waits[])(void *) = {ppoll_for_long, pselect_for_long, select_for_long};
    for (int i = 0; i < 3; i++) {
        struct link link = link_open();
        struct worker *worker = work_asleep(waits[i], &link);
        say_is("it is over unasked", is_over(worker, 600));
        far_send(&link, "a", 1);
        say_is("it is over", is_over(worker, 3000));
        link_close(&link);
    }
}

CASES({"edge_of_reading", edge_of_reading}, {"edge_of_writing", edge_of_writing}, {"edge_after_full", edge_after_full},
      {"once", once}, {"once_listener", once_listener}, {"nested", nested}, {"nested_level", nested_level},
      {"nested_for_ends", nested_for_ends}, {"nested_anew", nested_anew}, {"nested_unnamed", nested_unnamed},
      {"nested_deep", nested_deep}, {"no_events", no_events}, {"twice_by_dup", twice_by_dup},
      {"long_timeouts", long_timeouts})
