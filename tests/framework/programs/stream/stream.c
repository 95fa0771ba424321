/* Streams checked by content: both ends know from a seed what each byte is, and how they read and write by chance.
 *
 *   stream serve ADDRESS PORT SEED MEGABYTES CONNECTIONS STYLE     accepts the connections, then ends
 *   stream ask   ADDRESS PORT SEED MEGABYTES CONNECTIONS STYLE     makes them, and starts when its input ends
 *
 * Over each connection both ends send MEGABYTES at once and shut their direction. A style says how an end waits:
 * thread (blocking; one thread reads, another writes), fork (blocking; a child writes, the parent reads), poll,
 * select, epoll, edge (triggered), mixed (another of them at each turn, the descriptor blocking or not), or any
 * (by chance one of these for each connection). Each connection has a thread or a process of its own, by chance.
 * Prints one line for each connection; exits with 0 when all that was to come came, and nothing else.
 */
#include "stream.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static const char *const style_names[] = {"thread", "fork", "poll", "select", "epoll", "edge", "mixed", "any"};
static _Atomic int failures;

static void carry_by_two(struct stream *s, int by_fork);

/* fork, with a child that does not outlive us. */
static pid_t new_process(void)
{
    pid_t child = fork();
    if (!child)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

/* One connection from its beginning to its end; whether all was right. */
static int carry(struct stream *s)
{
    int style = s->style == ANY ? (int)below(&s->chance, ANY) : s->style;
    printf("%s seed %llu connection %d: %s in a %s\n", s->name, (unsigned long long)s->seed, s->number,
           style_names[style], s->in_process ? "process" : "thread");
    fflush(stdout);
    if (style == THREAD || style == FORK)
        carry_by_two(s, style == FORK);
    else
        carry_by_waiting(s, style);
    close(s->fd);
    return 0;
}

static void *write_all(void *argument)
{
    struct stream *s = argument;
    while (s->written < s->total)
        write_some(s, 0);
    finish_writing(s);
    return NULL;
}

/* The writer has a source of chance of its own: neither a thread nor a child shares one with the reader. */
static void carry_by_two(struct stream *s, int by_fork)
{
    struct stream writer = *s;
    pthread_t thread;
    pid_t child = 0;
    writer.chance ^= 0x5851f42d4c957f2dull;
    if (by_fork) {
        child = new_process();
        if (child < 0)
            broken(s, "fork");
        if (!child) {
            write_all(&writer);
            _exit(0);
        }
    } else if (pthread_create(&thread, NULL, write_all, &writer)) {
        broken(s, "pthread_create");
    }
    while (!s->ended)
        read_some(s, 0);
    if (by_fork) {
        int status;
        if (waitpid(child, &status, 0) != child || status)
            broken(s, "the writing child");
    } else {
        pthread_join(thread, NULL);
    }
}

static void *in_thread(void *argument)
{
    carry(argument);
    return NULL;
}

static int new_socket(const struct sockaddr_in *where, int serves)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (serves && !bind(fd, (void *)where, sizeof *where) && !listen(fd, 128))
        return fd;
    if (!serves && !connect(fd, (void *)where, sizeof *where))
        return fd;
    perror(serves ? "stream: listen" : "stream: connect");
    exit(1);
}

/* A connection belongs to a number, which the asking end says first: accepting may turn the order round. The answer
 * is the same number; with it the connection has become whatever it will be. */
static int connection(const struct sockaddr_in *where, int listener, int *number)
{
    unsigned char byte = *number, other = byte;
    int fd = listener < 0 ? new_socket(where, 0) : accept4(listener, NULL, NULL, SOCK_CLOEXEC), good = fd >= 0;
    if (listener < 0)
        good = good && send(fd, &byte, 1, 0) == 1 && recv(fd, &other, 1, MSG_WAITALL) == 1 && other == byte;
    else
        good = good && recv(fd, &byte, 1, MSG_WAITALL) == 1 && send(fd, &byte, 1, 0) == 1;
    if (!good) {
        perror("stream: connection");
        exit(1);
    }
    *number = byte;
    return fd;
}

/* Until the end of the input: whoever wants to see the connections finds them all. */
static void wait_for_start(void)
{
    char nothing[16];
    printf("connected\n");
    fflush(stdout);
    while (read(0, nothing, sizeof nothing) > 0)
        ;
}

int main(int argc, char **argv)
{
    struct sockaddr_in where = {.sin_family = AF_INET};
    int serves = argc == 8 && !strcmp(argv[1], "serve"), style = 0;
    if (argc != 8 || inet_pton(AF_INET, argv[2], &where.sin_addr) != 1) {
        fprintf(stderr, "usage: stream serve|ask ADDRESS PORT SEED MEGABYTES CONNECTIONS STYLE\n");
        return 2;
    }
    while (style < ANY && strcmp(argv[7], style_names[style]))
        style++;
    where.sin_port = htons(atoi(argv[3]));
    uint64_t seed = strtoull(argv[4], NULL, 0);
    int count = atoi(argv[6]), listener = serves ? new_socket(&where, 1) : -1;
    struct stream *streams = calloc(count, sizeof *streams);
    pthread_t *threads = calloc(count, sizeof *threads);
    pid_t *children = calloc(count, sizeof *children);

    for (int i = 0; i < count; i++) {
        struct stream *s = &streams[i];
        s->name = argv[1], s->seed = seed, s->number = i, s->style = style;
        s->fd = connection(&where, listener, &s->number);
        s->total = strtoull(argv[5], NULL, 0) << 20;
        s->chance = seed * 1000003 + s->number * 2 + serves + 1;
        uint64_t content = seed * 7919 + s->number * 2;
        s->out = content_of(content + serves), s->in = content_of(content + !serves);
        s->in_process = below(&s->chance, 2);
    }
    if (!serves)
        wait_for_start();
    for (int i = 0; i < count; i++) {
        struct stream *s = &streams[i];
        if (!s->in_process) {
            pthread_create(&threads[i], NULL, in_thread, s);
            continue;
        }
        children[i] = new_process();
        if (children[i] == 0)
            _exit(carry(s));
        close(s->fd);
    }
    for (int i = 0; i < count; i++) {
        int status = 0;
        if (streams[i].in_process)
            waitpid(children[i], &status, 0);
        else
            pthread_join(threads[i], NULL);
        if (status) {
            fprintf(stderr, "%s seed %s: a process ended with status %#x\n", argv[1], argv[4], status);
            failures++;
        }
    }
    return failures ? 1 : 0;
}
