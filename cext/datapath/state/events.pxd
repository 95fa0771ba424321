"""The clock, and epoll over the TAP, the doorbells of all links, and the command's eventfd."""

from libc.stdint cimport uint64_t

from datapath.state.state cimport Engine

cdef extern from "<sys/epoll.h>" nogil:
    union epoll_data:
        uint64_t u64
    struct epoll_event:
        unsigned int events
        epoll_data data
    int epoll_wait(int fd, epoll_event *events, int most, int timeout_ms)
    int epoll_ctl(int fd, int op, int target, epoll_event *event)
    int EPOLL_CTL_ADD
    int EPOLL_CTL_DEL
    int EPOLL_CTL_MOD
    unsigned int EPOLLIN

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *t)
    int CLOCK_MONOTONIC

cdef enum:
    TOKEN_TAP = 0x10000          # beyond every port number
    TOKEN_COMMAND = 0x10001
    TOKEN_RX_QUEUE = 0x20000     # and the rx queue's number


cdef inline uint64_t clock_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1_000_000_000 + <uint64_t>t.tv_nsec


cdef inline int watch(Engine *e, int fd, uint64_t token) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN
    event.data.u64 = token
    return epoll_ctl(e.poll_fd, EPOLL_CTL_ADD, fd, &event)


cdef inline void unwatch(Engine *e, int fd) noexcept nogil:
    cdef epoll_event event
    epoll_ctl(e.poll_fd, EPOLL_CTL_DEL, fd, &event)


cdef inline void listen_to_tap(Engine *e, bint wanted) noexcept nogil:
    """Whether a readable TAP wakes the loop: not while its last frame waits for room."""
    cdef epoll_event event
    if e.tap >= 0 and e.tap_muted == wanted:
        e.tap_muted = not wanted
        event.events = EPOLLIN if wanted else 0
        event.data.u64 = TOKEN_TAP
        epoll_ctl(e.poll_fd, EPOLL_CTL_MOD, e.tap, &event)
