"""Direct sockets: OpenSSH and rsync, with keys and configuration of their own."""

from __future__ import annotations

import filecmp
import hashlib
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.framework.fabric.partition import Argv
from tests.framework.sockets.direct import Ends

pytestmark = pytest.mark.tools

SSH_PORT, RSYNC_PORT = 2222, 8730
PRIVILEGE_SEPARATION = Path("/run/sshd")
"""An empty folder that sshd wants; the system makes it where sshd is a service."""

DATA = random.Random(3).randbytes(20 << 20)


@dataclass(frozen=True)
class Ssh:
    """An sshd in the server's partition and how to reach it."""

    ends: Ends
    folder: Path

    @property
    def options(self) -> Argv:
        settings = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": self.folder / "known",
            "LogLevel": "ERROR",
        }
        words = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        return ["-F", "/dev/null", "-i", str(self.folder / "key"), *words]

    @property
    def target(self) -> str:
        return f"root@{self.ends.server.ip}"

    def command(self, *words: str) -> Argv:
        return ["ssh", *self.options, "-p", str(SSH_PORT), self.target, *words]


@pytest.fixture
def ssh(ends: Ends, tmp_path: Path) -> Iterator[Ssh]:
    made = not PRIVILEGE_SEPARATION.exists()
    PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    try:
        with _sshd(ends, tmp_path):
            yield Ssh(ends, tmp_path)
    finally:
        if made:
            PRIVILEGE_SEPARATION.rmdir()


@contextmanager
def _sshd(ends: Ends, folder: Path) -> Iterator[None]:
    for name in ("host", "key"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True)
    (folder / "key.pub").rename(folder / "allowed")
    settings = {
        "ListenAddress": ends.server.ip,
        "Port": SSH_PORT,
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "allowed",
        "PidFile": "none",
        "PermitRootLogin": "prohibit-password",
        "StrictModes": "no",
        "UsePAM": "no",
        "UseDNS": "no",
        "PrintMotd": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "config")]
    with ends.server.serving(argv, SSH_PORT, folder / "sshd.log"):
        yield


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Some hundred files of all sizes."""
    chance, folder = random.Random(4), tmp_path / "tree"
    for number in range(200):
        path = folder / f"folder{number % 7}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(1 << chance.randrange(1, 19))))
    (folder / "large").write_bytes(DATA)
    return folder


def same_trees(one: Path, other: Path) -> bool:
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(other)) for path in other.rglob("*") if path.is_file())
    return filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


def test_a_command(ends: Ends, ssh: Ssh) -> None:
    with ends.watch():
        assert ends.client.run(ssh.command("echo hello; exit 7"), check=False).returncode == 7
        done = ends.client.run(ssh.command("echo hello; echo trouble >&2"))
    assert (done.stdout, done.stderr) == ("hello\n", "trouble\n")


def test_megabytes_of_input(ends: Ends, ssh: Ssh) -> None:
    with ends.watch():
        said = ends.client.feed(ssh.command("sha256sum"), DATA).decode()
    assert said.split()[0] == hashlib.sha256(DATA).hexdigest()


def test_megabytes_both_ways(ends: Ends, ssh: Ssh) -> None:
    with ends.watch():
        got = ends.client.feed(ssh.command("cat"), DATA)
    assert hashlib.sha256(got).digest() == hashlib.sha256(DATA).digest()


def test_scp(ends: Ends, ssh: Ssh, tmp_path: Path) -> None:
    here, there, back = (tmp_path / name for name in ("here", "there", "back"))
    here.write_bytes(DATA)
    copy = ["scp", "-q", *ssh.options, "-P", str(SSH_PORT)]
    with ends.watch():
        ends.client.run([*copy, str(here), f"{ssh.target}:{there}"])
        ends.client.run([*copy, f"{ssh.target}:{there}", str(back)])
    assert filecmp.cmp(here, there, shallow=False)
    assert filecmp.cmp(here, back, shallow=False)


def test_rsync_over_ssh(ends: Ends, ssh: Ssh, tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shell = " ".join(ssh.command()[:-1])
    command = [
        "rsync",
        "-a",
        "--checksum",
        "--no-whole-file",
        "-e",
        shell,
        f"{tree}/",
        f"{ssh.target}:{copy}/",
    ]
    with ends.watch():
        ends.client.run(command)
        assert same_trees(tree, copy)
        (tree / "large").write_bytes(DATA[:1000] + b"changed" + DATA[1000:])
        ends.client.run(command)
    assert same_trees(tree, copy)


@pytest.mark.parametrize("way", ["push", "pull"])
def test_rsync_daemon(ends: Ends, tree: Path, tmp_path: Path, way: str) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.mkdir()
    config = tmp_path / "rsyncd.conf"
    config.write_text(f"use chroot = no\n[files]\npath = {there}\nread only = no\nuid = root\ngid = root\n")
    serve = ["rsync", "--daemon", "--no-detach", f"--config={config}", f"--address={ends.server.ip}"]
    target = f"rsync://{ends.server.ip}:{RSYNC_PORT}/files/"
    with ends.server.serving([*serve, f"--port={RSYNC_PORT}"], RSYNC_PORT, tmp_path / "log"), ends.watch():
        ends.client.run(["rsync", "-a", f"{tree}/", target])
        assert same_trees(tree, there)
        if way == "pull":
            ends.client.run(["rsync", "-a", target, f"{back}/"])
            assert same_trees(tree, back)
