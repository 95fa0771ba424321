/* Failures: kept as text, as the answer is the only thing that becomes of them. */
#include "base/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The codes that vnicd/errors.py has, with what they are to CNI. */
static const struct {
    const char *kind;
    int code;
} CODES[] = {
    {"failed", CNI_OWN + 1},       {"not_running", CNI_TRY_LATER}, {"not_found", CNI_OWN + 5},
    {"exists", CNI_OWN + 6},       {"invalid", CNI_BAD_CONFIG},    {"taken", CNI_OWN + 8},
    {"no_namespace", CNI_OWN + 9}, {"no_hugepages", CNI_OWN + 10}, {"not_permitted", CNI_OWN + 11},
    {"unsupported", CNI_OWN + 12}, {"timeout", CNI_TRY_LATER},     {"resources", CNI_OWN + 14},
    {"busy", CNI_OWN + 15},
};

bool fail(struct failure *failure, int code, const char *format, ...) {
    va_list words;
    va_start(words, format);
    failure->code = code;
    failure->kind[0] = failure->details[0] = '\0';
    vsnprintf(failure->message, sizeof failure->message, format, words);
    va_end(words);
    return false;
}

bool fail_as(struct failure *failure, const char *kind, const char *message, const char *hint) {
    fail(failure, CNI_OWN + 1, "%s", message);
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++)
        if (strcmp(kind, CODES[i].kind) == 0)
            failure->code = CODES[i].code;
    snprintf(failure->kind, sizeof failure->kind, "%s", kind);
    snprintf(failure->details, sizeof failure->details, "%s", hint);
    return false;
}

bool is_kind(const struct failure *failure, const char *kind) {
    return strcmp(failure->kind, kind) == 0;
}
