/* The main function of every case program, and how results are printed. */
#include "case.h"

int round_number;

int case_main(int count, char **words, const struct test *tests, size_t most) {
    const char *rounds = getenv("CASE_ROUNDS"), *name = count > 1 ? words[1] : "";
    int total = rounds != NULL ? atoi(rounds) : 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < most; i++) {
        if (strcmp(tests[i].name, name) != 0)
            continue;
        for (round_number = 0; round_number < total; round_number++)
            tests[i].run();
        fflush(stdout);
        _exit(0);
    }
    fprintf(stderr, "no test \"%s\"; there are:\n", name);
    for (size_t i = 0; i < most; i++)
        fprintf(stderr, "  %s\n", tests[i].name);
    return 2;
}

static const char *error_name(void) {
    const char *name = strerrorname_np(errno);
    return name != NULL ? name : "an error without errno";
}

void say(const char *what, long result) {
    if (result < 0)
        printf("%s: %s\n", what, error_name());
    else
        printf("%s: %ld\n", what, result);
}

void say_text(const char *what, const char *data, long count) {
    if (count < 0)
        printf("%s: %s\n", what, error_name());
    else if (count == 0)
        printf("%s: end\n", what);
    else {
        printf("%s: \"", what);
        for (long i = 0; i < count; i++)
            printf(data[i] >= ' ' && data[i] <= '~' ? "%c" : data[i] == '\n' ? "\\n" : "\\x%02x", (unsigned char)data[i]);
        printf("\"\n");
    }
}

void say_is(const char *what, bool is) {
    printf("%s: %s\n", what, is ? "yes" : "no");
}

void say_events(const char *what, unsigned events) {
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{POLLIN, " in"},     {POLLOUT, " out"}, {POLLPRI, " pri"},
                 {POLLRDHUP, " rdhup"}, {POLLERR, " err"}, {POLLHUP, " hup"}, {POLLNVAL, " nval"}};
    printf("%s:%s", what, events == 0 ? " none" : "");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (events & names[i].bit)
            printf("%s", names[i].name);
    printf("\n");
}

void note(const char *text) {
    printf("%s\n", text);
}

void fail(const char *what) {
    printf("cannot go on: %s (%s)\n", what, errno != 0 ? error_name() : "no error");
    fflush(stdout);
    _exit(1);
}

void must(bool condition, const char *what) {
    if (!condition)
        fail(what);
}

void expect_direct(void) {
    const char *wanted = getenv("CASE_DIRECT"), *mark = getenv("CASE_MARK");
    if (wanted == NULL || mark == NULL)
        return;
    char line[4096];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "re");
    must(maps != NULL, "open /proc/self/maps");
    while (!found && fgets(line, sizeof(line), maps) != NULL)
        found = strstr(line, mark) != NULL && strstr(line, " r--s ") != NULL;
    fclose(maps);
    if (found != (wanted[0] == '1'))
        note(found ? "the connection is direct and should not be" : "the connection is not direct");
}
