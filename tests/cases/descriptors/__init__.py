"""Cases of descriptors: how they are closed, copied, inherited, and read around the C library."""

from __future__ import annotations

from tests.cases.case import cases

AFTER_CLOSE = {
    "file": """
        close: 0
        the file has the number: yes
        file: "the file's text"
        write: 1
        far: "bye"
        far: end
    """,
    "socket": """
        close: 0
        a socket has the number: yes
        send: 5
        recv: "hello"
        send back: 5
        recv: "world"
        far: "bye"
        far: end
    """,
    "pipe": """
        close: 0
        the pipe has the number: yes
        events of the empty pipe: 0
        write: 5
        events: 1
        read: "hello"
        far: "bye"
        far: end
    """,
    "pass": """
        close: 0
        pass: EBADF
        the number is free: yes
        far: "bye"
        far: end
    """,
    "connect": """
        close: 0
        a new socket has the number: yes
        setsockopt: 0
        connect: 0
        recv: "hello"
        far: "bye"
        far: end
    """,
}

FORKED = """
    close: 0
    far: "hello"
    far: end
    child's status: 0
"""

PROGRAM_READ = """
    the static program read the bytes
    send: 2
    far: "on"
"""

TO_STDIN = """
    number: 0
    fgets: yes
    line: "a line\\n"
    write: 4
    far: "back"
    far: end
"""

DUPLICATED = """
    recv: "abc"
    send: 3
    far: "def"
    events before the last close: 0
    far: end
"""

AROUND = ("instruction", "syscall", "alias", "vector", "aio", "stolen")

READ, NO_READ = "the read gives the data", "the read gives the end or an error"
WRITTEN, NOT_WRITTEN, RESET = "the far end gets the data", "the write fails", "the far end is reset"

HIDDEN = ("instruction", "aio", "stolen")
"""What a library may not be able to carry; then it has to fail."""

CASES = [
    *cases(
        "descriptors/closing.c",
        {f"{how}_close_{what}": text for how in ("raw", "range", "asm") for what, text in AFTER_CLOSE.items()}
        | {
            "close_under_recv": """
                a socket has the number: yes
                send: 8
                blocked recv: "z"
                the blocked recv ends: yes
                recv of the socket: "precious"
            """,
            "no_end_while_recv_is_blocked": """
                events at the far end: 0
                blocked recv: "z"
                the blocked recv ends: yes
                far: end
            """,
        },
        clients=["raw_close_connect", "range_close_connect", "asm_close_connect"],
    ),
    *cases(
        "descriptors/forking.c",
        dict.fromkeys(["raw_clone", "raw_clone3", "raw_fork", "bare_fork", "library_fork"], FORKED)
        | {
            "vfork_other_files": """
                the child: 0
                from the child: "out"
                recv: "abc"
                send: 3
                far: "def"
            """,
            "raw_clone_leaves_parent": """
                child's exit code: 7
                recv: "abc"
                send: 3
                far: "def"
            """,
        }
        | dict.fromkeys(["fork_and_exec", "vfork_and_exec", "spawn"], PROGRAM_READ)
        | {
            "vfork_in_chroot": "the static program read the bytes",
            "fork_in_chroot": "the static program read the bytes",
        },
        allowed={
            "vfork_in_chroot": ["the static program read the end", "the static program read an error"],
        },
    ),
    *cases(
        "descriptors/numbers.c",
        dict.fromkeys(["dup_to_0", "fcntl_to_0", "dup2_to_0", "raw_dup_to_0"], TO_STDIN)
        | dict.fromkeys(
            [f"dup_by_{how}" for how in ("dup", "dup3", "raw_dup", "raw_dup3", "raw_fcntl")], DUPLICATED
        )
        | {
            "dup_to_1": """
                number: 1
                far: "printed\\n"
                far: end
            """,
            "dup_to_2": """
                number: 2
                far: "an error\\n"
                far: end
            """,
            "epoll_of_closed_first": """
                add: 0
                epoll_wait: 1
                its data: 7
                recv: "abc"
                epoll_wait: 0
                epoll_wait when all are closed: 0
            """,
        },
    ),
    *cases(
        "descriptors/around.c",
        {f"read_by_{how}": READ for how in AROUND}
        | {f"write_by_{how}": WRITTEN for how in AROUND}
        | {
            "recv_by_syscall": READ,
            "send_by_syscall": WRITTEN,
            "raw_epoll": """
                epoll_ctl: 0
                epoll_pwait: 1
                its data: 7
                recv: "abc"
                epoll_pwait: 0
            """,
        },
        allowed={f"read_by_{how}": [NO_READ] for how in HIDDEN}
        | {f"write_by_{how}": [NOT_WRITTEN, RESET] for how in HIDDEN},
    ),
    *cases(
        "descriptors/around.c",
        {"io_uring": "io_uring is there"},
        allowed={"io_uring": ["io_uring is refused"]},
        becomes_direct=False,
    ),
    *cases(
        "descriptors/filter.c",
        {
            "filter": """
                send: 1
                poll: 1
                add: 0
                epoll_wait: 1
                read: "a"
                write: 1
                the far end: "b"
                send: 1
                poll: 1
                add: 0
                epoll_wait: 1
                read: "a"
                write: 1
                the far end: "b"
                it was killed: no
            """
        },
    ),
    *cases(
        "descriptors/limits.c",
        {
            "limit_all_used": """
                no more: EMFILE
                connections: 30
                last descriptor: 63
            """,
            "limit_shown": """
                getrlimit: 100
                prlimit64: 100
                sysconf: 100
                getdtablesize: 100
                dup2 beyond: EBADF
                F_DUPFD beyond: EINVAL
                F_DUPFD to the last: 99
                and once more: EMFILE
                getrlimit: 200
                dup2 beyond the first: 150
            """,
            "limit_elsewhere": """
                limit: 100
                system: 0
                limit: 100
                limit: 100
                limit: 100
                own limit: 100
            """,
            "limit_accepts": """
                a low one
                accept without room: EMFILE
                takes the number: yes
                accept again: EMFILE
                the same
                accept without room: EMFILE
                takes the number: yes
                accept again: EMFILE
                the last one
                accept without room: EMFILE
                takes the number: yes
                accept again: EMFILE
                one of the last
                accept without room: EMFILE
                takes the number: yes
                accept again: EMFILE
            """,
        },
        rounds=1,
    ),
]
