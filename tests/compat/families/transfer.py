"""Programs that move files: vsftpd with curl, OpenSSH, rsync, git."""

from __future__ import annotations

import filecmp
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.compat.case import Case, open_to, pattern
from tests.compat.families import web
from tests.compat.families.proxies import filled
from tests.compat.program import Holder, Needs, Program
from tests.framework.fabric.partition import Argv

SMALL_FILES = 60


def make_tree(folder: Path) -> Path:
    """A folder with small files and a large one."""
    for number in range(SMALL_FILES):
        path = folder / f"d{number % 7}/file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pattern(number, 1 + number * 977))
    (folder / "large").write_bytes(web.FILE)
    return folder


def check_tree(one: Path, other: Path) -> None:
    """Both folders have the same files with the same content."""
    names = [str(path.relative_to(one)) for path in sorted(one.rglob("*")) if path.is_file()]
    _, wrong, missing = filecmp.cmpfiles(one, other, names, shallow=False)
    assert len(names) == SMALL_FILES + 1, f"{len(names)} files to compare"
    assert not wrong and not missing, f"{len(wrong)} files differ, {len(missing)} are missing"


class Vsftpd(Program):
    """Anonymous get and put by curl; its children are made by clone(2) itself."""

    name = "vsftpd"
    needs = Needs(debian=(("vsftpd", "vsftpd"), ("curl", "curl")))

    def version(self) -> str:
        return self.said("dpkg-query", "-W", "-f", "${Version}", "vsftpd", pattern=r"([\d.]+)")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        for path in (case.folder, case.folder.parent):
            path.chmod(0o755)
        case.write("ftp/file", web.FILE)
        case.write("empty/.keep", "")
        open_to(case.folder / "ftp/incoming", "ftp")
        with case.running(case.server, ["/usr/sbin/vsftpd", str(filled(case, "vsftpd.conf"))]):
            yield

    def check(self, case: Case) -> None:
        where = f"ftp://{case.at}"
        sent = case.write("sent", pattern(1, 2 << 20))
        for number in range(3):
            got = case.client.feed(["curl", "-sS", "--max-time", "10", f"{where}/file"], b"")
            assert got == web.FILE, f"get: {len(got)} bytes are wrong"
            target = f"{where}/incoming/put{number}"
            case.run(["curl", "-sS", "--max-time", "10", "-T", str(sent), target])
            put = case.folder / f"ftp/incoming/put{number}"
            assert put.read_bytes() == sent.read_bytes(), f"put: {put.stat().st_size} bytes are wrong"
        listed = case.run(["curl", "-sS", "--max-time", "10", f"{where}/incoming/"])
        assert listed.count("put") == 3, listed

    def hold(self, case: Case) -> Holder:
        return case.hold_open(r"USER anonymous\r\n", 40)


class OpenSSH(Program):
    """Files by scp in both directions, and a command's input and output."""

    name = "OpenSSH"
    needs = Needs(debian=(("openssh-server", "sshd"), ("openssh-client", "scp")))
    SEPARATION = Path("/run/sshd")
    """An empty folder that sshd wants; the system makes it where sshd is a service."""

    def version(self) -> str:
        return self.said("ssh", "-V", pattern=r"OpenSSH_([\w.]+)")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        made = not self.SEPARATION.exists()
        self.SEPARATION.mkdir(mode=0o755, exist_ok=True)
        for name in ("host_key", "user_key"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(case.folder / name)]
            subprocess.run(make, check=True)
        argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(filled(case, "sshd_config"))]
        try:
            with case.running(case.server, argv):
                yield
        finally:
            if made:
                with suppress(OSError):
                    self.SEPARATION.rmdir()

    def _options(self, case: Case) -> Argv:
        settings = ("BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "LogLevel=ERROR")
        words = [word for setting in settings for word in ("-o", setting)]
        known = f"UserKnownHostsFile={case.folder}/known"
        return ["-F", "/dev/null", "-i", str(case.folder / "user_key"), "-o", known, *words]

    def check(self, case: Case) -> None:
        tree, there, back = (case.folder / name for name in ("tree", "there", "back"))
        make_tree(tree)
        target, scp = (
            f"root@{case.server.ip}",
            ["scp", "-q", "-r", "-P", str(case.port), *self._options(case)],
        )
        case.run([*scp, str(tree), f"{target}:{there}"])
        check_tree(tree, there)
        case.run([*scp, f"{target}:{there}", str(back)])
        check_tree(tree, back)
        ssh = ["ssh", "-p", str(case.port), *self._options(case), target]
        assert case.client.feed([*ssh, "cat"], web.FILE) == web.FILE, "what cat echoed is wrong"

    def hold(self, case: Case) -> Holder:
        ssh = ["ssh", "-p", str(case.port), *self._options(case), f"root@{case.server.ip}"]
        return case.held([*ssh, "echo held; cat"])


class Rsync(Program):
    """The daemon: a tree goes there and comes back."""

    name = "rsync"
    needs = Needs(debian=(("rsync", "rsync"),))

    def version(self) -> str:
        return self.said("rsync", "--version")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        (case.folder / "served").mkdir()
        argv = ["rsync", "--daemon", "--no-detach", f"--config={filled(case, 'rsyncd.conf')}"]
        with case.running(case.server, argv):
            yield

    def check(self, case: Case) -> None:
        tree = make_tree(case.folder / "tree")
        where = f"rsync://{case.at}/files"
        case.run(["rsync", "-a", f"{tree}/", f"{where}/there"])
        check_tree(tree, case.folder / "served/there")
        case.run(["rsync", "-a", f"{where}/there/", f"{case.folder}/back"])
        check_tree(tree, case.folder / "back")

    def hold(self, case: Case) -> Holder:
        return case.hold_open("", 8)


class GitDaemon(Program):
    """A clone, and a push that a second clone sees."""

    name = "git daemon"
    needs = Needs(debian=(("git", "git"),))

    def version(self) -> str:
        return self.said("git", "--version")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        host, port = case.where
        self._git(case, "init", "-q", "--bare", "-b", "main", str(case.folder / "base.git"))
        words = [
            "--reuseaddr",
            f"--listen={host}",
            f"--port={port}",
            f"--base-path={case.folder}",
            "--export-all",
        ]
        argv = ["git", "daemon", *words, "--enable=receive-pack", "--verbose"]
        safe = case.env(GIT_CONFIG_COUNT=1, GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*")
        with case.running(case.server, [*safe, *argv]):
            yield

    def _git(self, case: Case, *words: str) -> str:
        who = ("-c", "user.name=compat", "-c", "user.email=compat@localhost", "-c", "safe.directory=*")
        return case.run([*case.env(), "git", *who, *words])

    def check(self, case: Case) -> None:
        where = f"git://{case.at}/base.git"
        first, second = str(case.folder / "first"), case.folder / "second"
        self._git(case, "clone", "-q", where, first)
        tree = make_tree(case.folder / "first/tree")
        self._git(case, "-C", first, "add", ".")
        self._git(case, "-C", first, "commit", "-q", "-m", "all of it")
        self._git(case, "-C", first, "push", "-q", "origin", "HEAD:main")
        self._git(case, "clone", "-q", where, str(second))
        check_tree(tree, second / "tree")
        self._git(case, "-C", str(second), "fsck", "--strict")

    def hold(self, case: Case) -> Holder:
        return case.hold_open(r"002dgit-upload-pack /base.git\0host=localhost\0", 4)


TRANSFER = [Vsftpd(), OpenSSH(), Rsync(), GitDaemon()]
