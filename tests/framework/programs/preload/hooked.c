/* Uses hooked functions, and prints the files of its own whose name is vnicd's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    char line[512], text[8] = "";
    int ends[2], status = 1;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        return 1;
    pid_t child = fork();
    if (child == 0)
        _exit(write(ends[0], "hello", 5) != 5);
    if (read(ends[1], text, sizeof(text)) != 5 || waitpid(child, &status, 0) != child || status != 0)
        return 1;
    if (close(ends[0]) != 0 || read(ends[1], text, 1) != 0)
        return 1;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
        if (strstr(line, "libvnicd") != NULL && strstr(line, "r-xp") != NULL)
            printf("%s", strchr(line, '/'));
    return strcmp(text, "hello") != 0;
}
