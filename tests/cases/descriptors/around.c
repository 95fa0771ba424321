/* Reads and writes that reach a descriptor around the C library: no foreign bytes, and nothing is lost in silence. */
#include "case.h"
#include "raw.h"

#include <aio.h>
#include <linux/io_uring.h>
#include <sys/uio.h>

#define WAIT_MS 2000

typedef long reader(int fd, char *data, size_t most);
typedef long writer(int fd, const char *data, size_t count);

extern ssize_t __read(int, void *, size_t);
extern ssize_t __write(int, const void *, size_t);

static long from_kernel(long result) {
    errno = result < 0 ? (int)-result : 0;
    return result < 0 ? -1 : result;
}

static long read_instruction(int fd, char *data, size_t most) {
    return from_kernel(raw_call(SYS_read, fd, (long)data, (long)most));
}

static long write_instruction(int fd, const char *data, size_t count) {
    return from_kernel(raw_call(SYS_write, fd, (long)data, (long)count));
}

static long read_syscall(int fd, char *data, size_t most) {
    return syscall(SYS_read, fd, data, most);
}

static long write_syscall(int fd, const char *data, size_t count) {
    return syscall(SYS_write, fd, data, count);
}

static long recv_syscall(int fd, char *data, size_t most) {
    return syscall(SYS_recvfrom, fd, data, most, 0, NULL, NULL);
}

static long send_syscall(int fd, const char *data, size_t count) {
    return syscall(SYS_sendto, fd, data, count, MSG_NOSIGNAL, NULL, 0);
}

static long read_alias(int fd, char *data, size_t most) {
    return __read(fd, data, most);
}

static long write_alias(int fd, const char *data, size_t count) {
    return __write(fd, data, count);
}

static long read_vector(int fd, char *data, size_t most) {
    return preadv2(fd, &(struct iovec){data, most}, 1, -1, 0);
}

static long write_vector(int fd, const char *data, size_t count) {
    return pwritev2(fd, &(struct iovec){(void *)data, count}, 1, -1, 0);
}

static long finish(struct aiocb *block) {
    const struct aiocb *list[1] = {block};
    struct timespec limit = {WAIT_MS / 1000, 0};
    if (aio_suspend(list, 1, &limit) != 0)
        return -1;
    errno = aio_error(block);
    return aio_return(block);
}

static long read_aio(int fd, char *data, size_t most) {
    struct aiocb block = {.aio_fildes = fd, .aio_buf = data, .aio_nbytes = most};
    return aio_read(&block) == 0 ? finish(&block) : -1;
}

static long write_aio(int fd, const char *data, size_t count) {
    struct aiocb block = {.aio_fildes = fd, .aio_buf = (void *)data, .aio_nbytes = count};
    return aio_write(&block) == 0 ? finish(&block) : -1;
}

/* A copy of the descriptor that the kernel made when nobody of the program was asked. */
static int stolen(int fd) {
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    int copy = (int)syscall(SYS_pidfd_getfd, self, fd, 0);
    must(self >= 0 && copy >= 0, "pidfd_getfd");
    close(self);
    return copy;
}

static long read_stolen(int fd, char *data, size_t most) {
    int copy = stolen(fd);
    long count = read(copy, data, most);
    int why = errno;
    close(copy);
    errno = why;
    return count;
}

static long write_stolen(int fd, const char *data, size_t count) {
    int copy = stolen(fd);
    long written = write(copy, data, count);
    int why = errno;
    close(copy);
    errno = why;
    return written;
}

/* The data, an error or the end; never anything else. */
static void read_by(reader *get) {
    struct link link = link_open();
    char data[64] = "";
    far_send(&link, "hello", 5);
    await_bytes(link.near, 5);
    long got = get(link.near, data, sizeof(data));
    if (got > 0 && !(got == 5 && memcmp(data, "hello", 5) == 0))
        say_text("foreign bytes", data, got);
    else
        printf("the read gives %s\n", got > 0 ? "the data" : "the end or an error");
    link_close(&link);
}

/* The far end gets the data, or the write fails, or the connection is reset so that both ends learn of it. */
static void write_by(writer *put) {
    struct link link = link_open();
    char data[64];
    long written = put(link.near, "hello", 5);
    if (written < 0) {
        note("the write fails");
    } else if (await_events(link.far, POLLIN, WAIT_MS) == 0) {
        note("the far end hears nothing");
    } else {
        long got = recv(link.far, data, sizeof(data), MSG_DONTWAIT);
        if (got < 0)
            note("the far end is reset");
        else if (got == 5 && memcmp(data, "hello", 5) == 0)
            note("the far end gets the data");
        else
            say_text("the far end gets", data, got);
    }
    link_close(&link);
}

#define BY(name)                                                    \
    static void read_by_##name(void) { read_by(read_##name); }     \
    static void write_by_##name(void) { write_by(write_##name); }
#define TESTS(name) {"read_by_" #name, read_by_##name}, {"write_by_" #name, write_by_##name}

BY(instruction)
BY(syscall)
BY(alias)
BY(vector)
BY(aio)
BY(stolen)

static void recv_by_syscall(void) {
    read_by(recv_syscall);
}

static void send_by_syscall(void) {
    write_by(send_syscall);
}

/* A program that adds descriptors to an epoll by io_uring must hear of them; so it works, or it is refused at once. */
static void io_uring(void) {
    struct io_uring_params parameters = {.flags = 0};
    long ring = syscall(SYS_io_uring_setup, 4, &parameters);
    printf("io_uring %s\n", ring >= 0 ? "is there" : "is refused");
    if (ring >= 0)
        close((int)ring);
}

static void raw_epoll(void) {
    struct link link = link_open();
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 7};
    char data[16];
    int epoll = (int)syscall(SYS_epoll_create1, 0);
    say("epoll_ctl", syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, link.near, &event));
    far_send(&link, "abc", 3);
    event.data.u32 = 0;
    say("epoll_pwait", syscall(SYS_epoll_pwait, epoll, &event, 1, 1000, NULL, 8));
    say("its data", event.data.u32);
    say_text("recv", data, recv(link.near, data, sizeof(data), 0));
    say("epoll_pwait", syscall(SYS_epoll_pwait, epoll, &event, 1, 50, NULL, 8));
    close(epoll);
    link_close(&link);
}

CASES(TESTS(instruction), TESTS(syscall), TESTS(alias), TESTS(vector), TESTS(aio), TESTS(stolen),
      {"recv_by_syscall", recv_by_syscall}, {"send_by_syscall", send_by_syscall}, {"io_uring", io_uring},
      {"raw_epoll", raw_epoll})
