/* Waiting for conditions, and threads that a test waits for. */
#include "case.h"

#include <time.h>

#define PATIENCE_MS 5000
#define LOOKS 6   /* in a row that must find a thread blocked in the same call */

double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Lets others run before the next look at a condition. */
static void pause_briefly(void) {
    struct timespec time = {0, 500000};
    syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, NULL);
}

bool await(bool (*condition)(void *), void *about, int ms) {
    double deadline = now() + ms / 1e3;
    while (!condition(about)) {
        if (now() > deadline)
            return false;
        pause_briefly();
    }
    return true;
}

struct wanted_bytes {
    int fd, count;
};

static bool has_bytes(void *about) {
    struct wanted_bytes *wanted = about;
    int count = 0;
    return ioctl(wanted->fd, FIONREAD, &count) == 0 && count >= wanted->count;
}

void await_bytes(int fd, int count) {
    struct wanted_bytes wanted = {fd, count};
    must(await(has_bytes, &wanted, PATIENCE_MS), "the bytes have come");
}

short await_events(int fd, short events, int ms) {
    struct pollfd entry = {fd, events, 0};
    return poll(&entry, 1, ms) > 0 ? entry.revents : 0;
}

struct sleeper {
    char path[64], before[256];
    int looks;
};

/* Whether the thread has been found in the same blocking system call several times in a row. */
static bool is_asleep(void *about) {
    struct sleeper *sleeper = about;
    char now_in[256] = "";
    int file = (int)syscall(SYS_openat, AT_FDCWD, sleeper->path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    long count = syscall(SYS_read, file, now_in, sizeof(now_in) - 1);
    syscall(SYS_close, file);
    bool in_call = count > 0 && strncmp(now_in, "running", 7) != 0 && strncmp(now_in, "-1 ", 3) != 0;
    bool same = in_call && strcmp(now_in, sleeper->before) == 0;
    sleeper->looks = same ? sleeper->looks + 1 : 0;
    memcpy(sleeper->before, now_in, sizeof(now_in));
    return sleeper->looks >= LOOKS;
}

void await_asleep(pid_t thread) {
    struct sleeper sleeper = {.looks = 0};
    snprintf(sleeper.path, sizeof(sleeper.path), "/proc/%d/syscall", thread);
    must(await(is_asleep, &sleeper, PATIENCE_MS), "a thread is blocked");
}

void fill(int fd) {
    static const char zeros[1 << 16];
    int full = 0;
    while (full < 5)   /* what is on the way makes room again */
        if (send(fd, zeros, sizeof(zeros), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            full = 0;
        else if (errno != EAGAIN)
            fail("fill the connection");
        else if (await_events(fd, POLLOUT, 20) == 0)
            full++;
}

static void *begin(void *about) {
    struct worker *worker = about;
    worker->tid = (int)syscall(SYS_gettid);
    return worker->run(worker->about);
}

static bool has_begun(void *about) {
    struct worker *worker = about;
    return worker->tid != 0;
}

struct worker *work(void *(*run)(void *), void *about) {
    struct worker *worker = calloc(1, sizeof(*worker));
    must(worker != NULL, "memory");
    worker->run = run;
    worker->about = about;
    must(pthread_create(&worker->id, NULL, begin, worker) == 0, "make a thread");
    must(await(has_begun, worker, PATIENCE_MS), "a thread has begun");
    return worker;
}

struct worker *work_asleep(void *(*run)(void *), void *about) {
    struct worker *worker = work(run, about);
    await_asleep(worker->tid);
    return worker;
}

bool is_over(struct worker *worker, int ms) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += ms / 1000;
    end.tv_nsec += ms % 1000 * 1000000L;
    if (end.tv_nsec >= 1000000000L) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000L;
    }
    return pthread_timedjoin_np(worker->id, &worker->result, &end) == 0;
}
