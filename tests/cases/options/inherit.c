/* Options that are set at the listener belong to the connections that it accepts. */
#include "case.h"

static void set(int fd, int level, int option, int value) {
    must(setsockopt(fd, level, option, &value, sizeof(value)) == 0, "setsockopt");
}

static int number(int fd, int level, int option) {
    int value = -1;
    socklen_t length = sizeof(value);
    return getsockopt(fd, level, option, &value, &length) == 0 ? value : -1;
}

static struct link accepted_with_options(void) {
    struct timeval limit = {0, 300000};
    struct linger linger = {1, 3};
    if (listener < 0) {
        listener = listen_at(&address, 16);
        set(listener, IPPROTO_TCP, TCP_NODELAY, 1);
        set(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
        set(listener, IPPROTO_TCP, TCP_KEEPIDLE, 33);
        set(listener, IPPROTO_TCP, TCP_KEEPINTVL, 7);
        set(listener, IPPROTO_IP, IP_TOS, 0x10);
        set(listener, IPPROTO_IP, IP_TTL, 33);
        set(listener, SOL_SOCKET, SO_KEEPALIVE, 1);
        set(listener, SOL_SOCKET, SO_MARK, 9);
        set(listener, SOL_SOCKET, SO_RCVBUF, 20000);
        set(listener, SOL_SOCKET, SO_SNDBUF, 30000);
        must(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0, "SO_RCVTIMEO");
        must(setsockopt(listener, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0, "SO_SNDTIMEO");
        must(setsockopt(listener, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0, "SO_LINGER");
    }
    return link_from(listener);
}

static void inherited_options(void) {
    struct link link = accepted_with_options();
    struct timeval limit = {0, 0};
    struct linger linger = {0, 0};
    socklen_t length = sizeof(limit);
    say("TCP_NODELAY", number(link.near, IPPROTO_TCP, TCP_NODELAY));
    say("TCP_USER_TIMEOUT", number(link.near, IPPROTO_TCP, TCP_USER_TIMEOUT));
    say("TCP_KEEPIDLE", number(link.near, IPPROTO_TCP, TCP_KEEPIDLE));
    say("TCP_KEEPINTVL", number(link.near, IPPROTO_TCP, TCP_KEEPINTVL));
    say("IP_TOS", number(link.near, IPPROTO_IP, IP_TOS));
    say("IP_TTL", number(link.near, IPPROTO_IP, IP_TTL));
    say("SO_KEEPALIVE", number(link.near, SOL_SOCKET, SO_KEEPALIVE));
    say("SO_MARK", number(link.near, SOL_SOCKET, SO_MARK));
    say("SO_RCVBUF", number(link.near, SOL_SOCKET, SO_RCVBUF));
    say("SO_SNDBUF", number(link.near, SOL_SOCKET, SO_SNDBUF));
    getsockopt(link.near, SOL_SOCKET, SO_RCVTIMEO, &limit, &length);
    say("SO_RCVTIMEO", limit.tv_usec);
    getsockopt(link.near, SOL_SOCKET, SO_SNDTIMEO, &limit, &length);
    say("SO_SNDTIMEO", limit.tv_usec);
    length = sizeof(linger);
    getsockopt(link.near, SOL_SOCKET, SO_LINGER, &linger, &length);
    say("SO_LINGER", linger.l_onoff);
    say("its seconds", linger.l_linger);
    say("the client's TCP_NODELAY", number(link.far, IPPROTO_TCP, TCP_NODELAY));
    link_close(&link);
}

/* They act, and are not only shown. */
static void inherited_timeouts(void) {
    struct link link = accepted_with_options();
    char byte;
    double began = now();
    say("recv", recv(link.near, &byte, 1, 0));
    say_is("at its time", now() - began > 0.25 && now() - began < 2);
    static const char zeros[1 << 16];
    ssize_t sent;
    do
        began = now();
    while ((sent = send(link.near, zeros, sizeof(zeros), MSG_NOSIGNAL)) > 0);
    say("send", sent);
    say_is("at its time", now() - began > 0.25 && now() - began < 2);
    far_reset(&link);   /* the inherited SO_LINGER would wait */
    link_close(&link);
}

/* accept4's flags are the descriptor's, and the listener's own are not. */
static void flags(void) {
    if (listener < 0) {
        listener = listen_at(&address, 16);
        fcntl(listener, F_SETFL, O_NONBLOCK);
        fcntl(listener, F_SETFD, FD_CLOEXEC);
    }
    int one = connect_to(&address);
    await_events(listener, POLLIN, 1000);
    int plain = accept(listener, NULL, NULL), two = connect_to(&address);
    await_events(listener, POLLIN, 1000);
    int flagged = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    say_is("accept gives O_NONBLOCK", (fcntl(plain, F_GETFL) & O_NONBLOCK) != 0);
    say("accept gives FD_CLOEXEC", fcntl(plain, F_GETFD));
    say_is("accept4 gives O_NONBLOCK", (fcntl(flagged, F_GETFL) & O_NONBLOCK) != 0);
    say("accept4 gives FD_CLOEXEC", fcntl(flagged, F_GETFD));
    close(one);
    close(two);
    close(plain);
    close(flagged);
}

/* A client's options survive the connect. */
static void kept_over_connect(void) {
    if (listener < 0)
        listener = listen_at(&address, 16);
    struct timeval limit = {0, 300000};
    socklen_t length = sizeof(limit);
    char byte;
    int client = socket(AF_INET, SOCK_STREAM, 0);
    set(client, IPPROTO_TCP, TCP_NODELAY, 1);
    set(client, IPPROTO_TCP, TCP_KEEPIDLE, 33);
    set(client, IPPROTO_IP, IP_TOS, 0x10);
    set(client, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(client, SOL_SOCKET, SO_SNDBUF, 30000);
    must(setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0, "SO_RCVTIMEO");
    must(connect(client, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
    int server = accept_from(listener);
    say("TCP_NODELAY", number(client, IPPROTO_TCP, TCP_NODELAY));
    say("TCP_KEEPIDLE", number(client, IPPROTO_TCP, TCP_KEEPIDLE));
    say("IP_TOS", number(client, IPPROTO_IP, IP_TOS));
    say("SO_KEEPALIVE", number(client, SOL_SOCKET, SO_KEEPALIVE));
    say("SO_SNDBUF", number(client, SOL_SOCKET, SO_SNDBUF));
    limit = (struct timeval){0, 0};
    getsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, &length);
    say("SO_RCVTIMEO", limit.tv_usec);
    double began = now();
    say("recv", recv(client, &byte, 1, 0));
    say_is("at its time", now() - began > 0.25 && now() - began < 2);
    close(client);
    close(server);
}

CASES({"inherited_options", inherited_options}, {"inherited_timeouts", inherited_timeouts}, {"flags", flags},
      {"kept_over_connect", kept_over_connect})
