"""Build of vnicd: one Cython extension module for each cext/*.pyx, and the provider of direct sockets."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
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
if os.environ.get("VNICD_SANITIZE"):
    SANITIZE = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined"]
    CFLAGS += [*SANITIZE, "-O1", "-Wno-maybe-uninitialized"]
    OWN_CFLAGS += [*SANITIZE, "-O1", "-Wno-maybe-uninitialized"]
    LDFLAGS += SANITIZE


def extensions() -> list[Extension]:
    if os.environ.get("VNICD_NO_EXTENSION"):  # scripts/setup installs first and compiles afterwards, in place
        return []
    headers = [str(path) for pattern in ("*.h", "*.pxd") for path in sorted(Path("cext").glob(pattern))]
    return [
        Extension(
            f"vnicd.{path.stem}",
            [str(path)],
            include_dirs=["cext"],
            depends=[*headers, *(["cext/abi/socket_layout.h"] if path.stem in ("table", "window") else [])],
            extra_compile_args=CFLAGS,
            extra_link_args=LDFLAGS,
        )
        for path in sorted(Path("cext").glob("*.pyx"))
    ]


PROVIDER = "libvnicd-sockets.so"
PROVIDER_CFLAGS = [*OWN_CFLAGS, "-fvisibility=hidden", "-fPIC", "-pthread", "-Icext/preload", "-Icext"]
PROVIDER_LDFLAGS = ["-shared", "-pthread", "-Wl,-z,now", f"-Wl,-soname,{PROVIDER}", *LDFLAGS]


class Build(build_ext):
    """The modules, and the provider: a library of plain C that programs preload, beside the modules."""

    def run(self) -> None:
        super().run()
        package = Path("vnicd") if self.inplace else Path(self.build_lib, "vnicd")
        self.build_provider(Path("cext/preload"), package / PROVIDER)

    def build_provider(self, folder: Path, library: Path) -> None:
        sources = sorted(folder.rglob("*.c"))
        made_of = [*sources, *folder.rglob("*.h"), *Path("cext/abi").glob("*.h"), Path(__file__)]
        is_made = library.exists() and all(path.stat().st_mtime < library.stat().st_mtime for path in made_of)
        if not sources or (is_made and not self.force):
            return
        compiler = os.environ.get("CC", "gcc").split()
        objects = [Path(self.build_temp, "preload", *path.parts[2:]).with_suffix(".o") for path in sources]
        for made in objects:
            made.parent.mkdir(parents=True, exist_ok=True)
        library.parent.mkdir(parents=True, exist_ok=True)

        def compile_one(source: Path, result: Path) -> None:
            self.spawn([*compiler, *PROVIDER_CFLAGS, "-c", str(source), "-o", str(result)])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_one, sources, objects))
        fresh = library.with_suffix(".new")  # it is in use: programs that run keep the old one
        self.spawn([*compiler, *map(str, objects), *PROVIDER_LDFLAGS, "-o", str(fresh), "-ldl"])
        fresh.replace(library)


setup(
    cmdclass={"build_ext": Build},
    packages=find_packages(include=["vnicd", "vnicd.*"]),
    package_data={"vnicd": ["py.typed", "*.pyi"]},
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
