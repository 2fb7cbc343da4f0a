"""The fast path for Parquet equals pyarrow, on sound files and on damaged ones."""

from __future__ import annotations

import base64
import io
import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from adagrad import _core
from adagrad.ctr.logs.pages import PlainPages, Unusual, row_groups
from parquet_files import differences, outcome, plain

VALUES = {
    "i32": st.integers(-(2**31), 2**31 - 1),
    "i64": st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)),
    "f32": st.floats(width=32, allow_nan=False),
    "f64": st.floats(allow_nan=False),
    "text": st.one_of(st.sampled_from(["a", "bc", ""]), st.text(max_size=9)),
    "id": st.text("0123456789abcdef", min_size=8, max_size=8),
}
TYPES = {
    "i32": pa.int32(),
    "i64": pa.int64(),
    "f32": pa.float32(),
    "f64": pa.float64(),
    "text": pa.string(),
    "id": pa.string(),
}
options = st.fixed_dictionaries(
    {
        "row_group_size": st.integers(1, 700),
        "data_page_size": st.integers(1, 2000),
        "write_batch_size": st.integers(1, 200),
        "dictionary_pagesize_limit": st.integers(1, 3000),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "compression": st.sampled_from(["none", "snappy", "gzip", "zstd"]),
        "use_dictionary": st.sampled_from([True, False, ["text", "i64"]]),
        "write_page_checksum": st.booleans(),
    }
)


@st.composite
def tables(draw) -> pa.Table:
    rows = draw(st.integers(0, 700))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    columns = {}
    for name, kind in TYPES.items():
        some = draw(st.lists(VALUES[name], min_size=1, max_size=20))
        share = draw(st.sampled_from([0, 0, 0.01, 0.5, 1]))
        picked = random.integers(0, len(some), rows)
        if draw(st.booleans()):
            picked.sort()  # long runs
        values = [some[k] for k in picked]
        columns[name] = pa.array(values, kind, mask=random.random(rows) < share)
    fields = [pa.field(n, k, nullable=columns[n].null_count > 0) for n, k in TYPES.items()]
    return pa.table(columns, schema=pa.schema(fields))


def decoded(data: bytes, dictionaries: list[str], rows: int) -> list[pa.Table]:
    """Return the row groups, by the fast path."""
    raw = pa.BufferReader(data)
    file = parquet.ParquetFile(raw, read_dictionary=dictionaries)
    pages = PlainPages.for_columns(file, row_groups(raw), file.schema_arrow.names)
    assert pages is not None
    groups = []
    for group in range(file.num_row_groups):
        table = pa.Table.from_batches(pages.batches(raw, group, rows), file.schema_arrow)
        table.validate(full=True)
        groups.append(table)
    return groups


def written(table: pa.Table, **how) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink, **how)
    return sink.getvalue()


@given(table=tables(), how=options, as_dictionary=st.booleans(), rows=st.integers(1, 300))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_row_groups_equal_those_of_pyarrow(table, how, as_dictionary, rows):
    data = written(table, **how)
    dictionaries = ["text", "id"] if as_dictionary else []
    if how["use_dictionary"] and not as_dictionary:
        dictionaries = ["text"] + ["id"] * (how["use_dictionary"] is True)
    file = parquet.ParquetFile(io.BytesIO(data), read_dictionary=dictionaries)
    for group, found in enumerate(decoded(data, dictionaries, rows)):
        expected = file.read_row_group(group)
        assert found.schema.types == expected.schema.types
        assert plain(found).equals(plain(expected))


@pytest.mark.parametrize("writer", ["polars", "fastparquet"])
@given(
    table=tables(),
    compression=st.sampled_from(["uncompressed", "snappy", "gzip", "zstd"]),
    size=st.integers(1, 300),
)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=30)
def test_files_of_other_writers(writer, table, compression, size, tmp_path_factory):
    module = pytest.importorskip(writer)
    path = tmp_path_factory.mktemp("written") / "log.parquet"
    if writer == "polars":
        how = {"compression": compression, "row_group_size": size, "data_page_size": size}
        module.from_arrow(table).write_parquet(path, **how)
    elif len(table):
        offsets = list(range(0, len(table), size))
        frame = table.to_pandas().astype({"id": "category"})
        module.write(str(path), frame, compression=compression.upper(), row_group_offsets=offsets)
    assert not path.exists() or differences(path) == []


@given(data=st.data(), table=tables(), how=options)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=60)
def test_a_damaged_file_is_read_or_refused_as_by_pyarrow(data, table, how, tmp_path_factory):
    damaged = bytearray(written(table, **how))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "log.parquet"
    path.write_bytes(damaged)
    assert differences(path) == []


def number(x: int) -> bytes:
    """Return a number as Parquet's headers and runs hold it, 7 bits to a byte."""
    out = bytearray()
    while x > 127:
        out.append(x & 127 | 128)
        x >>= 7
    return bytes([*out, x])


def run(value: int, n: int, width: int) -> bytes:
    return number(2 * n) + value.to_bytes((width + 7) // 8, "little")


def text(x: bytes, length: int | None = None) -> bytes:
    return (len(x) if length is None else length).to_bytes(4, "little") + x


WORDS = b"".join(k.to_bytes(8, "little") for k in range(9))
ALL = run(1, 4, 1)  # levels of four values
# A kind, entries of a dictionary of numbers 0, 1, ... or of texts "a", a page of four values that
# may be missing, its levels, and whether it has indices.
HOSTILE = {
    "no levels": ("words64", 0, WORDS, b"", False),
    "levels for three": ("words64", 0, WORDS, run(1, 3, 1), False),
    "a level of 2": ("words64", 0, WORDS, run(2, 4, 1), False),
    "a level of 255": ("categories", 0, 999 * text(b"a"), run(255, 4, 1), False),
    "a run of nothing": ("words64", 0, WORDS, run(1, 0, 1) + ALL, False),
    "a run of 2**32": ("words64", 0, WORDS, number(1 << 32) + b"\1" + ALL, False),
    "a length of six bytes": ("words64", 0, WORDS, 5 * b"\x80" + b"\1" + ALL, False),
    "a run without its value": ("words64", 0, WORDS, number(8), False),
    "packed levels that end": ("words64", 0, WORDS, number(2 * 9 + 1) + b"\xff", False),
    "fewer words": ("words64", 0, WORDS[:31], ALL, False),
    "half a word": ("words32", 0, WORDS[:15], ALL, False),
    "indices of 33 bits": ("words64", 9, b"\x21" + run(0, 4, 40), ALL, True),
    "indices of 255 bits": ("words64", 9, b"\xff" + run(0, 4, 255), ALL, True),
    "no width": ("words64", 9, b"", ALL, True),
    "an index that has more bits": ("words64", 9, b"\2" + run(5, 4, 2), ALL, True),
    "an index past the end": ("words64", 9, b"\4" + run(9, 4, 4), ALL, True),
    "an index without a dictionary": ("words32", 0, b"\0" + run(0, 4, 0), ALL, True),
    "a category past the end": ("categories", 3, b"\x20" + run(2**32 - 1, 4, 32), ALL, True),
    "a category without a dictionary": ("categories", 0, b"\0" + run(0, 4, 0), ALL, True),
    "indices that end": ("categories", 3, b"\2" + number(2 * 1 + 1) + b"\0", ALL, True),
    "three indices": ("categories", 3, b"\2" + run(1, 3, 2), ALL, True),
    "a text past the end": ("texts", 0, 3 * text(b"a") + text(b"a", 2), ALL, False),
    "a text of 2**32 bytes": ("texts", 0, 3 * text(b"a") + text(b"a", 2**32 - 1), ALL, False),
    "three texts": ("texts", 0, 3 * text(b"a"), ALL, False),
    "half a length": ("categories", 0, 3 * text(b"a") + b"\0\0", ALL, False),
    "texts as indices": ("texts", 3, b"\2" + run(1, 4, 2), ALL, True),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_that_does_not_add_up_is_refused(name):
    """And so is whatever a caller does with it afterwards."""
    kind, entries, page, levels, indexed = HOSTILE[name]
    reader = _core.PageReader(kind, True)
    is_text = kind in ("texts", "categories")
    size = {"words32": 4, "words64": 8}.get(kind)
    words = entries * text(b"a") if is_text else WORDS[: entries * size]
    for in_page in (False, True):
        reader.begin()
        reader.set_dictionary(words, entries)
        data = text(levels) + page if in_page else page
        with pytest.raises(ValueError, match="do not hold what they claim"):
            reader.set_page(data, 4, indexed, None if in_page else levels)
            reader.append(4)
        assert reader.left == 0
        with pytest.raises(ValueError, match="do not hold what they claim"):
            reader.append(1)
    with pytest.raises(ValueError, match="do not hold what they claim"):
        reader.set_dictionary(words, entries + 2**60)


def test_levels_that_exceed_their_page_are_refused():
    reader = _core.PageReader("words64", True)
    for data in (b"", b"\0\0\0", b"\3\0\0\0" + ALL, b"\xff\xff\xff\xff" + ALL):
        with pytest.raises(ValueError, match="do not hold what they claim"):
            reader.set_page(data, 4, False)


def header(*fields: bytes) -> bytes:
    """Return a structure of fields that are numbered from 1; a field is its type and its value."""
    return b"".join(bytes([0x10 | field[0]]) + field[1:] for field in fields) + b"\0"


def i32(x: int) -> bytes:
    return b"\5" + number(2 * x if x >= 0 else -2 * x - 1)


def test_a_header_counts_what_it_says_of_its_own_type_of_page():
    of_data = header(i32(7), i32(0), i32(3), i32(3))
    sound = header(i32(0), i32(9), i32(9))[:-1] + b"\x2c" + of_data + b"\0"
    assert _core.page_header(sound, 0)[4:7] == (7, 0, 3)
    of_second = header(i32(7), i32(0), i32(7), i32(0), i32(0), i32(0))
    other = header(i32(0), i32(9), i32(9))[:-1] + b"\x5c" + of_second + b"\0"
    assert _core.page_header(other, 0) is None
    of_second = header(i32(3), i32(9), i32(9))[:-1] + b"\x5c" + of_second + b"\0"
    assert _core.page_header(of_second, 0)[4:6] == (7, 0)
    for short in (of_data[:6] + b"\0", of_data[:2] + b"\0", b"\0"):
        assert _core.page_header(sound.replace(of_data, short), 0) is None
    for end in range(len(sound)):
        assert _core.page_header(sound[:end], 0) is None
    for wide in (2**31, -(2**31) - 1, 2**63 - 1):
        assert _core.page_header(header(i32(0), i32(wide)), 0) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\5" + number(2**64 - 2) + b"\x15" + number(0) + b"\0",  # the number of a field
        b"\x15" + 10 * b"\xff" + b"\0",
        b"\x18" + number(2**64 - 1) + b"\0",  # the length of a text
        b"\x19\xf5" + number(2**64 - 1) + b"\0",  # and of a list
        300 * b"\x1c",  # nested
        300 * b"\x19\x19",
        b"\x1b\1\x55\0\0\0",  # a map
        b"\x10\0",  # a type of 0
    ],
)
def test_a_header_that_does_not_add_up_is_none(data):
    assert _core.page_header(data, 0) is None
    assert _core.page_chunks(data) is None


def test_a_footer_that_repeats_itself_counts_once():
    """As for pyarrow, the last list of row groups counts, and so does that of their columns."""
    metadata = lambda values: b"\x3c\x56" + number(2 * values) + b"\0\0"  # noqa: E731
    group = b"\x19\x1c" + metadata(5) + b"\x09\2\x1c" + metadata(6) + b"\x26" + number(14) + b"\0"
    data = b"\x49\x1c" + group + b"\x09\x08\x1c" + group + b"\0"
    assert _core.page_chunks(data) == [(7, [(-1, 6, -1, -1, -1, False)])]


@given(st.binary(max_size=60), st.integers(0, 70))
def test_any_bytes_are_a_header_a_footer_or_neither(data, at):
    found = _core.page_header(data, at)
    assert found is None or 0 < found[1] <= len(data) - at
    _core.page_chunks(data)


@given(
    data=st.binary(max_size=90),
    kind=st.sampled_from(["words32", "words64", "texts", "categories"]),
    dictionary=st.binary(max_size=40),
    sizes=st.tuples(st.integers(0, 12), st.integers(0, 70), st.integers(0, 70)),
    nullable=st.booleans(),
    indexed=st.booleans(),
)
def test_any_bytes_are_pages_or_are_refused(data, kind, dictionary, sizes, nullable, indexed):
    reader = _core.PageReader(kind, nullable)
    entries, values, taken = sizes
    try:
        reader.set_dictionary(dictionary, entries)
        reader.set_page(data, values, indexed)
        reader.append(min(values, taken))
    except ValueError:
        return
    validity, *buffers = reader.take()
    assert len(buffers[0]) == min(values, taken) + (kind == "texts")
    if kind == "categories" and indexed and values and validity is None:
        assert max(buffers[0][: min(values, taken)], default=0) < max(1, entries)


OTHERS = {
    "bool": pa.array([True, None] * 50),
    "int8": pa.array(range(100), pa.int8()),
    "uint32": pa.array(range(100), pa.uint32()),
    "half": pa.array(np.arange(100, dtype="f2")),
    "decimal": pa.array([Decimal("1.25"), None] * 50, pa.decimal128(9, 2)),
    "date": pa.array(range(100), pa.date32()),
    "moment": pa.array(range(100), pa.timestamp("us", "UTC")),
    "bytes": pa.array([b"\xff", None] * 50),
    "long text": pa.array(["a", None] * 50, pa.large_string()),
    "narrow codes": pa.array(["a", "b"] * 50).dictionary_encode().cast(pa.dictionary("i1", "str")),
    "list": pa.array([[1, 2], [], None, [3]] * 25),
    "texts": pa.array([["a"], ["b", None]] * 50),
    "structure": pa.array([{"a": 1}, None] * 50),
    "null": pa.nulls(100),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_other_types_are_read_as_by_pyarrow(tmp_path, name, version):
    path = tmp_path / "log.parquet"
    table = pa.table({"x": [f"{k % 7}" for k in range(100)], name: OTHERS[name], "k": range(100)})
    parquet.write_table(table, path, data_page_version=version, row_group_size=30)
    assert differences(path) == []


@pytest.mark.parametrize("codec", ["lz4", "brotli"])
def test_other_codecs_are_left_to_pyarrow(tmp_path, codec):
    path = tmp_path / "log.parquet"
    parquet.write_table(pa.table({"k": range(100)}), path, compression=codec)
    raw = pa.OSFile(str(path))
    pages = PlainPages.for_columns(parquet.ParquetFile(raw), row_groups(raw), ["k"])
    with pytest.raises(Unusual):
        next(pages.batches(raw, 0, 10))
    assert differences(path) == []


def keys(encryption):
    """Return a key management service that keeps nothing secret."""

    class Keys(encryption.KmsClient):
        def wrap_key(self, key_bytes, master_key_identifier):
            return base64.b64encode(key_bytes)

        def unwrap_key(self, wrapped_key, master_key_identifier):
            return base64.b64decode(wrapped_key)

    return Keys()


def test_encrypted_columns_are_refused_as_by_pyarrow(tmp_path):
    encryption = pytest.importorskip("pyarrow.parquet.encryption")
    path = tmp_path / "log.parquet"
    config = encryption.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["x"]}, plaintext_footer=True
    )
    kms = encryption.KmsConnectionConfig()
    factory = encryption.CryptoFactory(lambda config: keys(encryption))
    properties = factory.file_encryption_properties(kms, config)
    table = pa.table({"k": range(100), "x": ["a", "b"] * 50})
    with parquet.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    assert differences(path) == []
    assert outcome(path)[1] is not None


@pytest.mark.parametrize("level", [0, 2, 3, 127, 128, 255])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_a_level_that_no_column_has(tmp_path, level, version, use_dictionary):
    """A run of levels above 1 is no run of values that are not missing."""
    path = tmp_path / "log.parquet"
    table = pa.table({"k": pa.array(range(8)), "x": pa.array(["a"] * 8)})
    data = written(
        table, use_dictionary=use_dictionary, data_page_version=version, compression="none"
    )
    levels = run(1, 8, 1)
    at = -1
    for _ in range(2):
        at = data.index(levels, at + 1)
        path.write_bytes(data[: at + 1] + bytes([level]) + data[at + 2 :])
        assert differences(path) == []


@pytest.mark.parametrize("name", ["x", "k"])
def test_rows_that_are_lost_are_an_error(tmp_path, name):
    """pyarrow takes a column that begins with a second dictionary for one without values."""
    path = tmp_path / "log.parquet"
    with_fast_path = pa.table({"k": range(100), "x": ["a"] * 100})
    for table in (with_fast_path, with_fast_path.append_column("other", [[True] * 100])):
        data = bytearray(written(table, use_dictionary=False, compression="none"))
        at = row_groups(pa.BufferReader(data))[0][1][table.schema.get_field_index(name)].data_at
        assert data[at : at + 2] == i32(0).replace(b"\5", b"\x15")
        data[at + 1] = 4
        path.write_bytes(data)
        batches, error = outcome(path)
        assert not batches
        assert re.fullmatch("the file is damaged: .*", error.reason)


def test_a_column_name_that_is_not_utf8(tmp_path):
    path = tmp_path / "log.parquet"
    data = written(pa.table({"name": range(9)}), store_schema=False)
    path.write_bytes(data.replace(b"name", b"n\xffme"))
    assert re.match(r"not a readable parquet file: .*can't decode", outcome(path)[1].reason)


def test_a_page_in_an_encoding_that_only_pyarrow_reads(tmp_path):
    path = tmp_path / "log.parquet"
    table = pa.table({"y": [1, 0] * 50, "x": range(100)})
    parquet.write_table(
        table, path, use_dictionary=False, column_encoding={"x": "DELTA_BINARY_PACKED"}
    )
    raw = pa.OSFile(str(path))
    pages = PlainPages.for_columns(parquet.ParquetFile(raw), row_groups(raw), ["x", "y"])
    with pytest.raises(Unusual):
        next(pages.batches(raw, 0, 10))
    batches, error = outcome(path, "y")
    assert error is None
    assert [x for batch in batches for x in batch["x"]] == list(range(100))
