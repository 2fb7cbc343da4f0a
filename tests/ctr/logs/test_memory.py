"""Arrow and Parquet logs whose memory is damaged, cut short, or not what its type claims."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from adagrad.ctr.logs import LogError, open_log
from log_files import ROWS, expected, made_up, read


def write(table, path, rows=ROWS):
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, rows)


def test_a_damaged_offset(tmp_path):
    path = tmp_path / "x.arrow"
    write(made_up(200), path)
    data = bytearray(path.read_bytes())
    offsets = b"".join(struct.pack("<i", 6 * k) for k in range(20, 40))
    at = data.index(offsets)
    data[at : at + 4] = struct.pack("<i", 10**8)
    path.write_bytes(data)
    with pytest.raises(LogError, match=r"line 1: column 'site': the memory is damaged: [^\n]+$"):
        read(path)
    assert read(path, columns=["count"])[0].num_rows == 200


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), "dictionary"])
def test_text_that_is_not_utf8_is_a_broken_row(tmp_path, kind):
    path = tmp_path / "x.arrow"
    raw = [b"a", b"b", b"\xff", None, b"\xff", b"c"] * 40
    if kind == "dictionary":
        codes = pa.array(raw).dictionary_encode()
        texts = codes.dictionary.view(pa.string())
        sites = pa.DictionaryArray.from_arrays(codes.indices, texts)
    else:
        wide = {pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
        sites = pa.array(raw, wide.get(kind, pa.binary())).view(kind)
    table = pa.table({"click": np.arange(240) % 2, "site": sites})
    write(table, path)
    with pytest.raises(LogError, match=r"x.arrow, line 3: column 'site': .*not UTF-8$"):
        read(path)
    rows, log = read(path, skip_bad=True)
    assert log.skipped == {"not UTF-8": 80}
    assert rows.column("site").to_pylist() == ["a", "b", None, "c"] * 40
    assert rows.column("click").to_pylist() == [0, 1, 1, 1] * 40


def test_damaged_indices_beside_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "x.arrow"
    texts = pa.array([b"a", b"\xff"]).view(pa.string())
    codes = pa.DictionaryArray.from_arrays(pa.array([0, 1, 9], pa.int8()), texts, safe=False)
    write(pa.table({"click": [0, 1, 0], "site": codes}), path)
    for skip_bad in (False, True):
        with pytest.raises(LogError, match="line 1: column 'site': the memory is damaged"):
            read(path, skip_bad=skip_bad)


@pytest.mark.parametrize("suffix", [".arrow", ".arrows"])
def test_a_file_cut_short_while_it_is_read(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    table = made_up(100_000)
    new = pa.ipc.new_file if suffix == ".arrow" else pa.ipc.new_stream
    with new(path, table.schema) as writer:
        writer.write_table(table, 1000)
    with open_log(path, label="click", rows=ROWS) as log:
        batches = log.batches()
        assert next(batches).num_rows == ROWS
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 4)
        with pytest.raises(LogError, match=r"line \d+: the file is damaged: [^\n]+$"):
            list(batches)


MAGIC = {"lz4": b"\x04\x22\x4d\x18", "zstd": b"\x28\xb5\x2f\xfd"}


@pytest.mark.parametrize("compression", MAGIC)
@pytest.mark.parametrize("claim", [2**60, 2**40, -5])
def test_a_compressed_buffer_that_claims_more_than_it_has(tmp_path, compression, claim):
    path = tmp_path / "x.feather"
    table = pa.table({"click": np.zeros(5000, np.int8), "count": np.arange(5000) % 7})
    feather.write_feather(table, path, compression=compression)
    data = path.read_bytes()
    start = struct.pack("<q", 5000) + MAGIC[compression]
    assert data.count(start) == 1
    path.write_bytes(data.replace(start, struct.pack("<q", claim) + MAGIC[compression]))
    with pytest.raises(LogError, match=r"x.feather, line 1: the file is damaged: [^\n]+$"):
        read(path)


def test_checksums_of_parquet_pages_are_verified(tmp_path):
    path = tmp_path / "x.parquet"
    table = pa.table({"click": np.arange(999) % 2, "count": np.arange(999)})
    options = {"use_dictionary": False, "compression": "none"}
    parquet.write_table(table, path, write_page_checksum=True, **options)
    assert read(path)[0] == expected(table)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<q", 500), struct.pack("<q", 501), 1))
    with pytest.raises(LogError, match=r"the file is damaged: .*CRC checksum"):
        read(path)


def test_types_without_a_meaning(tmp_path):
    path = tmp_path / "x.arrow"
    kind = pa.opaque(pa.binary(8), "pointer", "someone")
    array = pa.ExtensionArray.from_storage(kind, pa.array([bytes(8)], pa.binary(8)))
    write(pa.table({"click": [1], "site": array, "ad": [7]}), path)
    with pytest.raises(LogError, match=r"column 'site' has the extension type .*arrow.opaque"):
        read(path)
    assert read(path, columns=["ad"])[0].num_rows == 1
    unknown = pa.field("site", pa.int64(), metadata={"ARROW:extension:name": "some.address"})
    schema = pa.schema([pa.field("click", pa.int64()), unknown])
    write(pa.table([[1], [2]], schema=schema), path)
    with pytest.raises(LogError, match=r"column 'site' has the extension type some.address"):
        read(path)


def test_views_with_broken_rows(tmp_path):
    path = tmp_path / "x.arrow"
    clicks = pa.array([1, 7, 0, None] * 50)
    sites = pa.array(["a", "b", "c", "d"] * 50, pa.string_view())
    write(pa.table({"click": clicks, "site": sites}), path)
    rows, log = read(path, skip_bad=True)
    assert log.skipped == {"bad label": 50, "missing label": 50}
    assert rows.column("site").to_pylist() == ["a", "c"] * 50
