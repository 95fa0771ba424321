/* What MSG_PEEK, MSG_TRUNC, MSG_WAITALL and a length of 0 do. */
#include "case.h"

static struct link with_bytes(int count) {
    struct link link = link_open();
    static char data[1 << 16];
    for (int i = 0; i < count; i++)
        data[i] = (char)('a' + i % 26);
    far_send(&link, data, (size_t)count);
    await_bytes(link.near, count);
    return link;
}

static void say_next(const char *what, int fd, int count) {
    char data[64];
    say_text(what, data, recv(fd, data, (size_t)count, MSG_DONTWAIT));
}

static void peek_trunc(void) {
    struct link link = with_bytes(26);
    char data[16];
    say("peek and cut 10", recv(link.near, data, 10, MSG_PEEK | MSG_TRUNC));
    say_next("recv", link.near, 4);
    say("peek and cut without room", recv(link.near, NULL, 10, MSG_PEEK | MSG_TRUNC));
    say_next("recv", link.near, 4);
    link_close(&link);
}

static void trunc_skips(void) {
    struct link link = with_bytes(20000);
    int left = -1;
    say("cut 20", recv(link.near, NULL, 20, MSG_TRUNC));
    say_next("recv", link.near, 4);
    say("cut 10000", recv(link.near, NULL, 10000, MSG_TRUNC));
    say_next("recv", link.near, 4);
    ioctl(link.near, FIONREAD, &left);
    say("left", left);
    say("cut all", recv(link.near, NULL, 1 << 30, MSG_TRUNC | MSG_DONTWAIT));
    say("cut none", recv(link.near, NULL, 1 << 30, MSG_TRUNC | MSG_DONTWAIT));
    link_close(&link);
}

static void trunc_with_room(void) {
    struct link link = with_bytes(8);
    char data[16] = "untouched";
    say("cut 4", recv(link.near, data, 4, MSG_TRUNC));
    say_text("the room", data, 9);
    say_next("recv", link.near, 4);
    link_close(&link);
}

static void peek(void) {
    struct link link = with_bytes(8);
    char data[16];
    say_text("peek", data, recv(link.near, data, 4, MSG_PEEK));
    say_text("peek", data, recv(link.near, data, 16, MSG_PEEK));
    say_next("recv", link.near, 16);
    say_text("peek", data, recv(link.near, data, 4, MSG_PEEK | MSG_DONTWAIT));
    far_shutdown(&link, SHUT_WR);
    await_events(link.near, POLLRDHUP, 1000);
    say_text("peek", data, recv(link.near, data, 4, MSG_PEEK));
    say_next("recv", link.near, 16);
    link_close(&link);
}

struct request {
    int fd, flags;
    struct timeval limit;
};

static void *receive_ten(void *about) {
    const struct request *request = about;
    char data[16];
    say_text("recv of 10", data, recv(request->fd, data, 10, request->flags));
    return NULL;
}

static void wait_for_all(int flags) {
    struct link link = with_bytes(5);
    struct request request = {.fd = link.near, .flags = flags};
    struct worker *worker = work_asleep(receive_ten, &request);
    far_send(&link, "fghij", 5);
    say_is("it ends", is_over(worker, 2000));
    say_next("recv", link.near, 16);
    link_close(&link);
}

static void waitall(void) {
    wait_for_all(MSG_WAITALL);
}

static void peek_waitall(void) {
    wait_for_all(MSG_WAITALL | MSG_PEEK);
}

static void waitall_end(void) {
    struct link link = with_bytes(5);
    struct request request = {.fd = link.near, .flags = MSG_WAITALL};
    struct worker *worker = work_asleep(receive_ten, &request);
    far_shutdown(&link, SHUT_WR);
    say_is("it ends", is_over(worker, 2000));
    link_close(&link);
}

static void waitall_timeout(void) {
    struct link link = with_bytes(5);
    struct timeval limit = {0, 200000};
    struct request request = {.fd = link.near, .flags = MSG_WAITALL};
    setsockopt(link.near, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    receive_ten(&request);
    receive_ten(&request);
    link_close(&link);
}

static void waitall_dontwait(void) {
    struct link link = with_bytes(5);
    struct request request = {.fd = link.near, .flags = MSG_WAITALL | MSG_DONTWAIT};
    receive_ten(&request);
    receive_ten(&request);
    link_close(&link);
}

static void length_0(void) {
    struct link link = link_open();
    char data[4];
    say("recv of nothing", recv(link.near, data, 0, MSG_DONTWAIT));
    say("read of nothing", read(link.near, data, 0));
    far_send(&link, "a", 1);
    await_bytes(link.near, 1);
    say("recv of nothing", recv(link.near, data, 0, MSG_DONTWAIT));
    say("peek of nothing", recv(link.near, data, 0, MSG_DONTWAIT | MSG_PEEK));
    say_next("recv", link.near, 4);
    say("send of nothing", send(link.near, data, 0, 0));
    say("write of nothing", write(link.near, data, 0));
    far_close(&link);
    await_events(link.near, POLLRDHUP, 1000);
    say("recv of nothing", recv(link.near, data, 0, MSG_DONTWAIT));
    link_close(&link);
}

static void urgent(void) {
    struct link link = link_open();
    int mark = -1;
    say("sockatmark", ioctl(link.near, SIOCATMARK, &mark));
    say("at the mark", mark);
    char byte;
    say("recv of urgent data", recv(link.near, &byte, 1, MSG_OOB | MSG_DONTWAIT));
    say("MSG_ERRQUEUE", recv(link.near, &byte, 1, MSG_ERRQUEUE | MSG_DONTWAIT));
    link_close(&link);
}

CASES({"peek_trunc", peek_trunc}, {"trunc_skips", trunc_skips}, {"trunc_with_room", trunc_with_room}, {"peek", peek},
      {"waitall", waitall}, {"peek_waitall", peek_waitall}, {"waitall_end", waitall_end},
      {"waitall_timeout", waitall_timeout}, {"waitall_dontwait", waitall_dontwait}, {"length_0", length_0},
      {"urgent", urgent})
