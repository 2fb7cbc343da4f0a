"""Files without POSIX locks: saving and loading work on Windows, and mapping is refused.

Elsewhere Windows is imitated: no fcntl, none of the calls that it lacks, and no renaming or
removing of a file that this process has open.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import adagrad
from adagrad import _atomic
from adagrad.tables import files, mapping
from checks import assert_same_bits

LACKING = {"O_NONBLOCK", "O_NOFOLLOW", "O_TMPFILE", "fchmod", "pwrite"}


class WindowsOs:
    def __getattr__(self, name):
        if name in LACKING:
            raise AttributeError(name)
        return getattr(os, name)


def refusing_open_files(method):
    def checked(path, *arguments, **options):
        busy = {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}
        for file in (path, *arguments):
            if os.path.realpath(file) in busy:
                raise PermissionError(errno.EACCES, "used by another process", str(file))
        return method(path, *arguments, **options)

    return checked


@pytest.fixture(autouse=True)
def _windows(monkeypatch):
    if sys.platform == "win32":
        return
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to see which files are open")
    for module in (files, _atomic, mapping):
        monkeypatch.setattr(module, "sys", SimpleNamespace(platform="win32"))
        monkeypatch.setattr(module, "os", WindowsOs())
        monkeypatch.delattr(module, "fcntl", raising=False)
    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, refusing_open_files(getattr(Path, name)))


def parts(text):
    return [memoryview(part) for part in text.split(b"|")]


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "model"
    files.replace(path, parts(b"first\r\n|\nfile"), 12)
    assert path.read_bytes() == b"first\r\n\nfile"
    files.replace(path, parts(b"second"), 6)
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    def failing(file, data, write=os.write):
        if data == b"half":
            return write(file, data)
        raise OSError(errno.ENOSPC, "no space left")

    path = tmp_path / "model"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "write", failing)
    with pytest.raises(OSError, match=r"no space left.*the old file is unchanged"):
        files.replace(path, parts(b"half|the rest"), 12)
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_open_is_not_replaced(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    with path.open("rb"), pytest.raises(PermissionError, match="the old file is unchanged"):
        files.replace(path, parts(b"new"), 3)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / f".adagrad-{'0' * 16}.tmp"
    used = tmp_path / f".adagrad-{'1' * 16}.tmp"
    left.write_bytes(b"half")
    with used.open("wb"):
        files.replace(tmp_path / "model", parts(b"new"), 3)
    assert sorted(tmp_path.iterdir()) == [used, tmp_path / "model"]


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(IsADirectoryError):
        files.replace(tmp_path, parts(b"new"), 3)


def test_a_table_is_saved_and_loaded(tmp_path, rng):
    table = adagrad.Table(100, dim=3, init="normal", seed=1)
    ids = np.arange(0, 100, 7)
    table.step(ids, rng.standard_normal((len(ids), 3)).astype("f4"))
    table.save(tmp_path / "table")
    loaded = adagrad.Table.load(tmp_path / "table")
    assert_same_bits(loaded.weights, table.weights)
    assert_same_bits(loaded.state, table.state)


def test_mapping_is_refused_before_a_file_is_made(tmp_path):
    refused = "Windows does not have: keep the table in memory, and use Table.save and Table.load"
    with pytest.raises(NotImplementedError, match=refused):
        adagrad.Table(8, path=tmp_path / "new")
    assert not list(tmp_path.iterdir())
    adagrad.Table(8).save(tmp_path / "old")
    before = (tmp_path / "old").read_bytes()
    for call in (lambda path: adagrad.Table(8, path=path), adagrad.Table.open):
        with pytest.raises(NotImplementedError, match=refused):
            call(tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == before


def test_a_table_is_mapped_to_be_read(tmp_path):
    saved = adagrad.Table(8, init="normal")
    saved.save(tmp_path / "table")
    with adagrad.Table.open(tmp_path / "table", "r") as table:
        assert_same_bits(table.weights, saved.weights)
        with pytest.raises(ValueError, match="opened with mode='r', which only reads"):
            table.decay(0.5)
