/* Measures how many connections a second can be made, used for one byte and closed; and holds idle ones.
 *
 *   connect serve ADDRESS PORT           accepts for ever: reads a byte, sends it back, closes
 *   connect loop ADDRESS PORT SECONDS    connects again and again, and prints the connections per second
 *   connect first ADDRESS PORT           prints the microseconds that the first connect of a program takes, without
 *                                        waiting for the other end
 *   connect hold ADDRESS PORT COUNT      opens connections, each of which gets an answer to a PING, prints "held"
 *                                        and keeps them until its input ends
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

int main(int argc, char **argv)
{
    if (argc < 4 || inet_pton(AF_INET, argv[2], &where.sin_addr) != 1) {
        fprintf(stderr, "usage: connect serve|loop|first|hold ADDRESS PORT [SECONDS|COUNT]\n");
        return 2;
    }
    where.sin_family = AF_INET;
    where.sin_port = htons(atoi(argv[3]));
    if (!strcmp(argv[1], "serve"))
        serve();
    else if (!strcmp(argv[1], "loop") && argc > 4)
        loop(atof(argv[4]));
    else if (!strcmp(argv[1], "first"))
        first();
    else if (!strcmp(argv[1], "hold") && argc > 4)
        hold(atoi(argv[4]));
    return 0;
}
