/* recvmmsg and sendmmsg, and what holds small writes back. */
#include "case.h"

static struct mmsghdr headers[1025];
static struct iovec vectors[1025];
static char bytes[1025];

static void prepare(void) {
    for (int i = 0; i < 1025; i++) {
        vectors[i] = (struct iovec){bytes + i, 1};
        headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = vectors + i, .msg_iovlen = 1}};
    }
}

static void recvmmsg_wrong_time(void) {
    struct link link = link_open();
    struct timespec negative = {-1, -1}, wrong = {0, 1000000000};
    prepare();
    say("negative", recvmmsg(link.near, headers, 1, 0, &negative));
    say("too many nanoseconds", recvmmsg(link.near, headers, 1, 0, &wrong));
    link_close(&link);
}

static void recvmmsg_for_one(void) {
    struct link link = link_open();
    prepare();
    far_send(&link, "abc", 3);
    await_bytes(link.near, 3);
    say("recvmmsg", recvmmsg(link.near, headers, 10, MSG_WAITFORONE, NULL));
    say_text("bytes", bytes, 3);
    say("recvmmsg of nothing there", recvmmsg(link.near, headers, 10, MSG_DONTWAIT, NULL));
    say("recvmmsg of none", recvmmsg(link.near, headers, 0, MSG_DONTWAIT, NULL));
    link_close(&link);
}

/* The time-out is looked at after each message. */
static void recvmmsg_time_over(void) {
    struct link link = link_open();
    struct timespec none = {0, 0};
    prepare();
    far_send(&link, "abc", 3);
    await_bytes(link.near, 3);
    say("recvmmsg", recvmmsg(link.near, headers, 10, 0, &none));
    link_close(&link);
}

static void sendmmsg_most(void) {
    struct link link = link_open();
    static char data[1025];
    prepare();
    memset(bytes, 'm', sizeof(bytes));
    say("sendmmsg of 1025", sendmmsg(link.near, headers, 1025, MSG_NOSIGNAL));
    say("the far end gets", (long)far_receive_all(&link, data, 1024));
    say_is("more", await_events(link.far, POLLIN, 50) != 0);
    say("sendmmsg of none", sendmmsg(link.near, headers, 0, MSG_NOSIGNAL));
    link_close(&link);
}

static void held_by_flag(void) {
    struct link link = link_open();
    say("send", send(link.near, "a", 1, MSG_MORE | MSG_NOSIGNAL));
    say_events("at once", (unsigned)await_events(link.far, POLLIN, 20));
    say("send", send(link.near, "b", 1, MSG_NOSIGNAL));
    say_far("far", &link);
    link_close(&link);
}

static void held_by_cork(void) {
    struct link link = link_open();
    int on = 1, off = 0;
    say("cork", setsockopt(link.near, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)));
    say("send", send(link.near, "a", 1, MSG_NOSIGNAL));
    say("send", send(link.near, "b", 1, MSG_NOSIGNAL));
    say_events("at once", (unsigned)await_events(link.far, POLLIN, 20));
    say("uncork", setsockopt(link.near, IPPROTO_TCP, TCP_CORK, &off, sizeof(off)));
    say_far("far", &link);
    link_close(&link);
}

/* What is held back goes out by itself after 200 ms, and before an end. */
static void held_for_a_time(void) {
    struct link link = link_open();
    int on = 1;
    setsockopt(link.near, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
    say("send", send(link.near, "a", 1, MSG_NOSIGNAL));
    say_far("far", &link);
    link_close(&link);
}

static void held_until_the_end(void) {
    struct link link = link_open();
    say("send", send(link.near, "a", 1, MSG_MORE | MSG_NOSIGNAL));
    close(link.near);
    link.near = -1;
    say_far("far", &link);
    say_far("far", &link);
    link_close(&link);
}

static void held_until_full(void) {
    struct link link = link_open();
    static char data[200000];
    int on = 1;
    setsockopt(link.near, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
    say("send", send(link.near, data, sizeof(data), MSG_NOSIGNAL));
    say_is("much has gone out at once", await_events(link.far, POLLIN, 20) != 0);
    link_close(&link);
}

CASES({"recvmmsg_wrong_time", recvmmsg_wrong_time}, {"recvmmsg_for_one", recvmmsg_for_one},
      {"recvmmsg_time_over", recvmmsg_time_over}, {"sendmmsg_most", sendmmsg_most}, {"held_by_flag", held_by_flag},
      {"held_by_cork", held_by_cork}, {"held_for_a_time", held_for_a_time},
      {"held_until_the_end", held_until_the_end}, {"held_until_full", held_until_full})
