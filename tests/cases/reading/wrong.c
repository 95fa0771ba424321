/* Wrong pointers and wrong counts: each is an error, and the connection remains as it was. */
#include "case.h"

#include <sys/uio.h>

static void *volatile nowhere = (void *)8;   /* volatile, as the compiler would see it */
#define BAD nowhere

static struct link with_bytes(void) {
    struct link link = link_open();
    far_send(&link, "abcd", 4);
    await_bytes(link.near, 4);
    return link;
}

/* Nothing was eaten, nothing was sent. */
static void say_unharmed(struct link *link) {
    char data[16];
    say_text("then recv", data, recv(link->near, data, sizeof(data), MSG_DONTWAIT));
    say("then send", send(link->near, "ok", 2, MSG_NOSIGNAL));
    say_far("far", link);
    link_close(link);
}

static void bad_pointers_read(void) {
    struct link link = with_bytes();
    struct iovec vector = {BAD, 4};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    say("recv", recv(link.near, BAD, 4, 0));
    say("read", read(link.near, BAD, 4));
    say("readv", readv(link.near, &vector, 1));
    say("readv of bad vectors", readv(link.near, BAD, 1));
    say("recvmsg of a bad vector", recvmsg(link.near, &message, 0));
    message.msg_iov = BAD;
    say("recvmsg of bad vectors", recvmsg(link.near, &message, 0));
    say("recvmsg of a bad header", recvmsg(link.near, BAD, 0));
    say_unharmed(&link);
}

static void bad_pointers_write(void) {
    struct link link = with_bytes();
    struct iovec vector = {BAD, 4};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    say("send", send(link.near, BAD, 4, MSG_NOSIGNAL));
    say("write", write(link.near, BAD, 4));
    say("writev", writev(link.near, &vector, 1));
    say("writev of bad vectors", writev(link.near, BAD, 1));
    say("sendmsg of a bad vector", sendmsg(link.near, &message, MSG_NOSIGNAL));
    message.msg_iov = BAD;
    say("sendmsg of bad vectors", sendmsg(link.near, &message, MSG_NOSIGNAL));
    say("sendmsg of a bad header", sendmsg(link.near, BAD, MSG_NOSIGNAL));
    say_unharmed(&link);
}

static void bad_pointers_names(void) {
    struct link link = with_bytes();
    struct sockaddr_in name;
    socklen_t length = sizeof(name), negative = (socklen_t)-1;
    say("getsockname", getsockname(link.near, BAD, &length));
    say("getsockname, length", getsockname(link.near, (struct sockaddr *)&name, BAD));
    say("getpeername", getpeername(link.near, BAD, &length));
    say("getpeername, length", getpeername(link.near, (struct sockaddr *)&name, BAD));
    say("getpeername, negative length", getpeername(link.near, (struct sockaddr *)&name, &negative));
    say("getsockopt", getsockopt(link.near, SOL_SOCKET, SO_ERROR, BAD, &length));
    say("getsockopt, length", getsockopt(link.near, SOL_SOCKET, SO_ERROR, &name, BAD));
    say("setsockopt", setsockopt(link.near, SOL_SOCKET, SO_KEEPALIVE, BAD, 4));
    say("FIONREAD", ioctl(link.near, FIONREAD, BAD));
    say("connect", connect(link.near, BAD, sizeof(name)));
    say("poll", poll(BAD, 1, 0));
    say_unharmed(&link);
}

/* The good part of a vector that ends badly is done. */
static void half_bad_vector(void) {
    struct link link = with_bytes();
    char data[2] = "";
    struct iovec vectors[2] = {{data, 2}, {BAD, 2}};
    long count = readv(link.near, vectors, 2);
    say_is("readv gives the good part or an error", count == 2 || (count < 0 && errno == EFAULT));
    link_close(&link);
    link = link_open();
    vectors[0].iov_base = "ab";
    count = writev(link.near, vectors, 2);
    say_is("writev sends the good part or nothing", count == 2 || (count < 0 && errno == EFAULT));
    link_close(&link);
}

static void wrong_counts(void) {
    struct link link = with_bytes();
    static struct iovec vectors[1025];
    static char byte;
    volatile int negative = -1;
    for (int i = 0; i < 1025; i++)
        vectors[i] = (struct iovec){&byte, 1};
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = 1025};
    say("readv of -1", readv(link.near, vectors, negative));
    say("readv of 1025", readv(link.near, vectors, 1025));
    say("readv of 0", readv(link.near, vectors, 0));
    say("writev of -1", writev(link.near, vectors, negative));
    say("writev of 1025", writev(link.near, vectors, 1025));
    say("writev of 0", writev(link.near, vectors, 0));
    say("recvmsg of 1025", recvmsg(link.near, &message, MSG_DONTWAIT));
    say("sendmsg of 1025", sendmsg(link.near, &message, MSG_NOSIGNAL));
    vectors[0].iov_len = (size_t)-1;
    say("readv of a negative length", readv(link.near, vectors, 1));
    say("writev of a negative length", writev(link.near, vectors, 1));
    say_unharmed(&link);
}

static void wrong_flags(void) {
    struct link link = with_bytes();
    say("shutdown(7)", shutdown(link.near, 7));
    say("listen", listen(link.near, 5));
    say("bind", bind(link.near, (struct sockaddr *)&address, sizeof(address)));
    say("accept", accept(link.near, NULL, NULL));
    say("connect", connect(link.near, (struct sockaddr *)&address, sizeof(address)));
    say("lseek", lseek(link.near, 0, SEEK_SET));
    char data[4];
    say("pread", pread(link.near, data, 4, 0));
    say("pwrite", pwrite(link.near, "x", 1, 0));
    say("ftruncate", ftruncate(link.near, 0));
    say("fsync", fsync(link.near));
    say_unharmed(&link);
}

/* By system call, as the C library's functions may look at some themselves. */
static void bad_pointers_waits(void) {
    struct link link = with_bytes();
    struct pollfd waits = {link.near, POLLIN, 0};
    struct timespec time = {0, 1000000};
    sigset_t mask;
    fd_set set;
    sigemptyset(&mask);
    FD_ZERO(&set);
    FD_SET(link.far, &set);
    say("ppoll, time", syscall(SYS_ppoll, &waits, 1l, BAD, NULL, 0l));
    say("ppoll, mask", syscall(SYS_ppoll, &waits, 1l, &time, BAD, 8l));
    say("ppoll, size of a mask", syscall(SYS_ppoll, &waits, 1l, &time, &mask, 128l));
    say("pselect6, set", syscall(SYS_pselect6, link.far + 1l, BAD, NULL, NULL, &time, NULL));
    say("pselect6, time", syscall(SYS_pselect6, link.far + 1l, &set, NULL, NULL, BAD, NULL));
    say("pselect6, mask", syscall(SYS_pselect6, link.far + 1l, &set, NULL, NULL, &time, BAD));
    say("select", select(link.far + 1, BAD, NULL, NULL, NULL));
    say("pselect6", syscall(SYS_pselect6, link.far + 1l, &set, NULL, NULL, &time, NULL));
    say_is("and nothing is left of the time", time.tv_sec == 0 && time.tv_nsec == 0);
    say_unharmed(&link);
}

/* TCP has no control data of its own, but those of sockets are judged; and of other sockets they are looked through. */
static void bad_pointers_control(void) {
    struct link link = with_bytes();
    struct iovec vector = {"yes", 3};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = BAD, .msg_controllen = sizeof(control)};
    struct cmsghdr *head = (struct cmsghdr *)control;
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "make a pair");
    say("sendmsg", sendmsg(link.near, &message, MSG_NOSIGNAL));
    say("sendmsg elsewhere", sendmsg(ends[0], &message, MSG_NOSIGNAL));
    message.msg_control = control;
    *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = 77};
    say("sendmsg of an unknown type", sendmsg(link.near, &message, MSG_NOSIGNAL));
    head->cmsg_level = SOL_IP;
    say("sendmsg of another level", sendmsg(link.near, &message, MSG_NOSIGNAL));
    say_far("far", &link);
    say_unharmed(&link);
    close(ends[0]);
    close(ends[1]);
}

CASES({"bad_pointers_waits", bad_pointers_waits}, {"bad_pointers_control", bad_pointers_control},
      {"bad_pointers_read", bad_pointers_read}, {"bad_pointers_write", bad_pointers_write},
      {"bad_pointers_names", bad_pointers_names}, {"half_bad_vector", half_bad_vector},
      {"wrong_counts", wrong_counts}, {"wrong_flags", wrong_flags})
