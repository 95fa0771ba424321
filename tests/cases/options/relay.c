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

/* The time-out of a blocking read acts under the low number too. */
static void timeout_of_stdin(void) {
    int saved = fcntl(0, F_DUPFD_CLOEXEC, 20);
    struct link link = link_open();
    struct timeval limit = {0, 300000};
    char byte;
    must(dup2(link.near, 0) == 0, "dup2");
    say("SO_RCVTIMEO", setsockopt(0, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
    double began = now();
    say("read", read(0, &byte, 1));
    say_is("at its time", now() - began > 0.25 && now() - began < 2);
    say("shutdown", shutdown(0, SHUT_WR));
    say_far("far", &link);
    dup2(saved, 0);
    close(saved);
    link_close(&link);
}

/* This program again, which has the connection as its standard input. */
static void options_in_child(void) {
    struct link link = link_open();
    posix_spawn_file_actions_t actions;
    char *words[] = {program_invocation_name, "asked", NULL};
    pid_t pid = -1;
    setenv("CASE_ROUNDS", "1", 1);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, link.near, 0);
    fflush(stdout);
    must(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, words, environ) == 0, "run this program");
    int status = -1;
    waitpid(pid, &status, 0);
    say("status", status);
    posix_spawn_file_actions_destroy(&actions);
    link_close(&link);
}

static void asked(void) {
    say_options(0);
}

CASES({"options_of_stdin", options_of_stdin}, {"timeout_of_stdin", timeout_of_stdin},
      {"options_in_child", options_in_child}, {"asked", asked})
