/* Connections whose near end is under test, within one program. */
#include "case.h"

#include "raw.h"

#define PATIENCE_MS 3000

int listener = -1;
struct sockaddr_in address;

/* Only the end under test is to have the library: the other one is made by instructions that it does not see. */
static bool is_only(const char *who) {
    const char *only = getenv("CASE_ONLY");
    return only != NULL && strcmp(only, who) == 0;
}

static long hidden(long number, long one, const void *two, long three) {
    long result = raw_call(number, one, (long)two, three);
    errno = result < 0 ? (int)-result : 0;
    return result < 0 ? -1 : result;
}

static int make_socket(bool is_hidden) {
    if (is_hidden)
        return (int)raw_call(SYS_socket, AF_INET, SOCK_STREAM, 0);
    return socket(AF_INET, SOCK_STREAM, 0);
}

int listen_at(struct sockaddr_in *at, int backlog) {
    bool is_hidden = is_only("client");
    int fd = make_socket(is_hidden);
    socklen_t length = sizeof(*at);
    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    must((is_hidden ? hidden(SYS_bind, fd, at, length) : bind(fd, (struct sockaddr *)at, length)) == 0, "bind");
    must(getsockname(fd, (struct sockaddr *)at, &length) == 0, "getsockname");
    must((is_hidden ? hidden(SYS_listen, fd, (void *)(long)backlog, 0) : listen(fd, backlog)) == 0, "listen");
    return fd;
}

int connect_to(const struct sockaddr_in *at) {
    bool is_hidden = is_only("server");
    int fd = make_socket(is_hidden);
    long result = is_hidden ? hidden(SYS_connect, fd, at, sizeof(*at)) : connect(fd, (const struct sockaddr *)at, sizeof(*at));
    must(fd >= 0 && result == 0, "connect");
    return fd;
}

/* Bytes pass both ways, after which the connection is direct if it can be. */
static void greet(int client, int server) {
    char byte = 0;
    must(send(client, "1", 1, 0) == 1 && recv(server, &byte, 1, 0) == 1 && byte == '1', "a byte to the server");
    must(send(server, "2", 1, 0) == 1 && recv(client, &byte, 1, 0) == 1 && byte == '2', "a byte to the client");
    expect_direct();
}

long try_to_connect(const struct sockaddr_in *at) {
    bool is_hidden = is_only("server");
    int fd = make_socket(is_hidden);
    long result = is_hidden ? hidden(SYS_connect, fd, at, sizeof(*at)) : connect(fd, (const struct sockaddr *)at, sizeof(*at));
    int why = errno;
    close(fd);
    errno = why;
    return result;
}

int accept_from(int from) {
    return is_only("client") ? (int)hidden(SYS_accept, from, NULL, 0) : accept(from, NULL, NULL);
}

struct link link_from(int near_listener) {
    int client = connect_to(&address), server = accept_from(near_listener);
    must(server >= 0, "accept");
    greet(client, server);
    return (struct link){.near = server, .far = client, .accepted = true};
}

struct link link_open(void) {
    if (listener < 0)
        listener = listen_at(&address, 64);
    struct link link = link_from(listener);
    if (is_only("client") || (round_number % 2 == 1 && !is_only("server")))
        link = (struct link){.near = link.far, .far = link.near, .accepted = false};
    return link;
}

void link_close(struct link *link) {
    if (link->near >= 0)
        close(link->near);
    if (link->far >= 0)
        close(link->far);
    link->near = link->far = -1;
}

void far_send(const struct link *link, const void *data, size_t count) {
    size_t sent = 0;
    while (sent < count) {
        ssize_t more = send(link->far, (const char *)data + sent, count - sent, MSG_NOSIGNAL);
        must(more > 0, "the far end sends");
        sent += (size_t)more;
    }
}

size_t far_receive(const struct link *link, char *data, size_t most) {
    must(await_events(link->far, POLLIN, PATIENCE_MS) != 0, "something comes to the far end");
    ssize_t count = recv(link->far, data, most, 0);
    must(count >= 0, "the far end receives");
    return (size_t)count;
}

size_t far_receive_all(const struct link *link, char *data, size_t count) {
    size_t got = 0, more = 1;
    while (got < count && more > 0)
        got += more = far_receive(link, data + got, count - got);
    return got;
}

void far_shutdown(const struct link *link, int how) {
    must(shutdown(link->far, how) == 0, "the far end shuts down");
}

void far_close(struct link *link) {
    must(close(link->far) == 0, "the far end closes");
    link->far = -1;
}

void far_reset(struct link *link) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    must(setsockopt(link->far, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0, "SO_LINGER");
    far_close(link);
}

void say_far(const char *what, const struct link *link) {
    char data[256];
    if (await_events(link->far, POLLIN, PATIENCE_MS) == 0)
        printf("%s: nothing\n", what);
    else
        say_text(what, data, recv(link->far, data, sizeof(data), MSG_DONTWAIT));
}
