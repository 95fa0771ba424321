"""Suites from Debian's source packages: those of interpreters whose own packages come without their tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.compat.suites.suite import SDISTS, Suite, run_installer

LISTS = SDISTS / "apt"
COLLECT_PRINTED = Path(__file__).parent / "collect_printed.py"

SOURCES = """Types: deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


@dataclass(frozen=True)
class DebianSuite(Suite):
    """`package` is the source package, `parts` are the folders of it that the tests need."""

    interpreter: str = ""
    parts: tuple[str, ...] = ()

    def copy_to(self, folder: Path) -> Path:
        source, target = self.source(), folder / "source"
        for part in self.parts if source and not target.exists() else ():
            shutil.copytree(source / part, target / part, symlinks=True)  # type: ignore[operator]
        return target

    def source(self) -> Path | None:
        name = self.package.rstrip("0123456789.")
        return next(iter(sorted(SDISTS.glob(f"{name}-[0-9]*/"))), None)

    def version(self) -> str:
        code = {"perl": "printf '%vd', $^V", "ruby": "puts RUBY_VERSION"}[self.interpreter]
        argv = [self.interpreter, "-e", code]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    def again(self, report: Path, tests: Sequence[str]) -> list[str]:
        return [*self.argv(report), "--only", *tests]

    def prepare(self) -> str:
        """Fetches the source package, with lists of apt's own that the machine's are not touched by."""
        if shutil.which(self.interpreter) is None:
            return f"there is no {self.interpreter}"
        if self.source():
            return ""
        for folder in ("parts", "lists/partial", "cache/archives/partial"):
            (LISTS / folder).mkdir(parents=True, exist_ok=True)
        (LISTS / "parts/vnicd.sources").write_text(SOURCES)
        places = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": LISTS / "parts",
            "Dir::State::lists": LISTS / "lists",
            "Dir::Cache": LISTS / "cache",
            "APT::Sandbox::User": "root",
        }
        apt = [
            "apt-get",
            "--quiet",
            *(word for key, place in places.items() for word in ("-o", f"{key}={place}")),
        ]
        fetch = [*apt, "source", "--download-only", self.package]
        if failed := run_installer([*apt, "update"]) or run_installer(fetch, cwd=SDISTS):
            return f"its source package could not be had: {failed}"
        (archive,) = SDISTS.glob(f"{self.package}_*.orig.tar.*")
        subprocess.run(["tar", "-xf", str(archive), "-C", str(SDISTS)], check=True)
        return ""


PERL_TESTS = {
    "dist/IO": ("io_sock", "io_poll", "io_sel", "io_sock_errstr", "cachepropagate-tcp", "io_dup"),
    "cpan/Socket": ("Socket", "getaddrinfo", "getnameinfo", "sockaddr", "socketpair"),
    "cpan/IO-Socket-IP": (
        *(
            "01local-client-v4",
            "02local-server-v4",
            "03local-cross-v4",
            "04local-client-v6",
            "05local-server-v6",
        ),
        *(
            "06local-cross-v6",
            "11sockopts",
            "12port-fallback",
            "13addrinfo",
            "14fileno",
            "15io-socket",
            "16v6only",
        ),
        *("18fdopen", "20subclass", "21as-inet", "22timeout", "30nonblocking-connect"),
    ),
    "cpan/libnet": ("datasend", "ftp", "time"),
}

PERL = DebianSuite(
    "Perl",
    "perl",
    (),
    (
        *(sys.executable, str(COLLECT_PRINTED), "@REPORT@", "perl"),
        *(f"{folder}/t/{name}.t" for folder, names in PERL_TESTS.items() for name in names),
    ),
    interpreter="perl",
    parts=tuple(PERL_TESTS),
)

RUBY = DebianSuite(
    "Ruby",
    "ruby3.1",
    (),
    (sys.executable, str(COLLECT_PRINTED), "@REPORT@", "ruby", "test/socket", "test/net"),
    interpreter="ruby",
    parts=("test", "tool"),
)
