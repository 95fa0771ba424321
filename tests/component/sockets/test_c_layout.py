"""Direct sockets' structures are the same in Python and in C, for each compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.framework.sockets import preload
from tests.framework.sockets.libraries import EMULATOR
from vnicd.native import table
from vnicd.sockets import abi
from vnicd.sockets.abi import Op, Reason

CEXT = Path(__file__).parents[3] / "cext"

EXPECTED = {
    "VN_SOCKETS_VERSION": abi.VERSION,
    "VN_CONTROL_BYTES": abi.CONTROL_BYTES,
    "VN_RING_BYTES": abi.RING_BYTES,
    "VN_LARGE_BYTES": abi.LARGE_BYTES,
    "VN_SMALL_BYTES": abi.SMALL_BYTES,
    "VN_REGION_BYTES": abi.REGION_BYTES,
    "VN_REGION_MAGIC": abi.REGION_MAGIC,
    "VN_PROCESS_MAGIC": abi.PROCESS_MAGIC,
    "VN_TABLE_ENTRIES": abi.TABLE_ENTRIES,
    "VN_TABLE_PORTS": abi.TABLE_PORTS,
    "VN_RECENT": abi.RECENT,
    "VN_REASON_COUNT": len(Reason),
    "VN_FIN": abi.FIN,
    "VN_CLOSED": abi.CLOSED,
    "VN_RESET": abi.RESET,
    "VN_HELLO": Op.HELLO,
    "VN_OFFER": Op.OFFER,
    "VN_TAKE": Op.TAKE,
    "VN_FORGET": Op.FORGET,
    "VN_ASK": Op.ASK,
    "VN_LISTEN": Op.LISTEN,
    "sizeof(struct vn_address)": abi.ADDRESS.size,
    "sizeof(struct vn_request)": abi.REQUEST.size,
    "offsetof(struct vn_request, source)": 8,
    "offsetof(struct vn_request, target)": 8 + abi.ADDRESS.size,
    "sizeof(struct vn_reply)": abi.REPLY.size,
    "offsetof(struct vn_reply, port)": 8,
    "sizeof(struct vn_table)": table.SIZE,
    "offsetof(struct vn_table, count)": preload.TABLE_COUNT,
    "offsetof(struct vn_table, epoch)": preload.TABLE_EPOCH,
    "offsetof(struct vn_table, offers)": preload.TABLE_OFFERS,
    "offsetof(struct vn_table, clients)": preload.TABLE_CLIENTS,
    "offsetof(struct vn_table, entries)": preload.TABLE_ROWS,
    "sizeof(((struct vn_table *)0)->entries[0])": abi.ENTRY.size,
    "sizeof(struct vn_process)": abi.PROCESS_BYTES,
    "offsetof(struct vn_process, recent)": abi.PROCESS_BYTES - 40 * abi.RECENT,
    "offsetof(struct vn_region, local)": 16,
    "offsetof(struct vn_region, program)": 64,
    **{
        f"offsetof(struct vn_region, {name})": at
        for name, at in (abi.OFFSETS | preload.REGION_OFFSETS).items()
    },
}


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc", "aarch64-linux-gnu-gcc"])
def test_c_lays_out_the_same(compiler: str, tmp_path: Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}")
    lines = "".join(f'    printf("%s %ld\\n", "{text}", (long)({text}));\n' for text in EXPECTED)
    source = f"#include <stddef.h>\n#include <stdio.h>\n#include <abi/socket_layout.h>\nint main(void) {{\n{lines}}}\n"
    program = tmp_path / "layout"
    compile_ = [compiler, "-std=gnu11", f"-I{CEXT}", "-x", "c", "-", "-o", program]
    subprocess.run(compile_, input=source, text=True, check=True)
    emulated = EMULATOR if compiler.startswith("aarch64") else []
    plain = {
        name: text for name, text in os.environ.items() if name != "LD_PRELOAD"
    }  # the sanitizers' libraries
    run = subprocess.run([*emulated, program], capture_output=True, text=True, check=True, env=plain)
    printed = run.stdout
    told = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in printed.splitlines()}
    assert told == EXPECTED
