"""What is installed beside the program: systemd's units as systemd judges them, the sample file, the man pages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from configparser import RawConfigParser
from pathlib import Path

import pytest

import vnicd
from vnicd.config import CONFIG_DIR, DEFAULT_RUNTIME_DIR, NETWORK_SERVICE, Options, Paths
from vnicd.docker import main as driver
from vnicd.host.partitions import systemd_units
from vnicd.kernel import netns
from vnicd.process import privileges
from vnicd.spec.fabric_file import DEFAULT_FILE, parse

ROOT = Path(__file__).parents[3]
UNITS = ROOT / "systemd"
HOST, PARTITION, SOCKET = "vnicd.service", systemd_units.unit_name(""), "vnicd.socket"
NETWORK = NETWORK_SERVICE.format("")
DOCKER, DOCKER_SOCKET = "vnicd-docker.service", "vnicd-docker.socket"
PROGRAM = "/opt/vnicd/bin/"
MOST_EXPOSED = {HOST: 4.0, NETWORK: 4.0, PARTITION: 2.0, DOCKER: 2.5}

pytestmark = pytest.mark.skipif(
    not UNITS.exists(), reason="a copy of the package alone, as for the sanitizers"
)

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*words: str) -> str:
    """What systemd-analyze says, warnings included."""
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    if "unrecognized option" in text:
        pytest.skip("this systemd-analyze is too old (before 250)")
    assert done.returncode == 0, text
    return text


def read(unit: str) -> RawConfigParser:
    parser = RawConfigParser(strict=False)  # a setting may be given several times; the last counts
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((UNITS / unit).read_text())
    return parser


def words(unit: str, section: str, key: str) -> list[str]:
    return read(unit).get(section, key, fallback="").split()


@needs_analyze
@pytest.mark.parametrize("unit", [HOST, NETWORK, PARTITION, SOCKET, DOCKER, DOCKER_SOCKET])
def test_systemd_understands_each_line(tmp_path: Path, unit: str) -> None:
    program = tmp_path / "program"
    program.touch(mode=0o755)
    for path in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
        text = re.sub(f"{PROGRAM}[a-z]+", str(program), path.read_text())
        (tmp_path / path.name).write_text(text)
    said = analyze("verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit))
    ours = [line for line in said.splitlines() if "vnicd" in line]
    assert not ours


@needs_analyze
@pytest.mark.parametrize("unit", MOST_EXPOSED)
def test_exposure(unit: str) -> None:
    said = analyze("security", "--offline=true", "--no-pager", str(UNITS / unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= MOST_EXPOSED[unit], said


def test_a_partition_does_not_hang_on_the_hosting_daemon() -> None:
    assert set(read(PARTITION)["Unit"]) == {
        "Description",
        "Documentation",
        "StartLimitIntervalSec",
        "CollectMode",
    }


def test_a_partition_has_no_capability() -> None:
    for key in ("CapabilityBoundingSet", "AmbientCapabilities"):
        assert read(PARTITION).get("Service", key) == "", key


def test_a_partition_has_a_user_of_its_own() -> None:
    """A dynamic user is named, as the unnamed one of a template is the same for all its units."""
    said = {key: words(PARTITION, "Service", key) for key in ("DynamicUser", "User", "Group")}
    assert said == {"DynamicUser": ["yes"], "User": ["vnicd-%i"], "Group": [privileges.USER]}


@pytest.mark.parametrize("network", ["", "fast"])
@pytest.mark.parametrize("name", ["1", "db", "A_b-c", "x" * 25, "x" * 26, "x" * 32, "a.b", "0." * 16])
def test_each_name_has_a_user_name(name: str, network: str) -> None:
    """As strict as systemd is about the names of dynamic users."""
    user = (
        systemd_units.user_drop_in(name, network).removeprefix("[Service]\nUser=").strip() or f"vnicd-{name}"
    )
    assert re.fullmatch("[a-zA-Z_][a-zA-Z0-9_-]{0,30}", user), user
    assert network == "" or systemd_units.user_drop_in(name, "other") != systemd_units.user_drop_in(
        name, network
    )


def test_the_units_start_what_the_program_offers() -> None:
    assert words(PARTITION, "Service", "ExecStart") == [f"{PROGRAM}vnicd", "partition", "%i"]
    start = words(HOST, "Service", "ExecStart")
    assert start[:2] == [f"{PROGRAM}vnicd", "host"]
    assert "--units" in start
    assert start[start.index("--config") + 1] == DEFAULT_FILE


def test_a_network_has_the_host_of_the_default_one_but_in_its_own_place() -> None:
    """Whatever is changed in one of the two units is to be changed in the other."""
    paths = Paths(Path(DEFAULT_RUNTIME_DIR)).of_network("%i")
    own = {
        "Description": "vnicd hosting daemon of network %i",
        "ExecStart": f"{PROGRAM}vnicd host --units --config {CONFIG_DIR}/networks/%i.toml",
        "RuntimeDirectory": str(paths.root.relative_to("/run")),
    }
    lines = [
        [line for line in (UNITS / unit).read_text().splitlines() if not line.startswith("#")]
        for unit in (HOST, NETWORK)
    ]
    more = [line for line in lines[1] if line not in lines[0]]
    less = [line for line in lines[0] if line not in lines[1]]
    assert sorted(more) == sorted(
        [*(f"{key}={value}" for key, value in own.items()), f"Environment=VNICD_RUNTIME_DIR={paths.root}"]
    )
    assert {line.split("=")[0] for line in less} == {*own, "Sockets", "Also"}


def test_the_daemons_say_themselves_when_they_are_ready() -> None:
    """A reload is made by vnicctl; that the fabric is being changed, and is ready again, the daemon says."""
    for name in (HOST, PARTITION):
        assert words(name, "Service", "Type") == ["notify"]
        assert words(name, "Service", "NotifyAccess") == ["main"]
    assert words(HOST, "Service", "ExecReload") == [f"{PROGRAM}vnicctl", "apply"]


def test_both_are_watched() -> None:
    for name in (HOST, PARTITION):
        (seconds,) = words(name, "Service", "WatchdogSec")
        assert 3 < int(seconds) <= 10, "tests/service sets 3, which must not be more"


def test_namespaces_get_their_names_where_the_machine_sees_them() -> None:
    assert words(HOST, "Service", "Environment") == [f"{netns.MOUNT_NAMESPACE}=/proc/1/ns/mnt"]


def test_the_socket_is_the_control_socket() -> None:
    assert words(SOCKET, "Socket", "ListenStream") == [str(Paths(Path(DEFAULT_RUNTIME_DIR)).control)]
    assert words(HOST, "Service", "Sockets") == [SOCKET]


def test_dockers_driver_is_where_docker_looks() -> None:
    assert words(DOCKER_SOCKET, "Socket", "ListenStream") == [str(driver.SOCKET)]
    assert words(DOCKER_SOCKET, "Socket", "SocketMode") == ["0600"]
    assert words(DOCKER, "Service", "ExecStart") == [f"{PROGRAM}vnicd", "docker"]
    assert Path("/var/lib", *words(DOCKER, "Service", "StateDirectory")) == driver.STATE.parent


def test_the_user_is_the_one_that_is_made() -> None:
    lines = (UNITS / "vnicd.sysusers").read_text().splitlines()
    assert [line.split()[:2] for line in lines if not line.startswith("#")] == [["u", privileges.USER]]


def test_the_sample_file_declares_nothing() -> None:
    declared = parse((UNITS / "vnicd.toml").read_text(), "vnicd.toml")
    assert (declared.options, declared.uplink, dict(declared.partitions)) == (Options(), None, {})


def test_all_that_the_sample_file_shows_can_be_used() -> None:
    text = re.sub(r"^# (?=\[|[a-z_]+ = )", "", (UNITS / "vnicd.toml").read_text(), flags=re.MULTILINE)
    declared = parse(text, "vnicd.toml")
    assert declared.uplink is not None
    assert set(declared.partitions) == {"web", "db"}
    assert declared.partitions["web"].rate


def test_man_pages_tell_of_each_command(tmp_path: Path) -> None:
    from vnicd.cli.app import COMMANDS

    subprocess.run(
        [sys.executable, ROOT / "scripts/man", tmp_path], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True
    )
    page = (tmp_path / "vnicctl.1").read_text()
    for command in COMMANDS:
        assert re.search(rf"^\.SS vnicctl {command}\b", page, re.MULTILINE), command
    for name in ("vnicd.8", "vnicd.toml.5"):
        assert f".SH NAME\n{name[:-2]} \\- " in (tmp_path / name).read_text()
    for heading in ("EXIT STATUS", "ENVIRONMENT", "FILES"):
        for name in ("vnicctl.1", "vnicd.8"):
            assert f"\n.SH {heading}\n" in (tmp_path / name).read_text()
    assert re.search(r"^# log_level = ", (tmp_path / "vnicd.toml.5").read_text(), re.MULTILINE)


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert vnicd.__version__ == project["version"]
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(vnicd.__version__)}(,|$)", changes, re.MULTILINE), (
        "CHANGELOG.md lacks it"
    )
