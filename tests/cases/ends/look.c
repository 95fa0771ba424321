/* What a program sees that looks late: servers that answered and closed, and peers that were killed. */
#include "case.h"
#include "raw.h"

#include <sys/prctl.h>
#include <sys/select.h>

#define BANNER "421 too many connections\r\n"

/* What the server does with its first connection, when it has begun: it answers, and it is gone. */
static void serve_once(char how) {
    int server = accept_from(listener);
    if (server < 0 || send(server, BANNER, strlen(BANNER), MSG_NOSIGNAL) < 0)
        _exit(1);
    if (how == 'c')
        close(server);
    if (how == 's')
        shutdown(server, SHUT_WR);
    _exit(0);
}

static void wait_for_end(pid_t pid) {
    int status = -1;
    must(waitpid(pid, &status, 0) == pid && status == 0, "the server ends well");
}

static void say_rest(int client) {
    int error = -1;
    socklen_t length = sizeof(error);
    char data[64];
    say_events("writable", (unsigned)await_events(client, POLLOUT, 1000) & (POLLOUT | POLLERR));
    getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &length);
    say("SO_ERROR", error);
    say_events("readable", (unsigned)await_events(client, POLLIN, 1000) & (POLLIN | POLLERR));
    say_text("recv", data, recv(client, data, sizeof(data), 0));
    say_text("recv", data, recv(client, data, sizeof(data), 0));
}

/* A program with an event loop begins to connect, is busy until the server has gone, and only then looks. */
static void look_late(char how) {
    if (listener < 0)
        listener = listen_at(&address, 16);
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0)
        serve_once(how);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say("connect", connect(client, (struct sockaddr *)&address, sizeof(address)));
    wait_for_end(pid);
    say_rest(client);
    close(client);
}

static void look_late_at_close(void) {
    look_late('c');
}

static void look_late_at_shutdown(void) {
    look_late('s');
}

static void look_late_at_exit(void) {
    look_late('e');
}

/* The same when both ends are in one program. */
static void look_late_at_oneself(void) {
    if (listener < 0)
        listener = listen_at(&address, 16);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say("connect", connect(client, (struct sockaddr *)&address, sizeof(address)));
    int server = accept_from(listener);
    must(server >= 0 && send(server, BANNER, strlen(BANNER), 0) > 0, "send the banner");
    close(server);
    say_rest(client);
    close(client);
}

/* A blocking client connects, and looks when the server has gone. */
static void look_late_blocking(void) {
    if (listener < 0)
        listener = listen_at(&address, 16);
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0)
        serve_once('c');
    char data[64];
    int client = connect_to(&address);
    wait_for_end(pid);
    say_text("recv", data, recv(client, data, sizeof(data), 0));
    say_text("recv", data, recv(client, data, sizeof(data), 0));
    close(client);
}

/* It was accepted past the library, and closed: nobody will answer the client's offer. */
static void look_at_unanswered(void) {
    struct link link = link_open();   /* the target is known as direct from here on */
    int client = connect_to(&address);
    long server = raw_call(SYS_accept, listener, 0, 0);
    must(server >= 0, "accept");
    raw_call(SYS_close, server, 0, 0);
    say_events("poll", (unsigned)await_events(client, POLLIN | POLLRDHUP, 0));
    close(client);
    link_close(&link);
}

/* A server that does nothing until it is killed. */
static pid_t start_server(int *client) {
    int told[2];
    char byte = 0;
    if (listener < 0)
        listener = listen_at(&address, 16);
    must(pipe(told) == 0, "pipe");
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int server = accept_from(listener);
        if (server >= 0 && recv(server, &byte, 1, 0) == 1 && send(server, "2", 1, 0) == 1 && write(told[1], "r", 1) == 1)
            for (;;)
                poll(NULL, 0, -1);
        _exit(1);
    }
    *client = connect_to(&address);
    must(send(*client, "1", 1, 0) == 1 && recv(*client, &byte, 1, 0) == 1, "greet");
    must(read(told[0], &byte, 1) == 1, "the server is ready");
    expect_direct();
    close(told[0]);
    close(told[1]);
    return pid;
}

static void kill_server(pid_t pid) {
    await_asleep(pid);
    must(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid, "kill the server");
}

/* The very first look without waiting finds what a killed peer leaves. */
static void dead_peer_recv(void) {
    int client;
    char data[8];
    kill_server(start_server(&client));
    say_text("recv", data, recv(client, data, sizeof(data), MSG_DONTWAIT));
    close(client);
}

static void dead_peer_peek(void) {
    int client;
    char data[8];
    pid_t pid = start_server(&client);
    say_text("recv", data, recv(client, data, sizeof(data), MSG_DONTWAIT | MSG_PEEK));
    kill_server(pid);
    say_text("recv", data, recv(client, data, sizeof(data), MSG_DONTWAIT | MSG_PEEK));
    close(client);
}

static void dead_peer_poll(void) {
    int client;
    kill_server(start_server(&client));
    say_events("poll", (unsigned)await_events(client, POLLIN | POLLRDHUP, 0));
    close(client);
}

static void dead_peer_select(void) {
    int client;
    fd_set set;
    struct timeval none = {0, 0};
    kill_server(start_server(&client));
    FD_ZERO(&set);
    FD_SET(client, &set);
    say("select", select(client + 1, &set, NULL, NULL, &none));
    close(client);
}

static void dead_peer_epoll(void) {
    int client, epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP};
    pid_t pid = start_server(&client);
    epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event);
    say("epoll_wait", epoll_wait(epoll, &event, 1, 0));
    kill_server(pid);
    int count = epoll_wait(epoll, &event, 1, 0);
    say("epoll_wait", count);
    say_events("events", count > 0 ? event.events : 0);
    close(epoll);
    close(client);
}

static void dead_peer_send(void) {
    int client;
    kill_server(start_server(&client));
    say("send", send(client, "a", 1, MSG_NOSIGNAL));
    say("send", send(client, "a", 1, MSG_NOSIGNAL));
    close(client);
}

/* A peer that is killed with unread data resets the connection. */
static void dead_peer_unread(void) {
    int client, error = -1;
    socklen_t length = sizeof(error);
    char data[8];
    pid_t pid = start_server(&client);
    must(send(client, "abc", 3, 0) == 3, "send");
    kill_server(pid);
    say_events("poll", (unsigned)await_events(client, POLLIN | POLLRDHUP, 0));
    say_text("recv", data, recv(client, data, sizeof(data), MSG_DONTWAIT));
    getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &length);
    say("SO_ERROR", error);
    close(client);
}

static void *receive(void *about) {
    char byte;
    say_text("blocked recv", &byte, recv(*(int *)about, &byte, 1, 0));
    return NULL;
}

static void dead_peer_wakes(void) {
    int client;
    pid_t pid = start_server(&client);
    struct worker *worker = work_asleep(receive, &client);
    kill_server(pid);
    say_is("recv is over", is_over(worker, 1000));
    close(client);
}

/* For so long that the connection is one of those that the library asks for together. */
static void look_often(int client) {
    char byte;
    for (double end = now() + 0.03; now() < end;)
        must(recv(client, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "nothing is there");
}

static void dead_peer_often_recv(void) {
    int client;
    char data[8];
    pid_t pid = start_server(&client);
    look_often(client);
    kill_server(pid);
    say_text("recv", data, recv(client, data, sizeof(data), MSG_DONTWAIT));
    close(client);
}

static void dead_peer_often_poll(void) {
    int client;
    pid_t pid = start_server(&client);
    look_often(client);
    kill_server(pid);
    say_events("poll", (unsigned)await_events(client, POLLIN | POLLRDHUP, 0));
    close(client);
}

static void dead_peer_often_send(void) {
    int client;
    pid_t pid = start_server(&client);
    look_often(client);
    kill_server(pid);
    say("send", send(client, "a", 1, MSG_NOSIGNAL));
    say("send", send(client, "a", 1, MSG_NOSIGNAL));
    close(client);
}

static void dead_peer_often_unread(void) {
    int client;
    char data[8];
    pid_t pid = start_server(&client);
    look_often(client);
    must(send(client, "abc", 3, 0) == 3, "send");
    kill_server(pid);
    say_events("poll", (unsigned)await_events(client, POLLIN | POLLRDHUP, 0));
    say_text("recv", data, recv(client, data, sizeof(data), MSG_DONTWAIT));
    close(client);
}

/* After a fork the child asks by itself, and takes nothing from its parent. */
static void dead_peer_often_forked(void) {
    int client;
    char data[8];
    pid_t pid = start_server(&client);
    look_often(client);
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        look_often(client);
        kill(pid, SIGKILL);
        for (double end = now() + 5; now() < end && recv(client, data, 1, MSG_DONTWAIT) != 0;)
            continue;
        _exit(recv(client, data, 1, MSG_DONTWAIT) != 0);
    }
    int status = -1;
    must(waitpid(pid, NULL, 0) == pid && waitpid(child, &status, 0) == child, "wait");
    say("the child", status);
    say_text("recv", data, recv(client, data, sizeof(data), MSG_DONTWAIT));
    close(client);
}

/* More than one look at them tells of. */
static void dead_peers_at_once(void) {
    enum { MANY = 40 };
    int clients[MANY], ends = 0;
    pid_t pids[MANY];
    char byte;
    for (int i = 0; i < MANY; i++)
        pids[i] = start_server(&clients[i]);
    for (int i = 0; i < MANY; i++)
        look_often(clients[i]);
    for (int i = 0; i < MANY; i++)
        kill_server(pids[i]);
    for (int i = 0; i < MANY; i++)
        ends += recv(clients[i], &byte, 1, MSG_DONTWAIT) == 0;
    say("ends", ends);
    for (int i = 0; i < MANY; i++)
        close(clients[i]);
}

CASES({"look_late_at_close", look_late_at_close}, {"look_late_at_shutdown", look_late_at_shutdown},
      {"look_late_at_exit", look_late_at_exit}, {"look_late_at_oneself", look_late_at_oneself},
      {"look_late_blocking", look_late_blocking}, {"dead_peer_recv", dead_peer_recv},
      {"dead_peer_peek", dead_peer_peek}, {"dead_peer_poll", dead_peer_poll}, {"dead_peer_select", dead_peer_select},
      {"look_at_unanswered", look_at_unanswered}, {"dead_peer_epoll", dead_peer_epoll}, {"dead_peer_send", dead_peer_send}, {"dead_peer_unread", dead_peer_unread},
      {"dead_peer_wakes", dead_peer_wakes}, {"dead_peer_often_recv", dead_peer_often_recv},
      {"dead_peer_often_poll", dead_peer_often_poll}, {"dead_peer_often_send", dead_peer_often_send},
      {"dead_peer_often_unread", dead_peer_often_unread}, {"dead_peer_often_forked", dead_peer_often_forked},
      {"dead_peers_at_once", dead_peers_at_once})
