/* The player's program: the conductor, which starts both ends, each with a preload library or without. */
#include "player.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

struct board *board;
int board_fd;

static void map_board(int fd) {
    board_fd = fd;
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (board == MAP_FAILED) {
        perror("player: board");
        exit(1);
    }
}

/* An end with the library that this variable of ours names, if any. */
static pid_t start_end(int end, const char *variable) {
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char number[16], fd[16];
    const char *library = getenv(variable);
    unsetenv("LD_PRELOAD");
    if (library != NULL && *library != '\0')
        setenv("LD_PRELOAD", library, 1);
    snprintf(number, sizeof number, "%d", end);
    snprintf(fd, sizeof fd, "%d", board_fd);
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    close(null);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execl("/proc/self/exe", "player", "end", number, fd, NULL);
    _exit(127);
}

static int start(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);   /* it may wait for an end that was killed as well */
    int fd = memfd_create("player-board", 0);
    pid_t ends[ENDS];
    if (fd < 0 || ftruncate(fd, sizeof *board) != 0)
        return 1;
    map_board(fcntl(fd, F_DUPFD, 100)); /* above the numbers that the programs' descriptors get */
    close(fd);
    board->conductor = getpid();
    ends[0] = start_end(0, "PLAYER_CLIENT_PRELOAD");
    ends[1] = start_end(1, "PLAYER_SERVER_PRELOAD");
    int code = conduct();
    for (int end = 0; end < ENDS; end++)
        kill(ends[end], SIGTERM);
    return code;
}

int main(int count, char **words) {
    if (count < 2)
        return start();
    if (count != 4)
        return 2;
    map_board(atoi(words[3]));
    if (strcmp(words[1], "end") == 0)
        end_serve(atoi(words[2]));
    actor_resume(atoi(words[2]));
}
