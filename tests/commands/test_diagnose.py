"""``adagrad diagnose``: what it reads, prints, writes and refuses."""

from __future__ import annotations

import gzip
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "matplotlib", "pyarrow", "rich", "sklearn")

import pyarrow as pa
from rich.console import Console

from adagrad import analysis
from adagrad.commands.diagnose import _shipped
from adagrad.commands.progress import ReadingProgress
from adagrad.ctr.diagnosis.words import in_words, show
from adagrad.ctr.logs import open_log
from checks import ROOT
from command import LABEL, as_text, clicks, invoke, write
from diagnoses import diagnosed, sparse


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return write(tmp_path_factory.mktemp("log") / "log.parquet", clicks(4_000))


def as_json(tmp_path, *arguments, **options):
    code, _, errors = invoke("diagnose", *arguments, "--json", tmp_path / "d.json", **options)
    assert code == 0, errors
    return json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))


def test_json(log, tmp_path):
    found = as_json(tmp_path, log, "-l", LABEL)
    assert list(found) == [
        *("log", "numbers", "rows", "entries", "entries_per_row", "positive", "features"),
        *("seen_once", "seen_ten_times_or_fewer", "entries_of_rare_features", "zipf_slope"),
        *("gradient_scale", "conditioning", "table", "quality", "no_quality", "verdict", "skipped"),
    ]
    table = clicks(4_000)
    site, ad, user = (table.column(name).to_pylist() for name in ("site", "ad", "user"))
    # two bins an octave: [2^k, 1.5 * 2^k) and the rest
    depth = [math.frexp(x)[1] * 2 + (math.frexp(x)[0] >= 0.75) for x in table["depth"].to_pylist()]
    counts = [np.unique(c, return_counts=True)[1] for c in (site, ad, user, depth)]
    counts = np.concatenate(counts)
    assert found["numbers"] == "log2-bins"
    assert (found["rows"], found["entries"]) == (4_000, 16_000)
    assert found["features"] == {"value": len(counts), "standard_error": 0.0}
    assert found["seen_once"]["value"] == (counts == 1).mean()
    assert found["quality"]["rows"] == 4_000
    assert found["verdict"]["kind"] == "rare"


def test_every_way_in_gives_the_same(log, tmp_path):
    text = as_text(clicks(4_000))
    (tmp_path / "log.tsv.gz").write_bytes(gzip.compress(text))
    expected = as_json(tmp_path, log, "-l", LABEL)
    for given, options in (
        ((tmp_path / "log.tsv.gz",), {}),
        (("-", "--format", "tsv"), {"input": text}),
    ):
        found = as_json(tmp_path, *given, "-l", LABEL, **options)
        assert {**found, "log": ""} == {**expected, "log": ""}


def test_libsvm(tmp_path):
    matrix, y = sparse(600, 80, 5, 1.3)
    lines = []
    for i, label in enumerate(y.astype(int)):
        row = matrix[i].sorted_indices()
        entries = zip(row.indices.tolist(), row.data.tolist(), strict=True)
        lines.append(" ".join([str(2 * label - 1), *(f"{k}:{v:g}" for k, v in entries)]) + "\n")
    (tmp_path / "a.svm").write_text("".join(lines))
    found = as_json(tmp_path, tmp_path / "a.svm")
    assert found["table"] == {**found["table"], "bits": 8, "sharing": 0.0}
    assert found["features"]["value"] == diagnosed(matrix).features.value
    assert found["quality"]["logloss"] == diagnosed(matrix, y).quality.logloss


def test_numbers_are_values_where_all_are_numbers(tmp_path):
    x = np.random.default_rng(10).normal(size=(500, 3))
    lines = ["a,b,c,y", *(",".join(map(str, [*row, 3.5 * sum(row)])) for row in x.tolist())]
    path = tmp_path / "dense.csv"
    path.write_text("\n".join(lines) + "\n")
    found = as_json(tmp_path, path, "--label", "y")
    assert found["numbers"] == "value"
    assert found["features"]["value"] == 3
    assert found["verdict"]["kind"] == "even"
    assert found["quality"] is found["positive"] is None
    assert found["no_quality"].startswith("the label is neither 0/1 nor -1/+1 (")
    condition = found["conditioning"]["before"]["condition_number"]
    x32 = x.astype(np.float32).astype(np.float64)
    assert condition == pytest.approx(analysis.condition_number(x32, gram=True), rel=1e-6)
    # without a label its column is one more feature, the sum of the others
    found = as_json(tmp_path, path)
    assert (found["features"]["value"], found["no_quality"]) == (4, "no --label")
    assert as_json(tmp_path, path, "--ignore", "y")["features"]["value"] == 3
    assert as_json(tmp_path, path, "--numeric", "log2-bins")["features"]["value"] > 20


def test_a_target_is_left_out_however_it_is_named(tmp_path):
    path = tmp_path / "dense.csv"
    lines = [f"{i % 7 - 3.5},{i % 5 - 2.5},{i / 3}\n" for i in range(300)]
    path.write_text("".join(lines))
    for given in (("--label", "c2"), ("--names", "a,b,y", "--label", "y")):
        found = as_json(tmp_path, path, *given)
        assert (found["rows"], found["features"]["value"]) == (300, 2)
    path.write_text("a,b,y\n" + "".join(lines))
    found = as_json(tmp_path, path, "--columns", "b", "--label", "y")
    assert (found["rows"], found["features"]["value"]) == (300, 1)
    assert as_json(tmp_path, path, "--ignore", "a", "-l", "y")["features"]["value"] == 1


def test_a_first_row_in_place_of_names_is_noticed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{i % 7},x{i % 3}\n" for i in range(300)))
    _, out, errors = invoke("diagnose", path)
    assert "299 rows" in out
    assert errors.startswith(
        "the first line is taken as the names of the columns, but some are numbers (0)"
    )
    _, out, errors = invoke("diagnose", path, "--names", "a,b")
    assert "300 rows" in out
    assert errors == ""


def test_columns_of_numbers_that_are_ids(tmp_path):
    path = tmp_path / "ids.csv"
    path.write_text("user,x\n" + "".join(f"{i % 50},{i % 3}.5\n" for i in range(300)))
    found = as_json(tmp_path, path, "--categorical", "user")
    assert (found["numbers"], found["features"]["value"]) == ("value", 51)


def test_ids_of_libsvm_may_be_large(tmp_path):
    path = tmp_path / "a.svm"
    path.write_text(f"1 7:1 {2**31 + 5}:1\n0 7:1 {2**31 + 5}:2 {2**40}:1 {2**63 - 1}:1\n" * 60)
    found = as_json(tmp_path, path)
    assert found["features"]["value"] == 4
    assert found["gradient_scale"]["q99"] > 0.5


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_noise_is_no_better_than_the_base_rate(tmp_path, scale):
    rng = np.random.default_rng(11)
    path = tmp_path / "noise.csv"
    numbers, labels = scale * rng.normal(size=(300, 2)), rng.random(300) < 0.5
    rows = [f"{a},{b},{y}\n" for (a, b), y in zip(numbers, labels, strict=True)]
    path.write_text("a,b,y\n" + "".join(rows))
    _, out, _ = invoke("diagnose", path, "-l", "y")
    assert re.search(r"normalized entropy +1\.[0-9]+ .*, no better than the base rate$", out, re.M)


def test_the_bar(log):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with open_log(log, label=LABEL) as stream, ReadingProgress(console, stream) as show_position:
        for _ in stream:
            show_position(stream.position)
            task = show_position.bar.tasks[0]
        assert task.completed == task.total == log.stat().st_size
    assert "4,000 rows" in out.getvalue()


def test_estimates_are_shown_with_their_error(log):
    code, out, _ = invoke("diagnose", log, "-b", 11)
    assert code == 0
    lines = {line[:24].strip(): line for line in out.splitlines()}
    assert re.search(r" [\d,]+ ± \d+ +estimated", lines["features"])
    assert "not known: no --label" in lines["normalized entropy"]


def test_picture(log, tmp_path):
    for name, start in (("d.png", b"\x89PNG"), ("d.svg", b"<?xml")):
        code, out, _ = invoke("diagnose", log, "-l", LABEL, "--picture", tmp_path / name)
        assert code == 0
        assert f"Picture: {tmp_path / name}" in out
        assert (tmp_path / name).read_bytes().startswith(start)
    assert (tmp_path / "d.svg").stat().st_size < 500_000


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        ("a.csv", None, (), "a.csv: no such file"),
        ("a.csv", "", (), "a.csv, line 1: the file is empty"),
        ("a.csv", "x,y\n", ("-l", "y"), "a.csv: no rows"),
        ("a.svm", "", (), "a.svm, line 1: the file is empty"),
        ("a.svm", "1\n0\n", (), "a.svm: no row has a value that is not 0"),
        ("a.csv", "x,y\n3,1\n3,0\n", ("-l", "y"), "a.csv: all features are constant, in 2 rows"),
        (
            "a.csv",
            "x,y\n3,1\n4,0\n",
            ("-l", "z"),
            "no column 'z'; the first line is x, y; if the file has no header, use c0, c1 or give",
        ),
        ("a.csv", "x,y\n3,a\n4,b\n", ("-l", "y"), "the label is 'a', not 0 or 1, -1 or +1"),
        ("a.csv", "y\n1\n0\n", ("-l", "y"), "a.csv: no feature column is left; the columns are y"),
        ("a.csv", "x\n1\n2\n", ("--ignore", "z"), "a.csv, line 1: no column 'z'"),
        ("a.csv", "x\n1\n2\n", ("--categorical", "z"), "a.csv, line 1: no column 'z'"),
        ("a.svm", "1 1:2\n0 x:3\n", (), "a.svm, line 2: 'x:3' is not id:value"),
        ("a.bin", "1", (), "neither the suffix nor the first line tells the format"),
        ("a.tsv.gz", "plain", (), "a.tsv.gz"),
        ("a.parquet", "plain", (), "a.parquet"),
        ("a.csv", "x\n1\n2\n", ("--picture", "no/d.png"), "there is no directory no"),
        ("a.csv", "x\n1\n2\n", ("--picture", "d.doc"), "d.doc: the name must end in ."),
        ("a.csv", "x\n1\n2\n", ("--json", "no/d.json"), "--json no/d.json: there is no directory"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, name, content, arguments, message):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_text(content)
    code, out, errors = invoke("diagnose", name, *arguments)
    assert code == 1
    assert out == ""
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_a_column_of_numbers_that_ends(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "1.5,2\n" * 300_000 + "abc,3\n")
    code, _, errors = invoke("diagnose", path)
    assert code == 1
    assert "line 300002: column 'x': 'abc' cannot be read as double" in errors
    code, _, errors = invoke("diagnose", path, "--skip-bad")
    assert "all features are constant, in 300,000 rows; 1 broken row skipped" in errors


def with_a_stray(rows: int) -> str:
    """Numbers, of which the last but one is none."""
    lines = [f"{i % 2},{i % 7 + 0.5},{i % 5}\n" for i in range(rows)]
    return "y,f1,f2\n" + "".join(lines) + "1,abc,3\n0,2.5,1\n"


def test_a_text_among_numbers_is_noticed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(with_a_stray(70_000))  # in the second batch
    code, out, errors = invoke("diagnose", path, "-l", "y")
    assert code == 0
    assert "features: f1 (text), f2 (int64) as categories\n" in out
    assert errors == (
        f"{path}: column 'f1' was read as text, though 70,001 of its first 70,002 values are"
        " numbers: row 70,001 has 'abc'; each of its values is a category\n"
    )
    code, out, errors = invoke("diagnose", path, "-l", "y", "--numeric", "value")
    assert (code, out) == (1, "")
    assert "row 70,001 has 'abc'; correct it, or declare the column --categorical" in errors
    code, _, errors = invoke("diagnose", path, "-l", "y", "--categorical", "f1")
    assert (code, errors) == (0, "")


def test_texts_and_long_ids_are_not_doubted(tmp_path):
    path = tmp_path / "a.csv"
    lines = [f"{10**20 + i // 2},{i if i % 5 else 'x'},{i % 3}\n" for i in range(300)]
    path.write_text("id,some,n\n" + "".join(lines))
    code, out, errors = invoke("diagnose", path)
    assert (code, errors) == (0, "")
    assert "features: id, some (text), n (int64) as categories\n" in out


def test_the_columns_that_are_features_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b,y\n" + "".join(f"{i % 7},{i % 3}.5,{i % 2}\n" for i in range(300)))
    how = "(float64) as values, as with adagrad train --numeric value"
    out = invoke("diagnose", path)[1]
    assert f"\nfeatures: a, y (int64) as categories; b {how}\n" in out
    assert "\n  a: categorical, looks like codes: 7 values, hardly any of them rare\n" in out
    out = invoke("diagnose", path, "-l", "y", "--numbers", "a")[1]
    assert f"\nfeatures: a, b {how}\n" in out
    out = invoke("diagnose", path, "--numeric", "value")[1]
    assert "\nfeatures: a, y (int64) as categories; b (float64) as values\n" in out
    _, out, _ = invoke("diagnose", path, "-l", "y", "--categorical", "a")
    assert f"\nfeatures: a (text) as categories; b {how}\n" in out
    wide = {f"c{i}": "value" for i in range(1022)}
    types = dict.fromkeys(wide, pa.float32())
    assert in_words(wide, types).endswith("c18, c19 and 1,002 more (float32) as values")


@pytest.mark.parametrize("label", [(), ("-l", "y")])
def test_a_column_without_a_name_is_a_feature_and_an_id_is_doubted(tmp_path, label):
    path = tmp_path / "a.csv"
    path.write_text(",site,y\n" + "".join(f"{i},s{i % 7},{i % 2}\n" for i in range(300)))
    code, out, errors = invoke("diagnose", path, *label)
    assert code == 0
    assert "\nfeatures: ''" in out
    assert errors == (
        f"{path}: every value of the first 300 rows is different: '' (0); such a column says"
        " nothing about new rows: try --ignore ''\n"
    )
    assert invoke("diagnose", path, *label, "--ignore", "")[2] == ""


@pytest.mark.parametrize("option", ["label", "columns", "ignore", "categorical", "numeric"])
def test_options_for_columns_are_refused_where_there_are_none(tmp_path, option):
    path = tmp_path / "a.svm"
    path.write_text("1 1:2\n0 2:3\n")
    value = "value" if option == "numeric" else "3"
    for file, why in ((path, "which have no columns"), (None, "none is given")):
        code, out, errors = invoke("diagnose", *[file] * (file is not None), f"--{option}", value)
        assert (code, out) == (1, "")
        assert re.fullmatch(rf"Error: --{option}: .*{why}\n", errors)


def test_one_is_singular(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n3,1\n")
    assert "all features are constant, in 1 row\n" in invoke("diagnose", path)[2]
    path.write_text("x,y\n1,1\n0,0\n0,1\n0,0\n")
    _, out, _ = invoke("diagnose", path, "-l", "y")
    assert "4 rows (all) and their feature\n" in out
    path.write_text("x,z\n" + "1.5,1.5\n0.0,0.0\n" * 60)
    _, out, _ = invoke("diagnose", path)
    assert "2 most frequent features; without 1 eigenvalue that is 0" in out


def test_a_target_on_the_standard_input_is_an_error():
    code, _, errors = invoke("diagnose", "-", "--label", "y", input=b"x,y\n1,2.5\n2,3.5\n")
    assert code == 1
    assert "the label is '2.5', not 0 or 1, -1 or +1" in errors


# -- the page -----------------------------------------------------------------------------------


def test_the_page_shows_a_true_run():
    page = (ROOT / "docs" / "diagnose.md").read_text(encoding="utf-8")
    shown = re.search(r"\$ adagrad diagnose --picture diagnose.png\n(.*?)```", page, re.DOTALL)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=100, highlight=False)
    found = _shipped(22)
    show(console, found.name, found.features, found.diagnosis)
    lines = [line.rstrip() for line in out.getvalue().rstrip().splitlines()]
    assert shown.group(1).splitlines() == [*lines, "Picture: diagnose.png"]


def test_without_a_terminal_there_is_a_line_for_each_number():
    code, out, _ = invoke("diagnose")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "click log that ships: 10,000 rows, 4.35 % of them positive"
    assert lines[1] == "features: ids with their values"
    assert len(lines) == 3 + 13 + 2
    assert "\x1b" not in out
    for line in lines[3:16]:
        assert re.fullmatch(r".{24}  \S.*  \S.*", line)
