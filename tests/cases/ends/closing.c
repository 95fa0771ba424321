/* What becomes of threads that are blocked in a call when another one closes the descriptor, and of their time-outs. */
#include "case.h"

#define TIMEOUT_US 400000

static struct link link_with_timeouts(void) {
    struct link link = link_open();
    struct timeval limit = {0, TIMEOUT_US};
    must(setsockopt(link.near, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0, "SO_RCVTIMEO");
    must(setsockopt(link.near, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0, "SO_SNDTIMEO");
    return link;
}

static void *receive(void *about) {
    const struct link *link = about;
    char data[8];
    double began = now();
    say_text("recv", data, recv(link->near, data, sizeof(data), 0));
    say_is("at its time", now() - began > TIMEOUT_US / 1e6 - 0.05);
    return NULL;
}

/* Sends until a call's time is over without a byte. */
static void *send_on(void *about) {
    static const char zeros[1 << 16];
    const struct link *link = about;
    double began;
    ssize_t sent;
    do
        began = now();
    while ((sent = send(link->near, zeros, sizeof(zeros), MSG_NOSIGNAL)) > 0);
    say("send", sent);
    say_is("at its time", now() - began > TIMEOUT_US / 1e6 - 0.05);
    return NULL;
}

static void timeout_of_recv_closed(void) {
    struct link link = link_with_timeouts();
    struct worker *worker = work_asleep(receive, &link);
    close(link.near);
    say_is("it ends", is_over(worker, 3000));
    link.near = -1;
    link_close(&link);
}

static void timeout_of_send_closed(void) {
    struct link link = link_with_timeouts();
    fill(link.near);   /* or the call that sleeps may have sent something, and the next one finds a closed descriptor */
    struct worker *worker = work_asleep(send_on, &link);
    close(link.near);
    say_is("it ends", is_over(worker, 3000));
    link.near = -1;
    link_close(&link);
}

static void timeouts(void) {
    struct link link = link_with_timeouts();
    receive(&link);
    send_on(&link);
    link_close(&link);
}

/* A negative time-out is over at once; the kernel does not tell it from none. */
static void negative_timeouts(void) {
    struct link link = link_open();
    struct timeval over = {-1, 0}, none = {0, 0};
    int yes = 1;
    char data[8];
    say("SO_RCVTIMEO", setsockopt(link.near, SOL_SOCKET, SO_RCVTIMEO, &over, sizeof(over)));
    say("recv", recv(link.near, data, sizeof(data), 0));
    say("SO_KEEPALIVE", setsockopt(link.near, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes)));
    say("recv", recv(link.near, data, sizeof(data), 0));
    fill(link.near);
    say("SO_SNDTIMEO", setsockopt(link.near, SOL_SOCKET, SO_SNDTIMEO, &over, sizeof(over)));
    say("send", send(link.near, data, sizeof(data), MSG_NOSIGNAL));
    say("SO_RCVTIMEO", setsockopt(link.near, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none)));
    far_send(&link, "x", 1);
    say("recv", recv(link.near, data, 1, 0));
    link_close(&link);
}

/* More room makes a blocked sender go on. */
static void *send_more(void *about) {
    const struct link *link = about;
    say("send", send(link->near, "x", 1, MSG_NOSIGNAL));
    return NULL;
}

static void larger_buffer_wakes_send(void) {
    struct link link = link_open();
    int size = 32768;
    must(setsockopt(link.near, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0, "SO_SNDBUF");
    fill(link.near);
    struct worker *worker = work_asleep(send_more, &link);
    size = 4 << 20;
    must(setsockopt(link.near, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == 0, "SO_SNDBUFFORCE");
    say_is("it ends", is_over(worker, 2000));
    link_close(&link);
}

CASES({"timeout_of_recv_closed", timeout_of_recv_closed}, {"timeout_of_send_closed", timeout_of_send_closed},
      {"timeouts", timeouts}, {"negative_timeouts", negative_timeouts},
      {"larger_buffer_wakes_send", larger_buffer_wakes_send})
