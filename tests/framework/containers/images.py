"""Images without a registry: a static busybox, and programs of this machine with the libraries that they need.

They are made once and kept in build/containers, as archives that `podman load`, `docker load` and `ctr image import`
read. Applets of busybox are in /bin; a program of this machine is where it is here.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).parents[3] / "build" / "containers"
BUSYBOX = Path("/bin/busybox")

USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
GROUPS = "root:x:0:\nnobody:x:65534:\n"
FOLDERS = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "var/run")

OF_LIBC = ("libdl.so.2", "libpthread.so.0", "librt.so.1", "libm.so.6")
"""What each image with glibc has, whether its programs need them or not."""

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
VERSION = 1
"""Raise it when what is made here changes, so that archives in the cache are made anew."""


@dataclass(frozen=True)
class Image:
    """An image by the name that runtimes know it by, and the archive that it is loaded from."""

    name: str
    archive: Path


def busybox() -> Image:
    """Busybox alone: a shell, ping, nc, httpd, wget, nslookup, ip and what else it has. No C library."""
    return image("busybox")


def redis() -> Image:
    """Busybox, and redis of this machine, which is a program of glibc."""
    return image("redis", "redis-server", "redis-cli", "redis-benchmark")


def image(label: str, *programs: str) -> Image:
    """Busybox with programs of this machine, found by PATH."""
    files = dict(_files(programs))
    return _cached(label, _digest(files), lambda layer: _fill(layer, files))


def of_root(label: str, root: Path) -> Image:
    """The image of a root file system that is unpacked in a folder; its name has to change when it does."""
    return _cached(label, root.name, lambda layer: layer.add(root, ".", filter=_owned_by_root))


def _cached(label: str, digest: str, fill: object) -> Image:
    name = f"localhost/vnicd-{label}"
    archive = CACHE / f"{label}-{digest}-v{VERSION}.tar"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            for old in CACHE.glob(f"{label}-*.tar"):
                old.unlink()
            _write(archive, name, fill)
    return Image(f"{name}:latest", archive)


def _write(archive: Path, name: str, fill: object) -> None:
    """In the format of `docker save`, which all runtimes read."""
    assert callable(fill)
    new = archive.with_suffix(".new")
    layer = archive.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        fill(tar)
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    configuration = json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["sleep", "infinity"],
                "StopSignal": "SIGKILL",
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created_by": "tests"}],
        }
    ).encode()
    known_as = f"{hashlib.sha256(configuration).hexdigest()}.json"
    manifest = [{"Config": known_as, "RepoTags": [f"{name}:latest"], "Layers": ["layer.tar"]}]
    with tarfile.open(new, "w") as tar:
        _add(tar, known_as, configuration)
        tar.add(layer, "layer.tar", filter=_owned_by_root)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    layer.unlink()
    new.rename(archive)


def _owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def _fill(layer: tarfile.TarFile, files: dict[str, Path]) -> None:
    for folder in FOLDERS:
        _add_folder(layer, folder, 0o1777 if folder == "tmp" else 0o755)
    _add(layer, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
    for applet in subprocess.run(
        [BUSYBOX, "--list"], check=True, capture_output=True, text=True
    ).stdout.split():
        if applet != "busybox" and not any(Path(name).name == applet for name in files):
            _link(layer, f"bin/{applet}", "/bin/busybox")
    _add(layer, "etc/passwd", USERS.encode())
    _add(layer, "etc/group", GROUPS.encode())
    made = set(FOLDERS)
    for name, source in sorted(files.items()):
        for parent in reversed(Path(name).parents[:-1]):
            if str(parent) not in made:
                _add_folder(layer, str(parent))
                made.add(str(parent))
        _add(layer, name, source.read_bytes(), 0o755)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))


def _add_folder(tar: tarfile.TarFile, name: str, mode: int = 0o755) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    tar.addfile(info)


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    tar.addfile(info)


def _files(programs: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Where in the image, without the first slash, each file of this machine goes."""
    for program in programs:
        found = shutil.which(program)
        assert found, f"{program} is not installed"
        yield found.lstrip("/"), Path(found)
        done = subprocess.run(["ldd", found], check=False, capture_output=True, text=True)
        for library in map(Path, re.findall(r"(/\S+) \(0x", done.stdout)):
            yield str(library).lstrip("/"), library
            if library.name == "libc.so.6":
                beside = (library.with_name(name) for name in OF_LIBC)
                yield from ((str(path).lstrip("/"), path) for path in beside if path.exists())


def _digest(files: dict[str, Path]) -> str:
    """Of what the files are like, not of their contents: reading those takes longer than a test."""
    sources = {**files, "busybox": BUSYBOX}
    shown = [
        f"{name} {path.stat().st_size} {path.stat().st_mtime_ns}" for name, path in sorted(sources.items())
    ]
    return hashlib.sha256("\n".join(shown).encode()).hexdigest()[:12]
