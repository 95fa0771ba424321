"""What an upstream suite is: what it needs, where it runs, and the command that runs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.compat.places import BUILD

VENV = BUILD / "suites"
SDISTS = BUILD / "sdists"
COLLECT = Path(__file__).parent / "collect.py"
DOWNLOAD_TIMEOUT_S = 900
TEST_TIMEOUT_S = 20


@dataclass(frozen=True)
class Suite:
    """A suite; its command writes a report to @REPORT@, as JUnit's XML or as lines of JSON."""

    name: str
    package: str
    """The package of pip whose version is told; empty for the Python itself."""
    needs: tuple[str, ...]
    """What else is installed by pip."""
    command: tuple[str, ...]
    sdist: bool = False
    """Whether the tests are only in the source distribution: they run in a copy of it."""
    limit: float = 400

    def argv(self, report: Path) -> list[str]:
        return [word.replace("@REPORT@", str(report)) for word in self.command]

    def again(self, report: Path, tests: Sequence[str]) -> list[str]:
        """The command for some tests alone."""
        if str(COLLECT) in self.command:
            return [*self.argv(report), "--only", ",".join(tests)]
        if self.name == "CPython":
            return [*self.argv(report), *(word for test in tests for word in ("-m", test.rpartition(".")[2]))]
        names = " or ".join(sorted({test.rpartition("::")[2].split("[")[0] for test in tests}))
        return [*self.argv(report), "-k", names]

    def copy_to(self, folder: Path) -> Path:
        """Where the suite runs: in a copy of its source without the package itself, which is installed compiled."""
        source = self.source()
        if not self.sdist or not source:
            return folder
        target = folder / "source"
        if not target.exists():
            shutil.copytree(source, target, symlinks=True)
            shutil.rmtree(target / self.package, ignore_errors=True)
        return target

    def source(self) -> Path | None:
        found = sorted(SDISTS.glob(f"{self.package}-*/"))
        return found[-1] if found else None

    def version(self) -> str:
        if not self.package:
            code = "import platform; print(platform.python_version())"
            return subprocess.run([cpython(), "-c", code], capture_output=True, text=True).stdout.strip()
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        return subprocess.run([python(), "-c", code], capture_output=True, text=True).stdout.strip()

    def prepare(self) -> str:
        """Installs what the suite needs; says why it can't be run, or nothing."""
        if not self.package:
            return "" if cpython() else "no Python has CPython's tests"
        if not VENV.exists():
            subprocess.run(["/usr/bin/python3", "-m", "venv", str(VENV)], check=True)
        wanted = ("pytest", "pytest-timeout", self.package, *self.needs)
        pip = [str(VENV / "bin/pip"), "--disable-pip-version-check", "--quiet"]
        if failed := run_installer([*pip, "install", *wanted]):
            return f"pip: {failed}"
        if self.sdist and not self.source():
            SDISTS.mkdir(parents=True, exist_ok=True)
            fetched = f"{self.package}=={self.version()}"
            words = ["download", "--no-deps", "--no-binary", self.package, "--dest", str(SDISTS), fetched]
            if failed := run_installer([*pip, *words]):
                return f"its source distribution could not be had: {failed}"
            (archive,) = SDISTS.glob(f"{self.package}-*.tar.gz")
            subprocess.run(["tar", "-xzf", str(archive), "-C", str(SDISTS)], check=True)
        return ""


def python() -> str:
    return str(VENV / "bin/python")


@cache
def cpython() -> str:
    """A Python with CPython's tests, or an empty text: distributions often leave them out."""
    others = sorted(Path("/root/.pyenv/versions").glob("3.1[1-9]*/bin/python3"), reverse=True)
    for path in [sys.executable, "/usr/bin/python3", *map(str, others)]:
        argv = [path, "-c", "import test.test_socket, test.test_asyncio, test.test_ssl"]
        if subprocess.run(argv, capture_output=True, check=False).returncode == 0:
            return path
    return ""


def run_installer(argv: list[str], cwd: Path | None = None) -> str:
    """Runs an installer; the last line of its errors when it fails."""
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=DOWNLOAD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"not over after {DOWNLOAD_TIMEOUT_S} s"
    lines = done.stderr.strip().splitlines() or ["it failed"]
    return "" if done.returncode == 0 else lines[-1]
