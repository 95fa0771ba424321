"""Options of a fabric, as its file and the command line have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vnicd.cli.commands.up import up
from vnicd.config import NETWORK_OPTIONS, Options, Paths, option_words, start_command
from vnicd.spec.fabric_file import OPTION_KEYS


def test_networks_lie_beside_each_other_below_the_default_one(tmp_path: Path) -> None:
    default = Paths(tmp_path)
    fast = default.of_network("fast")
    assert (default.network, fast.network) == ("", "fast")
    assert fast.root == tmp_path / "networks/fast"
    assert fast.default == fast.of_network("default") == default.default == default
    assert fast.of_network("slow") == default.of_network("slow")
    assert default.network_names() == []
    for name in ("fast", "slow"):
        default.of_network(name).root.mkdir(parents=True)
    fast.declaration.touch()
    assert default.network_names() == fast.network_names() == ["fast"]
    fast.declaration.replace(fast.state)
    assert default.network_names() == ["fast"], "a hosting daemon has left something"
    assert start_command(fast.root) == "vnicctl --network fast up"


@pytest.mark.parametrize("name", [name for name in OPTION_KEYS if name not in NETWORK_OPTIONS])
def test_each_option_of_a_file_is_one_of_the_command_line(name: str) -> None:
    option = option_words(name, getattr(Options(), name)).split()[0]
    assert option in [text for each in up.params for text in each.opts]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("names", True, "--names on"),
        ("names", False, "--names off"),
        ("idle_timeout", 0.5, "--idle-timeout 0.5"),
        ("poll_us", 70, "--poll-us 70"),
        ("log_level", "debug", "--log-level debug"),
    ],
)
def test_options_are_told_as_they_are_given(name: str, value: object, words: str) -> None:
    assert option_words(name, value) == words
