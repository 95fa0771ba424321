/* Operations that move bytes: single calls of every kind, and loops for what is larger than a buffer. */
#include "player.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE, WRITEV, SEND, SENDTO, SENDMSG, SENDMMSG, SENDFILE, PWRITEV2 };
enum { READ, READV, RECV, RECVFROM, RECVMSG, RECVMMSG, PREADV2 };

static __thread uint8_t block[BLOCK];

/* Bytes that depend on the operation's arguments and on where they are. */
static void make_bytes(size_t offset, size_t count, uint32_t salt) {
    for (size_t index = 0; index < count; index++)
        block[index] = (uint8_t)((offset + index) * 31 + (offset + index) / 251 + salt);
}

static uint32_t hash_more(uint32_t hash, const uint8_t *bytes, size_t count) {
    for (size_t index = 0; index < count; index++)
        hash = (hash ^ bytes[index]) * 16777619u;
    return hash;
}

static void show_bytes(struct outcome *outcome, int64_t count, size_t most) {
    size_t size = count < 0 ? 0 : (size_t)count < most ? (size_t)count : most;
    outcome->hash = hash_more(2166136261u, block, size);
    memcpy(outcome->head, block, size < sizeof outcome->head ? size : sizeof outcome->head);
}

static size_t limited(int32_t count) {
    return count < 0 ? 0 : count > BLOCK ? BLOCK : (size_t)count;
}

/* Three vectors over the block, the middle one empty if there are few bytes. */
static void cut(struct iovec *vector, size_t count) {
    size_t third = count / 3;
    vector[0] = (struct iovec){block, third};
    vector[1] = (struct iovec){block + third, third};
    vector[2] = (struct iovec){block + 2 * third, count - 2 * third};
}

static int64_t send_file(int fd, size_t count) {
    int file = memfd_create("player-sent", MFD_CLOEXEC);
    int64_t result = -1;
    if (file >= 0 && write(file, block, count) == (ssize_t)count) {
        off_t from = 0;
        result = sendfile(fd, file, &from, count);
    }
    int error = errno;
    close(file);
    errno = error;
    return result;
}

static int64_t send_messages(int fd, struct iovec *vector, int flags, struct outcome *outcome) {
    struct mmsghdr message[2] = {0};
    message[0].msg_hdr = (struct msghdr){.msg_iov = vector, .msg_iovlen = 1};
    message[1].msg_hdr = (struct msghdr){.msg_iov = vector + 1, .msg_iovlen = 2};
    int64_t result = sendmmsg(fd, message, 2, flags);
    for (int index = 0; index < result; index++)
        outcome->value[index] = (int32_t)message[index].msg_len;
    return result;
}

static int64_t send_by(const int32_t *arg, struct outcome *outcome) {
    int fd = fd_of(arg[0]), flags = arg[2];
    size_t count = limited(arg[1]);
    struct iovec vector[3];
    struct msghdr message = {.msg_iov = vector, .msg_iovlen = 3};
    make_bytes(0, count, (uint32_t)(arg[0] * 7 + arg[1] + arg[3]));
    cut(vector, count);
    switch (arg[3]) {
    case WRITE:
        return write(fd, block, count);
    case WRITEV:
        return writev(fd, vector, 3);
    case SEND:
        return send(fd, block, count, flags);
    case SENDTO:
        return sendto(fd, block, count, flags, NULL, 0);
    case SENDMSG:
        return sendmsg(fd, &message, flags);
    case SENDMMSG:
        return send_messages(fd, vector, flags, outcome);
    case PWRITEV2:
        return pwritev2(fd, vector, 3, -1, 0);
    default:
        return send_file(fd, count);
    }
}

int64_t op_send(const int32_t *arg, struct outcome *outcome) {
    int64_t result = send_by(arg, outcome);
    if (result > 0 && kernel_has_sent_nothing(fd_of(arg[0])))
        __atomic_add_fetch(&board->direct, 1, __ATOMIC_SEQ_CST);
    return result;
}

static int64_t receive_messages(int fd, size_t count, int flags, struct outcome *outcome) {
    struct iovec vector[2] = {{block, count / 2}, {block + count / 2, count - count / 2}};
    struct mmsghdr message[2] = {0};
    size_t total = 0;
    for (int index = 0; index < 2; index++)
        message[index].msg_hdr = (struct msghdr){.msg_iov = vector + index, .msg_iovlen = 1};
    int64_t result = recvmmsg(fd, message, 2, flags, NULL);
    for (int index = 0; index < result; index++) {
        outcome->value[index] = (int32_t)message[index].msg_len;
        outcome->value[2 + index] = message[index].msg_hdr.msg_flags;
        total += message[index].msg_len;
    }
    outcome->hash = hash_more(2166136261u, block, total < count ? total : count);
    return result;
}

static int64_t receive_message(int fd, struct iovec *vector, int flags, struct outcome *outcome) {
    char control[64];
    struct sockaddr_storage name;
    struct msghdr message = {.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = vector, .msg_iovlen = 3};
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    int64_t result = recvmsg(fd, &message, flags);
    if (result >= 0) {
        outcome->value[0] = message.msg_flags;
        outcome->value[1] = (int32_t)message.msg_namelen;
        outcome->value[2] = (int32_t)message.msg_controllen;
    }
    return result;
}

int64_t op_recv(const int32_t *arg, struct outcome *outcome) {
    int fd = fd_of(arg[0]), flags = arg[2];
    size_t count = limited(arg[1]);
    struct iovec vector[3];
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    int64_t result;
    memset(block, 0, count);
    cut(vector, count);
    switch (arg[3]) {
    case READ:
        result = read(fd, block, count);
        break;
    case READV:
        result = readv(fd, vector, 3);
        break;
    case RECV:
        result = recv(fd, block, count, flags);
        break;
    case RECVFROM:
        result = recvfrom(fd, block, count, flags, (struct sockaddr *)&name, &length);
        outcome->value[0] = result < 0 ? 0 : (int32_t)length;
        break;
    case RECVMSG:
        result = receive_message(fd, vector, flags, outcome);
        break;
    case PREADV2:
        result = preadv2(fd, vector, 3, -1, 0);
        break;
    default:
        return receive_messages(fd, count, flags, outcome);
    }
    int error = errno;
    show_bytes(outcome, result, count);
    errno = error;
    return result;
}

/* Sends it all by blocking calls; the result is how much the connection took. */
int64_t op_sendall(const int32_t *arg, struct outcome *outcome) {
    int64_t sent = 0, total = arg[1];
    while (sent < total) {
        size_t size = total - sent < BLOCK ? (size_t)(total - sent) : BLOCK;
        make_bytes((size_t)sent, size, 1);
        ssize_t count = send(fd_of(arg[0]), block, size, MSG_NOSIGNAL);
        if (count <= 0) {
            outcome->value[0] = errno;
            return -1;
        }
        sent += count;
    }
    return sent;
}

/* Receives by calls of its own size until all has come, the end, or an error; value 0 is the error. */
int64_t op_recvall(const int32_t *arg, struct outcome *outcome) {
    int64_t got = 0, total = arg[1];
    uint32_t hash = 2166136261u;
    while (got < total) {
        size_t size = total - got < BLOCK ? (size_t)(total - got) : BLOCK;
        ssize_t count = recv(fd_of(arg[0]), block, size, 0);
        if (count <= 0) {
            outcome->value[0] = count < 0 ? errno : -1;
            break;
        }
        hash = hash_more(hash, block, (size_t)count);
        got += count;
    }
    outcome->hash = hash;
    return got;
}

/* Sends without blocking until nothing more is taken for a while; only that is told, and how much is noted. */
int64_t op_fill(const int32_t *arg, struct outcome *outcome) {
    struct pollfd room = {fd_of(arg[0]), POLLOUT, 0};
    uint64_t total = 0;
    do {
        ssize_t count = send(room.fd, block, 4096, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0 && errno != EAGAIN) {
            outcome->value[0] = errno;
            break;
        }
        total += count > 0 ? (uint64_t)count : 0;
        if (count > 0)
            continue;
    } while (poll(&room, 1, 2) > 0 && total < 1ull << 30);
    board->filled[arg[1] & (FILLS - 1)] = total;
    return total > 0;
}

/* Receives as many bytes as the other end was filled with; value 0 is the error that came first. */
int64_t op_drain(const int32_t *arg, struct outcome *outcome) {
    struct pollfd more = {fd_of(arg[0]), POLLIN, 0};
    uint64_t left = board->filled[arg[1] & (FILLS - 1)];
    while (left > 0) {
        ssize_t count = recv(more.fd, block, left < BLOCK ? left : BLOCK, MSG_DONTWAIT);
        if (count > 0)
            left -= (uint64_t)count;
        else if (count == 0 || errno != EAGAIN || poll(&more, 1, 1000) <= 0) {
            outcome->value[0] = count < 0 ? errno : -1;
            break;
        }
    }
    return left == 0;
}
