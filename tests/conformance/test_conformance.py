"""Programs go over direct connections as over the kernel's TCP; and the tester finds what is planted."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import allowed
from tests.conformance.compare import simpler_steps
from tests.conformance.generator.generate import WEIGHTS, generate
from tests.conformance.lanes import LIBRARY, ROOT
from tests.conformance.program import KINDS, MAX_STEPS, Program, parse_program, parse_step
from tests.conformance.trace import OUTCOME, Trace
from tests.framework.waiting import wait_until

CASES = Path(__file__).parent / "cases.txt"

SEED = 18

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="the player needs gcc")

TWO_LISTENERS = """
s0 socket 0 inet NONBLOCK
s0 setsockopt 0 SO_REUSEPORT 1 -1
s0 bind 0 -1
s0 listen 0 50 0
s0 socket 1 inet NONBLOCK
s0 setsockopt 1 SO_REUSEPORT 1 -1
s0 bind 1 0
s0 listen 1 50 1
"""


def conformance(*words: str, seconds: float = 100) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.conformance", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)


def nearly_all_the_same(done: subprocess.CompletedProcess[str]) -> None:
    """None differs; some have time-outs of a millisecond, and a busy machine may show those in two ways."""
    said = done.stdout[-6000:] + done.stderr[-2000:]
    found = re.search(r" 0 differences, (\d+) unsteady", done.stdout)
    assert found and int(found[1]) <= 5, said


@pytest.mark.root
@needs_gcc
def test_known_cases_go_as_the_kernels() -> None:
    """Programs that were found to differ, and must not do so again."""
    if not LIBRARY.exists():
        pytest.skip(f"no {LIBRARY}: run scripts/setup")
    nearly_all_the_same(conformance(f"--replay={CASES}"))


@pytest.mark.root
@needs_gcc
@pytest.mark.timeout(300)
def test_a_minute_of_random_programs(tmp_path: Path) -> None:
    """Always the same ones, so that who has broken something knows it; `scripts/conformance` takes others each time."""
    if not LIBRARY.exists():
        pytest.skip(f"no {LIBRARY}: run scripts/setup")
    words = ["--seconds=60", f"--seed={SEED}", "--shrink=3", f"--keep={tmp_path}"]
    done = conformance(*words, seconds=280)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.root
@needs_gcc
def test_known_cases_have_one_outcome_over_the_kernels_tcp(wrong: Path) -> None:
    nearly_all_the_same(conformance(f"--replay={CASES}", f"--library={wrong}", "--ends=client,server"))


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library with the planted faults."""
    library = tmp_path_factory.mktemp("wrong") / "libwrong.so"
    source = Path(__file__).parent / "wrong.c"
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", library, source], check=True)
    return library


@pytest.mark.root
@needs_gcc
def test_a_library_without_a_fault_has_no_difference(wrong: Path, tmp_path: Path) -> None:
    done = conformance(
        "--programs=150", "--seed=1", f"--library={wrong}", "--ends=client,server", f"--keep={tmp_path}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^conformance: 150 programs, 0 differences, seed 1$", done.stdout, re.M)


@pytest.mark.root
@needs_gcc
@pytest.mark.parametrize(
    ("fault", "operation", "programs"),
    [
        ("errno", "recv", 64),
        ("bytes", "recv", 64),
        ("end", "recv", 256),
        ("events", "poll", 64),
        ("hang", "poll", 32),
        ("crash", "shutdown", 64),
    ],
)
def test_a_planted_fault_is_found_and_shrunk(
    wrong: Path, tmp_path: Path, fault: str, operation: str, programs: int
) -> None:
    planted = (f"--library={wrong}", f"--variable=PLANTED={fault}", f"--keep={tmp_path}")
    done = conformance(f"--programs={programs}", "--seed=1", "--shrink=1", "--ends=client", *planted)
    assert done.returncode == 1, done.stdout + done.stderr
    file = tmp_path / "difference-1.txt"
    program = parse_program(file.read_text())
    assert len(program.steps) <= 10, "it is not shrunk"
    first = next(
        line for line in file.read_text().splitlines() if not line.startswith("#") and operation in line
    )
    assert "DIFFERENT" in file.read_text() and first
    again = conformance(f"--replay={file}", "--ends=client", *planted)
    assert again.returncode == 1 and "# client: different" in again.stdout, again.stdout + again.stderr
    sound = conformance(f"--replay={file}", "--ends=client", *planted, "--variable=PLANTED=")
    assert sound.returncode == 0 and "# client: the same" in sound.stdout, sound.stdout + sound.stderr


@pytest.mark.root
@needs_gcc
def test_what_the_kernel_leaves_open_is_no_difference(wrong: Path, tmp_path: Path) -> None:
    """Of two listeners at one port the kernel chooses one by chance, so there is no verdict."""
    file = tmp_path / "open.txt"
    connects = "".join(f"c0 socket {slot} inet 0\nc0 connect {slot} 0\n" for slot in range(8))
    file.write_text(TWO_LISTENERS + connects + "s0 accept 0 2 none plain\n" * 8)
    done = conformance(f"--replay={file}", f"--library={wrong}", "--ends=client")
    assert done.returncode == 2 and "not the same each time" in done.stderr, done.stdout + done.stderr


@pytest.mark.root
@needs_gcc
def test_nothing_is_left_when_it_is_killed(wrong: Path, tmp_path: Path) -> None:
    """The player's processes end with it, also those that have forked and wait."""
    mark = f"VNICD_MARK={tmp_path}"
    argv = [sys.executable, "-m", "tests.conformance", "--seconds=60", f"--library={wrong}", "--ends=client"]
    process = subprocess.Popen([*argv, f"--variable={mark}", f"--keep={tmp_path}"], cwd=ROOT)
    try:
        wait_until(lambda: len(marked(mark)) > 8, 30, "the players play")
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not marked(mark), 10, "their processes have ended")


def marked(mark: str) -> list[int]:
    """The processes that have this in their environment."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in file.read_bytes():
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


def test_programs_are_the_same_for_a_seed_and_as_text() -> None:
    for number in range(200):
        program = generate(5, number)
        assert program == generate(5, number)
        assert program == parse_program(program.text)
        assert len(program.steps) <= MAX_STEPS
        assert len(program.packed) == 36 * len(program.steps)
    assert generate(5, 1) != generate(6, 1)


def test_each_operation_is_generated() -> None:
    used = {step.op for number in range(3000) for step in generate(1, number).steps}
    assert used == set(KINDS)


def test_pieces_can_be_left_out() -> None:
    names = {piece.__name__ for piece in WEIGHTS}
    assert "urgent" in names
    steps = [step for number in range(300) for step in generate(1, number, ["urgent", "fork"]).steps]
    assert not [step for step in steps if step.op == "fork" or (step.op == "send" and "OOB" in step.text)]


def test_simpler_steps_differ_from_the_step() -> None:
    step = parse_step("c1 recv 0 100 PEEK|DONTWAIT recvmsg timed")
    simpler = list(simpler_steps(step))
    assert step not in simpler
    assert parse_step("c0 recv 0 100 PEEK|DONTWAIT recvmsg timed") in simpler
    assert parse_step("c1 recv 0 100 PEEK recvmsg timed") in simpler
    assert parse_step("c1 recv 0 100 PEEK|DONTWAIT recv timed") in simpler


def test_a_difference_is_allowed_only_by_a_rule() -> None:
    def trace(error: int) -> Trace:
        return Trace(OUTCOME.pack(1, 0, 0, error, -1 if error else 1, 0, 0, 0, *[0] * 8, b""), (-1, -1))

    def reason(text: str, error: int) -> str | None:
        return allowed.reason((), parse_step(text), trace(0).outcome(0), trace(error).outcome(0))

    assert reason("c0 send 0 1 OOB send", 95)
    assert not reason("c0 send 0 1 OOB send", 32)
    assert not reason("c0 send 0 1 0 send", 95)
    assert all(len(rule.reason.split()) > 5 for rule in allowed.RULES)


def test_traces_tell_where_they_differ() -> None:
    done = OUTCOME.pack(1, 0, 0, 0, 5, 0, 0, 0, *[0] * 8, b"")
    other = OUTCOME.pack(1, 0, 0, 11, -1, 0, 0, 0, *[0] * 8, b"")
    one, two = Trace(done + done, (-1, -1)), Trace(done + other, (-1, -1))
    assert one.differs_at(two) == [1]
    assert one.differs_at(Trace(done + done, (9, -1))) == [2]
    assert not one.differs_at(Trace(done + done, (-1, -1)))
    waits = [OUTCOME.pack(1, 1, at, 0, 5, 0, 0, 0, *[0] * 8, b"") for at in (2, 3)]
    one, two = Trace(waits[0] + done + done, (-1, -1)), Trace(waits[1] + other + done, (-1, -1))
    assert one.differs_at(two) == [1, 0]  # what comes of the first step shows after the second
    assert Program(()).threads == (1, 1)
