"""Columns of text that hold several values: split alike in every format, and by every command."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa
from pyarrow import parquet

from adagrad import ctr
from adagrad.ctr.logs import open_log
from adagrad.ctr.logs.multi import _lists
from command import invoke
from log_files import read

GENRES = ["Action|Comedy", "", "Drama", "|War||Drama|", "|"]
LISTS = [["Action", "Comedy"], [], ["Drama"], ["War", "Drama"], []]


def log(path: Path, separator: str = "|") -> Path:
    """Write rows with a column of several values, in the format of the suffix."""
    texts = [genres.replace("|", separator) for genres in GENRES]
    table = pa.table({"click": [1, 0, 1, 0, 1], "genres": texts, "n": range(5)})
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix == ".arrow":
        lists = table.set_column(1, "genres", pa.array(LISTS))
        with pa.ipc.new_file(path, lists.schema) as writer:
            writer.write_table(lists)
    elif path.suffix == ".jsonl":
        rows = zip([1, 0, 1, 0, 1], texts, range(5), strict=True)
        path.write_text("".join(f'{{"click":{c},"genres":"{g}","n":{n}}}\n' for c, g, n in rows))
    else:
        delimiter, quote = ("\t", "") if path.suffix == ".tsv" else (",", '"')
        lines = [["click", "genres", "n"]]
        rows = zip([1, 0, 1, 0, 1], texts, range(5), strict=True)
        lines += [[str(click), quote + text + quote, str(n)] for click, text, n in rows]
        path.write_text("".join(delimiter.join(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("separator", ["|", ",", ";", " ", "\t", ", ", "=", "é"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.arrow"])
def test_every_format_has_the_same_lists(tmp_path, name, separator):
    if separator == "\t" and name in ("a.tsv", "a.jsonl"):
        pytest.skip("a tab in a field of TSV, or in a text of JSON")
    table, opened = read(log(tmp_path / name, separator), multi={"genres": separator})
    assert opened.schema.field("genres").type == pa.list_(pa.string())
    assert table.column("genres").to_pylist() == LISTS


def test_missing_values(tmp_path):
    """A null is missing, except in CSV, which cannot tell it from an empty text."""
    table = pa.table({"click": [1, 0], "genres": ["a|b", None]})
    parquet.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("click,genres\n1,a|b\n0,\n")
    (tmp_path / "a.jsonl").write_text('{"click":1,"genres":["a","b"]}\n{"click":0}\n')
    for name, last in [("a.parquet", None), ("a.csv", []), ("a.jsonl", None)]:
        found, _ = read(tmp_path / name, multi={"genres": "|"})
        assert found.column("genres").to_pylist() == [["a", "b"], last]


@given(st.lists(st.none() | st.text("ab|", max_size=6)), st.booleans())
def test_splitting(texts, is_dictionary):
    array = pa.array(texts, pa.string())
    array = array.dictionary_encode() if is_dictionary else array
    wanted = [None if text is None else [x for x in text.split("|") if x] for text in texts]
    assert _lists(array, "|", has_nulls=True).to_pylist() == wanted
    assert _lists(array, "|", has_nulls=False).to_pylist() == [x or [] for x in wanted]


def test_numbers_and_files_of_several_formats(tmp_path):
    """Ids in lists are texts, so that a list of integers and its text mean the same."""
    parquet.write_table(pa.table({"click": [1], "ids": [[7, 8]]}), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("click,ids\n0,7 8\n1,9\n")
    parquet.write_table(pa.table({"click": [1], "ids": [10]}), tmp_path / "c.parquet")
    found, _ = read(tmp_path, multi={"ids": " "})
    assert found.column("ids").to_pylist() == [["7", "8"], ["7", "8"], ["9"], ["10"]]


def test_the_schema_keeps_the_separator(tmp_path):
    first, opened = read(log(tmp_path / "a.csv", ";"), multi={"genres": ";"})
    again, _ = read(tmp_path / "a.csv", schema=opened.schema)
    assert again.equals(first)


@pytest.mark.parametrize(
    ("multi", "error"),
    [
        ({"genres": ""}, "multi must give text between values"),
        ({"click": "|"}, "multi names 'click', which is the label or numeric"),
        ({"genre": "|"}, "no column 'genre'; .* did you mean 'genres'"),
    ],
)
def test_what_is_refused(tmp_path, multi, error):
    with pytest.raises(ValueError, match=error):
        open_log(log(tmp_path / "a.csv"), label="click", multi=multi)


def train(log, model, *more):
    code, _, err = invoke("train", log, "-l", "click", "-m", model, "-b", 14, "--lr", 0.1, *more)
    assert code == 0, err
    return err


def test_a_model_splits_later_logs_alike(tmp_path):
    model = tmp_path / "m"
    log(tmp_path / "a.csv", "|")
    assert "genres (lists of text)" in train(tmp_path / "a.csv", model, "--multi", "genres=|")
    logs = [log(tmp_path / name) for name in ("a.tsv", "a.jsonl", "a.parquet", "a.arrow")]
    _, expected, _ = invoke("predict", model, tmp_path / "a.csv")
    assert len(set(expected.split())) > 3
    for other in logs:
        assert invoke("predict", model, other) == (0, expected, "")
        assert invoke("evaluate", model, other)[0] == 0
    learner = ctr.load(model)
    rows, _ = read(log(tmp_path / "a.csv"), multi={"genres": "|"})
    learner.partial_fit(rows, rows.column("click").to_numpy())
    learner.save(tmp_path / "again")
    _, later, _ = invoke("predict", tmp_path / "again", tmp_path / "a.csv")
    assert later == invoke("predict", tmp_path / "again", tmp_path / "a.arrow")[1] != expected


@pytest.mark.parametrize(
    ("given", "separator"),
    [("pipe", "|"), ("tab", "\t"), (r"\t", "\t"), ("space", " "), ("==", "="), (",", ",")],
)
def test_how_a_separator_is_typed(tmp_path, given, separator):
    path = log(tmp_path / "a.csv", separator)
    option = f"genres={given}" if given != "==" else "genres=="
    train(path, tmp_path / "m", "--multi", option)
    code, out, _ = invoke("predict", tmp_path / "m", path)
    train(log(tmp_path / "b.arrow"), tmp_path / "n")
    assert (code, out) == (0, invoke("predict", tmp_path / "n", tmp_path / "b.arrow")[1])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--multi", "genres"], "give a column and what separates its values, such as 'genres=|'"),
        (["--multi", "=|"], "give a column"),
        (["--multi", "click=|"], "--multi: 'click' is not a feature"),
        (["--multi", "genre=|"], "no column 'genre'"),
        (["--multi", "genres=|", "--ignore", "genres"], "'genres' is not a feature"),
    ],
)
def test_mistakes(tmp_path, options, error):
    path = log(tmp_path / "a.csv")
    code, _, err = invoke("train", path, "-l", "click", "-m", tmp_path / "m", *options)
    assert code == 1
    assert error in err


def test_another_separator_is_another_training(tmp_path):
    path = log(tmp_path / "a.csv")
    train(path, tmp_path / "m", "--multi", "genres=|")
    command = ("train", path, "-l", "click", "-m", tmp_path / "m", "-b", 14, "--lr", 0.1)
    code, _, err = invoke(*command, "--multi", "genres=;", "--resume")
    assert code == 1
    assert "with --multi genres=|, not with --multi genres=;" in err


def test_lists_that_csv_cannot_hold(tmp_path):
    train(log(tmp_path / "a.arrow"), tmp_path / "m")
    code, _, err = invoke("predict", tmp_path / "m", log(tmp_path / "a.csv"))
    assert code == 1
    assert "column 'genres' has lists, which CSV and TSV cannot hold: train with --multi" in err
    output = ("-o", tmp_path / "p.csv", "--keep", "genres")
    code, _, err = invoke("predict", tmp_path / "m", tmp_path / "a.arrow", *output)
    assert code == 1
    assert "--keep: column 'genres' has lists, which only .parquet can hold" in err


def test_diagnose(tmp_path):
    path = log(tmp_path / "a.csv")
    code, out, err = invoke("diagnose", path, "-l", "click", "--multi", "genres=|")
    assert code == 0, err
    assert "genres (lists of text)" in out + err
