"""Trace rings: what is written is read, in order; what is torn, hostile or no ring at all does no harm."""

from __future__ import annotations

import os
import resource
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.framework.datapath.loops import LoopBench
from tests.framework.datapath.peer import frame
from tests.framework.fabric.machine import open_files
from tests.framework.waiting import wait_until
from vnicd.errors import NotFound, VnicdError
from vnicd.host import tracing
from vnicd.native import memory
from vnicd.native import trace as native
from vnicd.process import trace, trace_files

A, B, C = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"

RECORD = 128
"""Bytes of a record, and of the head before the first."""


@pytest.fixture(autouse=True)
def no_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has just started."""
    monkeypatch.setattr(trace, "_ring", None)
    monkeypatch.setattr(trace, "_writer", None)
    trace._early.clear()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def start(place: Path, name: str = "blue") -> None:
    """What a daemon does that is handed its ring."""
    trace.use(trace_files.make(place, name))


def restart(place: Path) -> None:
    trace._ring = trace._writer = None
    start(place)


def shown(place: Path, name: str = "blue") -> list[dict[str, Any]]:
    return [tracing.record(raw) for raw in trace_files.read(place, name)]


def texts(place: Path) -> list[str]:
    return [each["text"] for each in shown(place)]


def raw_file(place: Path) -> Path:
    return place / "blue.ring"


def test_records_are_read_in_order_with_their_values(place: Path) -> None:
    trace.note("started", text="before there was a ring")
    start(place)
    trace.note("registered", 7, 2)
    trace.note("order", 0xFF, 3, text="make")
    found = shown(place)
    assert [each["kind"] for each in found] == ["started", "registered", "order"]
    assert [each["values"] for each in found] == [
        {},
        {"port": 7, "generation": 2},
        {"link": "00000000000000ff", "peer": 3},
    ]
    assert {each["pid"] for each in found} == {os.getpid()}
    assert [each["monotonic_ns"] for each in found] == sorted(each["monotonic_ns"] for each in found)
    assert found[0]["text"] == "before there was a ring"


def test_a_value_that_is_not_known_is_left_out(place: Path) -> None:
    start(place)
    trace.note("report", *trace.numbers({"link_id": 5, "peer": "nonsense"}, "link_id", "peer"))
    assert shown(place)[0]["values"] == {"link": f"{5:016x}"}


def test_the_newest_records_stay(place: Path) -> None:
    start(place)
    last = 2 * native.CONTROL_RECORDS + 50
    for number in range(last):
        trace.note("warning", text=str(number))
    assert texts(place) == [str(number) for number in range(last - native.CONTROL_RECORDS, last)]
    assert raw_file(place).stat().st_size == native.SIZE


def test_a_long_text_loses_its_end(place: Path) -> None:
    start(place)
    trace.note("warning", text="ä" * 100)
    trace.note("warning", text="\ud800")
    assert texts(place) == ["ä" * (native.TEXT_MOST // 2), "?"]


def test_a_daemon_goes_on_behind_the_one_before(place: Path) -> None:
    start(place)
    for number in range(native.CONTROL_RECORDS + 3):
        trace.note("warning", text=str(number))
    restart(place)
    trace.note("started", text="again")
    assert texts(place)[-2:] == [str(native.CONTROL_RECORDS + 2), "again"]
    assert len(texts(place)) == native.CONTROL_RECORDS


def change(place: Path, at: int, data: bytes) -> None:
    with raw_file(place).open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_record_whose_writer_died_in_the_middle_is_left_out(place: Path) -> None:
    start(place)
    for text in ("one", "two", "three"):
        trace.note("warning", text=text)
    change(
        place, 3 * RECORD, bytes(8)
    )  # slot 2, behind the head: the second record, whose number is not there yet
    assert texts(place) == ["one", "three"]
    restart(place)
    trace.note("warning", text="four")
    assert texts(place) == ["one", "three", "four"]


def test_a_record_that_changes_while_it_is_read_is_left_out(place: Path) -> None:
    start(place)
    trace.note("warning", text="one")
    trace.note("warning", text="two")
    first = raw_file(place).read_bytes()
    second = bytearray(first)
    second[2 * RECORD + 64] ^= 1  # in the text of the first record
    assert [raw[-1] for raw in native.records(first, bytes(second))] == [b"two"]


@pytest.mark.parametrize("number", [1 << 31, (1 << 64) - 1, 4])
def test_a_section_that_no_daemon_of_ours_wrote_is_begun_anew(place: Path, number: int) -> None:
    start(place)
    trace.note("warning", text="one")
    change(place, 2 * RECORD, number.to_bytes(8, "little"))
    restart(place)
    trace.note("warning", text="two")
    assert texts(place) == ["two"]


def test_a_file_without_a_head_is_begun_anew(place: Path) -> None:
    os.close(trace_files.make(place, "blue"))
    raw_file(place).write_bytes(b"\xff" * native.SIZE)
    start(place)
    trace.note("warning", text="one")
    assert texts(place) == ["one"]


# ------------------------------------------------------------------------------------------ hostile content


def test_noise_is_shown_as_plain_text(place: Path) -> None:
    start(place)
    head = raw_file(place).read_bytes()[:RECORD]
    for _ in range(20):
        noise = bytearray(head + secrets.token_bytes(native.SIZE - RECORD))
        for slot in range(1, native.CONTROL_RECORDS):  # numbers that fit, so that the records are taken
            at = (slot + 1) * RECORD
            noise[at : at + 8] = slot.to_bytes(8, "little")
        raw_file(place).write_bytes(noise)
        found = shown(place)
        assert len(found) == native.CONTROL_RECORDS - 1
        assert all(each["text"].isprintable() and len(each["text"]) <= native.TEXT_MOST for each in found)


@given(
    kind=st.integers(0, 65535),
    values=st.lists(st.integers(0, 2**64 - 1), max_size=4),
    text=st.binary(max_size=64),
)
def test_any_record_can_be_shown(kind: int, values: list[int], text: bytes) -> None:
    each = tracing.record(("loop", 1, 2**64 - 1, 2**64 - 1, 2**32 - 1, kind, tuple(values), text))
    assert each["text"].isprintable()
    assert each["kind"].isidentifier()


@pytest.mark.parametrize("size", [0, 1, native.SIZE - 1])
def test_a_file_that_was_cut_is_damaged(place: Path, size: int) -> None:
    start(place)
    os.truncate(raw_file(place), size)
    with pytest.raises(VnicdError, match="damaged"):
        shown(place)


def test_a_file_that_has_grown_is_read_as_far_as_it_is_a_ring(place: Path) -> None:
    start(place)
    trace.note("warning", text="one")
    os.truncate(raw_file(place), 1 << 40)
    assert texts(place) == ["one"]
    restart(place)
    assert raw_file(place).stat().st_size == native.SIZE


def test_what_is_no_file_of_ours_is_not_read(place: Path, tmp_path: Path) -> None:
    place.mkdir()
    other = tmp_path / "other"
    other.write_bytes(bytes(native.SIZE))
    raw_file(place).symlink_to(other)
    with pytest.raises(VnicdError, match="can't be read"):
        shown(place)
    raw_file(place).unlink()
    os.mkfifo(raw_file(place))
    with pytest.raises(VnicdError, match="damaged"):
        shown(place)
    with pytest.raises(NotFound):
        shown(place, "green")


# ------------------------------------------------------------------------------------------------ files


def test_a_ring_can_be_had_by_nobody_else(place: Path) -> None:
    start(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE(raw_file(place).stat().st_mode) == 0o600
    assert trace_files.names(place) == {"blue"}
    trace_files.remove(place, "blue")
    assert trace_files.names(place) == set()
    trace_files.remove_all(place)
    assert not place.exists()


def test_a_mapped_ring_has_no_descriptor(place: Path) -> None:
    start(place)
    assert str(raw_file(place)) not in open_files().values()


def test_a_folder_of_somebody_else_is_not_used(place: Path, tmp_path: Path) -> None:
    place.mkdir(mode=0o755)
    place.chmod(0o777)
    with pytest.raises(PermissionError):
        trace_files.make(place, "blue")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        trace_files.make(link, "blue")


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file can get larger than a part of a ring; the kernel says so as it does when there is no memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (native.SIZE // 2, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("little_room")
def test_without_room_there_is_no_ring_and_no_file(place: Path) -> None:
    with pytest.raises(OSError, match="large"):
        trace_files.make(place, "blue")
    assert not raw_file(place).exists()
    trace.note("warning", text="goes on without")


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(bytes(4096))
    with pytest.raises(memory.Refused):
        trace.use(os.open(path, os.O_RDWR))


def test_rings_lie_in_memory(tmp_path: Path) -> None:
    on_disk, in_memory = Path("/"), Path("/dev/shm")
    assert trace_files.folder(in_memory) == in_memory / "trace"
    if not trace_files._is_in_memory(on_disk):
        folder = trace_files.folder(on_disk)
        assert folder.parent == trace_files.SHARED_MEMORY
        assert folder != trace_files.folder(tmp_path)


# ------------------------------------------------------------------------------------------------- loop


def ring_of(place: Path) -> memory.Region:
    start(place)
    found = trace.ring()
    assert found is not None
    return found


def kinds(place: Path) -> list[str]:
    return [each["kind"] for each in shown(place) if each["thread"] == "loop"]


def test_the_loop_records_the_life_of_a_link(place: Path) -> None:
    with LoopBench(1, {0: C, 1: A, 2: B}, ring=ring_of(place)) as bench:
        peer = bench.direct(2)
        peer.doorbell.close()
        wait_until(bench.gone, 5, "the peer is gone")
        bench.loop.detach(2)
    assert kinds(place) == ["tap", "loop_started", "attached", "opened", "gone", "detached", "loop_ended"]
    gone = next(each for each in shown(place) if each["kind"] == "gone")
    assert gone["values"] == {"link": f"{2002:016x}", "peer": 2, "fault": "none"}


def test_the_loop_records_a_receiver_that_stalls_and_moves(place: Path) -> None:
    with LoopBench(1, {0: C, 1: A, 2: B}, ring=ring_of(place)) as bench:
        peer = bench.direct(2)
        bench.fill(2, B)
        wait_until(lambda: "stalled" in kinds(place), 5, "it is seen that the receiver does not read")

        def is_moving() -> bool:
            while peer.receive():
                pass
            bench.fill(2, B)
            return "moving" in kinds(place)

        wait_until(is_moving, 5, "it is seen that the receiver reads again")
    assert kinds(place).count("stalled") == 1


def test_frames_leave_no_record(place: Path) -> None:
    with LoopBench(1, {0: C, 1: A, 2: B}, ring=ring_of(place)) as bench:
        bench.direct(2)
        before = kinds(place)
        for _ in range(100):
            bench.tap_send(frame(B, A))
            bench.receive(2)
        assert kinds(place) == before


MOUNTS = (
    b"22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
    b"23 22 0:21 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=9k\n"
    b"24 22 0:22 / /tmp/a\\040b\xff\x0c\xe2\x80\xa8\xc2\x85 rw - tmpfs x rw\n"
    b"25 22 0:23 / /odd\n"
    b"26\n"
)


@pytest.mark.parametrize(
    ("device", "kind"),
    [((8, 1), b"ext4"), ((0, 21), b"tmpfs"), ((0, 22), b"tmpfs"), ((0, 23), b""), ((0, 99), b"")],
)
def test_the_file_system_of_a_device(device: tuple[int, int], kind: bytes) -> None:
    """Mount points have any bytes in their names, also those at which Python ends a line, and no UTF-8."""
    assert trace_files.kind_of_mount(MOUNTS, *device) == kind
