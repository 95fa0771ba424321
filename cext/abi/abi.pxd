"""What link_layout.h, trace_layout.h and barrier.h define, for the extension's modules."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "abi/barrier.h" nogil:
    uint64_t vn_load_acquire(const uint64_t *p)
    uint64_t vn_load_relaxed(const uint64_t *p)
    void vn_store_release(uint64_t *p, uint64_t v)
    void vn_store_relaxed(uint64_t *p, uint64_t v)
    void vn_fence()
    uint64_t vn_fetch_or(uint64_t *p, uint64_t v)
    uint64_t vn_fetch_and(uint64_t *p, uint64_t v)
    uint64_t vn_exchange(uint64_t *p, uint64_t v)
    void vn_count(uint64_t *p, uint64_t n)
    void vn_copy_once(void *to, const void *source, size_t n)

cdef extern from "abi/link_layout.h" nogil:
    enum:
        VN_VERSION
        VN_MAX_PORTS
        VN_MAX_ADDRESSES
        VN_LINE
        VN_LINK_MAGIC
        VN_DIRECTORY_MAGIC
        VN_COUNTERS_MAGIC
        VN_RING_OFFSET
        VN_RING_SIZE
        VN_VNET_HDR
        VN_ETH_HDR
        VN_RECORD_MAX
        VN_LINK_REGION
        VN_FRAME
        VN_MARK
        VN_UPLINK
        VN_GUARD
        VN_PORT_FREE
        VN_PORT_LIVE
        VN_PORT_DOWN

    struct vn_link_region:
        uint32_t magic
        uint16_t version
        uint16_t maker
        uint16_t peer
        uint32_t ring_offset
        uint32_t ring_size
        uint32_t record_max
        uint64_t link_id
        uint64_t head
        uint64_t want_room
        uint64_t cpu
        uint64_t tail
        uint64_t wake_at

    struct vn_record:
        uint32_t length
        uint16_t kind
        uint16_t source
        uint64_t link_id

    struct vn_mark:
        uint16_t target

    struct vn_address:
        uint8_t family
        uint8_t prefix
        uint8_t bytes[16]

    struct vn_directory_entry:
        uint8_t mac[6]
        uint8_t state
        uint8_t address_count
        uint32_t generation
        uint32_t mtu
        uint32_t queue_ms
        vn_address addresses[16]

    struct vn_directory:
        uint32_t magic
        uint16_t version
        uint16_t entry_count
        uint32_t flags
        uint64_t change
        vn_directory_entry entries[256]

    struct vn_peer_counters:
        uint64_t values[12]
        uint64_t drops[28]

    struct vn_counters:
        uint32_t magic
        uint16_t version
        uint16_t port_counters
        uint16_t peer_counters
        uint16_t drop_counters
        uint64_t values[32]
        uint64_t drops[28]
        vn_peer_counters peers[256]

    const char *vn_port_counter_names[]
    const char *vn_peer_counter_names[]
    const char *vn_drop_names[]
    const char *vn_fault_names[]

    enum:
        VN_PORT_COUNTER_COUNT
        VN_C_tap_rx_frames
        VN_C_tap_rx_bytes
        VN_C_tap_tx_frames
        VN_C_tap_tx_bytes
        VN_C_rounds
        VN_C_sleeps
        VN_C_holds
        VN_C_link_faults
        VN_C_uplink_rx_frames
        VN_C_uplink_rx_bytes
        VN_C_uplink_tx_frames
        VN_C_uplink_tx_bytes

        VN_PEER_COUNTER_COUNT
        VN_P_tx_frames
        VN_P_tx_bytes
        VN_P_tx_relayed
        VN_P_rx_frames
        VN_P_rx_bytes
        VN_P_wakeups
        VN_P_up_frames
        VN_P_up_bytes
        VN_P_down_frames
        VN_P_down_bytes

        VN_DROP_COUNT
        VN_DROP_bad_source
        VN_DROP_reserved_multicast
        VN_DROP_no_destination
        VN_DROP_own_destination
        VN_DROP_not_mine
        VN_DROP_peer_down
        VN_DROP_no_link
        VN_DROP_ring_full
        VN_DROP_bad_frame
        VN_DROP_tap_down
        VN_DROP_tap_refused
        VN_DROP_tap_full
        VN_DROP_bad_address
        VN_DROP_too_big
        VN_DROP_over_rate
        VN_DROP_uplink_down
        VN_DROP_uplink_refused
        VN_DROP_uplink_full
        VN_DROP_unread
        VN_DROP_storm

        VN_FAULT_COUNT
        VN_FAULT_none
        VN_FAULT_bad_identity
        VN_FAULT_cursor_unaligned
        VN_FAULT_cursor_back
        VN_FAULT_cursor_ahead
        VN_FAULT_record_short
        VN_FAULT_record_long
        VN_FAULT_record_beyond
        VN_FAULT_record_kind
        VN_FAULT_doorbell_broken

cdef extern from "abi/trace_layout.h" nogil:
    enum:
        VN_TRACE_MAGIC
        VN_TRACE_VERSION
        VN_TRACE_CONTROL
        VN_TRACE_LOOP
        VN_TRACE_VALUES
        VN_TRACE_TEXT

    struct vn_trace_record:
        uint64_t number
        uint64_t monotonic_ns
        uint64_t wall_ns
        uint32_t pid
        uint16_t kind
        uint8_t value_count
        uint8_t length
        uint64_t values[4]
        char text[64]

    struct vn_trace_head:
        uint32_t magic
        uint16_t version
        uint16_t record_size

    struct vn_trace_ring:
        vn_trace_head head
        vn_trace_record control[255]
        vn_trace_record loop[256]

    const char *vn_trace_names[]
    const char *vn_trace_value_names[]

    enum:
        VN_TRACE_KIND_COUNT
        VN_TRACE_loop_started
        VN_TRACE_loop_ended
        VN_TRACE_tap
        VN_TRACE_tap_gone
        VN_TRACE_uplink
        VN_TRACE_rate
        VN_TRACE_attached
        VN_TRACE_opened
        VN_TRACE_released
        VN_TRACE_closed
        VN_TRACE_detached
        VN_TRACE_gone
        VN_TRACE_stalled
        VN_TRACE_moving
