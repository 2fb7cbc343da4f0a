"""Files of tables: whole or an error, replaced as a whole or not at all, mapped once."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import gc
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import toolchain
from adagrad.tables import files as _files
from adagrad.tables import mapping as _mapping
from adagrad.tables.files import create, load_into, read_header, save
from adagrad.tables.header import Header, TableFileError
from checks import need

fcntl = pytest.importorskip("fcntl", reason="files are written on POSIX systems only")
resource = pytest.importorskip("resource")

pytestmark = pytest.mark.unsanitized

# How mappings share a file is tested in test_mapping.py.
Mapping = functools.partial(_mapping.Mapping, reserved=True)

COUNTER = "0" * 20
METADATA = {
    **{
        "adagrad_version": "0.1.0",
        "rule": '{"lr": 0.1}',
        "steps": COUNTER,
        "skipped": COUNTER,
        "decays": COUNTER,
    },
    **{"seed": "7", "rows": "12", "dim": "1", "dtype": "float32", "state": "element"},
    "state_dtype": "float32",
}
SHAPE = (12, 2)
DATA = np.arange(96, dtype=np.uint8)
OTHER = DATA[::-1].copy()


@pytest.fixture
def path(tmp_path) -> Path:
    """A file with DATA in it, alone in its folder."""
    path = tmp_path / "table.safetensors"
    save(path, METADATA, "F32", SHAPE, DATA)
    return path


def content(path):
    header = read_header(path)
    out = np.empty(header.nbytes, np.uint8)
    load_into(path, header, out)
    return out


@pytest.fixture(params=["without a name", "with a temporary name"])
def how(request, monkeypatch):
    """Both ways to write a new file: the second is that of systems without the first."""
    if request.param == "with a temporary name":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return request.param


def assert_alone_with(path, data):
    """No temporary file is left, and the file has these data."""
    assert list(path.parent.iterdir()) == [path]
    np.testing.assert_array_equal(content(path), data)


# What is written


def test_a_file_comes_back(path):
    metadata = {"format": "adagrad.Table", "format_version": "1", **METADATA}
    assert read_header(path) == Header(metadata, "F32", SHAPE, 4096, 96)
    assert_alone_with(path, DATA)
    assert path.stat().st_size == 4096 + 96


@pytest.mark.parametrize("length", [0, 3000, 4096, 5000, 50_000])
def test_data_start_at_a_page(tmp_path, length):
    path = tmp_path / "table"
    metadata = {**METADATA, "rule": "\N{GREEK SMALL LETTER ETA}" * length}
    save(path, metadata, "F32", SHAPE, DATA)
    header = read_header(path)
    assert header.start % 4096 == 0
    assert header.metadata["rule"] == metadata["rule"]
    assert_alone_with(path, DATA)


@pytest.mark.parametrize(
    ("dtype", "named"),
    [("F32", "f4"), ("F64", "f8"), ("F16", "f2"), ("BF16", "bfloat16"), ("U8", "u1")],
)
@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_safetensors_reads_it(tmp_path, rows, dtype, named):
    if dtype == "BF16":
        need(_has_ml_dtypes(), "ml_dtypes")
    values = np.random.default_rng(rows).integers(-9, 9, (rows, 3)).astype(named)
    path = tmp_path / "table"
    save(path, METADATA, dtype, values.shape, values.reshape(-1).view(np.uint8))
    (found,) = safetensors.numpy.load_file(path).values()
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
    with safetensors.safe_open(path, "np") as file:
        assert list(file.keys()) == ["table"]
        assert file.metadata() == read_header(path).metadata


def _has_ml_dtypes():
    with contextlib.suppress(ImportError):
        import ml_dtypes

        return ml_dtypes.bfloat16 is not None
    return False


def test_what_safetensors_writes_is_loaded_but_not_mapped(path):
    tensors = {"table": DATA.view(np.float32).reshape(SHAPE)}
    safetensors.numpy.save_file(tensors, path, read_header(path).metadata)
    np.testing.assert_array_equal(content(path), DATA)
    with pytest.raises(TableFileError, match="cannot be mapped: adagrad did not write its header"):
        Mapping(path)
    save(path, METADATA, "F32", SHAPE, DATA)  # its lock is gone
    Mapping(path).close()


def test_data_of_another_size_are_refused(path):
    with pytest.raises(ValueError, match="data has 95 bytes, which is not F32 of shape"):
        save(path, METADATA, "F32", SHAPE, OTHER[1:])
    with pytest.raises(
        ValueError, match=r"out has 97 bytes, but the data of .* have 96 bytes from"
    ):
        load_into(path, read_header(path), np.empty(97, np.uint8))
    assert_alone_with(path, DATA)


# What is read


def raw(header, data=DATA):
    """A file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


def header(**changes):
    """A good header with some of its metadata or of the fields of its table changed or removed."""
    metadata = {"format": "adagrad.Table", "format_version": "1", **METADATA}
    table = {"dtype": "F32", "shape": [12, 2], "data_offsets": [0, 96]}
    for name, value in changes.items():
        part = table if name in ("shape", "data_offsets", "tensor_dtype") else metadata
        part[name.removeprefix("tensor_")] = value
        if value is None:
            del part[name.removeprefix("tensor_")]
    return {"__metadata__": metadata, "table": table}


BIG = 1 << 200
BAD_FILES = {
    "empty": (b"", r"not a safetensors file: it has 0 bytes and starts with b''"),
    "pickle": (b"\x80\x04\x95" * 99, r"not a safetensors file: it has 297 bytes and starts with"),
    "npy": (b"\x93NUMPY\x01\x00v\x00{'descr'" * 99, "not a safetensors file"),
    "text": (b"1,2,3\n" * 99, "not a safetensors file"),
    "short": (raw(header())[:5], "not a safetensors file: it has 5 bytes"),
    "header too long": (b"\xff" * 8 + b"{}" + bytes(99), "header is 18446744073709551615 "),
    "header too short": (bytes(8) + b"{}", "header is 0 bytes, expected 2 to 100000000"),
    "half a header": (raw(header())[:100], r"truncated: it has 100 bytes, .* alone needs \d{3}"),
    "half the data": (raw(header())[:-48], r"truncated: it has \d{3} bytes, .* says \d{3}"),
    "a byte too few": (raw(header())[:-1], "truncated"),
    "a byte too many": (raw(header()) + b"\0", r"has bytes after its end: it has \d{3} bytes"),
    "not JSON": (raw(b"{'a': 1}"), "corrupted: its header is not JSON: Expecting"),
    "not UTF-8": (raw(b'{"a": "\xff"}'), "corrupted: its header is not JSON"),
    "deep JSON": (raw(b'{"a":' + b"[" * 99999), "corrupted: its header is not JSON"),
    "long number": (raw(b'{"a":' + b"9" * 9999 + b"}"), "corrupted|does not hold an adagrad.Table"),
    "no metadata": (
        raw({"table": header()["table"]}),
        "does not hold an adagrad.Table: .* are None",
    ),
    "metadata is a list": (
        raw({"__metadata__": []}),
        r"does not hold an adagrad.Table: .* are \[\]",
    ),
    "of torch": (
        raw(header(format="pt")),
        "is a safetensors file, but does not hold an adagrad.Table",
    ),
    "newer": (
        raw(header(format_version="2")),
        r"was written by a newer adagrad \(format 2\), but this version reads format 1",
    ),
    "much newer": (raw(header(format_version="9" * 9999)), r"newer adagrad \(format 9{20}\), "),
    "version 0": (raw(header(format_version="0")), "format_version is '0', expected '1'"),
    "version 1.5": (raw(header(format_version="1.5")), "format_version is '1.5', expected '1'"),
    "version in Arabic": (raw(header(format_version="\u0662")), "corrupted: format_version is"),
    "no version": (raw(header(format_version=None)), "format_version is '', expected '1'"),
    "version is a number": (raw(header(format_version=1)), "metadata 'format_version' is 1, "),
    "a number in metadata": (raw(header(rows=12)), "metadata 'rows' is 12, expected a string"),
    "metadata lack": (raw(header(rule=None, dim=None)), "its metadata lack rule, dim"),
    "steps": (raw(header(steps="5")), "steps is '5', expected 20 digits"),
    "skipped": (raw(header(skipped="-" * 20)), "skipped is '-{20}', expected 20 digits"),
    "no table": (raw({**header(), "table": 0}), "the table is 0, expected its dtype"),
    "other tensors": (
        raw({**header(), "other": {}}),
        r"list of tensors is \['table', 'other'\], expected \['table'\]",
    ),
    "more fields": (raw({**header(), "table": {"x": 1}}), "the table is {'x': 1}, expected its"),
    "dtype": (raw(header(tensor_dtype="F8")), "the dtype is 'F8', expected one of F64, F32"),
    "dtype is a list": (raw(header(tensor_dtype=[])), r"the dtype is \[\], expected one of"),
    "shape": (raw(header(shape=[24])), r"the shape is \[24\], expected two sizes"),
    "shape is a string": (raw(header(shape="12")), "the shape is '12', expected two sizes"),
    "shape of floats": (raw(header(shape=[12.0, 2.0])), r"the shape is \[12.0, 2.0\], expected"),
    "shape of bools": (raw(header(shape=[True, True])), r"the shape is \[True, True\], expected"),
    "negative shape": (raw(header(shape=[-12, -2])), r"the shape is \[-12, -2\], expected"),
    "absurd shape": (raw(header(shape=[0, BIG], data_offsets=[0, 0]), b""), "the shape is"),
    "another shape": (
        raw(header(shape=[12, 3])),
        r"data_offsets is \[0, 96\], expected \[0, 144\], as dtype and shape say",
    ),
    "offsets": (raw(header(data_offsets=[8, 104])), r"data_offsets is \[8, 104\], expected"),
    "offset is null": (raw(header(data_offsets=[None, 96])), r"data_offsets is \[None, 96\]"),
    "offsets of floats": (raw(header(data_offsets=[0.0, 96.0])), "data_offsets is"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file(tmp_path, kind):
    found, message = BAD_FILES[kind]
    path = tmp_path / "table"
    path.write_bytes(found)
    good = Header({}, "U8", (1, 1), 4096, 1)
    for call in (read_header, Mapping, lambda path: load_into(path, good, np.empty(1, np.uint8))):
        with pytest.raises(TableFileError, match=message) as caught:
            call(path)
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 400 + len(str(path))
    assert path.read_bytes() == found


def test_these_bad_files_are_one_change_away_from_a_good_one(tmp_path):
    path = tmp_path / "table"
    path.write_bytes(raw(header()))
    np.testing.assert_array_equal(content(path), DATA)


def test_no_bit_of_a_header_can_flip_and_move_the_data(path):
    good, whole = read_header(path), path.read_bytes()
    used = whole.index(b"}}") + 2
    silent = 0
    with path.open("r+b", buffering=0) as file:
        for position in range(used + 2):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([whole[position] ^ 1 << bit]), position)
                with contextlib.suppress(TableFileError):
                    found = read_header(path)
                    assert dataclasses.replace(found, metadata=good.metadata) == good
                    # The values of some metadata are the table's to check.
                    differ = dict(found.metadata.items() - good.metadata.items())
                    assert len(differ) <= 1
                    assert not differ.keys() & {"format", "format_version"}
                    silent += 1
            os.pwrite(file.fileno(), whole[position : position + 1], position)
    assert silent < used * 8 // 4
    assert path.read_bytes() == whole


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FUZZ = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_or_refuse(path, found):
    path.write_bytes(found)
    with contextlib.suppress(TableFileError):
        header = read_header(path)
        assert header.start + header.nbytes == len(found)


@FUZZ
@given(st.binary(max_size=64), st.integers(0, 600), st.integers(0, 64))
def test_fuzzed_bytes(path, new, position, removed):
    whole = raw(header())
    read_or_refuse(path, whole[:position] + new + whole[position + removed :])


@FUZZ
@given(st.data(), ANY_JSON)
def test_fuzzed_json(path, data, new):
    whole = header()
    at = data.draw(st.sampled_from([whole, whole["__metadata__"], whole["table"]]))
    at[data.draw(st.sampled_from(sorted(at)) | st.text(max_size=9))] = new
    read_or_refuse(path, raw(whole))


def test_truncated_while_it_is_read(path, monkeypatch):
    good, parse = read_header(path), _files._parse

    def parse_and_truncate(*args):
        parsed = parse(*args)
        os.truncate(path, 4096 + 50)
        return parsed

    monkeypatch.setattr(_files, "_parse", parse_and_truncate)
    with pytest.raises(TableFileError, match=r"while it was read: it has 4146 .* says 4192"):
        load_into(path, good, np.empty(96, np.uint8))


def test_replaced_while_it_is_read(path):
    good = read_header(path)
    save(path, {**METADATA, "seed": "8"}, "F32", SHAPE, DATA)
    with pytest.raises(TableFileError, match="was replaced by another table while it was read"):
        load_into(path, good, np.empty(96, np.uint8))


def test_reads_and_writes_of_few_bytes_go_on(path, monkeypatch):
    monkeypatch.setattr(_files, "_CHUNK", 7)
    save(path, METADATA, "F32", SHAPE, OTHER)
    assert_alone_with(path, OTHER)


def test_what_is_no_file_is_an_os_error(tmp_path):
    out = types.SimpleNamespace(nbytes=0)
    readers = (read_header, Mapping, lambda path: load_into(path, out, out))
    os.mkfifo(tmp_path / "pipe")
    for read in readers:
        with pytest.raises(FileNotFoundError, match="missing"):
            read(tmp_path / "missing")
        with pytest.raises(IsADirectoryError, match=re.escape(str(tmp_path))):
            read(tmp_path)
        for name in (tmp_path / "pipe", "/dev/zero"):
            with pytest.raises(TableFileError, match=f"{name} is not a regular file"):
                read(name)


# How a file is replaced


@pytest.mark.usefixtures("how")
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()], ids=str)
@pytest.mark.parametrize(
    ("call", "owner", "failing"),
    [
        *[("save", os, name) for name in ("write", "fsync", "fchmod")],
        *[("save new", os, name) for name in ("write", "fsync")],
        *[("create", os, name) for name in ("write", "fsync", "ftruncate")],
        *[
            ("save", Path, "replace"),
            ("save new", Path, "replace"),
            ("create", os, "link"),
        ],
    ],
)
def test_what_fails_changes_nothing(path, monkeypatch, call, owner, failing, error):
    def fail(*args, **options):
        raise error

    name = path if call == "save" else path.with_name("new")
    message = {
        "save": "full: could not write 4192 bytes, the old file is unchanged",
        "save new": "full: could not write 4192 bytes, no file was created",
        "create": "full: could not create a file of 4192 bytes",
    }[call]
    monkeypatch.setattr(owner, failing, fail)
    with pytest.raises(type(error)) as caught:
        if call == "create":
            create(name, METADATA, "F32", SHAPE)
        else:
            save(name, METADATA, "F32", SHAPE, OTHER)
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert str(caught.value) == f"[Errno {errno.ENOSPC}] {message}: '{name}'"
    assert_alone_with(path, DATA)


@contextlib.contextmanager
def largest_file(nbytes):
    """Let the kernel refuse to make files longer: what a full disk does, without a disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("how")
def test_a_full_disk_leaves_the_old_file(path):
    data = np.ones(1 << 20, np.uint8)
    message = r"could not write 1052672 bytes, the old file is unchanged"
    with largest_file(1 << 19), pytest.raises(OSError, match=message) as caught:
        save(path, METADATA, "U8", (1 << 10, 1 << 10), data)
    assert caught.value.errno == errno.EFBIG
    assert_alone_with(path, DATA)


@pytest.mark.usefixtures("how")
def test_sizes_that_the_file_system_refuses(path):
    new = path.with_name("new")
    message = "could not create a file of 1052672 bytes"
    with largest_file(1 << 19), pytest.raises(OSError, match=message):
        create(new, METADATA, "U8", (1 << 10, 1 << 10))
    for rows in (1 << 60, 1 << 61, 1 << 62):
        with pytest.raises(OSError, match=r"could not create a file of \d+ bytes") as caught:
            create(new, METADATA, "F32", (rows, 1))
        assert caught.value.errno in (errno.EFBIG, errno.ENOSPC, errno.EINVAL)
    assert_alone_with(path, DATA)


def test_what_killed_saves_left_is_removed_and_nothing_else(path):
    stale, used, other = (
        path.with_name(name)
        for name in (
            ".adagrad-0123456789abcdef.tmp",
            ".adagrad-fedcba9876543210.tmp",
            ".adagrad-my-notes-of-1999.tmp",
        )
    )
    for name in (stale, used, other):
        name.touch()
    with used.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        save(path, METADATA, "F32", SHAPE, OTHER)
        assert set(path.parent.iterdir()) == {path, used, other}
    create(path.with_name("new"), METADATA, "F32", SHAPE)
    assert set(path.parent.iterdir()) == {path, other, path.with_name("new")}


@pytest.mark.usefixtures("how")
def test_a_save_is_on_the_disk_before_it_has_the_name(path, monkeypatch):
    calls = []

    def recorded(name, call):
        def record(*args):
            folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            calls.append("folder" if folder else name)
            return call(*args)

        return record

    for owner, name in [(os, "write"), (os, "fsync"), (Path, "replace")]:
        monkeypatch.setattr(owner, name, recorded(name, getattr(owner, name)))
    save(path, METADATA, "F32", SHAPE, OTHER)
    assert calls == ["write", "write", "fsync", "replace", "folder"]


@pytest.mark.usefixtures("how")
def test_two_saves_at_once_leave_one_of_them(path):
    def work(data):
        for _ in range(20):
            save(path, METADATA, "F32", SHAPE, data)

    threads = [threading.Thread(target=work, args=[data]) for data in (DATA, OTHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_alone_with(path, DATA if content(path)[0] == DATA[0] else OTHER)


@pytest.mark.usefixtures("how")
def test_permissions(path):
    def mode(name):
        return stat.S_IMODE(name.stat().st_mode)

    for bits in (0o600, 0o640, 0o664):
        path.chmod(bits)
        save(path, METADATA, "F32", SHAPE, OTHER)
        assert mode(path) == bits
    before = os.umask(0o027)
    try:
        save(path.with_name("saved"), METADATA, "F32", SHAPE, DATA)
        create(path.with_name("created"), METADATA, "F32", SHAPE)
    finally:
        os.umask(before)
    assert mode(path.with_name("saved")) == mode(path.with_name("created")) == 0o640


@pytest.mark.usefixtures("how")
def test_a_link_is_followed(path, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    link, dangling, loop = (folder / name for name in ("link", "dangling", "loop"))
    link.symlink_to("../table.safetensors")
    dangling.symlink_to("new")
    loop.symlink_to("loop")
    save(link, METADATA, "F32", SHAPE, OTHER)
    assert link.is_symlink()
    assert not path.is_symlink()
    np.testing.assert_array_equal(content(path), OTHER)
    save(dangling, METADATA, "F32", SHAPE, DATA)
    assert dangling.is_symlink()
    np.testing.assert_array_equal(content(folder / "new"), DATA)
    with pytest.raises(OSError, match="loop"):
        save(loop, METADATA, "F32", SHAPE, DATA)
    assert {name.name for name in folder.iterdir()} == {"link", "dangling", "loop", "new"}


def test_what_is_no_file_is_not_replaced(path, monkeypatch):
    folder, pipe = path.with_name("folder"), path.with_name("pipe")
    folder.mkdir()
    os.mkfifo(pipe)
    monkeypatch.setattr(os, "write", None)
    with pytest.raises(IsADirectoryError, match="folder"):
        save(folder, METADATA, "F32", SHAPE, DATA)
    for name in (pipe, "/dev/null"):
        with pytest.raises(OSError, match=f"not a regular file: '{name}'"):
            save(name, METADATA, "F32", SHAPE, DATA)
    for call in (lambda *args: save(*args, DATA), create):
        with pytest.raises(FileNotFoundError, match="no/where"):
            call(path.parent / "no/where", METADATA, "F32", SHAPE)
    assert {name.name for name in path.parent.iterdir()} == {path.name, "folder", "pipe"}


# How a file is mapped


@pytest.mark.usefixtures("how")
def test_a_created_file_is_zeros_and_never_replaces(tmp_path):
    path = tmp_path / "table"
    create(path, METADATA, "F64", (1 << 20, 2))
    assert path.stat().st_size == 4096 + (16 << 20)
    assert path.stat().st_blocks * 512 < 1 << 20
    assert not content(path).any()
    for name in (path, tmp_path):
        with pytest.raises(
            FileExistsError, match=f"could not create a file of 4104 bytes: '{name}'"
        ):
            create(name, METADATA, "U8", (1, 8))
    assert read_header(path).shape == (1 << 20, 2)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_a_mapping_writes_the_file(tmp_path, rows):
    path = tmp_path / "table"
    create(path, METADATA, "F32", (rows, 2))
    mapping = Mapping(path)
    assert mapping.header == read_header(path)
    assert mapping.data.shape == (rows * 8,)
    assert mapping.data.flags.writeable
    assert mapping.data.ctypes.data % 64 == 0 or not rows
    mapping.data[:] = np.arange(rows * 8) % 251
    mapping.flush(12345, 678)
    np.testing.assert_array_equal(content(path), np.arange(rows * 8) % 251)
    counters = {"steps": f"{12345:020}", "skipped": f"{678:020}"}
    assert mapping.header == read_header(path)
    assert mapping.header.metadata == {**mapping.header.metadata, **METADATA, **counters}
    mapping.flush(2**63, 2**64)
    mapping.close()
    assert read_header(path).metadata["skipped"] == f"{2**64:020}"
    (table,) = safetensors.numpy.load_file(path).values()
    assert table.shape == (rows, 2)


def test_a_flush_brings_the_data_first(path, monkeypatch):
    calls = []
    mapping = Mapping(path)
    monkeypatch.setattr(
        mapping, "_mapped", types.SimpleNamespace(flush=lambda: calls.append("data"))
    )
    for name in ("pwrite", "fsync"):
        monkeypatch.setattr(os, name, lambda *args, name=name: calls.append(name))
    mapping.flush(1, 2)
    assert calls == ["data", "pwrite", "fsync"]


def test_a_closed_mapping(path):
    mapping = Mapping(path)
    view = mapping.data[:4]
    mapping.close()
    mapping.close()
    with pytest.raises(ValueError, match=r"the mapping of .*table.safetensors is closed"):
        _ = mapping.data
    with pytest.raises(ValueError, match="is closed"):
        mapping.flush(1, 2)
    again = Mapping(path)  # while the view lives
    view[:] = 200
    assert again.data[:5].tolist() == [200, 200, 200, 200, 4]
    again.close()


def test_a_file_is_mapped_once_while_a_view_lives(path):
    mapping = Mapping(path)
    view = mapping.data[10:20]
    message = r"is mapped by another table.*table\.safetensors"
    with pytest.raises(BlockingIOError, match=message):
        Mapping(path)
    del mapping
    gc.collect()
    with pytest.raises(BlockingIOError, match=message):
        Mapping(path)
    view[:] = 1
    del view
    Mapping(path).close()


def test_a_refused_file_is_not_kept_locked(path):
    path.write_bytes(path.read_bytes() + b"1")
    with pytest.raises(TableFileError) as caught:
        Mapping(path)
    save(path, METADATA, "F32", SHAPE, OTHER)
    Mapping(path).close()
    del caught


@pytest.mark.usefixtures("how")
def test_a_mapped_file_is_not_replaced(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    mapping = Mapping(path)
    mapping.data[0] = 99
    for name in (path, link):
        with pytest.raises(
            BlockingIOError, match="is mapped by a table, which would lose its updates"
        ):
            save(name, METADATA, "F32", SHAPE, OTHER)
    assert {name.name for name in tmp_path.iterdir()} == {path.name, "link"}
    assert content(path)[0] == 99
    mapping.close()
    save(path, METADATA, "F32", SHAPE, OTHER)
    np.testing.assert_array_equal(content(path), OTHER)


@pytest.mark.usefixtures("how")
def test_a_file_that_is_being_saved_is_not_mapped(path, monkeypatch):
    refused = []

    def replace(name, target, call=Path.replace):
        for _ in range(2):  # the old file, and the new one until it is synced
            with pytest.raises(BlockingIOError, match="or being saved"):
                Mapping(path)
            refused.append(name)
            if len(refused) == 1:
                call(name, target)

    monkeypatch.setattr(Path, "replace", replace)
    save(path, METADATA, "F32", SHAPE, OTHER)
    assert len(refused) == 2
    Mapping(path).close()


def test_a_file_that_is_replaced_while_it_is_opened(path, monkeypatch):
    lock, locked = _mapping.try_lock, []

    def save_and_lock(file, how):
        monkeypatch.setattr(_mapping, "try_lock", lock)
        save(path, METADATA, "F32", SHAPE, OTHER)
        locked.append(os.fstat(file).st_ino)
        return lock(file, how)

    monkeypatch.setattr(_mapping, "try_lock", save_and_lock)
    mapping = Mapping(path)
    np.testing.assert_array_equal(mapping.data, OTHER)
    assert len(locked) == 1
    mapping.close()


OTHER_PROCESS = """if True:
    import sys
    from adagrad.tables.mapping import Mapping
    mapping = Mapping(sys.argv[1], reserved=True)
    mapping.data[:] = 7
    print("mapped", flush=True)
    sys.stdin.read()
"""


def test_another_process_that_maps_it_is_named_and_its_death_frees_the_file(path):
    command = [sys.executable, "-c", OTHER_PROCESS, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"mapped\n"
        name = f"( \\(process {process.pid}\\))?: '"  # not every file system tells
        with pytest.raises(BlockingIOError, match=f"mapped by another table, or being saved{name}"):
            Mapping(path)
        with pytest.raises(
            BlockingIOError, match=f"mapped by a table, which would lose its updates{name}"
        ):
            save(path, METADATA, "F32", SHAPE, OTHER)
        process.send_signal(signal.SIGKILL)
    mapping = Mapping(path)
    assert (mapping.data == 7).all()  # what was written is the kernel's to keep
    mapping.close()


def test_a_forked_child_does_not_give_up_the_lock_of_its_parent(path):
    code = """if True:
        import os, sys
        from adagrad.tables.mapping import Mapping
        mapping = Mapping(sys.argv[1], reserved=True)
        if not os.fork():
            mapping.data[0] = 50
            mapping.close()
            os._exit(0)
        os.wait()
        assert mapping.data[0] == 50
        try:
            Mapping(sys.argv[1], reserved=True)
        except BlockingIOError:
            print("locked")
        mapping.close()
        Mapping(sys.argv[1], reserved=True)
    """
    assert toolchain.run(sys.executable, "-c", code, path) == "locked\n"


def test_17_gigabytes(tmp_path):
    path, rows = tmp_path / "table", (1 << 31) + (1 << 20)
    try:
        create(path, METADATA, "F32", (rows, 2))
    except OSError as error:
        pytest.skip(f"the file system has no room for sparse files: {error}")
    if path.stat().st_blocks * 512 > 1 << 30:
        pytest.skip("the file system has no sparse files")
    mapping = Mapping(path)
    assert len(mapping.data) == rows * 8
    mapping.data[-4:] = 1, 2, 3, 4
    mapping.flush(1, 0)
    mapping.close()
    mapping = Mapping(path)
    assert mapping.data[-5:].tolist() == [0, 1, 2, 3, 4]
    assert path.stat().st_blocks * 512 < 1 << 30
    mapping.close()
