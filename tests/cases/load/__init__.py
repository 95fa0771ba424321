"""Cases of load: children beside threads, and what connections cost."""

from __future__ import annotations

from tests.cases.case import cases

CASES = [
    *cases(
        "load/forks.c",
        {
            "fork_beside_connects": """
                children that failed: 0
                threads' connections that failed: 0
            """,
            "fork_in_each_moment": """
                children that failed: 0
                threads' connections that failed: 0
            """,
            "fork_beside_traffic": """
                children that failed: 0
                all was received: yes
            """,
        },
        ways=("plain", "direct"),
        rounds=1,
    ),
    *cases(
        "load/cost.c",
        {"locked_memory": "moderate: yes", "closed_at_once": "in time: yes"},
        ways=("plain", "direct"),
        rounds=2,
    ),
]
