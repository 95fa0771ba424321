"""Cases of connecting: connections that are being made, listeners, and who reaches whom."""

from __future__ import annotations

from tests.cases.case import TWO_PROGRAMS, cases, repeated

NAMED = repeated("client: the server knows it: yes", 4) + "client: different ports: yes"

REFUSED = repeated("client: connect: ECONNREFUSED", 3) + "client: at once: yes"

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
            "copied_before": """
                the copy: "a"
                the one: "b"
                to: 1
                comes: "d"
                after a close: 1
                then: "e"
                the copy: "a"
                the one: "b"
                to: 1
                comes: "d"
                after a close: 1
                then: "e"
                the child: "a"
                the child: 1
                from the child: "c"
                the one: "b"
                to: 1
                comes: "d"
                then: end
            """,
            "copied_epoll": """
                add: 0
                add: EEXIST
                epoll_wait: 1
                its data: yes
                recv: 1
                epoll_wait: 0
            """,
            "refused_then_watched": """
                connect: EINPROGRESS
                add: 0
                epoll_wait: in out err hup
                SO_ERROR: 111
                connect: ECONNABORTED
                connect: EINPROGRESS
                modify: 0
                epoll_wait: out
                send: 1
                modify: 0
                epoll_wait: in
                recv: "1"
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
    *cases(
        "connecting/rules.py",
        {
            "mark": repeated(
                """
                client: unmarked: b'server'
                client: unmarked: b'server'
                client: marked: ECONNREFUSED
                client: with another mark: b'server'
                """,
                2,
            ),
            "user": """
                client: as root: b'server'
                client: as root: b'server'
                client: as nobody: ECONNREFUSED
                client: as nobody: ECONNREFUSED
            """,
            "user_of_child": """
                client: as root: b'server'
                client: as root: b'server'
                client: as nobody: ECONNREFUSED
                client: as root: b'server'
            """,
            "rule_comes_later": """
                client: before: b'server'
                client: before: b'server'
                client: after: ECONNREFUSED
                client: without the rule: b'server'
            """,
            "device": """
                client: by any: b'server'
                client: by any: b'server'
                client: by this: done
                client: by another: timed out
            """,
            "no_listener": repeated("client: connect: ECONNREFUSED", 5)
            + """
                client: at once: yes
                client: answer: b'server'
            """,
        },
        ways=TWO_PROGRAMS,
        rounds=1,
    ),
    *cases(
        "connecting/rules.py",
        {"redirect": repeated("client: answer: b'sidecar'", 6) + "client: late: 0"},
        ways=TWO_PROGRAMS,
        rounds=1,
        becomes_direct=False,
    ),
    *cases(
        "connecting/elsewhere.py",
        {
            "unshare": """
                client: before: b'server'
                client: before: b'server'
                client: unshare: 0
                client: after: ENETUNREACH
                client: after: ENETUNREACH
            """,
            "setns": """
                client: before: b'server'
                client: before: b'server'
                client: setns: 0
                client: there: b'other'
                client: there: b'other'
                client: setns: 0
                client: back: b'server'
                client: back: b'server'
            """,
            "kept_by_unshare": """
                client: unshare: 0
                client: answer: b'server'
                client: then: end
            """,
        },
        ways=TWO_PROGRAMS,
        rounds=1,
    ),
    *cases(
        "connecting/spread.py",
        {
            "reuse_port_of_workers": "client: workers with less than a tenth: 0",
            "prefork_of_workers": "client: waited for another client's end: 0",
            "activated": "client: waited for another client's end: 0",
        },
        ways=TWO_PROGRAMS,
        rounds=1,
    ),
    *cases(
        "connecting/between.py",
        {
            "names_between": NAMED,
            "names_bound_without_port": NAMED,
            "deferred": repeated("client: answer: b'answer'", 4) + "client: late: 0",
            "listener_shut": REFUSED,
            "listener_closed": REFUSED,
            "connect_in_steps": repeated(
                """
                client: connect: EINPROGRESS
                client: events: [4]
                client: connect again: 0
                """,
                4,
            ),
            "backlog_between": """
                client: connected: 4
                server: accepted: 4
            """,
            "talk": repeated("client: the same came back: yes\nclient: then: end", 4),
            "reset_between": repeated(
                """
                client: recv: ECONNRESET
                client: then: end
                client: send: EPIPE
                """,
                4,
            ),
        },
        ways=TWO_PROGRAMS,
        rounds=1,
    ),
]
