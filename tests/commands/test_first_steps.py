"""What a newcomer types: each mistake gets one line that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import click

from adagrad.commands.log_options import crossed, parse_delimiter
from command import invoke, tensors, train

NAMES = ("click", "site", "ad", "depth")


def rows(delimiter: str, header: bool = True) -> str:
    lines = [NAMES] if header else []
    lines += [(str(i % 3 // 2), f"s{i % 7}", f"a{i % 5}", str(i % 9)) for i in range(90)]
    return "".join(delimiter.join(line) + "\n" for line in lines)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text(rows(","))
    Path("x.svm").write_text("1 1:1\n0 2:1\n")
    Path("x.vw").write_text("1 |a b\n0 |a c\n")
    return tmp_path


def error(*arguments: object) -> str:
    code, out, err = invoke(*arguments)
    assert code in (1, 2)
    assert (out, err.count("Error: ")) == ("", 1)
    assert err.splitlines()[-1].startswith("Error: ")
    return err.splitlines()[-1].removeprefix("Error: ")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "no LOG is given: adagrad train LOG... --label COLUMN --model FILE (see adagrad train"
            " --help)",
        ),
        (
            ["x.csv"],
            "--label is missing: give the column to predict as -l COLUMN; the columns of x.csv are"
            " click, site, ad, depth (see adagrad train --help)",
        ),
        (
            ["-"],
            "--label is missing: give the column to predict as -l COLUMN (see adagrad train"
            " --help)",
        ),
        (
            ["x.svm"],
            "--label is missing: give any name for it, such as -l label (see adagrad train --help)",
        ),
        (
            ["x.vw"],
            "--label is missing: give any name for it, such as -l label (see adagrad train --help)",
        ),
        (["none.csv"], "none.csv: no such file"),
        (
            ["x.csv", "-l", "click"],
            "--model is missing: give the file to write, such as -m model.safetensors (see adagrad"
            " train --help)",
        ),
        (
            ["x.csv", "--lable", "click"],
            "No such option '--lable'. Did you mean '--label'? (see adagrad train --help)",
        ),
        (
            ["x.csv", "-l", "Click ", "-m", "m"],
            "x.csv, line 1: no column 'Click '; the columns are click, site, ad, depth; did you"
            " mean 'click'?",
        ),
        (["x.csv", "--label"], "Option '--label' requires an argument (see adagrad train --help)"),
        (
            ["x.csv", "-l", "click", "-m", "m", "--lr", "fast"],
            "Invalid value for '--lr': 'fast' is neither a number nor auto (see adagrad train"
            " --help)",
        ),
        (
            ["x.csv", "-l", "click", "-m", "m", "--delimiter", ";;"],
            "Invalid value for '--delimiter': ';;' is not one character between columns: give one,"
            " such as ';', or tab (or '\\t'), or '\\x01' (see adagrad train --help)",
        ),
        (
            ["x.csv", "-l", "click", "-m", "m", "--ignore", "si\nte"],
            "Invalid value for '--ignore': 'si\\nte': put a name with a line break in quotes (see"
            " adagrad train --help)",
        ),
        (
            ["x.csv", "-l", "click", "-m", "m", "--names", "click,a,a,b"],
            "Invalid value for '--names': two columns have the name a (see adagrad train --help)",
        ),
    ],
)
def test_train(arguments: list[str], message: str) -> None:
    assert error("train", *arguments) == message
    assert not Path("m").exists()


def test_a_misspelled_command_and_none() -> None:
    assert error("trrain", "x.csv") == (
        "No such command 'trrain'. Did you mean 'train'? (see adagrad --help)"
    )
    code, out, err = invoke()
    assert code == 2
    assert "Usage: adagrad" in out + err
    assert "diagnose" in out + err


OTHERS = {
    "tabs.csv": ("\t", "tabs", "--format tsv", ["--format", "tsv"]),
    "commas.tsv": (",", "commas", "--format csv", ["--format", "csv"]),
    "semicolons.csv": (";", "semicolons", "--delimiter ';'", ["--delimiter", ";"]),
    "pipes.tsv": ("|", "pipes", "--delimiter '|'", ["--delimiter", "|"]),
    "hive.csv": ("\x01", r"the bytes \x01", r"--delimiter '\x01'", ["--delimiter", r"\x01"]),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("name", OTHERS)
def test_another_delimiter_is_recognized(name: str, header: bool) -> None:
    delimiter, what, option, arguments = OTHERS[name]
    Path(name).write_text(rows(delimiter, header))
    names = [] if header else ["--names", ",".join(NAMES)]
    asked = f"{name}, line 1: 1 column, which contains {what}: use {option}?"
    train("x.csv", Path("m"), "--lr", 0.1)
    for verb in (["train", "-l", "click", "-m", "n"], ["predict", "m"], ["evaluate", "m"]):
        assert error(*verb, name, *names) == asked
    train(name, Path("n"), "--lr", 0.1, *arguments, *names)
    assert tensors(Path("m")) == tensors(Path("n"))


@pytest.mark.usefixtures("here")
def test_one_column_that_contains_commas_is_text() -> None:
    lines = "".join(f"query {i % 7}, with a comma\n" for i in range(100))
    Path("q.tsv").write_text("query\n" + lines)
    code, out, err = invoke("diagnose", "q.tsv")
    assert (code, err) == (0, "")
    assert "features: query (text) as categories" in out
    Path("q.tsv").write_text("a,b\n" + lines)
    assert invoke("diagnose", "q.tsv")[2] == (
        "q.tsv: 1 column, which contains commas: use --format csv?\n"
    )


@pytest.mark.usefixtures("here")
def test_a_log_without_a_header() -> None:
    Path("y.csv").write_text(rows(",", header=False))
    assert error("train", "y.csv", "-l", "click", "-m", "m") == (
        "y.csv, line 1: no column 'click'; the first line is 0, s0, a0, 0; if the file has no"
        " header, use c0, c1, c2, c3 or give --names"
    )
    train("x.csv", Path("m"), "--lr", 0.1)
    assert error("predict", "m", "y.csv").endswith("c0, c1, c2, c3 or give --names")


@pytest.mark.usefixtures("here")
def test_what_a_log_lacks_for_a_model_is_one_line() -> None:
    train("x.csv", Path("m"), "--lr", 0.1)
    Path("y.csv").write_text(rows(",").replace("site", "Site").replace("depth", "dept"))
    for verb in ("predict", "evaluate"):
        assert error(verb, "m", "y.csv") == (
            "y.csv, line 1: no columns 'site' (nearest: 'Site'), 'depth' (nearest: 'dept'); the"
            " columns are click, Site, ad, dept"
        )
    assert error("predict", "m", "x.csv", "--keep", "sit", "-o", "p.csv") == (
        "x.csv, line 1: no column 'sit'; the columns are click, site, ad, depth; did you mean"
        " 'site'?"
    )


@pytest.mark.parametrize(
    ("typed", "character"),
    [
        ("\t", "\t"),
        (r"\t", "\t"),
        (r"\\t", "\t"),
        ("tab", "\t"),
        ("TAB", "\t"),
        (r"\x01", "\x01"),
        (r"\001", "\x01"),
        ("^A", "\x01"),
        ("\x01", "\x01"),
        (";", ";"),
        ("pipe", "|"),
        ("\\", "\\"),
        ("^", "^"),
    ],
)
def test_delimiters_as_they_are_typed(typed: str, character: str) -> None:
    assert parse_delimiter(typed) == character


@pytest.mark.parametrize(
    "typed", ["", ";;", "t", "1", '"', "\n", "\r", r"\n", "§", "tabs", r"\x0a"]
)
def test_what_is_no_delimiter_is_refused(typed: str) -> None:
    with pytest.raises(click.BadParameter, match=f"^{re.escape(repr(typed))}|'\\\\n'"):
        parse_delimiter(typed)


@pytest.mark.usefixtures("here")
def test_a_name_may_contain_a_comma() -> None:
    Path("y.csv").write_text(rows(",").replace("site", '"site, or page"'))
    lines = train("y.csv", Path("m"), "--lr", 0.1, "--ignore", '"site, or page",ad').splitlines()
    assert lines[1].startswith("features: depth (int64) as ")
    assert "ignored: site, or page, ad" in lines


@pytest.mark.usefixtures("here")
def test_lists_of_names_may_be_repeated_and_other_options_get_a_warning() -> None:
    train("x.csv", Path("m"), "--lr", 0.1, "--ignore", "site,ad")
    train("x.csv", Path("n"), "--lr", 0.1, "--ignore", "site", "--ignore", "ad")
    assert tensors(Path("m")) == tensors(Path("n"))
    lines = train("x.csv", Path("m"), "--lr", 0.1, "--lr", 0.2).splitlines()
    assert lines[0] == "--lr is given more than once: the last counts"
    assert "lr 0.2" in lines[-1]
    said = invoke("predict", "m", "x.csv", "-t", 1, "-t", 2)[2]
    assert said == "--threads is given more than once: the last counts\n"


PLAIN = st.text("abc", min_size=1, max_size=3)


@given(st.lists(st.lists(PLAIN, min_size=1, max_size=3).map("*".join), min_size=2, unique=True))
def test_a_cross_of_names_with_stars_is_found_or_refused(names: list[str]) -> None:
    text, plain = "*".join(names[:2]), [name for name in names if "*" not in name]
    if len(plain) == len(names):
        assert crossed([text], names) == (tuple(names[:2]),)
    try:
        found = crossed([text], names)
    except ValueError:
        with pytest.raises(ValueError, match="may mean"):
            crossed([text], names)
    else:
        assert found == (tuple(names[:2]),)


def test_a_cross_of_names_with_stars() -> None:
    names = ["a*b", "c", "d"]
    assert crossed(["a*b*c", "c*d"], names) == (("a*b", "c"), ("c", "d"))
    with pytest.raises(ValueError, match=r"^--cross a\*b: name two columns or more, as A\*B$"):
        crossed(["a*b"], names)
    with pytest.raises(ValueError, match="may mean 'a' and 'b' and 'c' or 'a' and 'b\\*c': rename"):
        crossed(["a*b*c"], ["a", "b", "c", "b*c"])
