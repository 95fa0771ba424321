/* Listeners: that end, that wait, that share a port, and what accept tells. */
#include "case.h"

static long reach(void) {
    return try_to_connect(&address);
}

/* A connection before, so that the way to the listener is known. */
static void begin(void) {
    if (listener >= 0)
        close(listener);
    int one = 1;
    listener = listen_at(&address, 16);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    struct link link = link_from(listener);
    link_close(&link);
}

static void refused_when_closed(void) {
    begin();
    close(listener);
    listener = -1;
    say("connect", reach());
    int again = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(again, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    say("bind", bind(again, (struct sockaddr *)&address, sizeof(address)));
    say("listen", listen(again, 5));
    say("connect", reach());
    close(again);
}

static void refused_when_shut(void) {
    begin();
    say("shutdown", shutdown(listener, SHUT_RDWR));
    say("connect", reach());
    say("accept", accept(listener, NULL, NULL));
}

static void refused_when_shut_for_reading(void) {
    begin();
    say("shutdown", shutdown(listener, SHUT_RD));
    say("connect", reach());
}

static void *accept_one(void *about) {
    (void)about;
    say("blocked accept", accept(listener, NULL, NULL));
    return NULL;
}

static void shut_under_accept(void) {
    begin();
    struct worker *worker = work_asleep(accept_one, NULL);
    shutdown(listener, SHUT_RDWR);
    say_is("it ends", is_over(worker, 2000));
    say("connect", reach());
}

static void shut_under_poll(void) {
    begin();
    say("shutdown", shutdown(listener, SHUT_RDWR));
    say_events("poll", (unsigned)await_events(listener, POLLIN, 1000));
}

/* The connections that wait to be accepted are reset when their listener ends. */
static void waiting_ones_are_reset(void) {
    begin();
    int client = connect_to(&address);
    char byte;
    say("send", send(client, "a", 1, MSG_NOSIGNAL));
    close(listener);
    listener = -1;
    say_events("poll", (unsigned)await_events(client, POLLIN, 1000));
    say("recv", recv(client, &byte, 1, MSG_DONTWAIT));
    close(client);
}

static void accept_timeout(void) {
    begin();
    struct timeval limit = {0, 200000};
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    double began = now();
    say("accept", accept(listener, NULL, NULL));
    say_is("at its time", now() - began > 0.15 && now() - began < 1);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    say("accept without waiting", accept(listener, NULL, NULL));
}

static void accept_tells_names(void) {
    begin();
    struct sockaddr_in told = {.sin_family = 0}, name, peer;
    socklen_t length = sizeof(told), two = sizeof(name), three = sizeof(peer);
    int client = connect_to(&address), server = accept(listener, (struct sockaddr *)&told, &length);
    getsockname(client, (struct sockaddr *)&name, &two);
    getpeername(server, (struct sockaddr *)&peer, &three);
    say("length", length);
    say_is("told as named", told.sin_port == name.sin_port && told.sin_addr.s_addr == name.sin_addr.s_addr);
    say_is("told as peer", told.sin_port == peer.sin_port && told.sin_family == peer.sin_family);
    close(client);
    close(server);
    client = connect_to(&address);
    length = 4;
    server = accept(listener, (struct sockaddr *)&told, &length);
    say("length with little room", length);
    close(client);
    close(server);
}

#define LISTENERS 4
#define CONNECTIONS 200

/* Connections to listeners that share a port are spread over them. */
static void reuse_port(void) {
    int listeners[LISTENERS], count[LISTENERS] = {0}, one = 1, lost = 0, idle = 0;
    struct sockaddr_in at;
    for (int i = 0; i < LISTENERS; i++) {
        listeners[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(listeners[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
        socklen_t length = sizeof(at);
        if (i == 0)
            at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        must(bind(listeners[i], (struct sockaddr *)&at, sizeof(at)) == 0, "bind");
        must(listen(listeners[i], 128) == 0 && getsockname(listeners[i], (struct sockaddr *)&at, &length) == 0, "listen");
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        struct pollfd entries[LISTENERS];
        int client = connect_to(&at), server = -1;
        for (int k = 0; k < LISTENERS; k++)
            entries[k] = (struct pollfd){listeners[k], POLLIN, 0};
        poll(entries, LISTENERS, 2000);
        for (int k = 0; k < LISTENERS && server < 0; k++)
            if ((server = accept(listeners[k], NULL, NULL)) >= 0)
                count[k]++;
        char byte;
        lost += server < 0 || send(client, "a", 1, MSG_NOSIGNAL) != 1 || await_events(server, POLLIN, 2000) == 0 ||
                recv(server, &byte, 1, MSG_DONTWAIT) != 1;
        close(client);
        close(server);
    }
    for (int i = 0; i < LISTENERS; i++) {
        idle += count[i] < CONNECTIONS / 20;
        close(listeners[i]);
    }
    say("lost", lost);
    say("idle listeners", idle);
}

#define CHILDREN 4

/* Each child serves one client until that goes; so four clients are served by four children at once. */
static void prefork(void) {
    pid_t pids[CHILDREN];
    int served = 0;
    begin();
    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = fork();
        must(pids[i] >= 0, "fork");
        for (char byte; pids[i] == 0;) {
            int server = accept(listener, NULL, NULL);
            if (server < 0 || recv(server, &byte, 1, 0) != 1 || send(server, "s", 1, MSG_NOSIGNAL) != 1)
                _exit(1);
            while (recv(server, &byte, 1, 0) > 0)
                ;
            close(server);
        }
    }
    for (int i = 0; i < CHILDREN; i++)
        await_asleep(pids[i]);
    for (int turn = 0; turn < 5; turn++) {
        struct pollfd clients[CHILDREN];
        double end = now() + 1;
        for (int i = 0; i < CHILDREN; i++) {
            clients[i] = (struct pollfd){connect_to(&address), POLLIN, 0};
            must(send(clients[i].fd, "r", 1, MSG_NOSIGNAL) == 1, "send");
        }
        for (int i = 0; i < CHILDREN; i++)
            served += await_events(clients[i].fd, POLLIN, now() < end ? (int)((end - now()) * 1000) : 0) != 0;
        for (int i = 0; i < CHILDREN; i++)
            close(clients[i].fd);
    }
    say("served at once", served);
    for (int i = 0; i < CHILDREN; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
}

/* A listener that wants data first does not hold back who sends them. */
static void defer_accept(void) {
    int seconds = 5, late = 0;
    begin();
    must(setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)) == 0, "TCP_DEFER_ACCEPT");
    for (int i = 0; i < 4; i++) {
        double began = now();
        char byte;
        int client = connect_to(&address);
        must(send(client, "q", 1, MSG_NOSIGNAL) == 1, "send");
        int server = accept(listener, NULL, NULL);
        must(recv(server, &byte, 1, 0) == 1 && send(server, "a", 1, 0) == 1 && recv(client, &byte, 1, 0) == 1, "talk");
        late += now() - began > 0.15;
        close(client);
        close(server);
    }
    say("late", late);
    int client = connect_to(&address);
    say_events("a silent client", (unsigned)await_events(listener, POLLIN, 100));
    must(send(client, "q", 1, MSG_NOSIGNAL) == 1, "send");
    say_events("it sends", (unsigned)await_events(listener, POLLIN, 1000));
    close(client);
}

/* The ports of a connection are in use as long as it is open. */
static void ports_in_use(void) {
    begin();
    struct sockaddr_in name;
    socklen_t length = sizeof(name);
    int client = connect_to(&address), server = accept(listener, NULL, NULL), other = socket(AF_INET, SOCK_STREAM, 0);
    getsockname(client, (struct sockaddr *)&name, &length);
    say("bind to the client's", bind(other, (struct sockaddr *)&name, sizeof(name)));
    close(listener);
    listener = -1;
    say("bind to the server's", bind(other, (struct sockaddr *)&address, sizeof(address)));
    close(client);
    close(server);
    close(other);
}

static void fast_open(void) {
    begin();
    int length = 5, one = 1;
    char data[8];
    setsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN, &length, sizeof(length));
    int client = socket(AF_INET, SOCK_STREAM, 0);
    say("TCP_FASTOPEN_CONNECT", setsockopt(client, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one)));
    say("connect", connect(client, (struct sockaddr *)&address, sizeof(address)));
    say("send", send(client, "abc", 3, MSG_NOSIGNAL));
    int server = accept(listener, NULL, NULL);
    say_text("recv", data, recv(server, data, sizeof(data), 0));
    close(client);
    close(server);
    client = socket(AF_INET, SOCK_STREAM, 0);
    say("sendto", sendto(client, "def", 3, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof(address)));
    server = accept(listener, NULL, NULL);
    say_text("recv", data, recv(server, data, sizeof(data), 0));
    close(client);
    close(server);
}

CASES({"refused_when_closed", refused_when_closed}, {"refused_when_shut", refused_when_shut},
      {"refused_when_shut_for_reading", refused_when_shut_for_reading}, {"shut_under_accept", shut_under_accept},
      {"shut_under_poll", shut_under_poll}, {"waiting_ones_are_reset", waiting_ones_are_reset},
      {"accept_timeout", accept_timeout}, {"accept_tells_names", accept_tells_names}, {"reuse_port", reuse_port},
      {"prefork", prefork}, {"defer_accept", defer_accept}, {"ports_in_use", ports_in_use}, {"fast_open", fast_open})
