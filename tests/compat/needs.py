"""Installs what programs of the matrix need and is missing: Debian packages, and packages of pip and npm."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

from tests.compat.case import search_path
from tests.compat.places import BUILD, NODE_MODULES, ROOT, VENV
from tests.compat.program import Needs, Program

INSTALL_TIMEOUT_S = 900


def is_there(command: str) -> bool:
    """Whether a command, or a file, exists."""
    if command.startswith("/"):
        return any(Path("/").glob(command[1:]))
    return shutil.which(command, path=search_path()) is not None


def missing_debian(needs: Needs) -> list[str]:
    return [package for package, command in needs.debian if not is_there(command)]


def plain_name(requirement: str) -> str:
    return requirement.split("[", maxsplit=1)[0].split("=", maxsplit=1)[0].lower().replace("_", "-")


def missing_pip(needs: Needs) -> list[str]:
    folders = [str(path) for path in VENV.glob("lib/python*/site-packages")]
    there = (
        {plain_name(each.metadata["Name"] or "") for each in distributions(path=folders)}
        if folders
        else set()
    )
    return [each for each in needs.pip if plain_name(each) not in there]


def missing_npm(needs: Needs) -> list[tuple[str, str]]:
    return [each for each in needs.npm if not (NODE_MODULES / each[0]).exists()]


def lacking(needs: Needs) -> str:
    """Why a program can't be run; empty when all is there."""
    if needs.unavailable:
        return needs.unavailable
    missing = [*missing_debian(needs), *missing_pip(needs), *(package for _, package in missing_npm(needs))]
    return f"not installed here: {', '.join(missing)}" if missing else ""


def _log(argv: list[str]) -> None:
    """Runs an installer; its output goes to a file, and whether it did its work is found out afterwards."""
    with (BUILD / "install.log").open("ab") as log:
        try:
            subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, timeout=INSTALL_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.write(f"{argv[0]}: {error}\n".encode())


def install(programs: Iterable[Program]) -> None:
    """Everything at once; if pip or npm fail so, each package alone."""
    BUILD.mkdir(parents=True, exist_ok=True)
    wanted = [each.needs for each in programs if not each.needs.unavailable]
    if debian := sorted({package for needs in wanted for package in missing_debian(needs)}):
        _log([str(ROOT / "scripts/setup-tests"), *debian])
    if not (VENV / "bin/python").exists():
        _log(["/usr/bin/python3", "-m", "venv", str(VENV)])
    pip = [str(VENV / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
    if packages := sorted({each for needs in wanted for each in missing_pip(needs)}):
        _log([*pip, *packages])
    for package in sorted({each for needs in wanted for each in missing_pip(needs)}):
        _log([*pip, package])
    npm = ["npm", "install", "--no-audit", "--no-fund", f"--prefix={NODE_MODULES.parent}"]
    if modules := sorted({each for needs in wanted for each in missing_npm(needs)}):
        _log([*npm, *(f"{folder}@npm:{package}" for folder, package in modules)])
    for folder, package in sorted({each for needs in wanted for each in missing_npm(needs)}):
        _log([*npm, f"{folder}@npm:{package}"])
