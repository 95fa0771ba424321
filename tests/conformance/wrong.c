/* A library to preload that has one fault for each word in PLANTED: what the tester must find. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int has(const char *fault) {
    const char *planted = getenv("PLANTED");
    return planted != NULL && strstr(planted, fault) != NULL;
}

/* errno: where nothing has come, the error is another one. bytes: the third byte is changed. end: no end of file. */
ssize_t recv(int fd, void *bytes, size_t count, int flags) {
    ssize_t (*real)(int, void *, size_t, int) = (ssize_t(*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
    ssize_t result = real(fd, bytes, count, flags);
    if (result < 0 && errno == EAGAIN && has("errno"))
        errno = EINTR;
    if (result > 2 && has("bytes"))
        ((char *)bytes)[2] ^= 1;
    if (result == 0 && count > 0 && has("end")) {
        errno = EAGAIN;
        return -1;
    }
    return result;
}

/* events: no hang-up is told. hang: a poll without a time-out never returns. */
int poll(struct pollfd *entries, nfds_t count, int timeout) {
    int (*real)(struct pollfd *, nfds_t, int) = (int (*)(struct pollfd *, nfds_t, int))dlsym(RTLD_NEXT, "poll");
    if (timeout < 0 && has("hang"))
        return real(NULL, 0, -1);
    int result = real(entries, count, timeout);
    for (nfds_t index = 0; result > 0 && has("events") && index < count; index++)
        entries[index].revents &= ~POLLHUP;
    return result;
}

/* crash: shutdown of both directions ends the process. */
int shutdown(int fd, int how) {
    int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "shutdown");
    if (how == SHUT_RDWR && has("crash"))
        abort();
    return real(fd, how);
}
