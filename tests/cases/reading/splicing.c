/* splice between pipes and connections: bytes, waiting, and errors. */
#include "case.h"

enum { BYTES = 1 << 20, PIECE = 1000 };

static struct link shared;
static int ends[2];

static void begin(void) {
    shared = link_open();
    must(pipe(ends) == 0, "pipe");
}

static void finish(void) {
    close(ends[0]);
    close(ends[1]);
    link_close(&shared);
}

static ssize_t take(unsigned flags) {
    return splice(shared.near, NULL, ends[1], NULL, 100, flags);
}

static void say_pipe(const char *what) {
    char data[100];
    say_text(what, data, read(ends[0], data, sizeof(data)));
}

static void bytes(void) {
    char data[100];
    begin();
    far_send(&shared, "to the pipe", 11);
    say("in", take(0));
    say_pipe("in the pipe");
    must(write(ends[1], "from the pipe", 13) == 13, "write");
    say("out", splice(ends[0], NULL, shared.near, NULL, 100, 0));
    say_text("at the far end", data, (long)far_receive_all(&shared, data, 13));
    far_close(&shared);
    say("in at the end", take(0));
    finish();
}

static void *send_later(void *about) {
    await_asleep(*(pid_t *)about);
    far_send(&shared, "late", 4);
    return NULL;
}

/* The socket's own flag decides whether the socket is waited for, and the pipe's whether the pipe is. */
static void waiting(void) {
    static char zeros[1 << 16];
    pid_t self = getpid();
    begin();
    struct worker *worker = work(send_later, &self);
    say("in, with SPLICE_F_NONBLOCK", take(SPLICE_F_NONBLOCK));
    must(is_over(worker, 5000), "the far end sends");
    say_pipe("in the pipe");
    fcntl(shared.near, F_SETFL, O_NONBLOCK);
    say("nothing there", take(0));
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    say("out of an empty pipe", splice(ends[0], NULL, shared.near, NULL, 100, 0));
    while (write(ends[1], zeros, sizeof(zeros)) > 0)
        ;
    far_send(&shared, "x", 1);
    await_bytes(shared.near, 1);
    say("into a full pipe", take(0));
    say_text("still there", zeros, recv(shared.near, zeros, sizeof(zeros), 0));
    finish();
}

static void errors(void) {
    off64_t offset = 0;
    begin();
    far_send(&shared, "hello", 5);
    await_bytes(shared.near, 5);
    say("nothing, wrong flags", splice(shared.near, NULL, ends[1], NULL, 0, 64));
    say("wrong flags", take(64));
    say("offset of the socket", splice(shared.near, &offset, ends[1], NULL, 100, 0));
    say("offset of the pipe", splice(shared.near, NULL, ends[1], &offset, 100, 0));
    say("offset of the socket, outwards", splice(ends[0], NULL, shared.near, &offset, 100, 0));
    say("offset of the pipe, outwards", splice(ends[0], &offset, shared.near, NULL, 100, 0));
    say("no pipe", splice(shared.near, NULL, shared.near, NULL, 100, 0));
    say("into the reading end", splice(shared.near, NULL, ends[0], NULL, 100, 0));
    say("out of the writing end", splice(ends[1], NULL, shared.near, NULL, 100, 0));
    signal(SIGPIPE, SIG_IGN);
    close(ends[0]);
    say("without a reader", take(0));
    ends[0] = -1;
    finish();
}

static void dead(void) {
    char data[100];
    begin();
    signal(SIGPIPE, SIG_IGN);
    must(write(ends[1], "precious", 8) == 8, "write");
    shutdown(shared.near, SHUT_WR);
    say("out", splice(ends[0], NULL, shared.near, NULL, 100, 0));
    say_text("still in the pipe", data, read(ends[0], data, sizeof(data)));
    finish();
}

/* By the numbers of the system calls. */
static void by_number(void) {
    char data[100], name[] = "/tmp/case-XXXXXX";
    struct iovec place = {data, sizeof(data)}, text = {"pwritev2", 8};
    off_t offset = 0;
    int file = mkstemp(name);
    must(file >= 0 && unlink(name) == 0 && write(file, "sendfile", 8) == 8, "a file");
    begin();
    say("sendfile", syscall(SYS_sendfile, shared.near, file, &offset, 8));
    say_text("far", data, (long)far_receive_all(&shared, data, 8));
    must(write(ends[1], "splice", 6) == 6, "write");
    say("splice", syscall(SYS_splice, ends[0], NULL, shared.near, NULL, 6, 0));
    say_text("far", data, (long)far_receive_all(&shared, data, 6));
    say("pwritev2", syscall(SYS_pwritev2, shared.near, &text, 1, -1L, -1L, 0));
    say_text("far", data, (long)far_receive_all(&shared, data, 8));
    far_send(&shared, "preadv2", 7);
    await_bytes(shared.near, 7);
    say_text("preadv2", data, syscall(SYS_preadv2, shared.near, &place, 1, -1L, -1L, 0));
    far_send(&shared, "more", 4);
    await_bytes(shared.near, 4);
    say("splice", syscall(SYS_splice, shared.near, NULL, ends[1], NULL, 100, 0));
    say_pipe("in the pipe");
    close(file);
    finish();
}

static atomic_long got;

static void *read_beside(void *about) {
    char data[PIECE];
    ssize_t count;
    (void)about;
    while ((count = recv(shared.near, data, sizeof(data), 0)) > 0)
        got += count;
    return NULL;
}

static void *empty_pipe(void *about) {
    static char data[1 << 16];
    ssize_t count;
    (void)about;
    while ((count = read(ends[0], data, sizeof(data))) > 0)
        got += count;
    return NULL;
}

static void *send_all(void *about) {
    static const char data[PIECE];
    (void)about;
    for (int sent = 0; sent < BYTES; sent += PIECE)
        far_send(&shared, data, PIECE);
    far_shutdown(&shared, SHUT_WR);
    return NULL;
}

/* Each byte goes one of two ways. */
static void beside_reader(void) {
    long spliced;
    begin();
    got = 0;
    struct worker *sender = work(send_all, NULL), *reader = work(read_beside, NULL), *other = work(empty_pipe, NULL);
    while ((spliced = splice(shared.near, NULL, ends[1], NULL, 1 << 16, 0)) > 0)
        ;
    say("at the end", spliced);
    close(ends[1]);
    ends[1] = -1;
    must(is_over(sender, 5000) && is_over(reader, 5000) && is_over(other, 5000), "all threads end");
    say("bytes too many", got - (BYTES + PIECE - 1) / PIECE * PIECE);
    finish();
}

CASES({"splice_bytes", bytes}, {"splice_waiting", waiting}, {"splice_errors", errors}, {"splice_beside_reader", beside_reader},
      {"splice_to_dead", dead}, {"moved_by_number", by_number})
