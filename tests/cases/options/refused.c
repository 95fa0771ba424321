/* Options that a connection does, or refuses; none may be accepted and then not be done. */
#include "case.h"

#include <linux/errqueue.h>
#include <linux/sockios.h>
#include <time.h>

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef TCP_INQ
#define TCP_INQ 36
#endif
#ifndef TCP_CM_INQ
#define TCP_CM_INQ TCP_INQ
#endif

/* Whether the option is taken; says so when it is refused. */
static bool is_taken(int fd, int level, int option, int value) {
    if (setsockopt(fd, level, option, &value, sizeof(value)) == 0)
        return true;
    note("it is refused");
    return false;
}

static void lowat_poll(void) {
    struct link link = link_open();
    char data[300];
    if (is_taken(link.near, SOL_SOCKET, SO_RCVLOWAT, 100)) {
        far_send(&link, data, 10);
        await_bytes(link.near, 10);
        say_events("poll with 10 bytes", (unsigned)await_events(link.near, POLLIN, 100));
        far_send(&link, data, 90);
        say_events("poll with 100 bytes", (unsigned)await_events(link.near, POLLIN, 1000));
        say("recv", recv(link.near, data, sizeof(data), MSG_DONTWAIT));
    }
    link_close(&link);
}

static void *receive(void *about) {
    char data[300];
    say("blocked recv", recv(((struct link *)about)->near, data, 200, 0));
    return NULL;
}

static void lowat_recv(void) {
    struct link link = link_open();
    char data[300];
    if (is_taken(link.near, SOL_SOCKET, SO_RCVLOWAT, 100)) {
        struct worker *worker = work_asleep(receive, &link);
        far_send(&link, data, 10);
        say_is("it ends with 10 bytes", is_over(worker, 100));
        far_send(&link, data, 90);
        say_is("it ends with 100 bytes", is_over(worker, 2000));
    }
    link_close(&link);
}

static void lowat_end(void) {
    struct link link = link_open();
    char data[300];
    if (is_taken(link.near, SOL_SOCKET, SO_RCVLOWAT, 100)) {
        far_send(&link, data, 10);
        far_shutdown(&link, SHUT_WR);
        await_events(link.near, POLLRDHUP, 1000);
        say_events("poll at the end", (unsigned)await_events(link.near, POLLIN, 1000));
        say("recv", recv(link.near, data, sizeof(data), 0));
    }
    link_close(&link);
}

static void peek_offset(void) {
    struct link link = link_open();
    char data[16];
    if (is_taken(link.near, SOL_SOCKET, SO_PEEK_OFF, 0)) {
        far_send(&link, "abcdef", 6);
        await_bytes(link.near, 6);
        say_text("peek", data, recv(link.near, data, 3, MSG_PEEK));
        say_text("peek", data, recv(link.near, data, 3, MSG_PEEK));
        say_text("recv", data, recv(link.near, data, 2, 0));
        say_text("peek", data, recv(link.near, data, 3, MSG_PEEK | MSG_DONTWAIT));
    }
    link_close(&link);
}

static void zerocopy(void) {
    static char data[20000];
    struct link link = link_open();
    if (is_taken(link.near, SOL_SOCKET, SO_ZEROCOPY, 1)) {
        char control[256];
        struct msghdr message = {.msg_control = control, .msg_controllen = sizeof(control)};
        say("send", send(link.near, data, sizeof(data), MSG_ZEROCOPY));
        say("the far end gets", (long)far_receive_all(&link, data, sizeof(data)));
        say_events("poll", (unsigned)await_events(link.near, 0, 2000));
        say("its completion", recvmsg(link.near, &message, MSG_ERRQUEUE));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        struct sock_extended_err *error = head != NULL ? (void *)CMSG_DATA(head) : NULL;
        say("its origin", error != NULL ? error->ee_origin : -1);
    }
    link_close(&link);
}

/* Without the option the flag is only an advice. */
static void zerocopy_flag_alone(void) {
    static char data[20000];
    struct link link = link_open();
    say("send", send(link.near, data, sizeof(data), MSG_ZEROCOPY));
    say("the far end gets", (long)far_receive_all(&link, data, sizeof(data)));
    link_close(&link);
}

static int control_after(struct link *link, int level, int type) {
    char data[16], control[256];
    struct iovec vector = {data, sizeof(data)};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    far_send(link, "abc", 3);
    await_bytes(link->near, 3);
    must(recvmsg(link->near, &message, 0) == 3, "recvmsg");
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL; head = CMSG_NXTHDR(&message, head))
        if (head->cmsg_level == level && head->cmsg_type == type)
            return 1;
    return 0;
}

static bool has_time(void *about) {
    return control_after(about, SOL_SOCKET, SO_TIMESTAMP) == 1;
}

static void timestamp(void) {
    struct link link = link_open();
    if (is_taken(link.near, SOL_SOCKET, SO_TIMESTAMP, 1))   /* the kernel begins a little later */
        say_is("a time comes with the data", await(has_time, &link, 3000));
    link_close(&link);
}

static void bytes_left(void) {
    struct link link = link_open();
    if (is_taken(link.near, IPPROTO_TCP, TCP_INQ, 1))
        say_is("a count comes with the data", control_after(&link, IPPROTO_TCP, TCP_CM_INQ));
    link_close(&link);
}

/* A layer above TCP that would encrypt; where the kernel has none, ENOENT, and never a silent yes. */
static void upper_layer(void) {
    struct link link = link_open();
    int result = setsockopt(link.near, IPPROTO_TCP, TCP_ULP, "no such", 7);
    say("setsockopt", result);
    link_close(&link);
}

static void bound_device(void) {
    struct link link = link_open();
    char name[16] = "";
    socklen_t length = sizeof(name);
    say("a device that is not there", setsockopt(link.near, SOL_SOCKET, SO_BINDTODEVICE, "none7", 5));
    say("getsockopt", getsockopt(link.near, SOL_SOCKET, SO_BINDTODEVICE, name, &length));
    say("its length", length);
    link_close(&link);
}

static void unknown(void) {
    struct link link = link_open();
    int value = 1;
    socklen_t length = sizeof(value);
    say("setsockopt", setsockopt(link.near, IPPROTO_TCP, 250, &value, sizeof(value)));
    say("getsockopt", getsockopt(link.near, IPPROTO_TCP, 250, &value, &length));
    say("level", setsockopt(link.near, 12345, 1, &value, sizeof(value)));
    say("short value", setsockopt(link.near, IPPROTO_TCP, TCP_NODELAY, &value, 1));
    say("bad pointer", setsockopt(link.near, IPPROTO_TCP, TCP_NODELAY, (void *)8, sizeof(value)));
    link_close(&link);
}

CASES({"lowat_poll", lowat_poll}, {"lowat_recv", lowat_recv}, {"lowat_end", lowat_end},
      {"peek_offset", peek_offset}, {"zerocopy", zerocopy}, {"zerocopy_flag_alone", zerocopy_flag_alone},
      {"timestamp", timestamp}, {"bytes_left", bytes_left}, {"upper_layer", upper_layer},
      {"bound_device", bound_device}, {"unknown", unknown})
