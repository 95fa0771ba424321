/* Operations that read and set options, and the list of the options; program.py reads the list too. */
#include "player.h"

#include <linux/tcp.h>
#include <string.h>
#include <sys/time.h>

struct option {
    int level, name, size;
};

#define OPTION(level, name, size) {level, name, size}

static const struct option options[] = {
    OPTION(SOL_SOCKET, SO_ERROR, 4),
    OPTION(SOL_SOCKET, SO_TYPE, 4),
    OPTION(SOL_SOCKET, SO_DOMAIN, 4),
    OPTION(SOL_SOCKET, SO_PROTOCOL, 4),
    OPTION(SOL_SOCKET, SO_ACCEPTCONN, 4),
    OPTION(SOL_SOCKET, SO_KEEPALIVE, 4),
    OPTION(SOL_SOCKET, SO_REUSEADDR, 4),
    OPTION(SOL_SOCKET, SO_REUSEPORT, 4),
    OPTION(SOL_SOCKET, SO_RCVLOWAT, 4),
    OPTION(SOL_SOCKET, SO_PRIORITY, 4),
    OPTION(SOL_SOCKET, SO_OOBINLINE, 4),
    OPTION(SOL_SOCKET, SO_SNDBUF, 4),
    OPTION(SOL_SOCKET, SO_RCVBUF, 4),
    OPTION(SOL_SOCKET, SO_SNDBUFFORCE, 4),
    OPTION(SOL_SOCKET, SO_LINGER, 8),
    OPTION(SOL_SOCKET, SO_RCVTIMEO, 16),
    OPTION(SOL_SOCKET, SO_SNDTIMEO, 16),
    OPTION(IPPROTO_TCP, TCP_INFO, 1),
    OPTION(IPPROTO_TCP, TCP_NODELAY, 4),
    OPTION(IPPROTO_TCP, TCP_CORK, 4),
    OPTION(IPPROTO_TCP, TCP_KEEPIDLE, 4),
    OPTION(IPPROTO_TCP, TCP_KEEPCNT, 4),
    OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT, 4),
    OPTION(IPPROTO_TCP, TCP_DEFER_ACCEPT, 4),
    OPTION(IPPROTO_IP, IP_TOS, 4),
    OPTION(IPPROTO_IP, IP_MTU, 4),
    OPTION(IPPROTO_TCP, 9999, 4),
};

static const struct option *option_of(int number) {
    return &options[(size_t)number % (sizeof options / sizeof *options)];
}

/* A count of milliseconds as a struct timeval, of seconds as a struct linger; below 0: no lingering. */
int64_t op_setsockopt(const int32_t *arg, struct outcome *outcome) {
    const struct option *option = option_of(arg[1]);
    struct timeval time = {arg[2] / 1000, arg[2] % 1000 * 1000};
    struct linger linger = {arg[2] >= 0, arg[2] < 0 ? 0 : arg[2]};
    const void *value = option->size == 16 ? (void *)&time : option->size == 8 ? (void *)&linger : (void *)&arg[2];
    (void)outcome;
    return setsockopt(fd_of(arg[0]), option->level, option->name, value, arg[3] < 0 ? (socklen_t)option->size : (socklen_t)arg[3]);
}

/* How large a buffer is is left open, and much of TCP_INFO. */
static int telling_bytes(const struct option *option, socklen_t length) {
    if (option->level == SOL_SOCKET && (option->name == SO_SNDBUF || option->name == SO_RCVBUF))
        return 0;
    if (option->level == IPPROTO_TCP && option->name == TCP_INFO)
        return length != 0; /* the connection's state */
    return length < 16 ? (int)length : 16;
}

/* Value 6: what is read may come a little later. */
int64_t op_getsockopt(const int32_t *arg, struct outcome *outcome) {
    const struct option *option = option_of(arg[1]);
    uint8_t value[sizeof(struct tcp_info)];
    socklen_t length = arg[2] < 0 ? (socklen_t)option->size : (socklen_t)arg[2];
    memset(value, 0, sizeof value);
    int result = getsockopt(fd_of(arg[0]), option->level, option->name, value, &length);
    if (result == 0) {
        memcpy(outcome->value, value, (size_t)telling_bytes(option, length));
        outcome->value[5] = (int32_t)length;
        outcome->value[6] = option->name == TCP_INFO || option->name == SO_ERROR;
    }
    return result;
}
