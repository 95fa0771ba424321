/* What the case programs share: connections with a far end, waiting, threads, and how results are printed. */
#ifndef CASE_H
#define CASE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* One test of a program; a program is run with the test's name and does it CASE_ROUNDS times. */
struct test {
    const char *name;
    void (*run)(void);
};

int case_main(int count, char **words, const struct test *tests, size_t most);

#define CASES(...)                                                                                      \
    int main(int count, char **words) {                                                                 \
        static const struct test tests[] = {__VA_ARGS__};                                               \
        return case_main(count, words, tests, sizeof(tests) / sizeof(*tests));                          \
    }

/* ------------------------------------------------------------------------------------------- results */

void say(const char *what, long result);                  /* "what: 5", or "what: EAGAIN" when negative */
void say_text(const char *what, const char *data, long count);   /* the bytes, or an error, or "end" for 0 */
void say_is(const char *what, bool is);                   /* "what: yes" or "what: no" */
void say_events(const char *what, unsigned events);       /* of poll or epoll, by name */
void note(const char *text);                              /* a line of its own */
_Noreturn void fail(const char *what);                    /* what the test needs is not there */
void must(bool condition, const char *what);
void expect_direct(void);                                 /* says so when direct or plain is not as it should be */

/* --------------------------------------------------------------------------------------- connections */

/* A connection: the near end is under test. When CASE_ONLY says client or server, it is that end, and the far end's
 * descriptor is one that the library does not know. */
struct link {
    int near;
    int far;
    bool accepted;   /* the near end accepted the connection */
};

extern int listener;                   /* of this program; the first link_open makes it */
extern struct sockaddr_in address;     /* where links of this program are accepted */
extern int round_number;

int listen_at(struct sockaddr_in *at, int backlog);
int connect_to(const struct sockaddr_in *at);
long try_to_connect(const struct sockaddr_in *at);   /* by a socket of its own, which is closed again */
int accept_from(int from);             /* where accepting is not what is tested */
struct link link_open(void);           /* bytes have passed both ways; the near end accepts in even rounds, or as CASE_ONLY says */
struct link link_from(int near_listener);   /* the near end accepts at this listener, whose address is `address` */
void link_close(struct link *link);

void far_send(const struct link *link, const void *data, size_t count);
size_t far_receive(const struct link *link, char *data, size_t most);   /* 0: end; waits for something */
size_t far_receive_all(const struct link *link, char *data, size_t count);
void far_shutdown(const struct link *link, int how);
void far_close(struct link *link);
void far_reset(struct link *link);
void say_far(const char *what, const struct link *link);   /* what the far end reads next, within a time */

/* --------------------------------------------------------------------------------------------- waiting */

double now(void);                                          /* seconds */
bool await(bool (*condition)(void *), void *about, int ms);
void await_bytes(int fd, int count);                       /* so many can be read */
short await_events(int fd, short events, int ms);          /* poll's revents, 0 when none came in time */
void await_asleep(pid_t thread);                           /* a thread of this process, or a child, is blocked */
void fill(int fd);                                         /* writes until nothing more is taken */

/* --------------------------------------------------------------------------------------------- threads */

struct worker {
    pthread_t id;
    atomic_int tid;
    void *(*run)(void *);
    void *about;
    void *result;   /* once it is over */
};

struct worker *work(void *(*run)(void *), void *about);    /* it has begun */
struct worker *work_asleep(void *(*run)(void *), void *about);   /* it is blocked already */
bool is_over(struct worker *worker, int ms);               /* joined within this time */

#endif
