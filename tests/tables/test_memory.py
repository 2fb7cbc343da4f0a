"""Anonymous memory: zeroed, aligned, private, and what backs it."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

import toolchain
from adagrad.tables import memory as _memory

pytestmark = pytest.mark.unsanitized

MIB = 1 << 20
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.parametrize("nbytes", [0, 1, 1000, MIB, 4 * MIB - 1, 4 * MIB, 5 * MIB + 3, 64 * MIB])
def test_memory_is_zeroed_aligned_and_of_its_size(nbytes):
    memory = _memory.allocate(nbytes)
    assert memory.shape == (nbytes,)
    assert memory.dtype == "uint8"
    assert memory.flags.writeable
    assert nbytes == 0 or memory.ctypes.data % (2 * MIB if nbytes >= 4 * MIB else 64) == 0
    assert not memory.any()
    memory[-1:] = 1
    assert memory.sum() == min(nbytes, 1)


def test_the_memory_outlives_everything_but_its_views():
    views = [_memory.allocate(8 * MIB)[k * MIB :][:4] for k in range(8)]
    for k, view in enumerate(views):
        view[:] = k
    assert [view.tolist() for view in views] == [[k] * 4 for k in range(8)]


@pytest.mark.skipif(
    sys.platform != "linux" or mmap.PAGESIZE != 4096, reason="reads /proc, and huge pages are 2 MiB"
)
def test_pages_that_nobody_touches_cost_nothing():
    memory = _memory.allocate(2 << 30)
    memory[:: 256 * MIB] = 1  # 8 pages

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = resident()
    del memory
    assert before - resident() <= 16 * MIB


@pytest.mark.parametrize("nbytes", [1 << 55, 1 << 62, 1 << 63, 1 << 64, 1 << 100])
def test_absurd_sizes_are_memory_errors(nbytes):
    with pytest.raises(MemoryError, match=f"a table needs {nbytes} bytes .* of memory"):
        _memory.allocate(nbytes)


def test_pages_are_told():
    assert _memory.pages(_memory.allocate(MIB)) == "ordinary"
    memory = _memory.allocate(64 * MIB)
    promised = _memory.pages(memory)
    memory[:] = 1
    given = _memory.pages(memory)
    if not THP.exists() or "[never]" in THP.read_text():
        assert promised == given == "ordinary"
    else:
        assert promised == "huge"  # what is given depends on what is free


SMAPS = """\
{0:x}-{1:x} rw-p 00000000 00:00 0
Rss:                {2} kB
AnonHugePages:      {3} kB
THPeligible:           {4}
VmFlags: rd wr mr mw me ac hg
"""


@pytest.mark.parametrize(
    ("resident", "huge", "eligible", "expected"),
    [
        (0, 0, 0, "ordinary"),
        (0, 0, 1, "huge"),
        (8192, 0, 1, "ordinary"),
        (8192, 4096, 1, "ordinary"),
        (8192, 6144, 1, "huge"),
        (8192, 8192, 0, "huge"),
    ],
)
def test_pages_go_by_what_is_resident(monkeypatch, tmp_path, resident, huge, eligible, expected):
    memory = _memory.allocate(8 * MIB)
    first = memory.ctypes.data
    middle, end = first + 4 * MIB, first + 8 * MIB
    neighbours = [(first - MIB, first, 9999, 9999, 1), (end, end + MIB, 9999, 9999, 1)]
    mine = [(first, middle, resident, huge, 0), (middle, end, 0, 0, eligible)]
    maps = tmp_path / "smaps"
    maps.write_text(
        "".join(SMAPS.format(*values) for values in [neighbours[0], *mine, neighbours[1]])
    )
    monkeypatch.setattr(_memory, "Path", lambda name: maps)
    assert _memory.pages(memory) == expected
    monkeypatch.setattr(_memory, "Path", lambda name: tmp_path / "nothing")
    assert _memory.pages(memory) == "ordinary"


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_fork_copies():
    code = """if True:
        import os
        from adagrad.tables import memory as _memory
        memory = _memory.allocate(8 << 20)
        if not os.fork():
            memory[:] = 1
            os._exit(0)
        os.wait()
        assert not memory.any()
    """
    toolchain.run(sys.executable, "-c", code)


def test_a_system_without_huge_pages(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    memory = _memory.allocate(5 * MIB)
    assert len(memory) == 5 * MIB
    assert memory.ctypes.data % (2 * MIB) == 0
    with pytest.raises(MemoryError, match="a table needs"):
        _memory.allocate(1 << 63)
