"""Build of vnicd: one Cython extension module for each cext/*.pyx."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

INSTALL_REQUIRES = [
    "click>=8.1",  # the vnicctl command line
    "pyroute2>=0.9.2",  # netlink: interfaces, addresses, routes, namespaces
    "python-pytun>=2.4.1",  # creation of the TAP devices
    "rich>=13.7",  # tables, live views and progress of vnicctl
]

CFLAGS = ["-O2", "-g", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing"]
# Cython's own code (not ours) has unused parameters and casts between function types.
CFLAGS += ["-Wno-unused-parameter", "-Wno-cast-function-type", "-Wno-unused-function"]
LDFLAGS: list[str] = []
if os.environ.get("VNICD_SANITIZE"):
    SANITIZE = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined"]
    CFLAGS += [*SANITIZE, "-O1", "-Wno-maybe-uninitialized"]
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
            depends=headers,
            extra_compile_args=CFLAGS,
            extra_link_args=LDFLAGS,
        )
        for path in sorted(Path("cext").glob("*.pyx"))
    ]


setup(
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
