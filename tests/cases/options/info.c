/* What a connection says of itself: its state in TCP_INFO, its kind, its sizes. */
#include "case.h"

static const char *state_of(int fd) {
    static const char *names[] = {"none",       "established", "syn sent",  "syn received", "fin wait 1",
                                  "fin wait 2", "time wait",   "closed",    "close wait",   "last ack",
                                  "listening",  "closing",     "new syn received"};
    struct tcp_info information;
    socklen_t length = sizeof(information);
    memset(&information, 0xee, sizeof(information));
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &information, &length) != 0)
        return strerrorname_np(errno);
    return information.tcpi_state < sizeof(names) / sizeof(*names) ? names[information.tcpi_state] : "unknown";
}

static void say_state(const char *what, int fd) {
    printf("%s: %s\n", what, state_of(fd));
}

static void state_of_each(void) {
    struct link link = link_open();
    say_state("near", link.near);
    say_state("far", link.far);
    link_close(&link);
}

static void state_when_far_has_shut(void) {
    struct link link = link_open();
    far_shutdown(&link, SHUT_WR);
    await_events(link.near, POLLRDHUP, 1000);
    say_state("near", link.near);
    link_close(&link);
}

static bool is_closed(void *about) {
    return strcmp(state_of(*(int *)about), "closed") == 0;
}

static void state_when_both_have_shut(void) {
    struct link link = link_open();
    far_shutdown(&link, SHUT_WR);
    await_events(link.near, POLLRDHUP, 1000);
    shutdown(link.near, SHUT_WR);
    await_events(link.far, POLLRDHUP, 1000);
    await(is_closed, &link.near, 1000);
    say_state("near", link.near);
    say_state("far", link.far);
    link_close(&link);
}

static void state_when_reset(void) {
    struct link link = link_open();
    far_reset(&link);
    await_events(link.near, 0, 1000);
    say_state("near", link.near);
    link_close(&link);
}

static void state_when_far_has_closed(void) {
    struct link link = link_open();
    far_close(&link);
    await_events(link.near, POLLRDHUP, 1000);
    say_state("near", link.near);
    link_close(&link);
}

static void state_of_others(void) {
    struct sockaddr_in at;
    int full = listen_at(&at, 0), fresh = socket(AF_INET, SOCK_STREAM, 0), first = connect_to(&at);
    int second = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say_state("fresh", fresh);
    say_state("listener", full);
    say("connect to a full backlog", connect(second, (struct sockaddr *)&at, sizeof(at)));
    say_state("connecting", second);
    close(full);
    close(fresh);
    close(first);
    close(second);
}

static void say_option(const char *what, int fd, int level, int option) {
    int value = -1;
    socklen_t length = sizeof(value);
    int result = getsockopt(fd, level, option, &value, &length);
    say(what, result < 0 ? result : value);
}

static void kind_of_each(void) {
    struct link link = link_open();
    for (int side = 0; side < 2; side++) {
        int fd = side == 0 ? link.near : link.far;
        say_option("SO_DOMAIN", fd, SOL_SOCKET, SO_DOMAIN);
        say_option("SO_TYPE", fd, SOL_SOCKET, SO_TYPE);
        say_option("SO_PROTOCOL", fd, SOL_SOCKET, SO_PROTOCOL);
        say_option("SO_ACCEPTCONN", fd, SOL_SOCKET, SO_ACCEPTCONN);
        say_option("SO_ERROR", fd, SOL_SOCKET, SO_ERROR);
    }
    link_close(&link);
}

static int number(int fd, int level, int option) {
    int value = -1;
    socklen_t length = sizeof(value);
    return getsockopt(fd, level, option, &value, &length) == 0 ? value : -1;
}

static void sizes(void) {
    struct link link = link_open();
    for (int side = 0; side < 2; side++) {
        int fd = side == 0 ? link.near : link.far;
        uint64_t cookie = 0;
        socklen_t length = sizeof(cookie);
        say_is("IP_MTU is one", number(fd, IPPROTO_IP, IP_MTU) >= 1500);
        say_is("TCP_MAXSEG is one", number(fd, IPPROTO_TCP, TCP_MAXSEG) >= 500);
        say_is("SO_INCOMING_CPU is one", number(fd, SOL_SOCKET, SO_INCOMING_CPU) >= 0);
        say_is("SO_COOKIE is there", getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 && cookie != 0);
        say_is("SO_SNDBUF is one", number(fd, SOL_SOCKET, SO_SNDBUF) > 4096);
        say_is("SO_RCVBUF is one", number(fd, SOL_SOCKET, SO_RCVBUF) > 2048);
    }
    link_close(&link);
}

/* An answer that is longer than the room is cut, and says so. */
static void info_in_little_room(void) {
    struct link link = link_open();
    char room[8] = "";
    socklen_t length = 1;
    say("getsockopt", getsockopt(link.near, IPPROTO_TCP, TCP_INFO, room, &length));
    say("length", length);
    say("state", room[0]);
    length = 0;
    say("getsockopt with no room", getsockopt(link.near, IPPROTO_TCP, TCP_INFO, room, &length));
    length = (socklen_t)-1;
    say("getsockopt with a negative length", getsockopt(link.near, IPPROTO_TCP, TCP_INFO, room, &length));
    link_close(&link);
}

static void names(void) {
    struct link link = link_open();
    struct sockaddr_in near_name, near_peer, far_name, far_peer;
    socklen_t one = sizeof(near_name), two = one, three = one, four = one;
    say("getsockname", getsockname(link.near, (struct sockaddr *)&near_name, &one));
    say("getpeername", getpeername(link.near, (struct sockaddr *)&near_peer, &two));
    getsockname(link.far, (struct sockaddr *)&far_name, &three);
    getpeername(link.far, (struct sockaddr *)&far_peer, &four);
    say_is("the names agree", near_name.sin_port == far_peer.sin_port && near_peer.sin_port == far_name.sin_port);
    say_is("the ports are real", near_name.sin_port != 0 && far_name.sin_port != 0);
    say_is("the server has the listener's", (link.accepted ? near_name : far_name).sin_port == address.sin_port);
    link_close(&link);
}

CASES({"state_of_each", state_of_each}, {"state_when_far_has_shut", state_when_far_has_shut},
      {"state_when_both_have_shut", state_when_both_have_shut}, {"state_when_reset", state_when_reset},
      {"state_when_far_has_closed", state_when_far_has_closed}, {"state_of_others", state_of_others},
      {"kind_of_each", kind_of_each}, {"sizes", sizes}, {"info_in_little_room", info_in_little_room},
      {"names", names})
