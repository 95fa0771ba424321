"""Cases of wake-ups: many who wait for one connection, in threads and in processes; none may sleep on."""

from __future__ import annotations

from tests.cases.case import cases

MIXTURES = (
    "recv_and_send",
    "recv_and_poll",
    "recv_and_epoll",
    "poll_and_send",
    "poll_and_poll",
    "select_and_select",
    "select_and_poll",
    "epoll_and_epoll",
    "epoll_and_send",
    "edge_and_edge",
    "edge_and_poll",
)
CROWDS = ("two_in_poll", "three_in_poll", "three_in_select", "three_in_epoll", "mixed", "one_epoll")

CASES = [
    *cases("wakeups/duplex.c", dict.fromkeys(MIXTURES, "late: 0\nbroken: 0"), rounds=1),
    *cases(
        "wakeups/crowd.c", dict.fromkeys([*CROWDS, "three_in_recv", "parent_and_child"], "late: 0"), rounds=2
    ),
    *cases(
        "wakeups/inherited.c",
        dict.fromkeys([f"exec_and_{how}" for how in ("poll", "select", "epoll", "recv")], "late: 0")
        | dict.fromkeys(
            ["exec_keeps_the_end", "spawn_keeps_the_end"], "events while the child lives: 0\nfar: end"
        ),
        rounds=2,
    ),
    *cases(
        "wakeups/early.c",
        {"another_looks": "epoll_ctl: 0\nlook: 0\nepoll_wait: 1\nit wakes: yes\ndata: 7"},
        rounds=5,
    ),
    *cases("wakeups/pool.c", {"pool": "answered: 12\nlate: 0"}),
]
