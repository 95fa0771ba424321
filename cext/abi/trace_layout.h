/* The layout of a trace ring, a file for each daemon: what it did, to be read when it hangs or is dead.
 *
 *      0     +------------------------------+
 *            | head      (written once)     |  magic, version, size of a record
 *      128   +------------------------------+
 *            | control, 255 records         |  owner: the daemon's control thread
 *      32768 +------------------------------+
 *            | loop, 256 records            |  owner: the daemon's loop
 *      65536 +------------------------------+
 *
 * Each section has one writer, so there is no lock. Records of a section are numbered from 1; record n lies in slot n
 * modulo the number of slots, over an older one. A writer stores 0 as the number, the record, and then its number. A
 * reader copies the file twice and takes the slots that are the same in both: one whose writer is in the middle of it
 * has the number 0, and one that was written between the copies differs.
 *
 * A daemon that starts anew goes on in the ring of the one before. Nobody believes what stands in a ring: its daemon may
 * be hostile.
 */
#ifndef VNICD_TRACE_LAYOUT_H
#define VNICD_TRACE_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define VN_TRACE_MAGIC 0x43525456u /* "VTRC" */
#define VN_TRACE_VERSION 1         /* kinds are added at the end, without a new version */
#define VN_TRACE_CONTROL 255       /* records of the control thread's section */
#define VN_TRACE_LOOP 256          /* records of the loop's section */
#define VN_TRACE_VALUES 4
#define VN_TRACE_TEXT 64

/* Each kind of record with the names of its values. Kinds are added at the end. */
#define VN_TRACE_KINDS(X) \
    X(none, "") \
    /* of each daemon's control thread */ \
    X(started, "") \
    X(ended, "") \
    X(signal, "number") \
    X(error, "") \
    X(no_progress, "") \
    /* of a partition daemon */ \
    X(connected, "") \
    X(registered, "port generation") \
    X(host_lost, "") \
    X(order, "link peer") \
    X(report, "link peer") \
    X(hint, "peer") \
    /* of the hosting daemon */ \
    X(ready, "") \
    X(request, "") \
    X(refused, "") \
    X(warning, "") \
    X(daemon_started, "port") \
    X(daemon_registered, "port generation pid") \
    X(daemon_died, "port") \
    X(link_making, "port peer link") \
    X(link_up, "port peer link") \
    X(link_ended, "port peer link") \
    /* of each daemon's loop */ \
    X(loop_started, "") \
    X(loop_ended, "") \
    X(tap, "served") \
    X(tap_gone, "") \
    X(uplink, "rx_queues") \
    X(rate, "port bytes_per_second bytes_per_second_in") \
    X(attached, "link peer held") \
    X(opened, "link peer") \
    X(released, "link peer expired") \
    X(closed, "link peer") \
    X(detached, "link peer") \
    X(gone, "link peer fault") \
    X(stalled, "link peer") \
    X(moving, "link peer")

#define VN_ENUM_TRACE(name, values) VN_TRACE_##name,
#define VN_TRACE_NAME(name, values) #name,
#define VN_TRACE_VALUE_NAMES(name, values) values,
enum { VN_TRACE_KINDS(VN_ENUM_TRACE) VN_TRACE_KIND_COUNT };
static const char *const vn_trace_names[] __attribute__((unused)) = {VN_TRACE_KINDS(VN_TRACE_NAME)};
static const char *const vn_trace_value_names[] __attribute__((unused)) = {VN_TRACE_KINDS(VN_TRACE_VALUE_NAMES)};

struct vn_trace_record {
    uint64_t number; /* 0 while it is written */
    uint64_t monotonic_ns;
    uint64_t wall_ns; /* since 1970 */
    uint32_t pid;
    uint16_t kind;
    uint8_t value_count;
    uint8_t length; /* bytes of the text */
    uint64_t values[VN_TRACE_VALUES];
    char text[VN_TRACE_TEXT];
};

struct vn_trace_head { /* owner: the daemon, before it writes a record */
    uint32_t magic;
    uint16_t version;
    uint16_t record_size;
    uint8_t pad[120];
};

struct vn_trace_ring {
    struct vn_trace_head head;
    struct vn_trace_record control[VN_TRACE_CONTROL];
    struct vn_trace_record loop[VN_TRACE_LOOP];
};

static_assert(sizeof(struct vn_trace_record) == 128, "two cache lines");
static_assert(sizeof(struct vn_trace_head) == sizeof(struct vn_trace_record), "the head takes the place of a record");
static_assert(offsetof(struct vn_trace_ring, loop) == 32768, "the writers share no page");
static_assert(sizeof(struct vn_trace_ring) == 65536, "whole pages");

#endif
