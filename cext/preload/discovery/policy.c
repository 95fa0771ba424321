/* Whether a connection to a target may be direct: from memory, then by names in the namespace, then by the resolver. */
#include "discovery/policy.h"

#include "base/settings.h"
#include "base/sockaddr.h"
#include "discovery/client.h"
#include "discovery/presence.h"
#include "discovery/resolver.h"
#include "discovery/table.h"
#include "memory/report.h"
#include "discovery/targets.h"

/* Whether to make sure that the table is still written: the broker that shared it may have been replaced. */
static bool is_due(void) {
    static _Atomic uint64_t next;
    uint64_t now = now_ns();
    if (now < next)
        return false;
    next = now + BROKER_PAUSE_NS;
    return true;
}

/* With the table, and with what `presence` has said if it was asked. */
static enum vn_reason decide_by_table(const struct vn_address *target, enum presence presence, bool asked,
                                      enum vn_reason reason) {
    bool loopback = address_is_loopback(target);
    int port = loopback ? (int)table_own_port() : table_partition_of(target);
    if (port < 0 && !asked && is_due()) {
        if ((presence = presence_look(target)) == PRESENCE_ALONE)
            return VN_REASON_no_broker;
        if (presence != PRESENCE_OUTSIDE && (asked = resolver_ask(target, &reason)))
            port = table_partition_of(target);
    }
    if (port < 0 || ((uint32_t)port == table_own_port() && !settings.loopback))
        return VN_REASON_not_a_partition;
    /* where there was a library, there will be one */
    if (!asked && targets_lookup(target) != TARGET_DIRECT && targets_lookup(target) != TARGET_DEFERS) {
        if (presence == PRESENCE_UNKNOWN && presence_look(target) == PRESENCE_SILENT)
            return VN_REASON_no_library;
        resolver_ask(target, &reason);
    }
    return reason == VN_REASON_no_library ? reason : VN_REASON_direct;
}

static enum vn_reason of_absence(enum presence presence) {
    switch (presence) {
    case PRESENCE_ALONE: return VN_REASON_no_broker;
    case PRESENCE_OUTSIDE: return VN_REASON_not_a_partition;
    default: return VN_REASON_no_library;
    }
}

static enum vn_reason decide(const struct vn_address *target) {
    enum vn_reason reason = VN_REASON_direct;
    enum presence presence = address_is_loopback(target) ? PRESENCE_POSSIBLE : PRESENCE_UNKNOWN; /* it has no name */
    bool asked = false;
    switch (targets_lookup(target)) {
    case TARGET_SILENT: return VN_REASON_no_library;
    case TARGET_FELL_BACK: return VN_REASON_fell_back;
    case TARGET_SHORT_LIVED: return VN_REASON_short_lived;
    default: break;
    }
    if (table_shared() == NULL) {
        if (presence == PRESENCE_UNKNOWN)
            presence = presence_look(target);
        if (presence != PRESENCE_POSSIBLE)
            return of_absence(presence);
        asked = resolver_ask(target, &reason);
        if (!asked && !broker_hello())
            return VN_REASON_no_broker;
    }
    return table_shared() != NULL ? decide_by_table(target, presence, asked, reason) : VN_REASON_no_broker;
}

static _Atomic bool sealed;

void policy_seal(void) {
    report_seal();
    atomic_store(&sealed, true);
}

bool policy_is_sealed(void) {
    return UNLIKELY(atomic_load_explicit(&sealed, memory_order_relaxed));
}

enum vn_reason policy_decide(const struct vn_address *target) {
    int saved = errno;
    if (policy_is_sealed())
        return VN_REASON_seccomp;
    if (address_is_loopback(target) && !settings.loopback)
        return VN_REASON_not_a_partition;
    enum vn_reason reason = decide(target);
    errno = saved;
    return reason;
}
