"""Build of vnicd: a Cython module for each .pyx in cext, the preload library, and the plugin for containers."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from Cython.Build import cythonize
from setuptools import Command, Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

INSTALL_REQUIRES = [
    "click>=8.1",  # the vnicctl command line
    "pyroute2>=0.9.2",  # netlink: interfaces, addresses, routes, namespaces
    "python-pytun>=2.4.1",  # creation of the TAP devices
    "rich>=13.7",  # tables, live views and progress of vnicctl
]

OWN_CFLAGS = ["-O2", "-g", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
# Cython's own code (not ours) has unused parameters and casts between function types.
CFLAGS = [*OWN_CFLAGS, "-fno-strict-aliasing"]
CFLAGS += ["-Wno-unused-parameter", "-Wno-cast-function-type", "-Wno-unused-function"]
LDFLAGS: list[str] = []
SANITIZERS = {  # by what VNICD_SANITIZE says
    "1": ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined"],
    "thread": ["-fsanitize=thread", "-fno-omit-frame-pointer", "-Wno-tsan"],
}
SANITIZE: list[str] = []
if os.environ.get("VNICD_SANITIZE"):
    SANITIZE = SANITIZERS[os.environ["VNICD_SANITIZE"]]
    CFLAGS += [*SANITIZE, "-O1", "-Wno-maybe-uninitialized"]
    OWN_CFLAGS += [*SANITIZE, "-O1", "-Wno-maybe-uninitialized"]
    LDFLAGS += SANITIZE


TESTING = "vnicd.native.testing"
"""Modules that serve tests alone: built in place, and not installed."""


def extensions() -> list[Extension]:
    if os.environ.get("VNICD_NO_EXTENSION"):  # scripts/setup installs first and compiles afterwards, in place
        return []
    headers = [str(path) for pattern in ("*.h", "*.pxd") for path in sorted(Path("cext").rglob(pattern))]
    return [
        Extension(
            f"{TESTING if path.parent.name == 'testing' else 'vnicd.native'}.{path.stem}",
            [str(path)],
            include_dirs=["cext"],
            depends=[each for each in headers if not each.startswith("cext/preload/")],
            extra_compile_args=CFLAGS,
            extra_link_args=LDFLAGS,
        )
        for path in sorted(Path("cext").rglob("*.pyx"))
    ]


LIBRARY = "libvnicd-sockets.so"
MUSL_LIBRARY = "libvnicd-sockets-musl.so"
# Initial-exec: without __tls_get_addr, the library needs no glibc loader and so can stand aside in a musl program.
LIBRARY_CFLAGS = [*OWN_CFLAGS, "-fvisibility=hidden", "-fPIC", "-ftls-model=initial-exec", "-pthread"]
# compat.h comes before all headers of the C library, as it changes what they declare.
LIBRARY_CFLAGS += ["-Icext/preload", "-Icext", "-include", "base/compat.h"]
# A program may define such functions itself (Erlang's sigaction) and go on with ours, which must not call it again.
LIBRARY_LDFLAGS = ["-shared", "-Wl,-z,now", "-Wl,-Bsymbolic-functions", f"-Wl,-soname,{LIBRARY}", *LDFLAGS]
# dlsym is in libdl.so.2 up to glibc 2.33; later ones have an empty file of that name.
GLIBC_LDFLAGS = ["-Wl,--no-as-needed", "-l:libdl.so.2"]
# The kernel's headers are not among musl's. Without a NEEDED entry any file name of musl will do, Alpine's too.
MUSL_CFLAGS = ["-D_LARGEFILE64_SOURCE", "-idirafter", "/usr/include"]
MUSL_CFLAGS += ["-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu"]
MUSL_LDFLAGS = ["-nostdlib", "-lgcc"]
# libgcc's choice between two kinds of atomics asks for a function that musl got later than our oldest.
MUSL_ARM64_CFLAGS = ["-mno-outline-atomics"]


def musl_cflags(cc: str) -> list[str]:
    machine = subprocess.run([*cc.split(), "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    return [*MUSL_CFLAGS, *(MUSL_ARM64_CFLAGS if machine.startswith("aarch64") else [])]


PLUGIN = "libexec/vnicd-cni"
# Static: it may be copied into another system, as a container of Kubernetes does with plugins.
PLUGIN_CFLAGS = [*OWN_CFLAGS, "-Icext/cni"]
PLUGIN_LDFLAGS = ["-static", "-l:libjansson.a"]  # jansson reads and writes JSON

# The thread sanitizer's own start calls some of the library's functions, before it can follow anything.
EARLY = (
    "base/",
    "lifecycle/",
    "hooks/attributes.c",
    "fdtable/hidden.c",
    "fdtable/limit.c",
    "fdtable/marks.c",
)


class Build(build_ext):
    """The modules, and beside them what is of plain C: the preload library, and the plugin for containers."""

    def run(self) -> None:
        if not self.inplace and not SANITIZE:
            self.extensions = [each for each in self.extensions if not each.name.startswith(TESTING)]
        super().run()
        package = Path("vnicd") if self.inplace else Path(self.build_lib, "vnicd")
        library = self.get_finalized_command("build_preload")
        library.temp = self.build_temp
        library.build(package, self.force)
        self.build_plugin(package / PLUGIN)

    def build_plugin(self, program: Path) -> None:
        """vnicd-cni; not with sanitizers, which nothing static can have."""
        source = Path("cext/cni")
        sources = sorted(map(str, source.rglob("*.c")))
        if not sources or SANITIZE:
            return
        made_of = [*source.rglob("*.[ch]"), Path(__file__)]
        if not self.force and is_newer(program, made_of):
            return
        if not Path("/usr/include/jansson.h").exists():
            print("vnicd-cni, which containers need, is not built: install libjansson-dev", file=sys.stderr)
            return
        program.parent.mkdir(parents=True, exist_ok=True)
        made = program.with_suffix(".new")  # it may run just now
        compiler = os.environ.get("CC", "gcc").split()
        self.spawn([*compiler, *PLUGIN_CFLAGS, *sources, "-o", str(made), *PLUGIN_LDFLAGS])
        made.replace(program)


def is_newer(made: Path, made_of: Iterable[Path]) -> bool:
    """Whether a file is there, and was made after all of these."""
    return made.exists() and all(path.stat().st_mtime < made.stat().st_mtime for path in made_of)


class BuildPreload(Command):
    """The preload library for one C library: --libc glibc (default) or musl, with --cc, into the folder --into.

    gcc makes both, and compat.c asks for no symbol above glibc 2.17. `zig cc` would do it as well, but its wheel is
    101 MB (438 MB unpacked) and its first link takes 16 s; gcc is there for the modules and the sanitizers, takes 2 s,
    and musl-tools is 1 MB. A test reads the versions that the library needs.
    """

    user_options: ClassVar = [
        ("cc=", None, "compiler"),
        ("libc=", None, "C library"),
        ("into=", None, "folder"),
        ("temp=", None, "folder for object files"),
    ]

    def initialize_options(self) -> None:
        self.cc, self.libc, self.into, self.temp = "", "glibc", "vnicd", "build/temp"

    def finalize_options(self) -> None:
        pass

    def run(self) -> None:
        self.build_one(self.libc, self.cc or os.environ.get("CC", "gcc"), Path(self.into))

    def build(self, folder: Path, force: bool) -> None:
        """Both, the one for musl where there is its compiler; sanitizers need glibc."""
        self.build_one("glibc", os.environ.get("CC", "gcc"), folder, force)
        if shutil.which("musl-gcc") and not SANITIZE:
            self.build_one("musl", "musl-gcc", folder, force)

    def build_one(self, libc: str, cc: str, folder: Path, force: bool = False) -> None:
        musl = libc == "musl"
        library = folder / (MUSL_LIBRARY if musl else LIBRARY)
        source = Path("cext/preload")
        sources = sorted(source.rglob("*.c"))
        made_of = [*sources, *source.rglob("*.h"), *Path("cext/abi").glob("*.h"), Path(__file__)]
        if not sources or (is_newer(library, made_of) and not force):
            return
        compiler, cflags = cc.split(), [*LIBRARY_CFLAGS, *(musl_cflags(cc) if musl else [])]
        built = Path(self.temp, f"preload-{libc}-{Path(compiler[0]).name}")
        objects = [Path(built, path.relative_to(source)).with_suffix(".o") for path in sources]
        for each in objects:
            each.parent.mkdir(parents=True, exist_ok=True)
        library.parent.mkdir(parents=True, exist_ok=True)

        def compile_one(path: Path, result: Path) -> None:
            early = path.relative_to(source).as_posix().startswith(EARLY) and "-fsanitize=thread" in SANITIZE
            flags = [each for each in cflags if not (early and each in SANITIZE)]
            self.spawn([*compiler, *flags, "-c", str(path), "-o", str(result)])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_one, sources, objects))
        made = library.with_suffix(".new")  # it is in use: programs that run keep the old one
        ldflags = [*LIBRARY_LDFLAGS, *map(str, objects), *(MUSL_LDFLAGS if musl else GLIBC_LDFLAGS)]
        self.spawn([*compiler, *ldflags, "-o", str(made)])
        made.replace(library)


setup(
    cmdclass={"build_ext": Build, "build_preload": BuildPreload},
    packages=find_packages(include=["vnicd", "vnicd.*"], exclude=[TESTING]),
    package_data={"vnicd": ["py.typed"], "vnicd.native": ["*.pyi"]},
    install_requires=INSTALL_REQUIRES,
    ext_modules=cythonize(
        extensions(),
        include_path=["cext"],
        build_dir=os.environ.get("VNICD_BUILD_DIR", "build") + "/cython",
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
        },
    ),
)
