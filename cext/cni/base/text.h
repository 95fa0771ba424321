/* JSON and text, as the plugin needs them.
 *
 * It is a process for one answer: what is made here is given back to the kernel with all else at its end.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/failure.h"

/* Formatted text in memory of its own. */
char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* All of a descriptor, up to `most` bytes, until `deadline_ms` of the monotonic clock; NULL with errno otherwise. */
char *read_all(int fd, size_t most, long deadline_ms);

long now_ms(void);

/* A member of an object that is a text; NULL if there is none. */
const char *text_of(const json_t *object, const char *key);

/* A member of an object whose key differs in its case at most. */
json_t *any_case(const json_t *object, const char *key);

/* Whether all of a text are letters, digits, or one of `others`; the first of them a letter or digit. */
bool is_word(const char *word, const char *others);
