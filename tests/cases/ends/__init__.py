"""Cases of ends: the end of the stream, resets, dead peers, and calls that a close or a shutdown ends."""

from __future__ import annotations

from tests.cases.case import TWO_PROGRAMS, cases, repeated

# A death is told by descriptors that the kernel closes, of which the hosting daemon has copies for some milliseconds
# after the handshake. A look in that time finds the connection as it was, as TCP between two machines may show it.
LOOK = """
    connect: EINPROGRESS
    writable: out
    SO_ERROR: 0
    readable: in
    recv: "421 too many connections\\x0d\\n"
    recv: EAGAIN
"""
TOLD_LATE = {
    "look_late_at_exit": [LOOK],
    "dead_peer_recv": ["recv: EAGAIN"],
    "dead_peer_peek": ["recv: EAGAIN\nrecv: EAGAIN"],
    "dead_peer_poll": ["poll: none"],
    "dead_peer_select": ["select: 0"],
    "dead_peer_epoll": ["epoll_wait: 0\nepoll_wait: 0\nevents: none"],
    "dead_peer_send": ["send: 1\nsend: ECONNRESET", "send: 1\nsend: 1"],
}

BANNER = """
    client: recv: b'421 too many connections\\r\\n'
    client: recv: end
"""
LATE = f"""
    client: connect: EINPROGRESS
    client: writable: [4]
    client: SO_ERROR: 0
    {BANNER.strip()}
"""

CASES = [
    *cases(
        "ends/look.c",
        {
            "look_late_at_close": """
                connect: EINPROGRESS
                writable: out
                SO_ERROR: 0
                readable: in
                recv: "421 too many connections\\x0d\\n"
                recv: end
            """,
            "look_late_at_shutdown": """
                connect: EINPROGRESS
                writable: out
                SO_ERROR: 0
                readable: in
                recv: "421 too many connections\\x0d\\n"
                recv: end
            """,
            "look_late_at_exit": """
                connect: EINPROGRESS
                writable: out
                SO_ERROR: 0
                readable: in
                recv: "421 too many connections\\x0d\\n"
                recv: end
            """,
            "look_late_at_oneself": """
                connect: EINPROGRESS
                writable: out
                SO_ERROR: 0
                readable: in
                recv: "421 too many connections\\x0d\\n"
                recv: end
            """,
            "look_late_blocking": """
                recv: "421 too many connections\\x0d\\n"
                recv: end
            """,
            "look_at_unanswered": "poll: in rdhup",
            "dead_peer_recv": "recv: end",
            "dead_peer_peek": """
                recv: EAGAIN
                recv: end
            """,
            "dead_peer_poll": "poll: in rdhup",
            "dead_peer_select": "select: 1",
            "dead_peer_epoll": """
                epoll_wait: 0
                epoll_wait: 1
                events: in rdhup
            """,
            "dead_peer_send": """
                send: 1
                send: EPIPE
            """,
            "dead_peer_unread": """
                poll: in rdhup err hup
                recv: ECONNRESET
                SO_ERROR: 0
            """,
            "dead_peer_wakes": """
                blocked recv: end
                recv is over: yes
            """,
            "dead_peer_often_recv": "recv: end",
            "dead_peer_often_poll": "poll: in rdhup",
            "dead_peer_often_send": """
                send: 1
                send: EPIPE
            """,
            "dead_peer_often_unread": """
                poll: in rdhup err hup
                recv: ECONNRESET
            """,
            "dead_peer_often_forked": """
                the child: 0
                recv: end
            """,
            "dead_peers_at_once": "ends: 40",
        },
        clients=[
            f"look_late_{how}" for how in ("at_close", "at_shutdown", "at_exit", "at_oneself", "blocking")
        ]
        + [
            f"dead_peer_{how}"
            for how in ("recv", "peek", "poll", "select", "epoll", "send", "unread", "wakes")
        ],
        allowed=TOLD_LATE,
    ),
    *cases(
        "ends/ending.c",
        {
            "end_then_close_unread": """
                events: in out rdhup err hup
                recv: "abc"
                recv: end
                send: EPIPE
                SO_ERROR: 0
                recv: end
            """,
            "close_unread": """
                events: in out rdhup err hup
                recv: "abc"
                recv: ECONNRESET
                send: EPIPE
            """,
            "reset": """
                events: in out rdhup err hup
                recv: ECONNRESET
                recv: end
                send: EPIPE
                events: in out rdhup hup
            """,
            "reset_seen_by_send": """
                send: ECONNRESET
                send: EPIPE
                recv: end
            """,
            "error_reported_once": """
                events: in err hup
                SO_ERROR: 104
                epoll_wait: 1
                events: in hup
                poll: in out rdhup hup
                SO_ERROR: 0
                recv: end
            """,
            "half_closed": """
                events: in out rdhup
                recv: "abc"
                recv: end
                recv: end
                send: 3
                far: "def"
                shutdown: 0
                far: end
                events: in out rdhup hup
                send: EPIPE
                shutdown again: ENOTCONN
            """,
            "send_to_closed": """
                recv: end
                send: 1
                send: EPIPE
                events: in out rdhup hup
            """,
            "shut_read_under_recv": """
                blocked recv: end
                it ends: yes
                shutdown: 0
            """,
            "shut_both_under_recv": """
                blocked recv: end
                it ends: yes
                shutdown: 0
            """,
            "shut_read_under_poll": """
                blocked poll: in rdhup
                it ends: yes
                shutdown: 0
            """,
            "shut_read_under_epoll": """
                blocked epoll_wait: 1
                its events: in rdhup
                it ends: yes
                shutdown: 0
            """,
            "shut_write_under_send": """
                blocked send: EPIPE
                it ends: yes
                shutdown: 0
            """,
            "data_after_shut_read": """
                shutdown: 0
                events: in out rdhup
                recv: end
                recv: "abc"
                recv: end
                send: 3
                far: "def"
            """,
        },
    ),
    *cases(
        "ends/closing.c",
        {
            "timeout_of_recv_closed": """
                recv: EAGAIN
                at its time: yes
                it ends: yes
            """,
            "timeout_of_send_closed": """
                send: EAGAIN
                at its time: yes
                it ends: yes
            """,
            "negative_timeouts": """
                SO_RCVTIMEO: 0
                recv: EAGAIN
                SO_KEEPALIVE: 0
                recv: EAGAIN
                SO_SNDTIMEO: 0
                send: EAGAIN
                SO_RCVTIMEO: 0
                recv: 1
            """,
            "timeouts": """
                recv: EAGAIN
                at its time: yes
                send: EAGAIN
                at its time: yes
            """,
            "larger_buffer_wakes_send": """
                send: 1
                it ends: yes
            """,
        },
    ),
    *cases(
        "ends/between.py",
        {
            "late_at_banner_closed": repeated(LATE, 4),
            "late_at_banner_shut": repeated(LATE, 4),
            "late_at_banner_blocking": repeated(BANNER, 4),
            "dead_server": """
                client: recv: end
                client: poll: [1]
                client: select: 1
                client: epoll: [1]
            """,
            "dead_server_sent_to": repeated("client: send: 1\nclient: recv: end", 4),
        },
        clients=["dead_server", "dead_server_sent_to"],
        ways=TWO_PROGRAMS,
        rounds=1,
    ),
]
