"""Cases of calls that are left by a jump or by a cancellation."""

from __future__ import annotations

from tests.cases.case import cases

WORKS = """
    recv: "hello"
    a blocked recv ends: yes
    poll: in
    epoll_wait: 1
    recv: "hello"
    send: 4
    far: "back"
    recv: end
"""

LEFT = dict.fromkeys(["recv", "read", "recvmsg", "poll", "select", "epoll_wait"], WORKS) | {
    "send": """
        poll: out
        send: 4
        the far end reads on to the end: yes
    """,
    "accept": """
        send: 1
        recv: 1
        send: 1
        recv: 1
        connect to the closed listener: ECONNREFUSED
    """,
    "connect": """
        poll: out
        send: 1
        recv: 1
        send: 1
        recv: 1
    """,
}

CASES = [
    *cases(
        "cancellation/leaving.c",
        {f"jump_out_of_{call}": text for call, text in LEFT.items()}
        | {f"cancel_in_{call}": f"cancelled: yes\n{text.strip()}" for call, text in LEFT.items()},
        clients=["jump_out_of_connect", "cancel_in_connect"],
        servers=["jump_out_of_accept", "cancel_in_accept"],
    ),
    *cases(
        "cancellation/among.c",
        {
            "cancel_first_of_two": """
                cancelled: yes
                recv: "hello"
                the other recv ends: yes
            """,
            "cancel_second_of_two": """
                cancelled: yes
                recv: "hello"
                the other recv ends: yes
            """,
            "cancel_beside_poll": """
                cancelled: yes
                poll ends: yes
                recv: "hello"
            """,
            "cancel_disabled": """
                recv: "hello"
                recv ends: yes
                cancelled: no
            """,
            "cancel_pending": """
                cancelled: yes
                recv: "hello"
            """,
        },
    ),
]
