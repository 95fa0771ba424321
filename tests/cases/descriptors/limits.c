/* RLIMIT_NOFILE: the program has as many descriptors as it allows itself, whatever the library needs beside them. */
#include "case.h"

#include <spawn.h>
#include <sys/resource.h>

enum { MOST = 64 };

extern char **environ;

static void set_limit(rlim_t most) {
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = most;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
}

static rlim_t soft_limit(void) {
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    return limit.rlim_cur;
}

/* Connections until there is no descriptor more; each carries a byte. */
static void all_are_used(void) {
    struct link links[MOST];
    int count = 0, last = -1;
    char byte;
    set_limit(MOST);
    links[count++] = link_open();
    for (;;) {
        struct link *link = &links[count];
        link->near = socket(AF_INET, SOCK_STREAM, 0);
        if (link->near < 0)
            break;
        must(connect(link->near, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
        last = link->near;
        link->far = accept(listener, NULL, NULL);
        if (link->far < 0)
            break;
        last = link->far;
        count++;
    }
    say("no more", -1);
    for (int i = 0; i < count; i++)
        must(send(links[i].near, "x", 1, 0) == 1 && recv(links[i].far, &byte, 1, 0) == 1, "a byte passes");
    say("connections", count);
    say("last descriptor", last);
    must(links[count].near < 0 || links[count].far < 0, "an end is missing");
    if (links[count].near >= 0) {   /* its other end waits on */
        link_close(&links[--count]);
        links[count] = (struct link){links[count + 1].near, accept(listener, NULL, NULL), false};
        must(links[count].far >= 0, "accept");
        must(send(links[count].near, "y", 1, 0) == 1 && recv(links[count].far, &byte, 1, 0) == 1, "a byte passes");
        count++;
    }
    while (count > 0)
        link_close(&links[--count]);
    close(listener);
    listener = -1;
}

static void is_shown(void) {
    struct rlimit limit;
    set_limit(100);
    struct link link = link_open();
    say("getrlimit", (long)soft_limit());
    syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
    say("prlimit64", (long)limit.rlim_cur);
    say("sysconf", sysconf(_SC_OPEN_MAX));
    say("getdtablesize", getdtablesize());
    say("dup2 beyond", dup2(link.near, 100));
    say("F_DUPFD beyond", fcntl(link.near, F_DUPFD, 100));
    say("F_DUPFD to the last", fcntl(link.near, F_DUPFD, 99));
    say("and once more", fcntl(link.near, F_DUPFD, 99));
    set_limit(200);
    say("getrlimit", (long)soft_limit());
    say("dup2 beyond the first", dup2(link.near, 150));
    close(99);
    close(150);
    link_close(&link);
}

static void in_other_programs(void) {
    char *words[] = {"sh", "-c", "echo limit: `ulimit -n`", NULL};
    int status;
    pid_t child;
    set_limit(100);
    struct link link = link_open();
    say("system", system(words[2]));
    fflush(stdout);
    must(posix_spawnp(&child, "sh", NULL, NULL, words, environ) == 0, "posix_spawnp");
    waitpid(child, &status, 0);
    if ((child = vfork()) == 0) {
        execvp("sh", words);
        _exit(1);
    }
    waitpid(child, &status, 0);
    if ((child = fork()) == 0) {
        execvp("/nowhere", words);
        execvp("sh", words);
        _exit(1);
    }
    waitpid(child, &status, 0);
    say("own limit", (long)soft_limit());
    link_close(&link);
}

static int connected(void) {
    int near = socket(AF_INET, SOCK_STREAM, 0);
    must(near >= 0 && connect(near, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
    return near;
}

/* All numbers are taken, but one, from `first` on; what does not get it stays in the backlog. */
static void accepts_with_one_free(const char *what, int first) {
    int near[] = {connected(), connected()}, copies[300], count = 0, copy, room = fcntl(listener, F_DUPFD, first);
    must(room >= 0, "F_DUPFD");
    while ((copy = fcntl(listener, F_DUPFD, 0)) >= 0)
        copies[count++] = copy;
    note(what);
    say("accept without room", accept(listener, NULL, NULL));
    close(room);
    int far = accept(listener, NULL, NULL);
    say_is("takes the number", far == room);
    say("accept again", accept(listener, NULL, NULL));
    close(near[0]);
    close(near[1]);
    close(far);
    close(accept(listener, NULL, NULL));
    while (count > 0)
        close(copies[--count]);
}

static void accepts_to_the_last(void) {
    set_limit(200);
    struct link link = link_open();
    accepts_with_one_free("a low one", 20);
    accepts_with_one_free("the same", 20);
    accepts_with_one_free("the last one", 199);
    accepts_with_one_free("one of the last", 136);
    link_close(&link);
}

CASES({"limit_all_used", all_are_used}, {"limit_shown", is_shown}, {"limit_elsewhere", in_other_programs},
      {"limit_accepts", accepts_to_the_last})
