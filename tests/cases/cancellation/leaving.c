/* Blocking calls that a program leaves by siglongjmp or by pthread_cancel; afterwards the connection works on. */
#include "case.h"

#include <setjmp.h>
#include <sys/select.h>

enum call { RECV, READ, RECVMSG, SEND, POLL, SELECT, EPOLL, ACCEPT, CONNECT };

struct stage {
    enum call call;
    struct link link;
    int epoll, listener, connecting, waiting;
    struct sockaddr_in at;
};

static void set(struct stage *stage, enum call call) {
    struct epoll_event event = {.events = EPOLLIN};
    *stage = (struct stage){.call = call, .link = {.near = -1, .far = -1}, .epoll = -1, .listener = -1};
    if (call == ACCEPT || call == CONNECT) {
        stage->listener = listen_at(&stage->at, call == CONNECT ? 0 : 8);
    } else {
        stage->link = link_open();
        stage->epoll = epoll_create1(0);
        must(epoll_ctl(stage->epoll, EPOLL_CTL_ADD, stage->link.near, &event) == 0, "epoll_ctl");
    }
    if (call == SEND)
        fill(stage->link.near);
    if (call == CONNECT) {   /* a backlog of 0 has room for one */
        stage->waiting = connect_to(&stage->at);
        stage->connecting = socket(AF_INET, SOCK_STREAM, 0);
    }
}

static long block(struct stage *stage) {
    static const char zeros[1 << 20];
    char data[64];
    struct iovec vector = {data, sizeof(data)};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    struct pollfd entry = {stage->link.near, POLLIN, 0};
    struct epoll_event event;
    fd_set fds;
    switch (stage->call) {
    case RECV: return recv(stage->link.near, data, sizeof(data), 0);
    case READ: return read(stage->link.near, data, sizeof(data));
    case RECVMSG: return recvmsg(stage->link.near, &message, 0);
    case SEND: return send(stage->link.near, zeros, sizeof(zeros), MSG_NOSIGNAL);
    case POLL: return poll(&entry, 1, -1);
    case EPOLL: return epoll_wait(stage->epoll, &event, 1, -1);
    case ACCEPT: return accept(stage->listener, NULL, NULL);
    case CONNECT: return connect(stage->connecting, (struct sockaddr *)&stage->at, sizeof(stage->at));
    case SELECT:
        FD_ZERO(&fds);
        FD_SET(stage->link.near, &fds);
        return select(stage->link.near + 1, &fds, NULL, NULL, NULL);
    }
    return -1;
}

static void *send_hello(void *about) {
    const struct stage *stage = about;
    far_send(&stage->link, "hello", 5);
    return NULL;
}

static void *receive(void *about) {
    const struct link *link = about;
    char data[64];
    say_text("recv", data, recv(link->near, data, sizeof(data), 0));
    return NULL;
}

/* Every call of an existing connection works, whichever was left. */
static void check_connection(struct stage *stage) {
    struct epoll_event event;
    struct worker *receiver = work_asleep(receive, &stage->link);
    send_hello(stage);
    say_is("a blocked recv ends", is_over(receiver, 2000));
    send_hello(stage);
    say_events("poll", (unsigned)await_events(stage->link.near, POLLIN, 2000));
    say("epoll_wait", epoll_wait(stage->epoll, &event, 1, 2000));
    receive(&stage->link);
    say("send", send(stage->link.near, "back", 4, MSG_NOSIGNAL));
    say_far("far", &stage->link);
    far_close(&stage->link);
    receive(&stage->link);
}

static void *drain(void *about) {
    static char data[1 << 16];
    const struct stage *stage = about;
    while (far_receive(&stage->link, data, sizeof(data)) > 0)
        ;
    return NULL;
}

static void check_full(struct stage *stage) {
    struct worker *drainer = work(drain, stage);
    say_events("poll", (unsigned)await_events(stage->link.near, POLLOUT, 2000));
    say("send", send(stage->link.near, "more", 4, MSG_NOSIGNAL));
    shutdown(stage->link.near, SHUT_WR);
    say_is("the far end reads on to the end", is_over(drainer, 3000));
}

static void check_greeting(int client, int server) {
    char byte;
    say("send", send(client, "1", 1, MSG_NOSIGNAL));
    say("recv", recv(server, &byte, 1, 0));
    say("send", send(server, "2", 1, MSG_NOSIGNAL));
    say("recv", recv(client, &byte, 1, 0));
}

static void check_listener(struct stage *stage) {
    int client = connect_to(&stage->at), server = accept_from(stage->listener);
    check_greeting(client, server);
    close(client);
    close(server);
    close(stage->listener);
    stage->listener = -1;
    say("connect to the closed listener", try_to_connect(&stage->at));
}

/* The connection is still being made, and is there when the backlog has room. */
static void check_connecting(struct stage *stage) {
    int first = accept_from(stage->listener);
    say_events("poll", (unsigned)await_events(stage->connecting, POLLOUT, 5000));
    int server = accept_from(stage->listener);
    check_greeting(stage->connecting, server);
    close(first);
    close(server);
    close(stage->waiting);
    close(stage->connecting);
}

static void check(struct stage *stage) {
    if (stage->call == SEND)
        check_full(stage);
    else if (stage->call == ACCEPT)
        check_listener(stage);
    else if (stage->call == CONNECT)
        check_connecting(stage);
    else
        check_connection(stage);
    if (stage->listener >= 0)
        close(stage->listener);
    if (stage->epoll >= 0)
        close(stage->epoll);
    link_close(&stage->link);
}

static sigjmp_buf out;

static void jump(int number) {
    (void)number;
    siglongjmp(out, 1);
}

static void *interrupt(void *about) {
    await_asleep(getpid());
    pthread_kill(*(pthread_t *)about, SIGUSR1);
    return NULL;
}

static void by_jump(enum call call) {
    static struct stage stage;
    struct sigaction action = {.sa_handler = jump, .sa_flags = SA_RESTART};
    pthread_t self = pthread_self();
    struct worker *volatile interrupter;
    sigaction(SIGUSR1, &action, NULL);
    set(&stage, call);
    if (sigsetjmp(out, 1) == 0) {
        interrupter = work(interrupt, &self);
        say("the call that should block", block(&stage));
    }
    must(is_over(interrupter, 2000), "the thread that interrupts ends");
    check(&stage);
}

static void *block_until_cancelled(void *about) {
    say("the call that should block", block(about));
    return NULL;
}

static void by_cancel(enum call call) {
    static struct stage stage;
    set(&stage, call);
    struct worker *worker = work_asleep(block_until_cancelled, &stage);
    pthread_cancel(worker->id);
    say_is("cancelled", is_over(worker, 2000) && worker->result == PTHREAD_CANCELED);
    check(&stage);
}

#define BOTH(name, call)                                       \
    static void jump_out_of_##name(void) { by_jump(call); }   \
    static void cancel_in_##name(void) { by_cancel(call); }
#define TESTS(name) {"jump_out_of_" #name, jump_out_of_##name}, {"cancel_in_" #name, cancel_in_##name}

BOTH(recv, RECV)
BOTH(read, READ)
BOTH(recvmsg, RECVMSG)
BOTH(send, SEND)
BOTH(poll, POLL)
BOTH(select, SELECT)
BOTH(epoll_wait, EPOLL)
BOTH(accept, ACCEPT)
BOTH(connect, CONNECT)

CASES(TESTS(recv), TESTS(read), TESTS(recvmsg), TESTS(send), TESTS(poll), TESTS(select), TESTS(epoll_wait),
      TESTS(accept), TESTS(connect))
