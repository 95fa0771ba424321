/* Measures how many connections a second can be made, used for one byte and closed; and holds idle ones.
 *
 *   connect serve ADDRESS PORT           accepts for ever: reads a byte, sends it back, closes
 *   connect loop ADDRESS PORT SECONDS    connects again and again, and prints the connections per second
 *   connect first ADDRESS PORT           prints the microseconds that the first connect of a program takes, without
 *                                        waiting for the other end
 *   connect hold ADDRESS PORT COUNT      opens connections, each of which gets an answer to a PING, prints "held"
 *                                        and keeps them until its input ends
 *
 *   connect echo ADDRESS PORT            accepts for ever: sends back what comes, until the end
 *   connect paced ADDRESS PORT SECONDS   one connection with 1,000 requests of 100 bytes a second; prints how many were
 *                                        answered in time, and the 99th percentile of the time from when each was due
 *   connect flat ADDRESS PORT SECONDS    the same without a pause, and prints the requests per second
 *
 * Clients close with a reset: thousands of ports in TIME_WAIT would make the kernel's search for a free one the
 * thing that is measured.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in where;

static void fail(const char *what)
{
    fprintf(stderr, "connect: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int new_socket(void)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return fd;
}

static int new_connection(void)
{
    int fd = new_socket();
    if (connect(fd, (struct sockaddr *)&where, sizeof where))
        fail("connect");
    return fd;
}

static void serve(void)
{
    int listener = new_socket();
    if (bind(listener, (struct sockaddr *)&where, sizeof where) || listen(listener, 1024))
        fail("listen");
    for (;;) {
        char byte;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            fail("accept");
        if (recv(fd, &byte, 1, 0) == 1)
            send(fd, &byte, 1, MSG_NOSIGNAL);
        close(fd);
    }
}

static void loop(double seconds)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    double start = now(), end = start;
    long count = 0;
    while (end < start + seconds) {
        char byte = 'x';
        int fd = new_connection();
        if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
            fail("echo");
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
        count++;
        end = now();
    }
    printf("%.1f per second\n", count / (end - start));
}

static void first(void)
{
    int fd = new_socket();
    double start;
    if (fcntl(fd, F_SETFL, O_NONBLOCK))
        fail("fcntl");
    start = now();
    if (connect(fd, (struct sockaddr *)&where, sizeof where) && errno != EINPROGRESS && errno != ECONNREFUSED)
        fail("connect");
    printf("%.1f us\n", (now() - start) * 1e6);
}

static void hold(int count)
{
    char answer[64];
    for (int i = 0; i < count; i++) {
        int fd = new_connection();
        if (send(fd, "PING\r\n", 6, MSG_NOSIGNAL) != 6 || recv(fd, answer, sizeof answer, 0) <= 0)
            fail("PING");
    }
    printf("held %d\n", count);
    fflush(stdout);
    while (read(0, answer, sizeof answer) > 0)
        ;
}

static void echo(void)
{
    int listener = new_socket();
    if (bind(listener, (struct sockaddr *)&where, sizeof where) || listen(listener, 16))
        fail("listen");
    for (;;) {
        char data[4096];
        ssize_t got;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            fail("accept");
        while ((got = recv(fd, data, sizeof data, 0)) > 0)
            if (send(fd, data, got, MSG_NOSIGNAL) != got)
                break;
        close(fd);
    }
}

#define REQUEST 100
#define PERIOD 0.001

static void ask(int fd)
{
    char data[REQUEST] = "";
    if (send(fd, data, sizeof data, MSG_NOSIGNAL) != sizeof data || recv(fd, data, sizeof data, MSG_WAITALL) != sizeof data)
        fail("echo");
}

static int by_size(const void *one, const void *other)
{
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

static void paced(double seconds)
{
    int fd = new_connection(), due = seconds / PERIOD, done = 0;
    double *times = calloc(due, sizeof *times), start = now();
    if (times == NULL || due < 100)
        fail("seconds");
    for (; done < due && now() < start + seconds + 1; done++) {
        double at = start + done * PERIOD, left = at - now();
        struct timespec pause = {0, left > 0 ? left * 1e9 : 0};
        if (left > 0)
            nanosleep(&pause, NULL);
        ask(fd);
        times[done] = now() - at;
    }
    qsort(times, done, sizeof *times, by_size);
    printf("%d of %d, %.1f us\n", done, due, times[done * 99 / 100] * 1e6);
}

static void flat(double seconds)
{
    int fd = new_connection();
    double start = now(), end = start;
    long count = 0;
    for (; end < start + seconds; end = now(), count++)
        ask(fd);
    printf("%.1f per second\n", count / (end - start));
}

int main(int argc, char **argv)
{
    if (argc < 4 || inet_pton(AF_INET, argv[2], &where.sin_addr) != 1) {
        fprintf(stderr, "usage: connect serve|loop|first|hold|echo|paced|flat ADDRESS PORT [SECONDS|COUNT]\n");
        return 2;
    }
    where.sin_family = AF_INET;
    where.sin_port = htons(atoi(argv[3]));
    if (!strcmp(argv[1], "serve"))
        serve();
    else if (!strcmp(argv[1], "loop") && argc > 4)
        loop(atof(argv[4]));
    else if (!strcmp(argv[1], "echo"))
        echo();
    else if (!strcmp(argv[1], "paced") && argc > 4)
        paced(atof(argv[4]));
    else if (!strcmp(argv[1], "flat") && argc > 4)
        flat(atof(argv[4]));
    else if (!strcmp(argv[1], "first"))
        first();
    else if (!strcmp(argv[1], "hold") && argc > 4)
        hold(atoi(argv[4]));
    return 0;
}
