"""``adagrad train``: mistakes of the user in one line, and broken rows of a log."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import command
from adagrad import ctr
from command import LABEL, invoke, tensors, train


def mistake(*arguments: object) -> str:
    code, out, err = invoke("train", *arguments)
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("Error: ")
    return last.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.tsv"], "none.tsv: no such file"),
        (["log.tsv", "--columns", "nope"], "log.tsv, line 1: no column 'nope'; the columns are"),
        (
            ["log.tsv", "--ignore", "nope"],
            "no column 'nope'; the columns are click",
        ),
        (["log.tsv", "--ignore", "sit"], "depth, user; did you mean 'site'?"),
        (["log.tsv", "--ignore", "click"], "--ignore: 'click' is the label"),
        (
            ["log.tsv", "--ignore", "site,ad,depth,user"],
            "no feature column is left; the columns are click",
        ),
        (
            ["log.svm", "--ignore", "ids"],
            "--ignore and --columns need columns, but libsvm logs have ids",
        ),
        (["log.tsv", "--cross", "site*site"], "the cross ('site', 'site') has a field twice"),
        (["log.tsv", "--categorical", "dept"], "no column 'dept'; the columns are"),
        (["log.tsv", "--categorical", "dept"], "site, ad, depth, user; did you mean 'depth'?"),
        (
            ["log.tsv", "-l", "clik"],
            "log.tsv, line 1: no column 'clik'; the columns are click, site, ad, depth, user;"
            " did you mean 'click'?",
        ),
        (
            ["log.tsv", "-l", "y"],
            "no column 'y'; the first line is click, site, ad, depth, user",
        ),
        (
            ["log.tsv", "-l", "y"],
            "if the file has no header, use c0, c1, c2, c3, c4 or give",
        ),
        (["-", "--passes", "3"], "--passes 3: the standard input can be read only once"),
        (
            ["log.tsv", "--preset", "fbgemm_rowwise", "--lr", "0.1", "--model-type", "fm"],
            "one accumulator per row",
        ),
        (
            ["log.tsv", "--early-stop", "2"],
            "--early-stop needs --validate or --holdout-last, and --passes of 2 or more",
        ),
        (
            ["log.tsv", "--lr", "0.1", "--numbers", "site"],
            "column 'site': 'site7' cannot be read as double",
        ),
        (["log.tsv", "--lr", "0.1", "--preset", "nope"], "there is no preset 'nope'"),
        (
            ["log.tsv", "--preset", "torch"],
            "--preset needs a fixed rate: give --lr, such as --lr 0.1",
        ),
        (["log.tsv", "--l1", "0.1"], "--l1 needs a fixed rate: give --lr, such as --lr 0.1"),
        (["log.tsv", "--l2", "0.1"], "--l2 needs a fixed rate: give --lr, such as --lr 0.1"),
        (["log.tsv", "--lr", "0.1", "--half-life", "100"], "--half-life needs --lr auto"),
        (
            ["log.tsv", "--cross", "site*dept"],
            "--cross site*dept: no column 'dept'; the columns are site, ad, depth, user; did you"
            " mean 'depth'?",
        ),
        (["log.tsv", "--cross", "site"], "--cross site: name two columns or more, as A*B"),
        (
            ["log.tsv", "--columns", "ad", "--ignore", "site"],
            "--columns and --ignore exclude each other",
        ),
        (
            ["log.svm", "--delimiter", ";"],
            "--delimiter is for CSV and TSV logs, but log.svm is libsvm",
        ),
        (["-", "--format", "arrow", "--names", "a"], "--names is for CSV and TSV logs, but - is"),
        (["log.tsv", "--factors", "4"], "--factors needs --model-type fm or ffm"),
        (
            ["log.svm", "--model-type", "ffm"],
            "--model-type ffm needs fields, which libsvm logs do not have",
        ),
        (["log.tsv", "--report", "no/r.html"], "--report no/r.html: there is no directory no"),
        (["log.tsv", "--validate", "none.tsv"], "none.tsv: no such file"),
        (["empty.tsv"], "empty.tsv"),
        (["header.tsv"], "header.tsv: no examples: the log has no rows"),
        (["bad.tsv", "--skip-bad"], "bad.tsv: no examples: 1 broken row skipped: bad label 1"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command.write(Path("log.tsv"), command.clicks(200))
    Path("log.svm").write_text("1 1:1\n0 2:1\n")
    Path("empty.tsv").touch()
    Path("header.tsv").write_text("click\tsite\n")
    Path("bad.tsv").write_text("click\tsite\n2\ta\n")
    assert message in mistake("-l", LABEL, "-m", "m", *arguments)
    assert not Path("m").exists()


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "1e999"])
def test_a_rate_that_cannot_learn_is_a_mistake_of_the_usage(rate: str) -> None:
    code, out, err = invoke("train", "log.tsv", "-l", LABEL, "-m", "m", "--lr", rate)
    assert (code, out) == (2, "")
    assert f"'--lr': '{rate}' is not above 0 and finite: give a rate such as 0.1, or auto" in err


BROKEN = {
    5: (b"1\tsite1\tad1\n", "expected 5 columns"),
    700: (b"2\tsite1\tad1\t1\tu\n", "the label is '2', not 0 or 1"),
    1500: (b"1\tsite\xff\tad1\t1\tu\n", "UTF-8"),
    2000: (b"\n", "empty"),
}


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_row_stops_with_its_line(log: Path, tmp_path: Path, line: int) -> None:
    lines = log.read_bytes().splitlines(keepends=True)[:3000]
    row, reason = BROKEN[line]
    lines.insert(line - 1, row)
    path = tmp_path / "bad.tsv"
    path.write_bytes(b"".join(lines))
    arguments = ("-l", LABEL, "-m", tmp_path / "m", "--bits", 14, "--lr", 0.1)
    said = mistake(path, *arguments, "--checkpoint-every", 640)
    assert said.startswith(f"{path}, line {line}: ")
    assert line == 5 or reason in said
    whole = (line - 2) // 64 * 64
    assert (tmp_path / "m").exists() == (whole > 0)
    if whole:
        assert ctr.load(tmp_path / "m").n_examples_ == whole


@pytest.mark.usefixtures("small_batches")
def test_broken_rows_are_counted_and_left_out(log: Path, tmp_path: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)[:3000]
    good = tmp_path / "good.tsv"
    good.write_bytes(b"".join(lines))
    for line in sorted(BROKEN):
        lines.insert(line - 1, BROKEN[line][0])
    bad = tmp_path / "bad.tsv"
    bad.write_bytes(b"".join(lines))
    train(good, tmp_path / "a", "--lr", 0.1)
    said = train(bad, tmp_path / "b", "--lr", 0.1, "--skip-bad")
    assert "4 broken rows skipped: " in said
    assert tensors(tmp_path / "a") == tensors(tmp_path / "b")


def test_a_truncated_gzip_is_an_error(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tsv.gz"
    path.write_bytes(gzip.compress(log.read_bytes())[:-5000])
    for more in ([], ["--skip-bad"]):
        said = mistake(path, "-l", LABEL, "-m", tmp_path / "m", "--bits", 14, *more)
        assert str(path) in said
    assert not (tmp_path / "m").exists()


def test_an_ignored_column_may_hold_what_it_likes(tmp_path: Path) -> None:
    table = command.clicks(2000)
    text = command.as_text(table).replace(b"\tuser3\n", b"\t\xff\n")
    (tmp_path / "log.tsv").write_bytes(text)
    assert "UTF-8" in mistake(tmp_path / "log.tsv", "-l", LABEL, "-m", tmp_path / "m")
    train(tmp_path / "log.tsv", tmp_path / "m", "--ignore", "user")
