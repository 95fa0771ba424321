/* A static program without the library: tells by its exit code what the first bytes of its standard input are. */
#include <string.h>
#include <unistd.h>

int main(void) {
    char data[6];
    size_t got = 0;
    while (got < sizeof(data)) {
        ssize_t more = read(0, data + got, sizeof(data) - got);
        if (more <= 0)
            return got > 0 ? 3 : more == 0 ? 1 : 2;   /* the end, or an error */
        got += (size_t)more;
    }
    return memcmp(data, "hello\n", sizeof(data)) == 0 ? 0 : 3;   /* 3: foreign bytes */
}
