"""Cases of reading and writing: flags, wrong pointers and counts, many messages, events."""

from __future__ import annotations

from tests.cases.case import cases

CASES = [
    *cases(
        "reading/flags.c",
        {
            "peek_trunc": """
                peek and cut 10: 10
                recv: "abcd"
                peek and cut without room: 10
                recv: "efgh"
            """,
            "trunc_skips": """
                cut 20: 20
                recv: "uvwx"
                cut 10000: 10000
                recv: "opqr"
                left: 9972
                cut all: 9972
                cut none: EAGAIN
            """,
            "trunc_with_room": """
                cut 4: 4
                the room: "untouched"
                recv: "efgh"
            """,
            "peek": """
                peek: "abcd"
                peek: "abcdefgh"
                recv: "abcdefgh"
                peek: EAGAIN
                peek: end
                recv: end
            """,
            "waitall": """
                recv of 10: "abcdefghij"
                it ends: yes
                recv: EAGAIN
            """,
            "peek_waitall": """
                recv of 10: "abcdefghij"
                it ends: yes
                recv: "abcdefghij"
            """,
            "waitall_end": """
                recv of 10: "abcde"
                it ends: yes
            """,
            "waitall_timeout": """
                recv of 10: "abcde"
                recv of 10: EAGAIN
            """,
            "waitall_dontwait": """
                recv of 10: "abcde"
                recv of 10: EAGAIN
            """,
            "length_0": """
                recv of nothing: EAGAIN
                read of nothing: 0
                recv of nothing: 0
                peek of nothing: 0
                recv: "a"
                send of nothing: 0
                write of nothing: 0
                recv of nothing: 0
            """,
            "urgent": """
                sockatmark: 0
                at the mark: 0
                recv of urgent data: EINVAL
                MSG_ERRQUEUE: EAGAIN
            """,
        },
    ),
    *cases(
        "reading/wrong.c",
        {
            "bad_pointers_read": """
                recv: EFAULT
                read: EFAULT
                readv: EFAULT
                readv of bad vectors: EFAULT
                recvmsg of a bad vector: EFAULT
                recvmsg of bad vectors: EFAULT
                recvmsg of a bad header: EFAULT
                then recv: "abcd"
                then send: 2
                far: "ok"
            """,
            "bad_pointers_waits": """
                ppoll, time: EFAULT
                ppoll, mask: EFAULT
                ppoll, size of a mask: EINVAL
                pselect6, set: EFAULT
                pselect6, time: EFAULT
                pselect6, mask: EFAULT
                select: EFAULT
                pselect6: 0
                and nothing is left of the time: yes
                then recv: "abcd"
                then send: 2
                far: "ok"
            """,
            "bad_pointers_control": """
                sendmsg: EFAULT
                sendmsg elsewhere: EFAULT
                sendmsg of an unknown type: EINVAL
                sendmsg of another level: 3
                far: "yes"
                then recv: "abcd"
                then send: 2
                far: "ok"
            """,
            "bad_pointers_write": """
                send: EFAULT
                write: EFAULT
                writev: EFAULT
                writev of bad vectors: EFAULT
                sendmsg of a bad vector: EFAULT
                sendmsg of bad vectors: EFAULT
                sendmsg of a bad header: EFAULT
                then recv: "abcd"
                then send: 2
                far: "ok"
            """,
            "bad_pointers_names": """
                getsockname: EFAULT
                getsockname, length: EFAULT
                getpeername: EFAULT
                getpeername, length: EFAULT
                getpeername, negative length: EINVAL
                getsockopt: EFAULT
                getsockopt, length: EFAULT
                setsockopt: EFAULT
                FIONREAD: EFAULT
                connect: EFAULT
                poll: EFAULT
                then recv: "abcd"
                then send: 2
                far: "ok"
            """,
            "half_bad_vector": """
                readv gives the good part or an error: yes
                writev sends the good part or nothing: yes
            """,
            "wrong_counts": """
                readv of -1: EINVAL
                readv of 1025: EINVAL
                readv of 0: 0
                writev of -1: EINVAL
                writev of 1025: EINVAL
                writev of 0: 0
                recvmsg of 1025: EMSGSIZE
                sendmsg of 1025: EMSGSIZE
                readv of a negative length: EINVAL
                writev of a negative length: EINVAL
                then recv: "abcd"
                then send: 2
                far: "ok"
            """,
            "wrong_flags": """
                shutdown(7): EINVAL
                listen: EINVAL
                bind: EINVAL
                accept: EINVAL
                connect: EISCONN
                lseek: ESPIPE
                pread: ESPIPE
                pwrite: ESPIPE
                ftruncate: EINVAL
                fsync: EINVAL
                then recv: "abcd"
                then send: 2
                far: "ok"
            """,
        },
    ),
    *cases(
        "reading/many.c",
        {
            "recvmmsg_wrong_time": """
                negative: EINVAL
                too many nanoseconds: EINVAL
            """,
            "recvmmsg_for_one": """
                recvmmsg: 3
                bytes: "abc"
                recvmmsg of nothing there: EAGAIN
                recvmmsg of none: 0
            """,
            "recvmmsg_time_over": "recvmmsg: 1",
            "sendmmsg_most": """
                sendmmsg of 1025: 1024
                the far end gets: 1024
                more: no
                sendmmsg of none: 0
            """,
            "held_by_flag": """
                send: 1
                at once: none
                send: 1
                far: "ab"
            """,
            "held_by_cork": """
                cork: 0
                send: 1
                send: 1
                at once: none
                uncork: 0
                far: "ab"
            """,
            "held_for_a_time": """
                send: 1
                far: "a"
            """,
            "held_until_the_end": """
                send: 1
                far: "a"
                far: end
            """,
            "held_until_full": """
                send: 200000
                much has gone out at once: yes
            """,
        },
        allowed={  # TCP may hold bytes back for 0.2 s; nothing does here
            "held_by_flag": [
                """
                send: 1
                at once: in
                send: 1
                far: "ab"
                """
            ],
            "held_by_cork": [
                """
                cork: 0
                send: 1
                send: 1
                at once: in
                uncork: 0
                far: "ab"
                """
            ],
        },
    ),
    *cases(
        "reading/events.c",
        {
            "long_timeouts": """
                it is over unasked: no
                ppoll: 1
                it is over: yes
                it is over unasked: no
                pselect: 1
                it is over: yes
                it is over unasked: no
                select: 1
                it is over: yes
            """,
            "edge_of_reading": """
                bytes: in
                again: none
                after a part was read: none
                more bytes: in
                all were read: none
            """,
            "edge_of_writing": """
                writable: out
                again: none
                armed anew: out
                full: none
            """,
            "edge_after_full": """
                writable before: none
                full: none
                room again: out
            """,
            "once": """
                bytes: in
                again: none
                more bytes: none
                armed anew: in
            """,
            "once_listener": """
                a connection: in
                a second one: none
                one was accepted: none
                armed anew: in
                none waits: none
            """,
            "nested": """
                nothing: none
                bytes: in
                again: none
                the inner one: in
                all were read: none
                the inner one: none
                more bytes: in
            """,
            "nested_level": """
                bytes: in
                again: in
                poll of the inner one: in
                all were read: none
                poll of the inner one: none
            """,
            "nested_for_ends": """
                the outer one: none
                bytes: none
                the inner one: none
                the outer one: none
            """,
            "nested_anew": """
                bytes: in
                bytes: in
                bytes: in
                bytes: in
                more of them: in
            """,
            "nested_unnamed": """
                the pipe's: 1
                both: yes
                the pipe's: 1
            """,
            "nested_deep": """
                bytes: in
                all were read: none
                more bytes: in
                all were read: none
                the end: in
            """,
            "no_events": """
                bytes: none
                reset: err hup
            """,
            "twice_by_dup": """
                add the duplicate: 0
                add it again: EEXIST
                events: 2
            """,
        },
        servers=["once_listener"],
    ),
    *cases(
        "reading/splicing.c",
        {
            "splice_bytes": """
                in: 11
                in the pipe: "to the pipe"
                out: 13
                at the far end: "from the pipe"
                in at the end: 0
            """,
            "splice_waiting": """
                in, with SPLICE_F_NONBLOCK: 4
                in the pipe: "late"
                nothing there: EAGAIN
                out of an empty pipe: EAGAIN
                into a full pipe: EAGAIN
                still there: "x"
            """,
            "splice_errors": """
                nothing, wrong flags: 0
                wrong flags: EINVAL
                offset of the socket: EINVAL
                offset of the pipe: ESPIPE
                offset of the socket, outwards: EINVAL
                offset of the pipe, outwards: ESPIPE
                no pipe: EINVAL
                into the reading end: EBADF
                out of the writing end: EBADF
                without a reader: EPIPE
            """,
            "splice_to_dead": """
                out: EPIPE
                still in the pipe: "precious"
            """,
            "moved_by_number": """
                sendfile: 8
                far: "sendfile"
                splice: 6
                far: "splice"
                pwritev2: 8
                far: "pwritev2"
                preadv2: "preadv2"
                splice: 4
                in the pipe: "more"
            """,
            "splice_beside_reader": """
                at the end: 0
                bytes too many: 0
            """,
        },
        rounds=2,
    ),
]
