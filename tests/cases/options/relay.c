/* Options and names of a connection under a number below 3, and in a program that inherited it. */
#include "case.h"

#include <spawn.h>

extern char **environ;

static void say_set(const char *what, int fd, int level, int option, int value) {
    socklen_t length = sizeof(value);
    int result = setsockopt(fd, level, option, &value, length);
    value = -1;
    if (result == 0)
        result = getsockopt(fd, level, option, &value, &length);
    say(what, result == 0 ? value : result);
}

static void say_get(const char *what, int fd, int level, int option) {
    int value = -1;
    socklen_t length = sizeof(value);
    int result = getsockopt(fd, level, option, &value, &length);
    say(what, result == 0 ? value : result);
}

/* Prints what a strict server asks its connection. */
static void say_options(int fd) {
    struct tcp_info information = {.tcpi_state = 99};
    struct sockaddr_storage name = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof(information);
    say_set("TCP_NODELAY", fd, IPPROTO_TCP, TCP_NODELAY, 1);
    say_set("TCP_KEEPIDLE", fd, IPPROTO_TCP, TCP_KEEPIDLE, 33);
    say_set("IP_TOS", fd, IPPROTO_IP, IP_TOS, 0x10);
    say_set("SO_KEEPALIVE", fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    say_get("SO_DOMAIN", fd, SOL_SOCKET, SO_DOMAIN);
    say_get("SO_TYPE", fd, SOL_SOCKET, SO_TYPE);
    say_get("SO_PROTOCOL", fd, SOL_SOCKET, SO_PROTOCOL);
    say_get("SO_ACCEPTCONN", fd, SOL_SOCKET, SO_ACCEPTCONN);
    say_get("SO_ERROR", fd, SOL_SOCKET, SO_ERROR);
    say("TCP_INFO", getsockopt(fd, IPPROTO_TCP, TCP_INFO, &information, &length));
    say("its state", information.tcpi_state);
    length = sizeof(name);
    say("getsockname", getsockname(fd, (struct sockaddr *)&name, &length));
    say("its family", name.ss_family);
    length = sizeof(name);
    say("getpeername", getpeername(fd, (struct sockaddr *)&name, &length));
    say("its family", name.ss_family);
}

/* What the connection keeps of them where it had another number. */
static void say_kept(int fd) {
    say_get("kept TCP_NODELAY", fd, IPPROTO_TCP, TCP_NODELAY);
    say_get("kept TCP_KEEPIDLE", fd, IPPROTO_TCP, TCP_KEEPIDLE);
}

static void options_of_stdin(void) {
    int saved = fcntl(0, F_DUPFD_CLOEXEC, 20);
    struct link link = link_open();
    must(dup2(link.near, 0) == 0, "dup2");
    say_options(0);
    say_kept(link.near);
    dup2(saved, 0);
    close(saved);
    link_close(&link);
}

static void say_late_read(int fd) {
    char byte;
    double began = now();
    say("read", read(fd, &byte, 1));
    say_is("at its time", now() - began > 0.25 && now() - began < 2);
}

/* The time-out of a blocking read acts under the low number too. */
static void timeout_of_stdin(void) {
    int saved = fcntl(0, F_DUPFD_CLOEXEC, 20);
    struct link link = link_open();
    struct timeval limit = {0, 300000};
    must(dup2(link.near, 0) == 0, "dup2");
    say("SO_RCVTIMEO", setsockopt(0, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
    say_late_read(0);
    say("shutdown", shutdown(0, SHUT_WR));
    say_far("far", &link);
    dup2(saved, 0);
    close(saved);
    link_close(&link);
}

/* This program again, which has the connection as its standard input. */
static void run_with(const struct link *link, char *test) {
    posix_spawn_file_actions_t actions;
    char *words[] = {program_invocation_name, test, NULL};
    pid_t pid = -1;
    setenv("CASE_ROUNDS", "1", 1);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, link->near, 0);
    fflush(stdout);
    must(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, words, environ) == 0, "run this program");
    int status = -1;
    waitpid(pid, &status, 0);
    say("status", status);
    posix_spawn_file_actions_destroy(&actions);
}

static void options_in_child(void) {
    struct link link = link_open();
    run_with(&link, "asked");
    link_close(&link);
}

static void asked(void) {
    say_options(0);
}

/* What was set before is true of who inherits it. */
static void socket_options_in_child(void) {
    struct link link = link_open();
    struct timeval limit = {0, 300000};
    struct linger linger = {1, 5};
    must(setsockopt(link.near, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0, "SO_RCVTIMEO");
    must(setsockopt(link.near, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0, "SO_LINGER");
    say_set("SO_KEEPALIVE", link.near, SOL_SOCKET, SO_KEEPALIVE, 1);
    say_set("SO_RCVLOWAT", link.near, SOL_SOCKET, SO_RCVLOWAT, 2);
    run_with(&link, "limited");
    link_close(&link);
}

static void limited(void) {
    struct linger linger = {0, 0};
    socklen_t length = sizeof(linger);
    say_get("SO_KEEPALIVE", 0, SOL_SOCKET, SO_KEEPALIVE);
    say_get("SO_RCVLOWAT", 0, SOL_SOCKET, SO_RCVLOWAT);
    getsockopt(0, SOL_SOCKET, SO_LINGER, &linger, &length);
    say("SO_LINGER", linger.l_linger);
    say_late_read(0);
}

CASES({"options_of_stdin", options_of_stdin}, {"timeout_of_stdin", timeout_of_stdin},
      {"options_in_child", options_in_child}, {"asked", asked},
      {"socket_options_in_child", socket_options_in_child}, {"limited", limited})
