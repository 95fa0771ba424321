"""Cases of connecting: connections that are being made, listeners, and who reaches whom."""

from __future__ import annotations

from tests.cases.case import cases

CASES = [
    *cases(
        "connecting/begin.c",
        {
            "nonblocking": """
                connect: EINPROGRESS
                poll: out
                SO_ERROR: 0
                send: 1
                recv: 1
                send: 1
                recv: 1
            """,
            "nonblocking_epoll": """
                connect: EINPROGRESS
                epoll_wait: out
                accepted: yes
                connect: EINPROGRESS
                epoll_wait: out
                accepted: yes
            """,
            "nonblocking_again": """
                connect: EINPROGRESS
                poll: out
                connect again: 0
                and again: EISCONN
                send: 1
                recv: 1
                send: 1
                recv: 1
            """,
            "blocking_again": """
                connect again: EISCONN
                send: 1
                recv: 1
                send: 1
                recv: 1
                and again: EISCONN
            """,
            "nonblocking_refused": """
                connect: EINPROGRESS
                poll: out err hup
                SO_ERROR: 111
                SO_ERROR: 0
            """,
            "unspec": """
                connect to AF_UNSPEC: 0
                recv: ECONNRESET
                the other end: ECONNRESET
                connect: 0
                send: 1
                recv: 1
                send: 1
                recv: 1
            """,
            "shutdown_while_connecting": """
                connect: EINPROGRESS
                shutdown: 0
                poll: out err hup
            """,
            "connect_waits": """
                connect: EINPROGRESS
                poll: none
                connect again: EALREADY
                send: EAGAIN
                recv: EAGAIN
            """,
            "connect_timeout": """
                connect: EINPROGRESS
                at its time: yes
            """,
            "connect_when_room": """
                connect: EINPROGRESS
                poll: out
                send: 1
                recv: 1
                send: 1
                recv: 1
            """,
            "backlog": """
                four connect: yes
                more connect: no
                accepted: 4
            """,
        },
        ways=("plain", "direct", "client"),
    ),
    *cases(
        "connecting/listening.c",
        {
            "refused_when_closed": """
                connect: ECONNREFUSED
                bind: 0
                listen: 0
                connect: 0
            """,
            "refused_when_shut": """
                shutdown: 0
                connect: ECONNREFUSED
                accept: EINVAL
            """,
            "refused_when_shut_for_reading": """
                shutdown: 0
                connect: ECONNREFUSED
            """,
            "shut_under_accept": """
                blocked accept: EINVAL
                it ends: yes
                connect: ECONNREFUSED
            """,
            "shut_under_poll": """
                shutdown: 0
                poll: hup
            """,
            "waiting_ones_are_reset": """
                send: 1
                poll: in err hup
                recv: ECONNRESET
            """,
            "accept_timeout": """
                accept: EAGAIN
                at its time: yes
                accept without waiting: EAGAIN
            """,
            "accept_tells_names": """
                length: 16
                told as named: yes
                told as peer: yes
                length with little room: 16
            """,
            "reuse_port": """
                lost: 0
                idle listeners: 0
            """,
            "prefork": "served at once: 20",
            "defer_accept": """
                late: 0
                a silent client: none
                it sends: in
            """,
            "ports_in_use": """
                bind to the client's: EADDRINUSE
                bind to the server's: EADDRINUSE
            """,
            "fast_open": """
                TCP_FASTOPEN_CONNECT: 0
                connect: 0
                send: 3
                recv: "abc"
                sendto: 3
                recv: "def"
            """,
        },
        ways=("plain", "direct", "server"),
    ),
]
