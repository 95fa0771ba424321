"""Cases of options: what connections say of themselves, inherit, do and refuse."""

from __future__ import annotations

from tests.cases.case import cases

CASES = [
    *cases(
        "options/info.c",
        {
            "state_of_each": """
                near: established
                far: established
            """,
            "state_when_far_has_shut": "near: close wait",
            "state_when_both_have_shut": """
                near: closed
                far: closed
            """,
            "state_when_reset": "near: closed",
            "state_when_far_has_closed": "near: close wait",
            "state_of_others": """
                fresh: closed
                listener: listening
                connect to a full backlog: EINPROGRESS
                connecting: syn sent
            """,
            "kind_of_each": """
                SO_DOMAIN: 2
                SO_TYPE: 1
                SO_PROTOCOL: 6
                SO_ACCEPTCONN: 0
                SO_ERROR: 0
                SO_DOMAIN: 2
                SO_TYPE: 1
                SO_PROTOCOL: 6
                SO_ACCEPTCONN: 0
                SO_ERROR: 0
            """,
            "sizes": """
                IP_MTU is one: yes
                TCP_MAXSEG is one: yes
                SO_INCOMING_CPU is one: yes
                SO_COOKIE is there: yes
                SO_SNDBUF is one: yes
                SO_RCVBUF is one: yes
                IP_MTU is one: yes
                TCP_MAXSEG is one: yes
                SO_INCOMING_CPU is one: yes
                SO_COOKIE is there: yes
                SO_SNDBUF is one: yes
                SO_RCVBUF is one: yes
            """,
            "info_in_little_room": """
                getsockopt: 0
                length: 1
                state: 1
                getsockopt with no room: 0
                getsockopt with a negative length: EINVAL
            """,
            "names": """
                getsockname: 0
                getpeername: 0
                the names agree: yes
                the ports are real: yes
                the server has the listener's: yes
            """,
        },
    ),
    *cases(
        "options/inherit.c",
        {
            "inherited_options": """
                TCP_NODELAY: 1
                TCP_USER_TIMEOUT: 5000
                TCP_KEEPIDLE: 33
                TCP_KEEPINTVL: 7
                IP_TOS: 16
                IP_TTL: 33
                SO_KEEPALIVE: 1
                SO_MARK: 9
                SO_RCVBUF: 40000
                SO_SNDBUF: 60000
                SO_RCVTIMEO: 300000
                SO_SNDTIMEO: 300000
                SO_LINGER: 1
                its seconds: 3
                the client's TCP_NODELAY: 0
            """,
            "inherited_timeouts": """
                recv: EAGAIN
                at its time: yes
                send: EAGAIN
                at its time: yes
            """,
            "flags": """
                accept gives O_NONBLOCK: no
                accept gives FD_CLOEXEC: 0
                accept4 gives O_NONBLOCK: yes
                accept4 gives FD_CLOEXEC: 1
            """,
            "kept_over_connect": """
                TCP_NODELAY: 1
                TCP_KEEPIDLE: 33
                IP_TOS: 16
                SO_KEEPALIVE: 1
                SO_SNDBUF: 60000
                SO_RCVTIMEO: 300000
                recv: EAGAIN
                at its time: yes
            """,
        },
        clients=["kept_over_connect"],
        servers=["inherited_options", "inherited_timeouts", "flags"],
    ),
    *cases(
        "options/relay.c",
        {
            "options_of_stdin": """
                TCP_NODELAY: 1
                TCP_KEEPIDLE: 33
                IP_TOS: 16
                SO_KEEPALIVE: 1
                SO_DOMAIN: 2
                SO_TYPE: 1
                SO_PROTOCOL: 6
                SO_ACCEPTCONN: 0
                SO_ERROR: 0
                TCP_INFO: 0
                its state: 1
                getsockname: 0
                its family: 2
                getpeername: 0
                its family: 2
                kept TCP_NODELAY: 1
                kept TCP_KEEPIDLE: 33
            """,
            "timeout_of_stdin": """
                SO_RCVTIMEO: 0
                read: EAGAIN
                at its time: yes
                shutdown: 0
                far: end
            """,
            "options_in_child": """
                TCP_NODELAY: 1
                TCP_KEEPIDLE: 33
                IP_TOS: 16
                SO_KEEPALIVE: 1
                SO_DOMAIN: 2
                SO_TYPE: 1
                SO_PROTOCOL: 6
                SO_ACCEPTCONN: 0
                SO_ERROR: 0
                TCP_INFO: 0
                its state: 1
                getsockname: 0
                its family: 2
                getpeername: 0
                its family: 2
                status: 0
            """,
            "socket_options_in_child": """
                SO_KEEPALIVE: 1
                SO_RCVLOWAT: 2
                SO_KEEPALIVE: 1
                SO_RCVLOWAT: 2
                SO_LINGER: 5
                read: EAGAIN
                at its time: yes
                status: 0
            """,
        },
    ),
    *cases(
        "options/refused.c",
        {
            "lowat_poll": """
                poll with 10 bytes: none
                poll with 100 bytes: in
                recv: 100
            """,
            "lowat_recv": """
                it ends with 10 bytes: no
                blocked recv: 100
                it ends with 100 bytes: yes
            """,
            "lowat_end": """
                poll at the end: in
                recv: 10
            """,
            "peek_offset": """
                peek: "abc"
                peek: "def"
                recv: "ab"
                peek: EAGAIN
            """,
            "zerocopy": """
                send: 20000
                the far end gets: 20000
                poll: err
                its completion: 0
                its origin: 5
            """,
            "zerocopy_flag_alone": """
                send: 20000
                the far end gets: 20000
            """,
            "timestamp": "a time comes with the data: yes",
            "bytes_left": "a count comes with the data: yes",
            "upper_layer": "setsockopt: ENOENT",
            "bound_device": """
                a device that is not there: ENODEV
                getsockopt: 0
                its length: 0
            """,
            "unknown": """
                setsockopt: ENOPROTOOPT
                getsockopt: ENOPROTOOPT
                level: ENOPROTOOPT
                short value: EINVAL
                bad pointer: EFAULT
            """,
        },
        allowed={
            test: ["it is refused"]
            for test in (
                "lowat_poll",
                "lowat_recv",
                "lowat_end",
                "peek_offset",
                "zerocopy",
                "timestamp",
                "bytes_left",
            )
        }
        | {"upper_layer": ["setsockopt: ENOPROTOOPT", "setsockopt: EOPNOTSUPP", "setsockopt: EINVAL"]},
    ),
    *cases("options/errno.c", {"errno_of_all": "done"}),
]
