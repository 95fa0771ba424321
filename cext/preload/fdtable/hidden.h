/* Descriptors of the library's own: CLOEXEC, at high numbers, out of the program's way and beyond its close. */
#pragma once

#include "base/common.h"

bool hidden_init(void);

int hide(int fd);      /* moves fd there (closes the low number); -1 and errno when there is no room */
int hide_copy(int fd); /* leaves fd as it is */
void hidden_close(int fd);
void hidden_forget(int fd);   /* the number is the program's by now */
bool hidden_has_room(int fd); /* a connection at fd may take a hidden one beside: far from the program's limit */
bool hidden_is_full(void);    /* what can do without one has to */
bool is_hidden(int fd);       /* the program did not open it and must not close it */

/* One is kept for when the program has taken all: it is lent for moments, and must be had back soon. */
bool spare_hold(void); /* false when there is none */
void spare_lend(void);
void spare_restore(void); /* cheap when it was not lent */
