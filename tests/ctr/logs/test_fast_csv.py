"""The fast path for CSV and TSV gives the same rows, errors and bits as pyarrow."""

import gzip
import io
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa

import toolchain
from adagrad import _core
from adagrad.ctr import HashingEncoder
from adagrad.ctr.logs import LogError, blocks, open_log
from adagrad.ctr.logs.csv import DelimitedReader
from adagrad.ctr.logs.fast_csv import SimpleLines

SCHEMA = pa.schema(
    [("click", pa.float32()), ("n", pa.int64()), ("s", pa.string()), ("x", pa.float64())]
)
HEADER = b"n,s,click,x\n"

integers = st.one_of(
    st.integers(-(2**64), 2**64).map(str),
    st.integers(0, 999).map(str),
    st.sampled_from(["", "-", "-0", "007", "+1", "0x1f", " 5", "1e3", "12345678", "123456789"]),
)
reals = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**17), 10**17).map(str),
    st.decimals(-1000, 1000, places=3).map(str),
    st.sampled_from(["", "-0.0", "1.", ".5", "1e5", "nan", "-inf", "9007199254740993", "0.1.2"]),
)
texts = st.one_of(
    st.text("abc0 é", max_size=40), st.sampled_from(["", '"', '"q"', "\r", "x\ty", "a,b", "\x00"])
)
labels = st.sampled_from(["0", "1", "-1", "true", "", "2"])
good_row = st.tuples(
    st.integers(-(10**17), 10**17).map(str),
    st.text("abcé", max_size=30),
    st.sampled_from("01"),
    st.decimals(-1000, 1000, places=3).map(str),
)
row = st.one_of(*[good_row] * 8, st.tuples(integers, texts, labels, reals))
line = st.one_of(
    *[row.map(",".join).map(str.encode)] * 12,
    st.sampled_from([b"", b"1,2", b",,,", b"1,\xff,0,1", b"1,a,0,1,", b"\xef\xbb\xbf1,a,1,1"]),
)
ends = st.sampled_from([b"\n"] * 6 + [b"\r\n"])
files = st.lists(st.tuples(line, ends), max_size=200).map(
    lambda lines: b"".join(text + end for text, end in lines)
)


def read(data, delimiter, skip_bad, *, simple, block=1 << 20):
    """Return the rows up to the end or the error, the counts of skipped rows, and the error."""
    stdin = SimpleNamespace(buffer=io.BytesIO(data))
    found = SimpleLines.for_columns if simple else lambda *args: None
    with (
        mock.patch.object(sys, "stdin", stdin),
        mock.patch.object(SimpleLines, "for_columns", found),
        mock.patch.object(blocks, "BLOCK_BYTES", block),
        open_log(
            "-", label="click", schema=SCHEMA, delimiter=delimiter, rows=64, skip_bad=skip_bad
        ) as log,
    ):
        batches, error = [], None
        try:
            batches.extend(log)
        except LogError as broken:
            error = str(broken)
        return pa.Table.from_batches(batches, log.schema), log.skipped, error


@settings(deadline=None, max_examples=200)
@given(files, st.sampled_from(",\t"), st.booleans(), st.sampled_from([1 << 7, 1 << 10, 1 << 20]))
@example(b"1,a,1,2.5", ",", False, 1 << 20)  # no end of the line
@example(b"1,a,1,1\n" * 100 + b"\xef\xbb\xbf1,a,1,1\n", ",", True, 1 << 7)
@example(b"1,a,1,1\n" * 70 + b"1,\xff,1,1\n" + b"2,b,0,2\n" * 70, ",", True, 1 << 10)
@example(b"-,a,1,1\n1,a,1,1\r\n\r\n", "\t", True, 1 << 20)
def test_same_rows_or_same_error(data, delimiter, skip_bad, block):
    text = HEADER + data
    if delimiter == "\t":
        text = text.replace(b"\t", b" ").replace(b",", b"\t")
    table, skipped, error = read(text, delimiter, skip_bad, simple=True, block=block)
    expected = read(text, delimiter, skip_bad, simple=False)
    assert (skipped, error) == expected[1:]
    assert table.schema == expected[0].schema
    table.validate(full=True)
    assert table.equals(expected[0])
    x = table.column("x").to_numpy().view(np.uint64)  # -0.0 too
    np.testing.assert_array_equal(x, expected[0].column("x").to_numpy().view(np.uint64))


def test_same_examples():
    rng = np.random.default_rng(0)
    lines = [
        f"{rng.integers(-(2 ** rng.integers(59)), 2 ** rng.integers(59))},{'é' * rng.integers(20)}"
        f",{rng.integers(2)},{rng.integers(10**6) / 1000}\n"
        for _ in range(1000)
    ]
    data = HEADER + "".join(lines).encode()
    theirs, _, _ = read(data, ",", False, simple=False)
    with mock.patch.object(DelimitedReader, "_parse", side_effect=AssertionError("pyarrow's")):
        ours, _, _ = read(data, ",", False, simple=True, block=1 << 12)
    encoder = HashingEncoder(14, ["n", "s", "x"])
    np.testing.assert_array_equal(encoder.transform(ours).slots, encoder.transform(theirs).slots)


def splitter():
    return _core.LineSplitter(2, ",", True, [(0, "integer"), (1, "text")])


@pytest.mark.parametrize(
    "lines",
    [b"1,a", b"1\n", b"1,a,b\n", b"\n", b'1,"a"\n', b"x,a\n", b"1,a\n1,b\n", b"", b"1\na\n"],
)
def test_a_rejected_block_changes_nothing(lines):
    split = splitter()
    assert split.add(b",a\n2,\n", 2)
    assert not split.add(lines, 1)
    assert split.rows == 2
    assert split.add(b"3,c\n", 1)
    (valid, numbers), (present, offsets, text) = split.take()
    assert (valid[0] & 7, present[0] & 7) == (0b110, 0b101)
    assert numbers.tolist() == [0, 2, 3]
    assert offsets.tolist() == [0, 1, 1, 2]
    assert text.tobytes() == b"ac"


def test_buffers_are_reused_only_when_no_array_refers_to_them():
    split = splitter()
    split.add(b"1,a\n", 1)
    held = split.take()
    split.add(b"2,b\n", 1)
    other = split.take()
    assert (held[0][1][0], other[0][1][0]) == (1, 2)
    address = other[0][1].ctypes.data
    del other
    split.add(b",\n", 1)
    split.take()
    split.add(b"4,d\n", 1)
    again = split.take()
    assert again[0][1].ctypes.data == address
    assert again[0][0] is None  # the missing value before leaves no mask behind
    assert (held[0][1][0], again[0][1][0]) == (1, 4)


def test_a_column_beyond_the_width_of_a_line():
    with pytest.raises(IndexError, match="column 2 is out of range for lines of 2"):
        _core.LineSplitter(2, ",", True, [(2, "text")])


def separators(text, delimiter):
    """Return the expected answers of the C++ program."""
    answers = []
    for at in range(0, len(text) - 63, 64):
        found = [byte in (delimiter, ord("\n")) for byte in text[at : at + 64]]
        bits = sum(is_one << i for i, is_one in enumerate(found))
        answers += [(bits, sum(found), text[at : at + 64].count(b"\n"))] * 2
    return answers


def check_separators(folder, cxx, *flags, emulator=()):
    program, source = folder / "separators", toolchain.ROOT / "tests" / "cpp" / "separators.cpp"
    toolchain.run(
        *(cxx, "-std=c++17", "-O3", *toolchain.WARNINGS, *flags), *(source, "-o", program)
    )
    rng = np.random.default_rng(5)
    parts = [bytes(range(256)), b"\n" * 64, b"\t" * 64, b"\t\n" * 32, b"a" * 64]
    parts += [rng.choice(np.frombuffer(b"\t\n,a\x80\xff\0 \r:|", np.uint8), 64 * 200).tobytes()]
    text = b"".join(parts)
    (folder / "text").write_bytes(text)
    for delimiter in b"\t,\0\x7f":
        answers = folder / "answers"
        toolchain.run(*emulator, program, str(delimiter), folder / "text", answers)
        found = np.fromfile(answers, np.uint64).reshape(-1, 3)
        np.testing.assert_array_equal(found, separators(text, delimiter))


def test_separators_by_instructions_and_by_a_loop(tmp_path):
    toolchain.host_isa()
    check_separators(tmp_path, toolchain.compiler())


def test_separators_on_aarch64(tmp_path):
    cxx = toolchain.tool(toolchain.CROSS + "g++")
    emulator = toolchain.tool("qemu-aarch64", "qemu-aarch64-static")
    check_separators(tmp_path, cxx, "-static", emulator=[emulator])


def test_a_compressed_file_ends_before_its_last_rows_are_taken(tmp_path):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(HEADER + b"1,a,0,2.5\n" * 1000))
    with open_log(path, label="click") as log:
        batches = [(batch.num_rows, log.position.bytes_read) for batch in log]
    assert batches == [(1000, path.stat().st_size)]
