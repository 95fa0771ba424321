/* What the library asks the broker: offers, taking them, and telling of listeners. */
#pragma once

#include "abi/socket_layout.h"
#include "base/common.h"

bool broker_hello(void); /* there is a broker, and we have its table */
enum vn_reason broker_offer(const struct vn_address *source, const struct vn_address *target, int doorbell, int region,
                            int tcp);
/* an offer whose connect failed */
void broker_forget(const struct vn_address *source, const struct vn_address *target);
bool broker_take(const struct vn_address *source, const struct vn_address *target, int tcp, int *doorbell, int *region);
bool broker_has_offers(void);                         /* for this partition */
bool broker_listen(const struct vn_address *address); /* that a listener is there; true when everybody knows */

void broker_before_fork(void);
void broker_after_fork_here(void);
void broker_after_fork(void);
