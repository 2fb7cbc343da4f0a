"""The fast path for Parquet equals pyarrow, on sound files and on damaged ones."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from adagrad import _core
from adagrad.ctr.logs import LogError, open_log
from adagrad.ctr.logs.pages import PlainPages, Unusual, row_groups

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


def plain(table: pa.Table) -> pa.Table:
    kinds = [getattr(kind, "value_type", kind) for kind in table.schema.types]
    return table.cast(pa.schema(zip(table.column_names, kinds, strict=True))).combine_chunks()


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


def outcome(path, label=None):
    """Return the values of a log, and the error that ends it."""
    batches = []
    try:
        with open_log(path, label=label, rows=64) as log:
            batches += [plain(pa.Table.from_batches([batch])).to_pydict() for batch in log]
    except LogError as error:
        return batches, error
    return batches, None


@given(data=st.data(), table=tables(), how=options)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=60)
def test_a_damaged_file_is_read_or_refused_as_by_pyarrow(data, table, how, tmp_path_factory):
    damaged = bytearray(written(table, **how))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "log.parquet"
    path.write_bytes(damaged)
    found, error = outcome(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlainPages, "for_columns", lambda *_: None)
        expected, wanted = outcome(path)
    assert (error is None) == (wanted is None)
    # The fast path yields the rows before a mistake in smaller pieces.
    assert repr(found[: len(expected)]) == repr(expected)
    if error is not None:
        assert error.reason.partition(":")[0] == wanted.reason.partition(":")[0]


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


def test_what_has_no_fast_path_is_left_to_pyarrow(tmp_path):
    """Other types, and pages in an encoding that only pyarrow reads."""
    path = tmp_path / "log.parquet"
    table = pa.table({"y": [True, False] * 50, "x": [f"{k % 7}" for k in range(100)]})
    parquet.write_table(table, path)
    assert outcome(path, "y")[0][0]["x"][:3] == ["0", "1", "2"]
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
