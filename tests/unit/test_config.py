"""Options of a fabric, as its file and the command line have them."""

from __future__ import annotations

import pytest

from vnicd.cli.commands.up import up
from vnicd.config import NETWORK_OPTIONS, Options, option_words
from vnicd.spec.fabric_file import OPTION_KEYS


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
