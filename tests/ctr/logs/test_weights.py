"""Columns of weights and of rates of negatives: no features, and every bad value is a fault."""

from __future__ import annotations

import datetime
import decimal
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa
from pyarrow import parquet

from adagrad.ctr.logs import LogError, open_log
from adagrad.ctr.logs.weights import parse_rates, parse_weights

BAD = ["-1", "-0.5", "nan", "inf", "-inf", "x", "1_0", "0x10", "3e14", "1e400", "1;2"]
BAD_RATES = ["0", "-1", "nan", "inf", "x", "1.5", "1e-30"]


def read(path: Path, **how: object) -> dict[str, list[object]]:
    with open_log(path, label="click", **how) as log:
        assert log.schema.names[: len(log._request.targets)] == list(log._request.targets)
        return pa.Table.from_batches(log.batches(), log.schema).to_pydict()


def log_of(folder: Path, *values: str, name: str = "w") -> Path:
    path = folder / "log.csv"
    rows = [f"{k % 2},{value},s{k}" for k, value in enumerate(values)]
    path.write_text("\n".join([f"click,{name},site", *rows, ""]))
    return path


def test_they_come_after_the_label(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("site,rate,w,click\na,,2,1\nb,0.1, 0.5 ,0\nc,0.25,1e2,0\n")
    assert read(path, weight="w", negative_rate="rate") == {
        "click": [1.0, 0.0, 0.0],
        "w": [2.0, 0.5, 100.0],
        "rate": [1.0, np.float32(0.1), 0.25],
        "site": ["a", "b", "c"],
    }
    assert list(read(path, weight="w")) == ["click", "w", "site", "rate"]


@pytest.mark.parametrize("value", [*BAD, ""])
def test_a_bad_weight_is_a_fault_with_file_and_line(tmp_path: Path, value: str) -> None:
    path = log_of(tmp_path, "1", "0.5", value, "2")
    what = f"{value!r}, not a number from 0 to 2**48" if value else "missing"
    with pytest.raises(LogError, match=re.escape(f"{path}, line 4: the weight is {what}")):
        read(path, weight="w")
    with open_log(path, label="click", weight="w", skip_bad=True) as log:
        assert sum(batch.num_rows for batch in log) == 3
        assert log.skipped == {"bad weight" if value else "missing weight": 1}


@pytest.mark.parametrize("value", [*BAD_RATES, ""])
def test_a_bad_rate_is_a_fault_with_file_and_line(tmp_path: Path, value: str) -> None:
    path = log_of(tmp_path, "1", "0.5", value, "1", name="r")
    what = f"negatives is {value!r}, not" if value else "a negative is missing"
    with pytest.raises(LogError, match=re.escape(f"{path}, line 4: the rate of {what}")):
        read(path, negative_rate="r")
    with open_log(path, label="click", negative_rate="r", skip_bad=True) as log:
        assert sum(batch.num_rows for batch in log) == 3
        assert log.skipped == {"bad rate" if value else "missing rate": 1}


def test_a_positive_needs_no_rate_but_no_wrong_one_either(tmp_path: Path) -> None:
    assert read(log_of(tmp_path, "0.5", "", name="r"), negative_rate="r")["r"] == [0.5, 1.0]
    with pytest.raises(LogError, match="line 3: the rate of negatives is 'x'"):
        read(log_of(tmp_path, "0.5", "x", name="r"), negative_rate="r")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, 0, 3], pa.uint8()), [1, None, 3]),
        (pa.array([True, False, True]), [1, None, 1]),
        (pa.array([0.5, 2.0, 2.0**48], pa.float64()), [0.5, 2.0, 2.0**48]),
        (pa.array([1, 2, 3], pa.float16()), [1, 2, 3]),
        (pa.array(["1", "2.5", "3"]).dictionary_encode(), [1, 2.5, 3]),
        (pa.array([b"1", b"2", b"3"]), [1, 2, 3]),
        (pa.array([decimal.Decimal("1.5")] * 3), [1.5] * 3),
        (pa.array([1.0, None, 2.0]), "line 2: the weight is missing"),
        (pa.array([1.0, 2.0, float("nan")]), "line 3: the weight is nan"),
        (pa.array([1, -2, 3]), "line 2: the weight is -2"),
        (pa.array([datetime.date(2026, 1, 1)] * 3), "line 1: the weight is datetime.date"),
        (pa.array([[1], [2], [3]]), "'w' is list<.*>, not a number"),
    ],
)
def test_types_of_parquet(tmp_path: Path, column: pa.Array, expected: list[object] | str) -> None:
    path = tmp_path / "log.parquet"
    parquet.write_table(pa.table({"click": [0, 1, 0], "w": column, "s": ["a", "b", "c"]}), path)
    if isinstance(expected, str):
        with pytest.raises(LogError, match=expected):
            read(path, weight="w")
        return
    kept = [weight for weight in expected if weight is not None]
    assert read(path, weight="w")["w"] == kept


@settings(max_examples=50)
@given(
    st.lists(
        st.floats(0, 2.0**48, width=32).map(repr)
        | st.integers(0, 2**48).map(str)
        | st.sampled_from([*BAD, "", " 1 "]),
        min_size=1,
        max_size=20,
    )
)
def test_texts_are_read_as_python_reads_them(texts: list[str]) -> None:
    found, faults = parse_weights(pa.chunked_array([pa.array(texts)]))
    bad = {row for row, text in enumerate(texts) if text in BAD or not text}
    assert set(faults) == bad
    for row, (text, weight) in enumerate(zip(texts, found.to_pylist(), strict=True)):
        assert row in bad or weight == np.float32(float(text))


def test_rates_of_positives_are_not_asked_for() -> None:
    rates = pa.chunked_array([pa.array([None, "0.5", None])])
    found, faults = parse_rates(rates, np.array([False, True, True]))
    assert found.to_pylist()[:2] == [1.0, 0.5]
    assert {row: fault.kind for row, fault in faults.items()} == {2: "missing rate"}


def test_a_row_of_weight_0_is_absent_whatever_the_batches(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, 1_000)
    table = pa.table({"click": rng.integers(0, 2, 1_000), "w": weights, "n": np.arange(1_000)})
    parquet.write_table(table, tmp_path / "all.parquet")
    parquet.write_table(table.filter(pa.array(weights > 0)), tmp_path / "some.parquet")
    how = {"label": "click", "weight": "w", "rows": 64}
    with (
        open_log(tmp_path / "all.parquet", **how) as one,
        open_log(tmp_path / "some.parquet", **how) as other,
    ):
        assert [*one] == [*other]
        assert one.position.rows == other.position.rows == (weights > 0).sum()
        assert [*one.batches(128)] == [*other.batches(128)]
        assert one.known_rows() is None


def test_rates_in_the_path(tmp_path: Path) -> None:
    for rate in ("0.1", "1"):
        folder = tmp_path / f"rate={rate}"
        folder.mkdir()
        (folder / "log.csv").write_text("click,site\n1,a\n0,b\n")
    found = read(tmp_path, negative_rate="rate")
    assert list(found) == ["click", "rate", "site"]
    assert found["rate"] == [np.float32(0.1)] * 2 + [1.0] * 2
    (tmp_path / "rate=2").mkdir()
    (tmp_path / "rate=2" / "log.csv").write_text("click,site\n1,a\n0,b\n")
    with pytest.raises(LogError, match=r"rate=2.*line 2: the rate of negatives is '2'"):
        read(tmp_path, negative_rate="rate")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"weight": "click"}, "'click' cannot be the weight: it is the label"),
        ({"weight": "w", "negative_rate": "w"}, "'w' cannot be the negative_rate: it is the weigh"),
        ({"weight": "w", "columns": ["w"]}, "columns must name features, but 'w' is the weight"),
        ({"weight": "w", "ignore": ["w"]}, "ignore names 'w', which is the weight"),
        ({"weight": "v"}, "no column 'v'; the columns are"),
    ],
)
def test_names_that_contradict_each_other(
    tmp_path: Path, how: dict[str, object], message: str
) -> None:
    path = log_of(tmp_path, "1", "1")
    with pytest.raises(ValueError, match=message):
        read(path, **how)


def test_it_needs_a_label_and_columns(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weight needs a label"):
        open_log(log_of(tmp_path, "1"), label=None, weight="w")
    (tmp_path / "log.libsvm").write_text("1 3:1\n")
    with pytest.raises(LogError, match="a libsvm file has no columns for weights"):
        open_log(tmp_path / "log.libsvm", label="click", weight="w")
