/* How connections end: the end of the stream, resets, and closes with unread data. */
#include "case.h"

#define EVENTS (POLLIN | POLLOUT | POLLRDHUP)

static long error_of(int fd) {
    int error = -1;
    socklen_t length = sizeof(error);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : -1;
}

static void say_recv(const char *what, int fd) {
    char data[64];
    if (await_events(fd, POLLIN, 2000) == 0)
        printf("%s: nothing\n", what);
    else
        say_text(what, data, recv(fd, data, sizeof(data), MSG_DONTWAIT));
}

/* The far end says the end, and closes with three bytes that it has not read. */
static void end_then_close_unread(void) {
    struct link link = link_open();
    far_send(&link, "abc", 3);
    must(send(link.near, "def", 3, 0) == 3, "send");
    await_bytes(link.far, 3);
    far_shutdown(&link, SHUT_WR);
    far_close(&link);
    await_events(link.near, 0, 1000);   /* an error or both ends */
    say_events("events", (unsigned)await_events(link.near, EVENTS, 0));
    say_recv("recv", link.near);
    say_recv("recv", link.near);
    say("send", send(link.near, "x", 1, MSG_NOSIGNAL));
    say("SO_ERROR", error_of(link.near));
    say_recv("recv", link.near);
    link_close(&link);
}

/* The same without the end before it: what the far end sent is lost, as the reset overtakes it. */
static void close_unread(void) {
    struct link link = link_open();
    far_send(&link, "abc", 3);
    must(send(link.near, "def", 3, 0) == 3, "send");
    await_bytes(link.far, 3);
    await_bytes(link.near, 3);
    far_close(&link);
    await_events(link.near, 0, 1000);   /* an error or both ends */
    say_events("events", (unsigned)await_events(link.near, EVENTS, 0));
    say_recv("recv", link.near);
    say_recv("recv", link.near);
    say("send", send(link.near, "x", 1, MSG_NOSIGNAL));
    link_close(&link);
}

static void reset(void) {
    struct link link = link_open();
    far_reset(&link);
    await_events(link.near, 0, 1000);   /* an error or both ends */
    say_events("events", (unsigned)await_events(link.near, EVENTS, 0));
    say_recv("recv", link.near);
    say_recv("recv", link.near);
    say("send", send(link.near, "x", 1, MSG_NOSIGNAL));
    say_events("events", (unsigned)await_events(link.near, EVENTS, 0));
    link_close(&link);
}

static void reset_seen_by_send(void) {
    struct link link = link_open();
    far_reset(&link);
    must(await_events(link.near, POLLIN, 1000) != 0, "the reset has come");
    say("send", send(link.near, "x", 1, MSG_NOSIGNAL));
    say("send", send(link.near, "x", 1, MSG_NOSIGNAL));
    say_recv("recv", link.near);
    link_close(&link);
}

/* An error is reported once: afterwards EPOLLERR is gone, and the end remains. */
static void error_reported_once(void) {
    struct link link = link_open();
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, link.near, &event);
    far_reset(&link);
    must(epoll_wait(epoll, &event, 1, 1000) == 1, "an event");
    say_events("events", event.events);
    say("SO_ERROR", error_of(link.near));
    say("epoll_wait", epoll_wait(epoll, &event, 1, 0));
    say_events("events", event.events);
    say_events("poll", (unsigned)await_events(link.near, EVENTS, 0));
    say("SO_ERROR", error_of(link.near));
    say_recv("recv", link.near);
    close(epoll);
    link_close(&link);
}

static void half_closed(void) {
    struct link link = link_open();
    far_send(&link, "abc", 3);
    far_shutdown(&link, SHUT_WR);
    must(await_events(link.near, POLLRDHUP, 1000) != 0, "the end has come");
    say_events("events", (unsigned)await_events(link.near, EVENTS, 0));
    say_recv("recv", link.near);
    say_recv("recv", link.near);
    say_recv("recv", link.near);
    say("send", send(link.near, "def", 3, MSG_NOSIGNAL));
    say_far("far", &link);
    say("shutdown", shutdown(link.near, SHUT_WR));
    say_far("far", &link);
    say_events("events", (unsigned)await_events(link.near, EVENTS, 0));
    say("send", send(link.near, "x", 1, MSG_NOSIGNAL));
    say("shutdown again", shutdown(link.near, SHUT_WR));
    link_close(&link);
}

/* A far end that has gone without a reset is told of it by what we send next. */
static void send_to_closed(void) {
    struct link link = link_open();
    far_close(&link);
    say_recv("recv", link.near);
    say("send", send(link.near, "x", 1, MSG_NOSIGNAL));
    must(await_events(link.near, 0, 1000) != 0, "the answer has come");
    say("send", send(link.near, "x", 1, MSG_NOSIGNAL));
    say_events("events", (unsigned)await_events(link.near, EVENTS, 0));
    link_close(&link);
}

static void *receive(void *about) {
    const struct link *link = about;
    char data[8];
    say_text("blocked recv", data, recv(link->near, data, sizeof(data), 0));
    return NULL;
}

static void *wait_in_poll(void *about) {
    const struct link *link = about;
    say_events("blocked poll", (unsigned)await_events(link->near, POLLIN | POLLRDHUP, 3000));
    return NULL;
}

static void *wait_in_epoll(void *about) {
    const struct link *link = about;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP};
    int epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, link->near, &event);
    say("blocked epoll_wait", epoll_wait(epoll, &event, 1, 3000));
    say_events("its events", event.events);
    close(epoll);
    return NULL;
}

static void shut_under(void *(*run)(void *), int how) {
    struct link link = link_open();
    struct worker *worker = work_asleep(run, &link);
    int result = shutdown(link.near, how);
    say_is("it ends", is_over(worker, 2000));
    say("shutdown", result);
    link_close(&link);
}

static void shut_read_under_recv(void) {
    shut_under(receive, SHUT_RD);
}

static void shut_both_under_recv(void) {
    shut_under(receive, SHUT_RDWR);
}

static void shut_read_under_poll(void) {
    shut_under(wait_in_poll, SHUT_RD);
}

static void shut_read_under_epoll(void) {
    shut_under(wait_in_epoll, SHUT_RD);
}

static void *send_much(void *about) {
    const struct link *link = about;
    static const char data[1 << 16];
    ssize_t sent;
    while ((sent = send(link->near, data, sizeof(data), MSG_NOSIGNAL)) > 0)
        ;
    say("blocked send", sent);
    return NULL;
}

static void shut_write_under_send(void) {
    shut_under(send_much, SHUT_WR);
}

/* What comes after SHUT_RD is read all the same, and then the end again. */
static void data_after_shut_read(void) {
    struct link link = link_open();
    say("shutdown", shutdown(link.near, SHUT_RD));
    say_events("events", (unsigned)await_events(link.near, EVENTS, 0));
    say_recv("recv", link.near);
    far_send(&link, "abc", 3);
    await_bytes(link.near, 3);
    say_recv("recv", link.near);
    say_recv("recv", link.near);
    say("send", send(link.near, "def", 3, MSG_NOSIGNAL));
    say_far("far", &link);
    link_close(&link);
}

CASES({"end_then_close_unread", end_then_close_unread}, {"close_unread", close_unread}, {"reset", reset},
      {"reset_seen_by_send", reset_seen_by_send}, {"error_reported_once", error_reported_once},
      {"half_closed", half_closed}, {"send_to_closed", send_to_closed}, {"shut_read_under_recv", shut_read_under_recv},
      {"shut_both_under_recv", shut_both_under_recv}, {"shut_read_under_poll", shut_read_under_poll},
      {"shut_read_under_epoll", shut_read_under_epoll}, {"shut_write_under_send", shut_write_under_send},
      {"data_after_shut_read", data_after_shut_read})
