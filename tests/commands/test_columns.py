"""How commands say what they understood: the columns in words, and doubts about a log."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa
from pyarrow import csv, parquet

from adagrad.commands.columns import doubts, empty_columns
from adagrad.ctr.diagnosis.words import type_name
from adagrad.ctr.training.options import Options
from adagrad.datasets import synthetic_clicks
from checks import ROOT
from command import LABEL, invoke, train

ROWS = 200


def write(path: Path, **columns: list[object]) -> Path:
    """Write a CSV log with a label and columns that raise no doubt, but for the given ones."""
    table = {LABEL: [i % 3 // 2 for i in range(ROWS)], "site": [f"s{i % 7}" for i in range(ROWS)]}
    table |= columns  # type: ignore[arg-type]
    rows = zip(*table.values(), strict=True)
    lines = [",".join(table), *(",".join("" if x is None else str(x) for x in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def said(log: Path, *more: object) -> list[str]:
    """Return what ``adagrad train`` prints before the first line about the training."""
    lines = train(log, log.parent / "m", "--lr", 0.1, *more).splitlines()
    heading = next(k for k, line in enumerate(lines) if line.startswith("    examples"))
    return lines[:heading]


def test_the_columns_are_said_before_the_training(tmp_path: Path) -> None:
    log = write(
        tmp_path / "log.csv",
        depth=[i * i % 23 // 3 * i for i in range(ROWS)],
        day=[i % 7 for i in range(ROWS)],
        price=[i % 4 + 0.5 for i in range(ROWS)],
        hour=[f"2026-11-{i % 20 + 10} 12:30:00" for i in range(ROWS)],
        shop=[i % 5 for i in range(ROWS)],
        junk=["x"] * ROWS,
    )
    options = ("--ignore", "junk", "--categorical", "shop", "--cross", "site*shop")
    assert said(log, *options) == [
        "label: click",
        "features: site, shop (text), day (int64) as categories;"
        " depth (int64), price (float64) as log2 bins",
        "  depth: log2-bins, looks like a number: values of about the same size are about equally"
        " frequent",
        "  day: categorical, looks like codes: 7 values, hardly any of them rare",
        "not features, because moments do not return: hour; --calendar hour uses hours and days",
        "crosses: site*shop",
        "ignored: junk",
    ]
    code, out, err = invoke("diagnose", log, "-l", LABEL, *options[:4])
    assert code == 0, err
    assert said(log, *options[:4])[1:5] == out.splitlines()[1:5]
    assert train(log, tmp_path / "m", "--quiet") == ""


def test_a_libsvm_log_has_ids(tmp_path: Path) -> None:
    (tmp_path / "log.svm").write_text("1 1:1\n0 2:1\n" * 50)
    assert said(tmp_path / "log.svm") == ["label: click", "features: ids with their values"]


def test_many_columns_take_few_lines(tmp_path: Path) -> None:
    wide = {LABEL: [1, 0] * 100} | {f"c{i}": pa.nulls(200, pa.int64()) for i in range(20_000)}
    parquet.write_table(pa.table({**wide, "site": ["a", "b"] * 100}), tmp_path / "log.parquet")
    batch = parquet.read_table(tmp_path / "log.parquet").combine_chunks().to_batches()[0]
    options = Options(LABEL, bits=14)
    encoder = options.encoder(batch.schema)
    began = time.perf_counter()
    lines = list(doubts(batch, options, encoder, text=True, header=True))
    assert time.perf_counter() - began < 2
    assert len(lines) == 1
    assert "no value in the first 200 rows: c0, c1, c2" in lines[0]
    assert all(len(line) < 500 for line in lines)


@pytest.mark.parametrize(
    ("columns", "options", "doubt"),
    [
        ({"site": [f"s{i % 7}" for i in range(ROWS)]}, [], None),
        (
            {"row": list(range(ROWS))},
            [],
            "every value of the first 200 rows is different: row (0); such a column says"
            " nothing about new rows: try --ignore row",
        ),
        ({"row": list(range(ROWS))}, ["--ignore", "row"], None),
        ({"score": [i + 0.5 for i in range(ROWS)]}, [], None),
        (
            {"site": [f"s{i}" for i in range(ROWS)]},
            [],
            "every value of the first 200 rows is different: site ('s0'); such a column"
            " says nothing about new rows: try --ignore site",
        ),
        (
            {"land": ["de"] * ROWS, "n": [7] * ROWS},
            [],
            "one value in all of the first 200 rows: land ('de'), n (7)",
        ),
        ({"land": ["de"] * (ROWS - 1) + ["fr"]}, [], None),
        (
            {"land": [None] * ROWS},
            [],
            "no value in the first 200 rows: land; leave them out with --ignore",
        ),
        (
            {"n": [*(i % 7 for i in range(ROWS - 1)), "?"]},
            [],
            "column 'n' was read as text, though 199 of its first 200 values are numbers: row 200"
            " has '?'; each of its values is a category: correct it, or declare the column"
            " --categorical",
        ),
        ({"n": [*(i % 7 for i in range(ROWS - 1)), "?"]}, ["--categorical", "n"], None),
        ({"n": [i % 7 if i % 5 else "x" for i in range(ROWS)]}, [], None),
        (
            {LABEL: [1] * ROWS},
            [],
            "the label 'click' is 1 in all of the first 200 rows: a model learns only from both"
            " labels, in mixed order",
        ),
        (
            {"17": [i % 4 for i in range(ROWS)]},
            [],
            "the first line is taken as the names of the columns, but some are numbers (17); if the"
            " file has no header, give --names",
        ),
        (
            {"s3": [f"s{i % 7}" for i in range(ROWS)]},
            [],
            "the first line is taken as the names of the columns, but 's3' is also a value in the"
            " column of this name; if the file has no header, give --names",
        ),
    ],
)
def test_doubts(
    tmp_path: Path, columns: dict[str, list[object]], options: list[str], doubt: str | None
) -> None:
    log = write(tmp_path / "log.csv", **columns)
    doubts = [line for line in said(log, *options) if line.startswith(str(log))]
    assert doubts == ([] if doubt is None else [f"{log}: {doubt}"])


def test_the_columns_are_said_before_a_broken_row(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", depth=[i % 9 for i in range(ROWS)])
    log.write_text(log.read_text() + "0,s1\n")
    code, _, err = invoke("train", log, "-l", LABEL, "-m", tmp_path / "m")
    assert code == 1
    assert "features: site (text), depth (int64) as categories" in err.splitlines()


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_column_without_values_is_said(tmp_path: Path, verb: str) -> None:
    log = write(tmp_path / "log.csv", depth=[i % 9 for i in range(ROWS)])
    train(log, tmp_path / "m", "--lr", 0.1, "-q")
    assert invoke(verb, tmp_path / "m", log)[2] == ""
    empty = write(tmp_path / "empty.csv", depth=[None] * ROWS)
    code, out, err = invoke(verb, tmp_path / "m", empty)
    assert (code, err) == (0, f"{empty}: no value in the first 200 rows: depth\n")
    assert out


def test_a_log_of_no_rows_has_no_empty_column() -> None:
    batch = pa.RecordBatch.from_pydict({"a": pa.array([], pa.string())})
    assert empty_columns(batch, {"a": "categorical"}) == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (pa.large_string(), "text"),
        (pa.dictionary(pa.int32(), pa.string()), "text"),
        (pa.list_(pa.string_view()), "lists of text"),
        (pa.float32(), "float32"),
        (pa.date32(), "date"),
        (pa.timestamp("ns", "UTC"), "timestamp"),
        (pa.decimal128(10, 2), "decimal"),
        (pa.bool_(), "bool"),
        (pa.null(), "empty"),
        (pa.struct({"a": pa.string()}), "struct<a: string>"),
    ],
)
def test_types_have_the_names_that_users_know(kind: pa.DataType, name: str) -> None:
    assert type_name(kind) == name


def test_the_page_shows_a_true_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "click-logs.md").read_text(encoding="utf-8")
    found = re.search(r"^\$ adagrad (train day.csv .*)\n((?:.*\n)*?)```", page, re.M)
    assert found is not None
    monkeypatch.chdir(tmp_path)
    log = synthetic_clicks(5_000).read_all()
    csv.write_csv(log.add_column(0, "row", pa.array(range(len(log)))), "day.csv")
    code, out, err = invoke(*found[1].split())
    assert (code, out) == (0, "")
    without_speed = re.compile(r"(  +|, )[\d,]+( rows/s.*)?$", re.M)
    shown, printed = (without_speed.sub("", text.rstrip()) for text in (found[2], err))
    assert shown.splitlines() == [line.rstrip() for line in printed.splitlines()]


@pytest.mark.parametrize("kind", ["lr", "ffm"])
def test_a_column_without_a_type_can_be_saved_and_has_one_later(tmp_path: Path, kind: str) -> None:
    """As pandas, polars and Spark write a column that has no value."""
    path, later, model = tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "m"
    table = {"click": [1, 0] * 50, "site": ["a", "b"] * 50}
    parquet.write_table(pa.table({**table, "empty": pa.nulls(100)}), path)
    parquet.write_table(pa.table({**table, "empty": ["c", "d"] * 50}), later)
    how = ("--lr", 0.1, "--model-type", kind)
    train(path, model, "-q", *how)
    assert invoke("predict", model, path)[0] == 0
    assert invoke("predict", model, later)[0] == 0
    train(path, model, "-q", "--resume", *how)


def test_a_column_without_a_name_can_be_seen_and_its_option_typed(tmp_path: Path) -> None:
    """As pandas writes the numbers of the rows."""
    path = write(tmp_path / "a.csv", **{"": [*range(ROWS)]})
    lines = said(path)
    assert "features: site (text) as categories; '' (int64) as log2 bins" in lines
    assert any(line.endswith("try --ignore ''") for line in lines)
    path = write(tmp_path / "b.csv", **{"Unnamed: 0": [*range(ROWS)]})
    assert any(line.endswith("try --ignore 'Unnamed: 0'") for line in said(path))
    assert "ignored: ''" in said(tmp_path / "a.csv", "--ignore", "")


def test_columns_that_only_later_files_have_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    first, second = write(folder / "a.csv"), write(folder / "b.csv", new=["x", "y"] * (ROWS // 2))
    line = f"not read, because {first} lacks them: new (in {second})"
    assert line in said(folder)
    assert line in invoke("diagnose", folder, "-l", LABEL)[2].splitlines()
