/* Operations that ask what is ready: poll, select and epoll of every kind, and small questions to a descriptor. */
#include "player.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 3 };

static int64_t by_select(struct pollfd *entry, int milliseconds, bool is_pselect) {
    fd_set sets[3];
    static const short wanted[3] = {POLLIN, POLLOUT, POLLPRI};
    struct timeval value = {milliseconds / 1000, milliseconds % 1000 * 1000};
    struct timespec spec = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    int most = -1, result;
    for (int set = 0; set < 3; set++) {
        FD_ZERO(&sets[set]);
        for (int index = 0; index < MOST; index++)
            if (entry[index].fd >= 0 && (entry[index].events & wanted[set])) {
                FD_SET(entry[index].fd, &sets[set]);
                most = entry[index].fd > most ? entry[index].fd : most;
            }
    }
    if (is_pselect)
        result = pselect(most + 1, &sets[0], &sets[1], &sets[2], milliseconds < 0 ? NULL : &spec, NULL);
    else
        result = select(most + 1, &sets[0], &sets[1], &sets[2], milliseconds < 0 ? NULL : &value);
    for (int set = 0; result > 0 && set < 3; set++)
        for (int index = 0; index < MOST; index++)
            if (entry[index].fd >= 0 && FD_ISSET(entry[index].fd, &sets[set]))
                entry[index].revents |= wanted[set];
    return result;
}

/* count: the time-out in milliseconds; how: 0 poll, 1 ppoll, 2 select, 3 pselect. */
int64_t op_poll(const int32_t *arg, struct outcome *outcome) {
    struct pollfd entry[MOST];
    struct timespec spec = {arg[0] / 1000, arg[0] % 1000 * 1000000L};
    int64_t result;
    for (int index = 0; index < MOST; index++) {
        int slot = arg[2 + 2 * index];
        entry[index] = (struct pollfd){slot < 0 ? -1 : fd_of(slot), (short)arg[3 + 2 * index], 0};
    }
    if (arg[1] == 0)
        result = poll(entry, MOST, arg[0]);
    else if (arg[1] == 1)
        result = ppoll(entry, MOST, arg[0] < 0 ? NULL : &spec, NULL);
    else
        result = by_select(entry, arg[0], arg[1] == 3);
    int error = errno;
    for (int index = 0; index < MOST; index++)
        outcome->value[index] = result > 0 ? entry[index].revents : 0;
    errno = error;
    return result;
}

/* how: flags of epoll_create1. */
int64_t op_epoll(const int32_t *arg, struct outcome *outcome) {
    int fd = epoll_create1(arg[1]);
    (void)outcome;
    slot_set(arg[0], fd);
    return fd < 0 ? -1 : 0;
}

/* how: the operation; what the events carry is the slot. */
int64_t op_epollctl(const int32_t *arg, struct outcome *outcome) {
    struct epoll_event event = {.events = (uint32_t)arg[3], .data.u32 = (uint32_t)arg[2]};
    (void)outcome;
    return epoll_ctl(fd_of(arg[0]), arg[1], fd_of(arg[2]), &event);
}

static int by_slot(const void *a, const void *b) {
    const struct epoll_event *left = a, *right = b;
    return (int)left->data.u32 - (int)right->data.u32;
}

/* counts: time-out and number of events; how: 0 epoll_wait, 1 epoll_pwait, 2 epoll_pwait2. */
int64_t op_epollwait(const int32_t *arg, struct outcome *outcome) {
    struct epoll_event events[MOST];
    struct timespec spec = {arg[1] / 1000, arg[1] % 1000 * 1000000L};
    int fd = fd_of(arg[0]), most = arg[2] > MOST ? MOST : arg[2];
    int64_t result;
    memset(events, 0, sizeof events);
    if (arg[3] == 0)
        result = epoll_wait(fd, events, most, arg[1]);
    else if (arg[3] == 1)
        result = epoll_pwait(fd, events, most, arg[1], NULL);
    else
        result = epoll_pwait2(fd, events, most, arg[1] < 0 ? NULL : &spec, NULL);
    int error = errno;
    if (result > 0)
        qsort(events, (size_t)result, sizeof *events, by_slot);
    for (int index = 0; index < result; index++) {
        outcome->value[2 * index] = (int32_t)events[index].data.u32;
        outcome->value[2 * index + 1] = (int32_t)events[index].events;
    }
    errno = error;
    return result;
}

/* how: 0 FIONREAD, 1 SIOCOUTQ (only whether it is 0), 2 SIOCATMARK, 3 FIONBIO with the count, 4 an unknown request. */
int64_t op_ioctl(const int32_t *arg, struct outcome *outcome) {
    static const unsigned long requests[] = {FIONREAD, SIOCOUTQ, SIOCATMARK, FIONBIO, 0x5499};
    int value = arg[1] == 3 ? arg[2] : 0;
    int result = ioctl(fd_of(arg[0]), requests[arg[1] % 5], &value);
    if (result == 0)
        outcome->value[0] = arg[1] == 1 ? value != 0 : value;
    return result;
}

/* how: 0 F_GETFL, 1 sets or clears O_NONBLOCK, 2 F_GETFD, 3 F_SETFD. */
int64_t op_fcntl(const int32_t *arg, struct outcome *outcome) {
    int fd = fd_of(arg[0]), flags;
    (void)outcome;
    switch (arg[1]) {
    case 0:
        return fcntl(fd, F_GETFL);
    case 1:
        flags = fcntl(fd, F_GETFL);
        return flags < 0 ? -1 : fcntl(fd, F_SETFL, arg[2] ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
    case 2:
        return fcntl(fd, F_GETFD);
    default:
        return fcntl(fd, F_SETFD, arg[2]);
    }
}
