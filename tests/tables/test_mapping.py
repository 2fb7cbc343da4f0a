"""Mapped tables: shared by all who read a file, and reserved for one who changes it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import toolchain
from adagrad import Rule, Table, TableFileError
from checks import assert_same_bits
from tables import content

pytest.importorskip("fcntl", reason="tables are mapped for writing on POSIX systems only")

pytestmark = pytest.mark.unsanitized

ROWS = np.array([7, 999, 7])
G = np.array([1.0, -2.0, 0.5], "f4")
CHANGES = {
    "step": lambda table: table.step(ROWS, G),
    "step_pooled": lambda table: table.step_pooled(ROWS, np.array([0, 3]), G[:1]),
    "decay": lambda table: table.decay(0.5),
}
VIEWS = {"weights": lambda table: table.weights, "state": lambda table: table.state}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table"
    Table(1000, init="normal", seed=3).save(path)
    return path


@pytest.fixture
def expected(path):
    return Table.load(path).gather(ROWS)


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_processes_read_a_file_at_once(path, expected, mode):
    code = f"""if True:
        import sys, numpy as np, adagrad
        with adagrad.Table.open({str(path)!r}, {mode!r}) as table:
            print(table.gather(np.array([7, 999, 7])).tobytes().hex(), flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-W", "error", "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    before = path.stat()
    readers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    try:
        found = [reader.stdout.readline().strip() for reader in readers]
        assert found == [expected.tobytes().hex()] * 3
        with Table.open(path) as table, pytest.raises(BlockingIOError, match=r"mode='r' only"):
            table.step(ROWS, G)
    finally:
        for reader in readers:
            reader.communicate()
    assert [reader.returncode for reader in readers] == [0, 0, 0]
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    with Table.open(path) as table:
        table.step(ROWS, G)
    assert Table.load(path).steps == 1


@pytest.mark.parametrize("call", CHANGES | VIEWS)
def test_what_changes_a_table_needs_the_file_alone(path, call):
    before = path.read_bytes()
    one, other = Table.open(path), Table(path=path)
    with pytest.raises(BlockingIOError, match="mapped by another table, so that this one cannot"):
        (CHANGES | VIEWS)[call](one)
    assert (one.steps, one.decays) == (0, 0)
    assert path.read_bytes() == before
    assert_same_bits(one.gather(ROWS), other.gather(ROWS))
    other.close()
    (CHANGES | VIEWS)[call](one)
    for mode in ("r", "r+"):
        with pytest.raises(BlockingIOError, match="mapped by another table that may change it"):
            Table.open(path, mode)
    one.close()
    Table.open(path).close()
    assert (path.read_bytes() == before) == (call in VIEWS)


@pytest.mark.parametrize("call", CHANGES)
def test_a_table_that_only_reads(path, expected, call):
    before = path.read_bytes()
    path.chmod(0o444)
    with Table.open(path, mode="r") as table:
        with pytest.raises(ValueError, match=r"table was opened with mode='r', which only reads"):
            CHANGES[call](table)
        for view in (table.weights, table.state):
            with pytest.raises(ValueError, match="read-only"):
                view[0] = 1.0
        assert_same_bits(table.gather(ROWS), expected)
        assert_same_bits(table.pool(ROWS, np.array([0, 1, 2, 3])), expected)
        assert_same_bits(table.weights[ROWS], expected)
        assert table.pages == "file"
        copy = table.copy()
        table.flush()
        table.save(path.with_name("other"))
    copy.step(ROWS, G)
    assert path.read_bytes() == before == path.with_name("other").read_bytes()


def test_a_core_that_is_only_read_is_not_written(path):
    """The compiled table does not rely on the checks around it."""
    with Table.open(path, "r") as table:
        arguments = (table.rule._compiled, 0.1, None, False, 0, 1, 0)
        with pytest.raises(ValueError, match="memory is read-only"):
            table._core.step(ROWS, G, *arguments)
        with pytest.raises(ValueError, match="memory is read-only"):
            table._core.fade(0.5, 0.0, 0, 1, 0)


@pytest.mark.parametrize("mode", ["w", "a", "", None, "rb"])
def test_other_modes(path, mode):
    with pytest.raises(ValueError, match=r"mode must be 'r' or 'r\+', got"):
        Table.open(path, mode)


def test_the_bits_are_those_of_a_table_in_memory(path):
    held = Table.load(path)
    with Table.open(path) as table:
        for _ in range(3):
            table.gather(ROWS)
            table.step(ROWS, G)
            held.step(ROWS, G)
        assert content(table) == content(held)
    assert content(Table.load(path)) == content(held)


def test_a_file_that_is_replaced_under_a_table(path, expected):
    with Table.open(path) as table, Table.open(path, "r") as reader:
        Table(1000).save(path)
        for old in (table, reader):
            assert_same_bits(old.gather(ROWS), expected)
        with pytest.raises(OSError, match="was replaced since it was opened: open it again"):
            table.step(ROWS, G)
    assert not Table.load(path).weights.any()
    with Table.open(path) as table:
        path.unlink()
        with pytest.raises(OSError, match="was replaced since it was opened"):
            table.step(ROWS, G)


def test_a_file_that_changed_while_the_lock_was_lost(path, monkeypatch):
    table, other = Table.open(path), Table.open(path)
    with pytest.raises(BlockingIOError):
        table.step(ROWS, G)
    import fcntl

    fcntl.flock(table._mapping._file, fcntl.LOCK_UN)  # as if it had not come back
    other.step(ROWS, G)
    other.close()
    with pytest.raises(OSError, match="was changed by another process since it was opened"):
        table.step(ROWS, G)
    table.close()
    assert Table.load(path).steps == 1


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("call", [*CHANGES, "gather", "pool", "weights", "save", "copy", "flush"])
def test_a_file_that_is_cut_short(path, mode, call):
    table = Table.open(path, mode)
    if mode == "r+":
        table.step(ROWS, G)
    calls = CHANGES | {
        "gather": lambda table: table.gather(ROWS),
        "pool": lambda table: table.pool(ROWS, np.array([0, 3])),
        "weights": lambda table: table.weights,
        "save": lambda table: table.save(path.with_name("other")),
        "copy": lambda table: table.copy(),
        "flush": lambda table: table.flush(),
    }
    size = path.stat().st_size
    os.truncate(path, 5000)
    message = rf"was cut short while it was mapped: it has 5000 bytes, its header says {size}"
    with pytest.raises(TableFileError, match=message):
        calls[call](table)
    if mode == "r+":
        with pytest.raises(TableFileError, match=message):
            table.close()
    table.close()
    assert not path.with_name("other").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_children_read_and_change_the_table_of_their_parent(path, expected):
    code = """if True:
        import os, sys, numpy as np
        from adagrad import Table
        table = Table.open(sys.argv[1])
        rows, g = np.array([7, 999, 7]), np.array([1.0, -2.0, 0.5], "f4")
        for changes in (False, True):
            if not os.fork():
                found = table.gather(rows)
                if changes:
                    table.step(rows, g)
                table.close()
                os._exit(0)
            assert os.wait()[1] == 0
        table.step(rows, g)
        table.close()
    """
    toolchain.run(sys.executable, "-W", "error", "-c", code, path)
    twice = Table(1000, init="normal", seed=3)
    for _ in range(2):
        twice.step(ROWS, G)
    found = Table.load(path)
    assert_same_bits(found.weights, twice.weights)
    assert found.steps == 1  # the child does not count


def test_a_counter_that_is_set_by_hand_is_written(path):
    with Table.open(path) as table:
        table.steps = 17
    assert Table.load(path).steps == 17


def test_merge_reads_only(path):
    with Table.open(path, "r") as one, Table.open(path, "r") as other:
        merged = Table.merge([one, other])
    assert_same_bits(merged.weights, Table.load(path).weights)


def test_a_rule_must_still_agree_with_the_file(path):
    with pytest.raises(ValueError, match="has rule=Rule"):
        Table(path=path, rule=Rule(lr=0.7))
    Table(path=path).close()
