/* Children that are made in unusual ways, and the connection that they share with their parent. */
#include "case.h"
#include "raw.h"

#include <spawn.h>

/* The child sends when the parent has closed its descriptor, and the child's answer says what it received. */
static void child(const struct link *link, int go) {
    char byte, data[16] = "";
    if (read(go, &byte, 1) != 1)
        _exit(1);
    ssize_t got = recv(link->near, data, sizeof(data), 0);
    if (got == 3 && memcmp(data, "abc", 3) == 0)
        send(link->near, "hello", 5, MSG_NOSIGNAL);
    else
        send(link->near, "wrong", 5, MSG_NOSIGNAL);
    _exit(0);
}

static void parent(struct link *link, int go, pid_t pid) {
    must(pid > 0, "make a child");
    int status = -1;
    say("close", close(link->near));
    far_send(link, "abc", 3);
    must(write(go, "g", 1) == 1, "tell the child");
    say_far("far", link);
    say_far("far", link);
    waitpid(pid, &status, 0);
    say("child's status", status);
    link->near = -1;
    link_close(link);
}

static void forked(pid_t (*fork_by)(void)) {
    int go[2];
    struct link link = link_open();
    must(pipe(go) == 0, "pipe");
    pid_t pid = fork_by();
    if (pid == 0)
        child(&link, go[0]);
    parent(&link, go[1], pid);
    close(go[0]);
    close(go[1]);
}

static pid_t by_clone(void) {
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static pid_t by_clone3(void) {
    struct {
        uint64_t words[8];
    } arguments = {.words = {[4] = SIGCHLD}};
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
}

static pid_t by_raw_fork(void) {
#ifdef SYS_fork
    return (pid_t)syscall(SYS_fork);
#else
    return by_clone();
#endif
}

static void raw_clone(void) {
    forked(by_clone);
}

static void raw_clone3(void) {
    forked(by_clone3);
}

static void raw_fork(void) {
    forked(by_raw_fork);
}

static void bare_fork(void) {
    forked(_Fork);
}

static void library_fork(void) {
    forked(fork);
}

/* The parent's other threads and descriptors remain usable after a child has come and gone. */
static void raw_clone_leaves_parent(void) {
    struct link link = link_open();
    char data[16];
    pid_t pid = by_clone();
    if (pid == 0)
        _exit(7);
    int status = -1;
    waitpid(pid, &status, 0);
    say("child's exit code", WEXITSTATUS(status));
    far_send(&link, "abc", 3);
    say_text("recv", data, recv(link.near, data, sizeof(data), 0));
    say("send", send(link.near, "def", 3, MSG_NOSIGNAL));
    say_far("far", &link);
    link_close(&link);
}

/* A directory that has nothing but the static program: neither /proc nor libraries. */
static void make_root(char *root) {
    char words[512], path[256];
    const char *folder = getenv("CASE_FOLDER");
    snprintf(path, sizeof(path), "%s/root-XXXXXX", folder != NULL ? folder : "/tmp");
    must(mkdtemp(path) != NULL, "make a directory");
    snprintf(words, sizeof(words), "cp %s %s/reader", getenv("CASE_READER"), path);
    must(system(words) == 0, "copy the static program");
    snprintf(root, 256, "%s", path);
}

static void remove_root(const char *root) {
    char path[300];
    snprintf(path, sizeof(path), "%s/reader", root);
    unlink(path);
    rmdir(root);
}

static void say_read(int status) {
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    printf("the static program read %s\n", code == 0 ? "the bytes" : code == 1 ? "the end" : code == 2 ? "an error"
                                           : code == 3 ? "foreign bytes" : "nothing, as it did not run");
}

extern char **environ;

static pid_t start_reader(int input, char how) {
    char *words[] = {getenv("CASE_READER"), NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;
    if (how == 's') {
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, input, 0);
        must(posix_spawn(&pid, words[0], &actions, NULL, words, environ) == 0, "posix_spawn");
        posix_spawn_file_actions_destroy(&actions);
        return pid;
    }
    pid = how == 'v' ? vfork() : fork();
    if (pid == 0) {
        dup2(input, 0);
        execv(words[0], words);
        _exit(21);
    }
    return pid;
}

/* A program without the library, not even the C library's dynamic part, has the connection as its input. */
static void read_by_program(char how) {
    struct link link = link_open();
    pid_t pid = start_reader(link.near, how);
    int status = -1;
    far_send(&link, "hello\n", 6);
    waitpid(pid, &status, 0);
    say_read(status);
    say("send", send(link.near, "on", 2, MSG_NOSIGNAL));
    say_far("far", &link);
    link_close(&link);
}

static void fork_and_exec(void) {
    read_by_program('f');
}

static void vfork_and_exec(void) {
    read_by_program('v');
}

static void spawn(void) {
    read_by_program('s');
}

/* In a child, so that this program keeps its own root. */
static void in_chroot(bool by_vfork) {
    char root[256];
    struct link link = link_open();
    make_root(root);
    pid_t inner = fork();
    must(inner >= 0, "fork");
    if (inner == 0) {
        if (chroot(root) != 0 || chdir("/") != 0)
            _exit(20);
        pid_t pid = by_vfork ? vfork() : fork();
        if (pid == 0) {
            dup2(link.near, 0);
            execl("/reader", "reader", (char *)NULL);
            _exit(21);
        }
        int status = -1;
        waitpid(pid, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 22);
    }
    far_send(&link, "hello\n", 6);
    int status = -1;
    waitpid(inner, &status, 0);
    say_read(status);
    remove_root(root);
    link_close(&link);
}

static void vfork_in_chroot(void) {
    in_chroot(true);
}

static void fork_in_chroot(void) {
    in_chroot(false);
}

/* A child of vfork has other files under the numbers of its parent's connections; which these remain. */
static void vfork_other_files(void) {
    struct link link = link_open();
    int ends[2], more[2];
    char data[8];
    must(pipe(ends) == 0 && pipe(more) == 0 && write(more[1], "in", 2) == 2, "make pipes");
    pid_t pid = vfork();
    if (pid == 0) {
        close(link.near);
        if (dup(ends[1]) != link.near || write(link.near, "out", 3) != 3)
            _exit(1);
        _exit(dup2(more[0], link.near) == link.near && read(link.near, data, 8) == 2 ? 0 : 2);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    say("the child", status);
    say_text("from the child", data, read(ends[0], data, 3));
    far_send(&link, "abc", 3);
    say_text("recv", data, recv(link.near, data, 3, MSG_WAITALL));
    say("send", send(link.near, "def", 3, MSG_NOSIGNAL));
    say_far("far", &link);
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(more[i]);
    }
    link_close(&link);
}

CASES({"raw_clone", raw_clone}, {"raw_clone3", raw_clone3}, {"raw_fork", raw_fork}, {"bare_fork", bare_fork},
      {"library_fork", library_fork}, {"raw_clone_leaves_parent", raw_clone_leaves_parent},
      {"fork_and_exec", fork_and_exec}, {"vfork_other_files", vfork_other_files},
      {"vfork_and_exec", vfork_and_exec}, {"spawn", spawn}, {"vfork_in_chroot", vfork_in_chroot}, {"fork_in_chroot", fork_in_chroot})
