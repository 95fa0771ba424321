"""Shared memory: one writer, a size that can't change, and what is refused from a peer."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from vnicd.kernel.limits.hugepages import Overcommit
from vnicd.native import memory


@contextmanager
def handed(region: memory.Region) -> Iterator[int]:
    """The fd as a peer gets it."""
    yield os.dup(region.fd)


def test_what_one_side_writes_the_other_reads() -> None:
    region = memory.create(memory.SMALL_PAGE)
    seen = memory.open_shared(os.dup(region.fd), memory.SMALL_PAGE)
    memoryview(region)[:5] = b"hello"
    assert bytes(memoryview(seen)[:5]) == b"hello"
    assert memoryview(seen).readonly


@pytest.mark.parametrize("size", [1, memory.SMALL_PAGE, memory.SMALL_PAGE + 1, memory.LINK_SIZE])
def test_sizes_are_whole_pages(size: int) -> None:
    region = memory.create(size)
    assert region.size >= size
    assert region.size % memory.SMALL_PAGE == 0
    assert region.page_size == memory.SMALL_PAGE


def test_nobody_else_can_write() -> None:
    region = memory.create(memory.SMALL_PAGE)
    fd = os.dup(region.fd)
    with pytest.raises(PermissionError):
        mmap.mmap(fd, memory.SMALL_PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    with pytest.raises(PermissionError):
        os.write(fd, b"x")
    reopened = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    with pytest.raises(PermissionError):
        mmap.mmap(reopened, memory.SMALL_PAGE, mmap.MAP_SHARED, mmap.PROT_WRITE)
    for descriptor in (fd, reopened):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


def test_seals_cannot_be_added_or_taken_away() -> None:
    region = memory.create(memory.SMALL_PAGE)
    with pytest.raises(PermissionError):
        fcntl.fcntl(region.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_unsealed_memory_is_refused() -> None:
    fd = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, memory.SMALL_PAGE)
    with pytest.raises(memory.Refused, match="not sealed"):
        memory.open_shared(fd, memory.SMALL_PAGE)


def test_memory_that_others_may_write_is_refused() -> None:
    fd = os.memfd_create("half-sealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, memory.SMALL_PAGE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    with pytest.raises(memory.Refused, match="not sealed"):
        memory.open_shared(fd, memory.SMALL_PAGE)


def test_a_wrong_size_is_refused() -> None:
    small, large = memory.create(memory.SMALL_PAGE), memory.create(3 * memory.HUGE_PAGE)
    for region in (small, large):
        with handed(region) as fd, pytest.raises(memory.Refused, match="bytes"):
            memory.open_shared(fd, memory.HUGE_PAGE - memory.SMALL_PAGE)


def test_a_file_that_is_no_memfd_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(memory.SMALL_PAGE))
    with pytest.raises(memory.Refused, match="not a memfd"):
        memory.open_shared(os.open(path, os.O_RDWR), memory.SMALL_PAGE)
    reader, writer = os.pipe()
    os.close(writer)
    with pytest.raises(memory.Refused, match="not a memfd"):
        memory.open_shared(reader, memory.SMALL_PAGE)


def test_a_refused_descriptor_is_closed() -> None:
    fd = os.memfd_create("unsealed")
    with pytest.raises(memory.Refused):
        memory.open_shared(fd, memory.SMALL_PAGE)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_closed_region_has_no_address() -> None:
    region = memory.create(memory.SMALL_PAGE)
    region.close()
    region.close()
    with pytest.raises(ValueError, match="closed"):
        _ = region.address
    with pytest.raises(BufferError):
        memoryview(region)


@pytest.fixture
def hugepages() -> Iterator[None]:
    """Hugepages on demand for as long as the test runs, as a hosting daemon has them."""
    claim = Overcommit()
    with suppress(OSError):  # not root: what there is has to do
        claim.acquire()
    if memory.huge_pages_available():
        yield
        claim.release()
    else:
        claim.release()
        pytest.skip("no 2 MiB hugepage can be had")


def test_huge_pages(hugepages: None) -> None:
    region = memory.create(1, huge=True)
    assert region.page_size == region.size == memory.HUGE_PAGE
