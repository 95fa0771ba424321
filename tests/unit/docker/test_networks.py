"""The file of Docker's networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from vnicd.docker.networks import DockerNetwork, Networks
from vnicd.errors import NotFound, Resources, VnicdError

ONE = DockerNetwork("a" * 64, "fast", gateways=("10.89.0.1",), mtu=9000, rate="100mbit")
OTHER = DockerNetwork("b" * 64, f"docker-{'b' * 12}", is_own=True, is_internal=True)


def test_what_was_told_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "lib" / "docker.json"
    first = Networks(path)
    first.put(ONE)
    first.put(OTHER)
    second = Networks(path)
    assert (second.get(ONE.ident), second.find(OTHER.ident)) == (ONE, OTHER)
    second.drop(ONE.ident)
    second.drop(ONE.ident)
    assert Networks(path).known == {OTHER.ident: OTHER}


def test_a_network_that_nobody_has_told_of(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="create it anew"):
        try:
            Networks(tmp_path / "docker.json").get(ONE.ident)
        except NotFound as error:
            raise NotFound(error.line()) from error


def test_what_cannot_be_written_is_not_known(tmp_path: Path) -> None:
    networks = Networks(tmp_path / "docker.json")
    (tmp_path / "docker.new").mkdir()
    with pytest.raises(Resources):
        networks.put(ONE)
    assert networks.find(ONE.ident) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"networks": [{}]}',
        '{"networks": [{"ident": "a", "network": "b", "gateways": 7}]}',
        '{"networks": [{"ident": "a", "network": "b", "gateways": [], "mtu": "9000"}]}',
        '{"networks": [{"ident": "a", "network": "b", "gateways": [], "colour": "red"}]}',
    ],
)
def test_a_damaged_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "docker.json"
    path.write_text(text)
    with pytest.raises(VnicdError, match="is damaged"):
        Networks(path)
