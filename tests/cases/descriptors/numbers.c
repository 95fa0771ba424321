/* Connections under the numbers 0 to 2, and duplicates by every call that makes them. */
#include "case.h"

static int saved_output;

static FILE *keep_output(void) {
    saved_output = fcntl(1, F_DUPFD_CLOEXEC, 10);
    must(saved_output >= 0, "keep the standard output");
    FILE *file = fdopen(saved_output, "w");
    must(file != NULL, "keep the standard output");
    setvbuf(file, NULL, _IOLBF, 0);
    return file;
}

static int by_dup(int fd) {
    return dup(fd);
}

static int by_fcntl(int fd) {
    return fcntl(fd, F_DUPFD, 0);
}

static int by_dup2(int fd) {
    return dup2(fd, 0);
}

static int by_raw_dup(int fd) {
    return (int)syscall(SYS_dup, fd);
}

/* The C library reads the connection as standard input. */
static void to_stdin(int (*to_zero)(int)) {
    int again = fcntl(0, F_DUPFD, 20);
    struct link link = link_open();
    char line[64] = "";
    close(0);
    say("number", to_zero(link.near));
    close(link.near);
    link.near = 0;
    far_send(&link, "a line\n", 7);
    clearerr(stdin);
    say_is("fgets", fgets(line, sizeof(line), stdin) != NULL);
    say_text("line", line, (long)strlen(line));
    say("write", write(0, "back", 4));
    say_far("far", &link);
    close(0);
    link.near = -1;
    say_far("far", &link);
    link_close(&link);
    dup2(again, 0);
    close(again);
}

static void dup_to_0(void) {
    to_stdin(by_dup);
}

static void fcntl_to_0(void) {
    to_stdin(by_fcntl);
}

static void dup2_to_0(void) {
    to_stdin(by_dup2);
}

static void raw_dup_to_0(void) {
    to_stdin(by_raw_dup);
}

/* The C library writes to the connection as standard output. */
static void dup_to_1(void) {
    FILE *output = keep_output();
    struct link link = link_open();
    fflush(stdout);
    close(1);
    int number = dup(link.near);
    close(link.near);
    printf("printed\n");
    fflush(stdout);
    char data[16];
    size_t got = far_receive_all(&link, data, 8);
    dup2(saved_output, 1);
    fprintf(output, "number: %d\n", number);
    say_text("far", data, (long)got);
    say_far("far", &link);
    link.near = -1;
    link_close(&link);
    fclose(output);
}

static void dup_to_2(void) {
    int saved = fcntl(2, F_DUPFD_CLOEXEC, 20);
    struct link link = link_open();
    close(2);
    say("number", dup(link.near));
    close(link.near);
    link.near = 2;
    fprintf(stderr, "an error\n");
    say_far("far", &link);
    close(2);
    link.near = -1;
    say_far("far", &link);
    dup2(saved, 2);
    close(saved);
    link_close(&link);
}

/* Each duplicate is the connection, and the end comes with the last of them. */
static void duplicates(int (*duplicate)(int)) {
    struct link link = link_open();
    char data[16];
    int other = duplicate(link.near);
    must(other >= 0, "duplicate");
    close(link.near);
    far_send(&link, "abc", 3);
    say_text("recv", data, recv(other, data, sizeof(data), 0));
    say("send", send(other, "def", 3, MSG_NOSIGNAL));
    say_far("far", &link);
    say("events before the last close", await_events(link.far, POLLIN, 50));
    close(other);
    say_far("far", &link);
    link.near = -1;
    link_close(&link);
}

static int raw_dup(int fd) {
    return (int)syscall(SYS_dup, fd);
}

static int raw_dup3(int fd) {
    return (int)syscall(SYS_dup3, fd, 77, O_CLOEXEC);
}

static int raw_fcntl(int fd) {
    return (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 50);
}

static int cooked_dup3(int fd) {
    return dup3(fd, 77, O_CLOEXEC);
}

static void dup_by_dup(void) {
    duplicates(dup);
}

static void dup_by_dup3(void) {
    duplicates(cooked_dup3);
}

static void dup_by_raw_dup(void) {
    duplicates(raw_dup);
}

static void dup_by_raw_dup3(void) {
    duplicates(raw_dup3);
}

static void dup_by_raw_fcntl(void) {
    duplicates(raw_fcntl);
}

/* An epoll watches what is open under the number, and so until its last duplicate is closed. */
static void epoll_of_closed_first(void) {
    struct link link = link_open();
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 7};
    char data[16];
    int epoll = epoll_create1(0), other = dup(link.near);
    say("add", epoll_ctl(epoll, EPOLL_CTL_ADD, link.near, &event));
    close(link.near);
    event.data.u32 = 0;
    far_send(&link, "abc", 3);
    say("epoll_wait", epoll_wait(epoll, &event, 1, 1000));
    say("its data", event.data.u32);
    say_text("recv", data, recv(other, data, sizeof(data), 0));
    say("epoll_wait", epoll_wait(epoll, &event, 1, 50));
    close(other);
    far_close(&link);
    say("epoll_wait when all are closed", epoll_wait(epoll, &event, 1, 50));
    close(epoll);
    link.near = -1;
    link_close(&link);
}

CASES({"dup_to_0", dup_to_0}, {"fcntl_to_0", fcntl_to_0}, {"dup2_to_0", dup2_to_0}, {"raw_dup_to_0", raw_dup_to_0},
      {"dup_to_1", dup_to_1}, {"dup_to_2", dup_to_2}, {"dup_by_dup", dup_by_dup}, {"dup_by_dup3", dup_by_dup3},
      {"dup_by_raw_dup", dup_by_raw_dup}, {"dup_by_raw_dup3", dup_by_raw_dup3},
      {"dup_by_raw_fcntl", dup_by_raw_fcntl}, {"epoll_of_closed_first", epoll_of_closed_first})
