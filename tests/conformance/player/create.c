/* Operations that make descriptors and connections, and take them away. */
#include "player.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile uintptr_t nowhere = 8; /* an address that no process has */

int64_t op_socket(const int32_t *arg, struct outcome *outcome) {
    (void)outcome;
    int fd = socket(arg[1], SOCK_STREAM | arg[2], 0);
    slot_set(arg[0], fd);
    return fd < 0 ? -1 : 0;
}

static struct address *entry_of(int number) {
    return &board->entry[number & (ENTRIES - 1)];
}

static socklen_t loopback(struct sockaddr_storage *name, int fd, int port) {
    memset(name, 0, sizeof *name);
    if (kernel_domain(fd) == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)name;
        *in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
        in6->sin6_addr = in6addr_loopback;
        return sizeof *in6;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)name;
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof *in;
}

int64_t op_bind(const int32_t *arg, struct outcome *outcome) {
    struct sockaddr_storage name;
    int fd = fd_of(arg[0]);
    socklen_t length = loopback(&name, fd, 0);
    (void)outcome;
    if (arg[1] == -2) { /* any address */
        ((struct sockaddr_in *)&name)->sin_addr.s_addr = htonl(INADDR_ANY);
        if (name.ss_family == AF_INET6)
            ((struct sockaddr_in6 *)&name)->sin6_addr = in6addr_any;
    }
    if (arg[1] >= 0) {
        name = entry_of(arg[1])->name;
        length = entry_of(arg[1])->length;
    }
    return bind(fd, (struct sockaddr *)&name, length);
}

int64_t op_listen(const int32_t *arg, struct outcome *outcome) {
    int fd = fd_of(arg[0]);
    int result = listen(fd, arg[1]);
    struct address *entry = entry_of(arg[2]);
    if (result == 0) {
        entry->length = sizeof entry->name;
        getsockname(fd, (struct sockaddr *)&entry->name, &entry->length);
        outcome->value[PORT] = ntohs(((struct sockaddr_in *)&entry->name)->sin_port);
    }
    return result;
}

int64_t op_connect(const int32_t *arg, struct outcome *outcome) {
    struct sockaddr_storage name = {.ss_family = AF_UNSPEC};
    int fd = fd_of(arg[0]);
    const struct sockaddr *to = (const struct sockaddr *)&name;
    (void)outcome;
    switch (arg[1]) {
    case -1:
        return connect(fd, to, sizeof(struct sockaddr));
    case -2:
        return connect(fd, to, 1);
    case -3:
        return connect(fd, (const struct sockaddr *)nowhere, sizeof(struct sockaddr_in));
    case -4:
        name.ss_family = AF_UNIX;
        return connect(fd, to, sizeof(struct sockaddr_in));
    default:
        return connect(fd, (const struct sockaddr *)&entry_of(arg[1])->name, entry_of(arg[1])->length);
    }
}

static void show_address(const struct sockaddr_storage *name, socklen_t length, struct outcome *outcome) {
    outcome->value[0] = (int32_t)length;
    outcome->value[1] = name->ss_family;
    if (length >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)name;
        const struct sockaddr_in *in = (const struct sockaddr_in *)name;
        outcome->value[2] = name->ss_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr)
                                                        : (int32_t)ntohl(in->sin_addr.s_addr);
        outcome->value[PORT] = ntohs(in->sin_port);
    }
}

/* how: 0 without an address, 1 with one, 2 with a bad one; sockflags below 0: accept instead of accept4. */
int64_t op_accept(const int32_t *arg, struct outcome *outcome) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    struct sockaddr *to = arg[3] == 2 ? (struct sockaddr *)nowhere : arg[3] == 1 ? (struct sockaddr *)&name : NULL;
    socklen_t *size = to == NULL ? NULL : &length;
    memset(&name, 0, sizeof name);
    int fd = arg[2] < 0 ? accept(fd_of(arg[0]), to, size) : accept4(fd_of(arg[0]), to, size, arg[2]);
    slot_set(arg[1], fd);
    if (fd >= 0 && arg[3] == 1)
        show_address(&name, length, outcome);
    return fd < 0 ? -1 : 0;
}

/* A connection that waits at either of two listeners, of which the kernel chose one. */
int64_t op_acceptany(const int32_t *arg, struct outcome *outcome) {
    (void)outcome;
    for (int which = 0; which < 2; which++) {
        int fd = accept(fd_of(arg[which]), NULL, NULL);
        slot_set(arg[2], fd);
        if (fd >= 0 || errno != EAGAIN)
            return fd < 0 ? -1 : 0;
    }
    return -1;
}

/* how: 0 close, 1 by the C library's syscall(), 2 past the C library. */
int64_t op_close(const int32_t *arg, struct outcome *outcome) {
    int fd = fd_of(arg[0]);
    (void)outcome;
    if (arg[1] == 0)
        return close(fd);
    if (arg[1] == 1)
        return syscall(SYS_close, fd);
    long result = kernel(SYS_close, fd, 0, 0, 0, 0, 0);
    errno = result < 0 ? (int)-result : 0;
    return result < 0 ? -1 : 0;
}

/* how: 0 dup, 1 dup2, 2 dup3 with close-on-exec, 3 F_DUPFD, 4 F_DUPFD_CLOEXEC; 1 and 2 onto the number in the slot. */
int64_t op_dup(const int32_t *arg, struct outcome *outcome) {
    int from = fd_of(arg[0]), onto = fd_of(arg[1]), fd = -1;
    onto = onto < 0 ? 40 + arg[1] : onto;
    (void)outcome;
    switch (arg[2]) {
    case 0:
        fd = dup(from);
        break;
    case 1:
        fd = dup2(from, onto);
        break;
    case 2:
        fd = dup3(from, onto, O_CLOEXEC);
        break;
    default:
        fd = fcntl(from, arg[2] == 3 ? F_DUPFD : F_DUPFD_CLOEXEC, 20);
    }
    slot_set(arg[1], fd);
    return fd < 0 ? -1 : 0;
}

int64_t op_shutdown(const int32_t *arg, struct outcome *outcome) {
    (void)outcome;
    return shutdown(fd_of(arg[0]), arg[1]);
}

static int filled_file(void) {
    int fd = memfd_create("player-file", 0);
    if (fd >= 0 && write(fd, "what the file has in it, and no connection", 42) == 42)
        lseek(fd, 0, SEEK_SET);
    return fd;
}

static int one_of_two(int kind) {
    int fds[2] = {-1, -1};
    bool made = kind == 1 ? pipe(fds) == 0 : socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0;
    if (!made)
        return -1;
    if (write(fds[1], "bytes of another kind", 21) != 21 || close(fds[1]) != 0)
        return -1;
    return fds[0];
}

/* Something else that gets a number: how 0 a file, 1 a pipe, 2 a Unix socket, 3 a UDP socket, 4 an eventfd. */
int64_t op_file(const int32_t *arg, struct outcome *outcome) {
    int fd = -1;
    (void)outcome;
    if (arg[1] == 0)
        fd = filled_file();
    else if (arg[1] == 1 || arg[1] == 2)
        fd = one_of_two(arg[1]);
    else
        fd = arg[1] == 3 ? socket(AF_INET, SOCK_DGRAM, 0) : eventfd(3, EFD_NONBLOCK);
    slot_set(arg[0], fd);
    return fd < 0 ? -1 : 0;
}

/* how: 0 getsockname, 1 getpeername. */
int64_t op_name(const int32_t *arg, struct outcome *outcome) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    memset(&name, 0, sizeof name);
    int result = arg[1] == 0 ? getsockname(fd_of(arg[0]), (struct sockaddr *)&name, &length)
                             : getpeername(fd_of(arg[0]), (struct sockaddr *)&name, &length);
    if (result == 0)
        show_address(&name, length, outcome);
    return result;
}
