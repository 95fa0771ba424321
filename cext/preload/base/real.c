/* The C library's own functions, looked up by name. */
#include "base/real.h"

#include <sys/syscall.h>

#define X(type, name, arguments) type(*real_##name) arguments;
REALS(X)
#undef X

void *real_function(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    return found != NULL ? found : compat_function(name);
}

void real_init(void) {
    compat_init();
#define X(type, name, arguments) *(void **)&real_##name = real_function(#name);
    REALS(X)
#undef X
}

int quiet_epoll(void) {
    return (int)real_syscall(SYS_epoll_create1, EPOLL_CLOEXEC);
}

int quiet_close(int fd) { /* by the C library, as the thread sanitizer follows descriptors */
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    int result = real_close(fd);
    pthread_setcancelstate(state, NULL);
    return result;
}

int quiet_connect(int fd, const struct sockaddr *name, socklen_t length) {
    return (int)real_syscall(SYS_connect, fd, name, length);
}

int quiet_poll(struct pollfd *fds, nfds_t count, int ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    return (int)real_syscall(SYS_ppoll, fds, count, ms < 0 ? NULL : &time, NULL, 0);
}

ssize_t quiet_send(int fd, const void *data, size_t bytes, int flags) {
    return real_syscall(SYS_sendto, fd, data, bytes, flags, NULL, 0);
}

ssize_t quiet_recv(int fd, void *data, size_t bytes, int flags) {
    return real_syscall(SYS_recvfrom, fd, data, bytes, flags, NULL, NULL);
}

ssize_t quiet_write(int fd, const void *data, size_t bytes) {
    return real_syscall(SYS_write, fd, data, bytes);
}

int quiet_events(int epoll, struct epoll_event *events, int room) {
    return (int)real_syscall(SYS_epoll_pwait, epoll, events, room, 0, NULL, 0);
}

int quiet_look(struct pollfd *fds, nfds_t count) {
    struct timespec none = {0, 0};
    return (int)real_syscall(SYS_ppoll, fds, count, &none, NULL, 0);
}
