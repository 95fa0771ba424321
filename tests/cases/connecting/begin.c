/* Connections that are being made: without blocking, again, given up, and taken back. */
#include "case.h"

static int fresh(int flags) {
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
    must(fd >= 0, "make a socket");
    return fd;
}

static long reach(int fd, const struct sockaddr_in *at) {
    return connect(fd, (const struct sockaddr *)at, sizeof(*at));
}

static long error_of(int fd) {
    int error = -1;
    socklen_t length = sizeof(error);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : -1;
}

static void listen_once(void) {
    if (listener < 0)
        listener = listen_at(&address, 16);
}

static void greet(int client, int server) {
    char byte;
    say("send", send(client, "1", 1, MSG_NOSIGNAL));
    say("recv", recv(server, &byte, 1, 0));
    say("send", send(server, "2", 1, MSG_NOSIGNAL));
    await_events(client, POLLIN, 2000);
    say("recv", recv(client, &byte, 1, 0));
    expect_direct();
}

static void nonblocking(void) {
    listen_once();
    int client = fresh(SOCK_NONBLOCK);
    say("connect", reach(client, &address));
    say_events("poll", (unsigned)await_events(client, POLLOUT, 2000));
    say("SO_ERROR", error_of(client));
    int server = accept_from(listener);
    greet(client, server);
    close(client);
    close(server);
}

/* Programs that wait for writability alone, by an epoll, before and after connect. */
static void nonblocking_epoll(void) {
    listen_once();
    for (int added_before = 0; added_before < 2; added_before++) {
        struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
        int client = fresh(SOCK_NONBLOCK), epoll = epoll_create1(0);
        if (added_before)
            epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event);
        say("connect", reach(client, &address));
        if (!added_before)
            epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event);
        do
            event.events = epoll_wait(epoll, &event, 1, 2000) == 1 ? event.events : 0;
        while (event.events & EPOLLHUP);   /* a socket that is not yet connecting has hung up */
        say_events("epoll_wait", event.events);
        int server = accept_from(listener);
        say_is("accepted", server >= 0);
        close(epoll);
        close(client);
        close(server);
    }
}

/* The first connect after the end of a non-blocking one says 0, and the next ones EISCONN. */
static void nonblocking_again(void) {
    listen_once();
    int client = fresh(SOCK_NONBLOCK);
    say("connect", reach(client, &address));
    say_events("poll", (unsigned)await_events(client, POLLOUT, 2000));
    say("connect again", reach(client, &address));
    say("and again", reach(client, &address));
    int server = accept_from(listener);
    greet(client, server);
    close(client);
    close(server);
}

static void blocking_again(void) {
    listen_once();
    int client = connect_to(&address), server = accept_from(listener);
    say("connect again", reach(client, &address));
    greet(client, server);
    say("and again", reach(client, &address));
    close(client);
    close(server);
}

static void nonblocking_refused(void) {
    struct sockaddr_in at;
    close(listen_at(&at, 1));
    int client = fresh(SOCK_NONBLOCK);
    say("connect", reach(client, &at));
    say_events("poll", (unsigned)await_events(client, POLLOUT, 2000));
    say("SO_ERROR", error_of(client));
    say("SO_ERROR", error_of(client));
    close(client);
}

/* In an epoll since it was refused, the socket connects anew: it may stay with TCP, and the epoll must go on with it. */
static void refused_then_watched(void) {
    struct sockaddr_in at;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT};
    char byte;
    listen_once();
    close(listen_at(&at, 1));
    int client = fresh(SOCK_NONBLOCK), epoll = epoll_create1(0);
    say("connect", reach(client, &at));
    say("add", epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event));
    say_events("epoll_wait", epoll_wait(epoll, &event, 1, 2000) == 1 ? event.events : 0);
    say("SO_ERROR", error_of(client));
    say("connect", reach(client, &address));   /* tells once more of the first */
    say("connect", reach(client, &address));
    int server = accept_from(listener);
    event.events = EPOLLOUT;
    say("modify", epoll_ctl(epoll, EPOLL_CTL_MOD, client, &event));
    say_events("epoll_wait", epoll_wait(epoll, &event, 1, 2000) == 1 ? event.events : 0);
    say("send", send(server, "1", 1, MSG_NOSIGNAL));
    event.events = EPOLLIN;
    say("modify", epoll_ctl(epoll, EPOLL_CTL_MOD, client, &event));
    say_events("epoll_wait", epoll_wait(epoll, &event, 1, 2000) == 1 ? event.events : 0);
    say_text("recv", &byte, recv(client, &byte, 1, 0));
    close(epoll);
    close(client);
    close(server);
}

/* connect to AF_UNSPEC ends a connection, and the socket may connect anew. */
static void unspec(void) {
    struct link link = link_open();
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    int client = link.accepted ? link.far : link.near, server = link.accepted ? link.near : link.far;
    char byte;
    say("connect to AF_UNSPEC", connect(client, &nowhere, sizeof(nowhere)));
    say("recv", recv(client, &byte, 1, MSG_DONTWAIT));
    await_events(server, POLLIN, 1000);
    say_text("the other end", &byte, recv(server, &byte, 1, MSG_DONTWAIT));
    close(server);
    say("connect", reach(client, &address));
    server = accept_from(listener);
    greet(client, server);
    close(client);
    close(server);
}

/* The other number, or the other process, has the socket as well, and may use what one of them has connected. */
static void copied_before(void) {
    listen_once();
    for (int how = 0; how < 3; how++) {
        char data[8];
        int client = fresh(0), copy = how < 2 ? dup(client) : -1;
        pid_t child = 0;
        if (how == 1) {   /* nobody else has it any more */
            close(client);
            client = -1;
        }
        if (how == 2) {
            int go[2];
            must(pipe(go) == 0, "make a pipe");
            if ((child = fork()) == 0) {
                must(read(go[0], data, 1) == 1, "be told");
                say_text("the child", data, recv(client, data, 1, 0));
                say("the child", send(client, "c", 1, MSG_NOSIGNAL));
                fflush(stdout);
                _exit(0);
            }
            must(reach(client, &address) == 0 && write(go[1], "g", 1) == 1, "connect");
            close(go[0]);
            close(go[1]);
        } else {
            must(reach(how == 0 ? client : copy, &address) == 0, "connect");
        }
        int server = accept_from(listener);
        must(send(server, "a", 1, 0) == 1, "send");
        if (how == 2) {
            int status;
            must(waitpid(child, &status, 0) == child && status == 0, "the child ends well");
            say_text("from the child", data, recv(server, data, 1, 0));
        } else {
            say_text("the copy", data, recv(copy, data, 1, 0));
        }
        must(send(server, "b", 1, 0) == 1, "send");
        say_text("the one", data, recv(how == 1 ? copy : client, data, 1, 0));
        say("to", send(how == 1 ? copy : client, "d", 1, MSG_NOSIGNAL));
        say_text("comes", data, recv(server, data, 1, 0));
        if (client >= 0)
            close(client);
        if (how < 2) {
            say("after a close", send(copy, "e", 1, MSG_NOSIGNAL));
            close(copy);
        }
        say_text("then", data, recv(server, data, 2, MSG_WAITALL));
        close(server);
    }
}

/* An epoll's copy is the same epoll, also when it was copied while nothing was in it. */
static void copied_epoll(void) {
    struct link link = link_open();
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0x1234}, told;
    int epoll = epoll_create1(0), copy = fcntl(epoll, F_DUPFD_CLOEXEC, 3);
    char byte;
    say("add", epoll_ctl(copy, EPOLL_CTL_ADD, link.near, &event));
    say("add", epoll_ctl(epoll, EPOLL_CTL_ADD, link.near, &event));
    close(copy);
    far_send(&link, "x", 1);
    say("epoll_wait", epoll_wait(epoll, &told, 1, 2000));
    say_is("its data", told.data.u64 == 0x1234);
    say("recv", recv(link.near, &byte, 1, 0));
    say("epoll_wait", epoll_wait(epoll, &told, 1, 0));
    close(epoll);
    link_close(&link);
}

/* A listener that has accepted before, so that the way to it is known. */
static int listen_known(struct sockaddr_in *at, int size) {
    int fd = listen_at(at, size), client = connect_to(at), server = accept_from(fd);
    char byte;
    must(send(client, "1", 1, 0) == 1 && recv(server, &byte, 1, 0) == 1, "greet");
    must(send(server, "2", 1, 0) == 1 && recv(client, &byte, 1, 0) == 1, "greet");
    close(client);
    close(server);
    return fd;
}

/* Where the backlog is full a connect waits, and may be given up. */
struct full {
    struct sockaddr_in at;
    int listener, first;
};

static struct full full_backlog(void) {
    struct full full;
    full.listener = listen_known(&full.at, 0);
    full.first = connect_to(&full.at);
    return full;
}

static void end_full(struct full *full, int client) {
    close(full->listener);
    close(full->first);
    close(client);
}

static void shutdown_while_connecting(void) {
    struct full full = full_backlog();
    int client = fresh(SOCK_NONBLOCK);
    say("connect", reach(client, &full.at));
    say("shutdown", shutdown(client, SHUT_RDWR));
    say_events("poll", (unsigned)await_events(client, POLLIN | POLLOUT, 0));
    end_full(&full, client);
}

static void connect_waits(void) {
    struct full full = full_backlog();
    int client = fresh(SOCK_NONBLOCK);
    say("connect", reach(client, &full.at));
    say_events("poll", (unsigned)await_events(client, POLLIN | POLLOUT, 100));
    say("connect again", reach(client, &full.at));
    say("send", send(client, "a", 1, MSG_NOSIGNAL));
    char byte;
    say("recv", recv(client, &byte, 1, 0));
    end_full(&full, client);
}

static void connect_timeout(void) {
    struct full full = full_backlog();
    struct timeval limit = {0, 200000};
    int client = fresh(0);
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    double began = now();
    say("connect", reach(client, &full.at));
    say_is("at its time", now() - began > 0.15 && now() - began < 0.9);
    end_full(&full, client);
}

/* Those that wait are connected as soon as there is room, by the kernel's next attempt. */
static void connect_when_room(void) {
    struct full full = full_backlog();
    int client = fresh(SOCK_NONBLOCK);
    say("connect", reach(client, &full.at));
    int first = accept_from(full.listener);
    say_events("poll", (unsigned)await_events(client, POLLOUT, 5000));
    int second = accept_from(full.listener);
    greet(client, second);
    close(first);
    close(second);
    end_full(&full, client);
}

#define MANY 12

static int connected(struct pollfd *entries) {
    int count = 0;
    poll(entries, MANY, 0);
    for (int i = 0; i < MANY; i++)
        count += entries[i].revents == POLLOUT;
    return count;
}

static bool connect_four(void *about) {
    return connected(about) == 4;
}

static bool connect_more(void *about) {
    return connected(about) > 4;
}

/* A backlog of 3 lets four connect, and no more. */
static void backlog(void) {
    struct sockaddr_in at;
    struct pollfd entries[MANY];
    int fd = listen_known(&at, 3), served = 0;
    for (int i = 0; i < MANY; i++) {
        entries[i] = (struct pollfd){fresh(SOCK_NONBLOCK), POLLOUT, 0};
        reach(entries[i].fd, &at);
    }
    say_is("four connect", await(connect_four, entries, 2000));
    say_is("more connect", await(connect_more, entries, 200));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int server; (server = accept_from(fd)) >= 0; close(server))
        served++;
    say("accepted", served);
    for (int i = 0; i < MANY; i++)
        close(entries[i].fd);
    close(fd);
}

CASES({"nonblocking", nonblocking}, {"nonblocking_epoll", nonblocking_epoll}, {"nonblocking_again", nonblocking_again},
      {"blocking_again", blocking_again}, {"nonblocking_refused", nonblocking_refused},
      {"refused_then_watched", refused_then_watched},
      {"copied_before", copied_before}, {"copied_epoll", copied_epoll}, {"unspec", unspec},
      {"shutdown_while_connecting", shutdown_while_connecting}, {"connect_waits", connect_waits},
      {"connect_timeout", connect_timeout}, {"connect_when_room", connect_when_room}, {"backlog", backlog})
