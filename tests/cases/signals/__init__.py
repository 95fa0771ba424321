"""Cases of signals: calls that they interrupt, and those that a connection sends."""

from __future__ import annotations

from tests.cases.case import cases

RESULTS = {
    "recv": 5,
    "read": 5,
    "recv_timed": 5,
    "send": 1,
    "poll": 1,
    "select": 1,
    "epoll_wait": 1,
    "accept": 0,
}
"""What each call returns when it ends by itself."""

RESTARTED = ("recv", "read", "send", "accept")
"""The calls that go on after a handler with SA_RESTART; those with a time-out do not."""

HANDLERS = {
    "restart": True,
    "no_restart": False,
    "restart_beside_other": True,
    "no_restart_beside_other": False,
}
"""Whether the handler of the signal that comes has SA_RESTART; the handler of the signal that does not come differs."""


def interrupted() -> dict[str, str]:
    """What each call returns, and how often a handler ran."""
    texts = {}
    for call, result in RESULTS.items():
        for name, restarts in HANDLERS.items():
            goes_on = restarts and call in RESTARTED
            texts[f"{call}_{name}"] = f"the call: {result if goes_on else 'EINTR'}\nhandled: 1"
        for name in ("ignored", "default"):
            texts[f"{call}_{name}"] = f"the call: {result}\nhandled: 0"
    return texts


OWNED = """
    owner kept: yes
    O_ASYNC kept: yes
    signal: SIGIO
    recv: "hello"
    signal at the end: SIGIO
    recv: end
"""

CASES = [
    *cases(
        "signals/interrupted.c",
        interrupted(),
        rounds=2,
        servers=[name for name in interrupted() if name.startswith("accept")],
    ),
    *cases(
        "signals/asynchronous.c",
        {
            "owner_after_connect": OWNED,
            "owner_before_connect": OWNED,
            "signal_chosen": OWNED.replace("SIGIO", "SIGRTMIN for it"),
            "owner_by_ioctl": f"SIOCSPGRP: 0\nFIOASYNC: 0\n{OWNED.strip()}",
        },
        clients=["owner_before_connect"],
    ),
    *cases(
        "signals/asynchronous.c",
        {
            "owner_of_listener": """
                signal of the listener: SIGIO
                O_ASYNC inherited: no
            """,
        },
        servers=["owner_of_listener"],
        becomes_direct=False,
    ),
    *cases(
        "signals/asynchronous.c",
        {
            "handler_sends": """
                the reader ends: yes
                handlers sent: yes
                all was received: yes
            """,
        },
    ),
    *cases(
        "signals/handlers.c",
        {
            "messages_apart": """
                the reader ends: yes
                mixed messages: 0
            """,
            "calls_in_handlers": "all calls returned",
            "jumps": """
                recv: "y"
                descriptors left: 0
            """,
        },
        rounds=2,
    ),
    *cases(
        "signals/actions.c",
        {
            "in_order": "out of order, or without their data: 0",
            "mask_stays": "not blocked afterwards: 0",
            "set_and_asked": """
                sigaction shows it: yes
                rt_sigaction shows it: yes
                signal gives it back: yes
                sigset gives it back: yes
                handled: 1
                handled after a child of vfork has set another: 2
                send: EPIPE
                SIGPIPE's code: 0
                from itself: yes
            """,
            "jump_again": "far: end",
            "jump_out_of_sendfile": """
                all is read: yes
                wrong pages: 0
            """,
            "cancelled_later": """
                it ends: yes
                epoll_ctl: 0
            """,
        },
        rounds=2,
    ),
]
