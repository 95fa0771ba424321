/* JSON and text: see the header. */
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

char *text(const char *format, ...) {
    char *made = NULL;
    va_list words;
    va_start(words, format);
    if (vasprintf(&made, format, words) < 0)
        abort();
    va_end(words);
    return made;
}

long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

char *read_all(int fd, size_t most, long deadline_ms) {
    size_t room = 4096, length = 0;
    char *all = malloc(room);
    while (all) {
        long left = deadline_ms - now_ms();
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int events = left > 0 ? poll(&ready, 1, (int)left) : 0;
        if (events < 0 && errno == EINTR)
            continue;
        if (events <= 0) {
            errno = events ? errno : ETIMEDOUT;
            break;
        }
        ssize_t got = read(fd, all + length, room - length - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        if (got == 0) {
            all[length] = '\0';
            return all;
        }
        length += (size_t)got;
        if (length > most) {
            errno = EMSGSIZE;
            break;
        }
        if (length + 1 == room)
            all = realloc(all, room *= 2);
    }
    return NULL;
}

const char *text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

json_t *any_case(const json_t *object, const char *key) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        if (strcasecmp(name, key) == 0)
            return value;
    }
    return NULL;
}

bool is_word(const char *word, const char *others) {
    if (!isalnum((unsigned char)word[0]))
        return false;
    for (const char *at = word; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr(others, *at))
            return false;
    return true;
}
