/* What connections cost: locked memory, and the time of those that are closed at once. */
#include "case.h"

#include <sys/mman.h>
#include <sys/resource.h>

#define LINKS 20
#define MOST_KIB (8 << 10)
#define CONNECTS 100

static long locked_kib(void) {
    char line[256];
    long count = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status != NULL && fgets(line, sizeof(line), status) != NULL)
        if (sscanf(line, "VmLck: %ld", &count) == 1)
            break;
    fclose(status);
    return count;
}

/* A program that locks its memory does not lock megabytes for each connection. */
static void locked_memory(void) {
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    struct link links[LINKS];
    setrlimit(RLIMIT_MEMLOCK, &unlimited);
    links[0] = link_open();
    must(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall");
    long before = locked_kib();
    for (int i = 1; i < LINKS; i++)
        links[i] = link_open();
    long grown = locked_kib() - before;
    say_is("moderate", grown < MOST_KIB);
    if (grown >= MOST_KIB)
        say("KiB", grown);
    munlockall();
    for (int i = 0; i < LINKS; i++)
        link_close(&links[i]);
}

/* Connects that do not wait, and are closed at once, take next to no time. */
static void closed_at_once(void) {
    struct link link = link_open();
    double began = now();
    for (int i = 0; i < CONNECTS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fd, (struct sockaddr *)&address, sizeof(address));
        close(fd);
    }
    double taken = now() - began;
    say_is("in time", taken < 0.7);
    if (taken >= 0.7)
        say("ms", (long)(taken * 1e3));
    link_close(&link);
    close(listener);
    listener = -1;
}

CASES({"locked_memory", locked_memory}, {"closed_at_once", closed_at_once})
