/* A program that gives up all system calls but those that it makes by itself; others would kill it. */
#include "case.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

static const int allowed[] = {
    SYS_read, SYS_write, SYS_close, SYS_sendto, SYS_recvfrom, SYS_socket, SYS_connect, SYS_accept, SYS_accept4, SYS_fcntl,
    SYS_epoll_ctl, SYS_ppoll, SYS_epoll_pwait, SYS_setsockopt, SYS_getsockopt, SYS_exit_group, SYS_rt_sigreturn,
    SYS_rt_sigprocmask, SYS_futex, SYS_fstat, SYS_newfstatat, SYS_brk, SYS_mmap, SYS_munmap, SYS_getpid, SYS_getrandom,
#ifdef SYS_poll
    SYS_poll, SYS_epoll_wait,
#endif
};
#define COUNT (sizeof(allowed) / sizeof(*allowed))

static void restrict_oneself(void) {
    struct sock_filter lines[2 * COUNT + 2], *line = lines;
    *line++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < COUNT; i++) {
        *line++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i], 0, 1);
        *line++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    *line++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {(unsigned short)(line - lines), lines};
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
    must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "PR_SET_SECCOMP");
}

static void use(int near, int far, int epoll) {
    struct epoll_event event = {.events = EPOLLIN};
    struct pollfd waits = {near, POLLIN, 0};
    char data[8];
    say("send", send(far, "a", 1, MSG_NOSIGNAL));
    say("poll", poll(&waits, 1, 2000));
    say("add", epoll_ctl(epoll, EPOLL_CTL_ADD, near, &event));
    say("epoll_wait", epoll_wait(epoll, &event, 1, 2000));
    say_text("read", data, read(near, data, sizeof(data)));
    say("write", write(near, "b", 1));
    say_text("the far end", data, recv(far, data, 1, 0));
}

/* The child has the filter, and says what it has done by its exit alone where it was killed. */
static void filter(void) {
    struct link link = link_open();
    pid_t child;
    int status;
    fflush(stdout);
    if ((child = fork()) == 0) {
        int epoll = epoll_create1(0);
        struct link own = link_open();
        restrict_oneself();
        use(own.near, own.far, epoll);
        int far = connect_to(&address), near = accept_from(listener);   /* link_open would look for memory */
        use(near, far, epoll);
        fflush(stdout);
        _exit(0);
    }
    must(waitpid(child, &status, 0) == child, "wait for the child");
    say_is("it was killed", !WIFEXITED(status));
    link_close(&link);
}

CASES({"filter", filter})
