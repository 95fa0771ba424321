/* What a program sees of its handlers and signals while it uses connections: order, data, masks, and who may set them. */
#include "case.h"

#include <setjmp.h>
#include <sys/sendfile.h>
#include <sys/time.h>
#include <ucontext.h>

enum { SIGNALS = 3000, ROUNDS = 500, JUMPS = 12 };

#define RESTORER 0x04000000   /* which the C library sets */

static struct link shared;
static atomic_int handled, wrong;

/* ------------------------------------------------------------------------------------------- order and data */

static void expect_next(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    wrong += info->si_value.sival_int != handled || info->si_code != SI_QUEUE;
    handled++;
}

static void *queue_all(void *about) {
    for (int i = 0; i < SIGNALS; i++)
        while (pthread_sigqueue(*(pthread_t *)about, SIGRTMIN, (union sigval){.sival_int = i}) != 0)
            sched_yield();   /* the queue is full */
    return NULL;
}

static void in_order(void) {
    struct sigaction action = {.sa_sigaction = expect_next, .sa_flags = SA_SIGINFO | SA_RESTART};
    pthread_t self = pthread_self();
    char byte = 'x';
    handled = wrong = 0;
    shared = link_open();
    sigaction(SIGRTMIN, &action, NULL);
    struct worker *worker = work(queue_all, &self);
    while (handled < SIGNALS) {
        send(shared.near, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        recv(shared.far, &byte, 1, MSG_DONTWAIT);
    }
    must(is_over(worker, 5000), "all signals are sent");
    say("out of order, or without their data", wrong);
    link_close(&shared);
}

/* ---------------------------------------------------------------------------------------------------- masks */

static void block_itself(int number, siginfo_t *info, void *context) {
    (void)info;
    handled++;
    sigaddset(&((ucontext_t *)context)->uc_sigmask, number);
}

/* The handler changes the mask that the thread has afterwards. */
static void mask_stays(void) {
    struct sigaction action = {.sa_sigaction = block_itself, .sa_flags = SA_SIGINFO};
    struct itimerval each = {{0, 50}, {0, 50}}, none = {{0, 0}, {0, 0}};
    sigset_t now, only;
    int open = 0;
    shared = link_open();
    sigemptyset(&only);
    sigaddset(&only, SIGALRM);
    for (int i = 0; i < ROUNDS; i++) {
        int before = handled;
        sigaction(SIGALRM, &action, NULL);
        setitimer(ITIMER_REAL, &each, NULL);
        while (handled == before)
            poll(&(struct pollfd){shared.near, POLLIN, 0}, 1, 1);
        pthread_sigmask(SIG_BLOCK, NULL, &now);
        open += !sigismember(&now, SIGALRM);
        setitimer(ITIMER_REAL, &none, NULL);
        signal(SIGALRM, SIG_IGN);   /* one that waits is gone then */
        pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    }
    say("not blocked afterwards", open);
    link_close(&shared);
}

/* -------------------------------------------------------------------------------------------- setting handlers */

static void one(int number) {
    (void)number;
    handled += 1;
}

static void hundred(int number) {
    (void)number;
    handled += 100;
}

static siginfo_t last;

static void note_info(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    last = *info;
}

static void set_and_asked(void) {
    struct sigaction action = {.sa_handler = one, .sa_flags = SA_RESTART}, old, broken = {.sa_flags = SA_SIGINFO};
    struct { void *handler; unsigned long flags, restorer, mask; } raw = {0};
    shared = link_open();
    handled = 0;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR1, NULL, &old);
    say_is("sigaction shows it", old.sa_handler == one && (old.sa_flags & ~RESTORER) == SA_RESTART);
    syscall(SYS_rt_sigaction, SIGUSR1, NULL, &raw, 8);
    say_is("rt_sigaction shows it", raw.handler == (void *)one);
    say_is("signal gives it back", signal(SIGUSR1, hundred) == one);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    say_is("sigset gives it back", sigset(SIGUSR1, one) == hundred);
#pragma GCC diagnostic pop
    raise(SIGUSR1);
    say("handled", handled);
    pid_t child = vfork();
    if (child == 0) {
        signal(SIGUSR1, hundred);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    raise(SIGUSR1);
    say("handled after a child of vfork has set another", handled);
    broken.sa_sigaction = note_info;
    sigaction(SIGPIPE, &broken, NULL);
    shutdown(shared.near, SHUT_WR);
    say("send", send(shared.near, "x", 1, 0));
    say("SIGPIPE's code", last.si_code);
    say_is("from itself", last.si_pid == getpid());
    signal(SIGPIPE, SIG_IGN);
    link_close(&shared);
}

/* ---------------------------------------------------------------------------------------------------- jumps */

static sigjmp_buf before;

static void jump(int number) {
    (void)number;
    siglongjmp(before, 1);
}

/* The same call in the same frame, left by a jump each time. */
static void jump_again(void) {
    struct itimerval soon = {{0, 0}, {0, 2000}};
    char byte;
    shared = link_open();
    signal(SIGALRM, jump);
    for (volatile int i = 0; i < JUMPS; i++)
        if (sigsetjmp(before, 1) == 0) {
            setitimer(ITIMER_REAL, &soon, NULL);
            recv(shared.near, &byte, 1, 0);
        }
    signal(SIGALRM, SIG_IGN);
    close(shared.near);
    shared.near = -1;
    say_far("far", &shared);
    link_close(&shared);
}

enum { PAGES = 1024, PAGE = 4096 };

static void *check_pages(void *about) {
    unsigned page[PAGE / sizeof(unsigned)];
    int *bad = about;
    for (unsigned i = 0; i < PAGES; i++) {
        if (far_receive_all(&shared, (char *)page, sizeof(page)) < sizeof(page))
            break;
        *bad += page[0] != i || page[PAGE / sizeof(unsigned) - 1] != i;
    }
    return NULL;
}

static int file_of_pages(void) {
    char name[] = "/tmp/case-XXXXXX";
    unsigned page[PAGE / sizeof(unsigned)];
    int file = mkstemp(name);
    must(file >= 0, "mkstemp");
    unlink(name);
    for (unsigned i = 0; i < PAGES; i++) {
        for (size_t at = 0; at < PAGE / sizeof(unsigned); at++)
            page[at] = i;
        must(write(file, page, PAGE) == PAGE, "write");
    }
    return file;
}

/* The offset tells how much was sent, also where the call did not return. */
static void jump_out_of_sendfile(void) {
    struct itimerval each = {{0, 1000}, {0, 1000}}, none = {{0, 0}, {0, 0}};
    int file = file_of_pages(), bad = 0;
    off_t offset = 0;
    shared = link_open();
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    struct worker *worker = work(check_pages, &bad);   /* which does not jump */
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    for (;;) {
        sigsetjmp(before, 1);
        signal(SIGALRM, SIG_IGN);
        if (offset >= (off_t)PAGES * PAGE)
            break;
        signal(SIGALRM, jump);
        setitimer(ITIMER_REAL, &each, NULL);
        while (offset < (off_t)PAGES * PAGE)
            sendfile(shared.near, file, &offset, (size_t)PAGES * PAGE);
        setitimer(ITIMER_REAL, &none, NULL);
    }
    setitimer(ITIMER_REAL, &none, NULL);
    shutdown(shared.near, SHUT_WR);
    say_is("all is read", is_over(worker, 5000));
    say("wrong pages", bad);
    close(file);
    link_close(&shared);
}

static void *call_epoll(void *about) {
    struct epoll_event event = {.events = EPOLLIN};
    int set = *(int *)about;
    pthread_cancel(pthread_self());
    epoll_ctl(set, EPOLL_CTL_ADD, shared.near, &event);   /* no cancellation point */
    pthread_testcancel();
    return NULL;
}

static void cancelled_later(void) {
    struct epoll_event event = {.events = EPOLLIN};
    int set = epoll_create1(0);
    shared = link_open();
    say_is("it ends", is_over(work(call_epoll, &set), 2000));
    say("epoll_ctl", epoll_ctl(set, EPOLL_CTL_MOD, shared.near, &event));
    close(set);
    link_close(&shared);
}

CASES({"in_order", in_order}, {"mask_stays", mask_stays}, {"set_and_asked", set_and_asked}, {"jump_again", jump_again},
      {"jump_out_of_sendfile", jump_out_of_sendfile}, {"cancelled_later", cancelled_later})
