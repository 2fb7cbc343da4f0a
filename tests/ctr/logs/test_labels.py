"""What the labels of a log mean: 0 and 1, -1 and +1, or 1 and 2, decided once."""

import numpy as np
import pytest

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa
from pyarrow import parquet

from adagrad.ctr.logs import LogError, blocks, labels, open_log
from log_files import read


def write(path, values):
    """Write labels, with a column that counts them, in the format of the suffix."""
    lines = [f"{value} {k}:1" for k, value in enumerate(values)]
    if path.suffix == ".csv":
        lines = ["click,k", *(f"{value},{k}" for k, value in enumerate(values))]
    if path.suffix == ".parquet":
        table = pa.table({"click": values, "k": np.arange(len(values))})
        parquet.write_table(table, path)
    else:
        path.write_text("\n".join(lines) + "\n")
    return path


NAMES = ["a.csv", "a.libsvm", "a.parquet"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1 << 4, 1 << 8, 1 << 20])
def test_two_is_positive_beside_one(tmp_path, name, size, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
    values = [1, 1, 1, 2, 1, 2] * 40
    path = write(tmp_path / name, values)
    assert read(path)[0].column("click").to_pylist() == [value - 1.0 for value in values]
    first, second = write(tmp_path / f"0{name}", [1] * 90), write(tmp_path / f"1{name}", [2, 1] * 9)
    got, opened = read([first, second])
    assert got.column("click").to_pylist() == [0.0] * 90 + [1.0, 0.0] * 9
    with opened:
        again = pa.Table.from_batches(list(opened.batches(64)))
    assert again.equals(got.slice(64))


@pytest.mark.parametrize("name", NAMES)
def test_one_is_positive_without_two(tmp_path, name):
    for values in ([1, 1], [1, 0], [1, -1]):
        got, _ = read(write(tmp_path / name, values))
        assert got.column("click").to_pylist() == [float(max(value, 0)) for value in values]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("values", [[1, 2, 0, 1], [1, 0, 2, 1], [0, 2, 1, 1]])
def test_a_two_beside_a_zero_is_a_broken_row(tmp_path, name, values):
    path = write(tmp_path / name, values)
    line = 1 + values.index(2) + (name == "a.csv")
    with pytest.raises(LogError, match=rf"line {line}: the label is '?2(\.0)?'?, not 0 or 1"):
        read(path)
    got, opened = read(path, skip_bad=True)
    assert got.column("click").to_pylist() == [float(value) for value in values if value != 2]
    assert opened.skipped == {"bad label": 1}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize("where", [64, 65, 130, 199])
def test_a_contradiction_after_the_first_rows_stops(tmp_path, name, skip_bad, where, monkeypatch):
    """It puts in question what was read before, so it is no broken row to be skipped."""
    monkeypatch.setattr(labels, "WINDOW", 64)
    line = 1 + where + (name == "a.csv")
    values = [1] * where + [2] + [1] * 20
    with pytest.raises(LogError, match=f"line {line}: the label is 2, but all labels before it"):
        read(write(tmp_path / name, values), skip_bad=skip_bad)
    values = [*([1, 2] * 100)[:where], 0, 1, 2]
    with pytest.raises(LogError, match=rf"line {line}: .* but the labels before it are 1 and 2"):
        read(write(tmp_path / name, values), skip_bad=skip_bad)


def test_other_labels_beside_one_and_two(tmp_path):
    path = write(tmp_path / "a.csv", [1, 2, 3, "x", "", 2])
    with pytest.raises(LogError, match="line 4: the label is '3', not 1 or 2"):
        read(path)
    got, opened = read(path, skip_bad=True)
    assert got.column("click").to_pylist() == [0.0, 1.0, 1.0]
    assert opened.skipped == {"bad label": 2, "missing label": 1}


def test_the_window_ends_at_a_broken_file(tmp_path):
    (tmp_path / "a.csv").write_text("click,k\n1,2\n2,3\n1\n")
    with open_log(tmp_path / "a.csv", label="click") as opened:
        batches = opened.batches()
        assert next(batches).column("click").to_pylist() == [0.0, 1.0]
        with pytest.raises(LogError, match="line 4: 1 column instead of 2"):
            next(batches)


def test_a_two_without_a_one_is_no_label(tmp_path):
    path = write(tmp_path / "a.csv", [2, 2])
    with pytest.raises(LogError, match=r"line 2: the label is '2', not 0 or 1, -1 or \+1"):
        read(path)
    assert read(path, skip_bad=True)[1].skipped == {"bad label": 2}


@pytest.mark.parametrize("size", [1 << 4, 1 << 8, 1 << 20])
def test_broken_rows_belong_to_the_first_rows(tmp_path, size, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
    monkeypatch.setattr(labels, "WINDOW", 8)
    path = tmp_path / "a.csv"
    path.write_text("click,k\n" + "1,1\n" * 3 + "1\n" * 4 + "2,1\n1,1\n")
    assert read(path, skip_bad=True)[0].column("click").to_pylist() == [0.0] * 3 + [1.0, 0.0]
    path.write_text("click,k\n" + "1,1\n" * 3 + "1\n" * 5 + "2,1\n1,1\n")
    with pytest.raises(LogError, match="line 10: the label is 2, but all labels before it are 1"):
        read(path, skip_bad=True)
    path.write_text("click,k\n1,1\n2,1\n1\n0,1\n")
    with pytest.raises(LogError, match="line 4: 1 column instead of 2"):
        read(path)


def test_a_log_of_broken_rows_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("click,k\n1,1\n" + "1\n" * 1_500_000)
    with open_log(path, label="click") as opened:
        batches = opened.batches()
        assert next(batches).num_rows == 1
        with pytest.raises(LogError, match="line 3"):
            next(batches)
        assert opened.position.bytes_read < opened.total_bytes
