/* Descriptors that are closed behind the library's back: what has the number next is not the dead connection. */
#include "case.h"
#include "raw.h"

#include <sys/mman.h>
#include <sys/uio.h>

#define TEXT "the file's text"

typedef long closer(int fd);

static long by_syscall(int fd) {
    return syscall(SYS_close, fd);
}

static long by_range(int fd) {
    return syscall(SYS_close_range, fd, fd, 0);
}

static long by_instruction(int fd) {
    return raw_call(SYS_close, fd, 0, 0);
}

/* A file, and a path that opens it. */
static int file_at(char *path, size_t room) {
    int file = memfd_create("text", MFD_CLOEXEC);
    must(file >= 0 && write(file, TEXT, strlen(TEXT)) == (ssize_t)strlen(TEXT), "make a file");
    snprintf(path, room, "/proc/self/fd/%d", file);
    return file;
}

/* The far end gets what was sent before, and then the end. */
static void say_end(const struct link *link) {
    say_far("far", link);
    say_far("far", link);
}

static void then_file(closer *close_by) {
    char path[64], data[64];
    int made = file_at(path, sizeof(path));
    struct link link = link_open();
    must(send(link.near, "bye", 3, 0) == 3, "send");
    say("close", close_by(link.near));
    int file = open(path, O_RDWR | O_CLOEXEC);
    say_is("the file has the number", file == link.near);
    say_text("file", data, read(file, data, sizeof(data)));
    say("write", write(file, "!", 1));
    say_end(&link);
    close(file);
    close(made);
    link.near = -1;
    link_close(&link);
}

static void then_socket(closer *close_by) {
    char data[64];
    int ends[2];
    struct link link = link_open();
    must(send(link.near, "bye", 3, 0) == 3, "send");
    say("close", close_by(link.near));
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    say_is("a socket has the number", ends[0] == link.near);
    say("send", send(ends[1], "hello", 5, 0));
    say_text("recv", data, recv(ends[0], data, sizeof(data), MSG_DONTWAIT));
    say("send back", send(ends[0], "world", 5, 0));
    say_text("recv", data, recv(ends[1], data, sizeof(data), MSG_DONTWAIT));
    say_end(&link);
    close(ends[0]);
    close(ends[1]);
    link.near = -1;
    link_close(&link);
}

static void then_pipe(closer *close_by) {
    char data[64];
    int ends[2];
    struct link link = link_open();
    must(send(link.near, "bye", 3, 0) == 3, "send");
    say("close", close_by(link.near));
    must(pipe(ends) == 0, "pipe");
    say_is("the pipe has the number", ends[0] == link.near);
    say("events of the empty pipe", await_events(ends[0], POLLIN, 0));
    say("write", write(ends[1], "hello", 5));
    say("events", await_events(ends[0], POLLIN, 1000));
    say_text("read", data, read(ends[0], data, sizeof(data)));
    say_end(&link);
    close(ends[0]);
    close(ends[1]);
    link.near = -1;
    link_close(&link);
}

static void then_connect(closer *close_by) {
    struct link link = link_open();
    int one = 1;
    must(send(link.near, "bye", 3, 0) == 3, "send");
    say("close", close_by(link.near));
    int again = socket(AF_INET, SOCK_STREAM, 0);
    say_is("a new socket has the number", again == link.near);
    say("setsockopt", setsockopt(again, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
    say("connect", connect(again, (struct sockaddr *)&address, sizeof(address)));
    struct link other = {.near = again, .far = accept_from(listener)};
    far_send(&other, "hello", 5);
    char data[16];
    say_text("recv", data, recv(again, data, sizeof(data), 0));
    say_end(&link);
    link_close(&other);
    link.near = -1;
    link_close(&link);
}

/* What is passed on is what the kernel has there: nothing. And no relay begins for it. */
static void then_pass(closer *close_by) {
    struct link link = link_open();
    int ends[2];
    char room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {"x", 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *rights = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(rights), &link.near, sizeof(int));
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    must(send(link.near, "bye", 3, 0) == 3, "send");
    say("close", close_by(link.near));
    say("pass", sendmsg(ends[0], &message, 0));
    say_is("the number is free", fcntl(link.near, F_GETFD) < 0 && dup(ends[0]) == link.near);
    say_end(&link);
    close(link.near);
    close(ends[0]);
    close(ends[1]);
    link.near = -1;
    link_close(&link);
}

#define BY(how, closer)                                          \
    static void how##_close_file(void) { then_file(closer); }    \
    static void how##_close_socket(void) { then_socket(closer); } \
    static void how##_close_pipe(void) { then_pipe(closer); }    \
    static void how##_close_pass(void) { then_pass(closer); }    \
    static void how##_close_connect(void) { then_connect(closer); }
#define TESTS(how)                                                                              \
    {#how "_close_file", how##_close_file}, {#how "_close_socket", how##_close_socket},          \
        {#how "_close_pipe", how##_close_pipe}, {#how "_close_pass", how##_close_pass}, {#how "_close_connect", how##_close_connect}

BY(raw, by_syscall)
BY(range, by_range)
BY(asm, by_instruction)

static void *receive_late(void *about) {
    const struct link *link = about;
    char data[16];
    say_text("blocked recv", data, recv(link->near, data, sizeof(data), 0));
    return NULL;
}

/* A thread is in recv when another one closes the number and a new socket gets it. */
static void close_under_recv(void) {
    struct link link = link_open();
    int ends[2];
    char data[16];
    struct worker *worker = work_asleep(receive_late, &link);
    close(link.near);
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    say_is("a socket has the number", ends[0] == link.near);
    say("send", send(ends[1], "precious", 8, 0));
    far_send(&link, "z", 1);
    say_is("the blocked recv ends", is_over(worker, 3000));
    say_text("recv of the socket", data, recv(ends[0], data, sizeof(data), MSG_DONTWAIT));
    close(ends[0]);
    close(ends[1]);
    link.near = -1;
    link_close(&link);
}

/* As the kernel says the end only when the blocked call is over. */
static void no_end_while_recv_is_blocked(void) {
    struct link link = link_open();
    struct worker *worker = work_asleep(receive_late, &link);
    close(link.near);
    say("events at the far end", await_events(link.far, POLLIN, 200));
    far_send(&link, "z", 1);
    say_is("the blocked recv ends", is_over(worker, 3000));
    say_far("far", &link);
    link.near = -1;
    link_close(&link);
}

CASES(TESTS(raw), TESTS(range), TESTS(asm), {"close_under_recv", close_under_recv},
      {"no_end_while_recv_is_blocked", no_end_while_recv_is_blocked})
