/* select and pselect, on top of poll when there is a direct descriptor in a set. */
#include "multiplex/select.h"

#include <string.h>
#include <sys/mman.h>

#include "base/real.h"
#include "base/signals.h"
#include "fdtable/entry.h"
#include "multiplex/poll.h"
#include "wait/sleeper.h"
#include "wait/stay.h"

#define BITS (8 * sizeof(unsigned long))
#define READ_BITS (POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR) /* as the kernel's select */
#define WRITE_BITS (POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR)
#define FEW 128

struct sets {
    int count;
    unsigned long *in[3]; /* read, write, except; each may be NULL. Programs may have larger ones than fd_set */
};

static unsigned long word(const struct sets *sets, int which, size_t at) {
    return sets->in[which] == NULL ? 0 : sets->in[which][at];
}

static bool has(const struct sets *sets, int which, int fd) {
    return word(sets, which, (size_t)fd / BITS) >> ((size_t)fd % BITS) & 1;
}

/* How many descriptors are in the sets, and whether one of them is ours. */
static nfds_t look_up(const struct sets *sets, bool *direct) {
    nfds_t count = 0;
    *direct = false;
    for (int first = 0; first < sets->count; first += (int)BITS) {
        size_t at = (size_t)first / BITS;
        unsigned long bits = word(sets, 0, at) | word(sets, 1, at) | word(sets, 2, at);
        for (; bits != 0; bits &= bits - 1) {
            int fd = first + __builtin_ctzl(bits);
            if (fd >= sets->count)
                break;
            count++;
            *direct |= entry_of(fd) != NULL;
        }
    }
    return count;
}

static void fill(const struct sets *sets, struct pollfd *polls) {
    for (int fd = 0; fd < sets->count; fd++) {
        bool read = has(sets, 0, fd), write = has(sets, 1, fd), except = has(sets, 2, fd);
        if (read || write || except)
            *polls++ =
                (struct pollfd){fd, (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0) | (except ? POLLPRI : 0)), 0};
    }
}

static short meant(const struct sets *sets, const struct pollfd *poll) {
    short bits = POLLNVAL;
    bits |= has(sets, 0, poll->fd) ? READ_BITS : 0;
    bits |= has(sets, 1, poll->fd) ? WRITE_BITS : 0;
    bits |= has(sets, 2, poll->fd) ? POLLPRI : 0;
    return bits & poll->revents;
}

static int put(const struct sets *sets, const struct pollfd *polls, nfds_t count) {
    static const short bits[3] = {READ_BITS, WRITE_BITS, POLLPRI};
    int ready = 0;
    for (nfds_t i = 0; i < count; i++)
        for (int which = 0; which < 3; which++) {
            int fd = polls[i].fd < 0 ? ~polls[i].fd : polls[i].fd;
            if (!has(sets, which, fd))
                continue;
            if (polls[i].fd >= 0 && polls[i].revents & bits[which])
                ready++;
            else
                sets->in[which][(size_t)fd / BITS] &= ~(1ul << (size_t)fd % BITS);
        }
    return ready;
}

/* Like poll, but a hangup counts for those that are read only: others are left out from then on (as ~fd). */
static int wait_polls(const struct sets *sets, struct pollfd *polls, nfds_t count, uint64_t timeout,
                      const sigset_t *mask) {
    uint64_t now = now_ns(), deadline = timeout > FOR_EVER - now ? FOR_EVER : now + timeout;
    for (;;) {
        int result = poll_direct(polls, count, timeout, mask);
        bool some = false;
        if (result <= 0)
            return result;
        for (nfds_t i = 0; i < count; i++) {
            if (polls[i].fd < 0 || polls[i].revents == 0)
                continue;
            if (polls[i].revents & POLLNVAL) {
                errno = EBADF;
                return -1;
            }
            if (meant(sets, &polls[i]) != 0)
                some = true;
            else
                polls[i].fd = ~polls[i].fd;
        }
        if (some)
            return 1;
        if (deadline != FOR_EVER) {
            now = now_ns();
            timeout = deadline > now ? deadline - now : 0;
        }
    }
}

static void unmap(struct stay *stay) {
    munmap(stay->what, stay->bytes);
}

static int select_with(const struct sets *sets, struct pollfd *polls, nfds_t count, uint64_t timeout,
                       const sigset_t *mask) {
    fill(sets, polls);
    int result = wait_polls(sets, polls, count, timeout, mask);
    if (result == 0) /* nothing: the sets are emptied */
        for (nfds_t i = 0; i < count; i++)
            polls[i].revents = 0;
    return result >= 0 ? put(sets, polls, count) : result;
}

static int select_many(const struct sets *sets, nfds_t count, uint64_t timeout, const sigset_t *mask) {
    size_t room = count * sizeof(struct pollfd);
    struct mark mark;
    HANDLERS_WAIT();
    void *memory = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        errno = ENOMEM;
        return -1;
    }
    struct stay *stay = stay_begin(&mark, unmap, memory);
    stay->bytes = room;
    int result = select_with(sets, memory, count, timeout, mask), saved = errno;
    munmap(memory, room);
    stay_end(stay);
    errno = saved;
    return result;
}

static int select_direct(const struct sets *sets, nfds_t count, uint64_t timeout, const sigset_t *mask) {
    struct pollfd few[FEW];
    return count <= FEW ? select_with(sets, few, count, timeout, mask) : select_many(sets, count, timeout, mask);
}

/* Sets and times that are no memory are the kernel's to refuse. */
static bool are_bad(const struct sets *sets, const void *time, const void *mask) {
    return is_bad_option(sets->in[0]) || is_bad_option(sets->in[1]) || is_bad_option(sets->in[2]) ||
           is_bad_option(time) || is_bad_option(mask);
}

bool select_has_direct(int count, fd_set *reads, fd_set *writes, fd_set *excepts) {
    struct sets sets = {count, {(void *)reads, (void *)writes, (void *)excepts}};
    bool direct = false;
    if (entry_highest >= 0 && count > 0 && !are_bad(&sets, NULL, NULL))
        look_up(&sets, &direct);
    return direct;
}

int select_any(int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *time) {
    struct sets sets = {count, {(void *)reads, (void *)writes, (void *)excepts}};
    bool direct = false;
    bool known = UNLIKELY(entry_highest >= 0) && count >= 0 && !are_bad(&sets, time, NULL);
    nfds_t members = known ? look_up(&sets, &direct) : 0;
    if (LIKELY(!direct) || (time != NULL && (time->tv_sec < 0 || time->tv_usec < 0)))
        return real_select(count, reads, writes, excepts, time);
    uint64_t timeout = FOR_EVER, began = now_ns();
    if (time != NULL)
        timeout = in_ns(time->tv_sec + time->tv_usec / 1000000, time->tv_usec % 1000000 * 1000);
    int result = select_direct(&sets, members, timeout, NULL);
    if (timeout != FOR_EVER) { /* what is left of it, as Linux does */
        uint64_t took = now_ns() - began, left = took < timeout ? timeout - took : 0;
        time->tv_sec = (time_t)(left / 1000000000);
        time->tv_usec = (suseconds_t)(left % 1000000000 / 1000);
    }
    return result;
}

int pselect_any(int count, fd_set *reads, fd_set *writes, fd_set *excepts, const struct timespec *time,
                const sigset_t *mask) {
    struct sets sets = {count, {(void *)reads, (void *)writes, (void *)excepts}};
    bool direct = false, known = UNLIKELY(entry_highest >= 0) && count >= 0 && !are_bad(&sets, time, mask);
    nfds_t members = known ? look_up(&sets, &direct) : 0;
    if (LIKELY(!direct) || !is_time(time))
        return real_pselect(count, reads, writes, excepts, time, mask);
    return select_direct(&sets, members, time_ns(time), mask);
}
