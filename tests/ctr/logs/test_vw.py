"""Logs in Vowpal Wabbit's text format."""

from __future__ import annotations

import gzip
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad import _core
from adagrad.ctr.logs import LogError, open_log
from log_files import read

MAPS = pa.map_(pa.string(), pa.float32())

# What version 9.11.9 makes of lines: the number of features and the sum of their values, without
# the constant, the label, the importance and the tag.
LINES = [
    ("1 |a x y:0.5 z:-2", 3, -0.5, 1.0, 1.0, ""),
    ("-1 2 'tag|a x |b y", 2, 2.0, -1.0, 2.0, "tag"),
    ("0 0.5 1st|a x", 1, 1.0, 0.0, 0.5, "1st"),
    ("1 1 0 |a x", 1, 1.0, 1.0, 1.0, ""),
    ("|a x", 1, 1.0, None, 1.0, ""),
    ("'t |a x", 1, 1.0, None, 1.0, "t"),
    ("t|a x", 1, 1.0, None, 1.0, "t"),
    ("1 | x y:2", 2, 3.0, 1.0, 1.0, ""),
    ("1 |a:2 x y:0.5 |b:-1e-1 z", 3, 2.9, 1.0, 1.0, ""),
    ("1 |a x |b y |a x z", 4, 4.0, 1.0, 1.0, ""),
    ("1 |a x x:1 x:2", 3, 4.0, 1.0, 1.0, ""),
    ("1 |a x:0 y:0.0 z:1e-60 w:-0", 0, 0.0, 1.0, 1.0, ""),
    ("1 |a", 0, 0.0, 1.0, 1.0, ""),
    ("1 |", 0, 0.0, 1.0, 1.0, ""),
    ("1 |a |b |", 0, 0.0, 1.0, 1.0, ""),
    ("1 |a  x  y ", 2, 2.0, 1.0, 1.0, ""),
    ("1 |a\tx\ty:2", 2, 3.0, 1.0, 1.0, ""),
    ("1 |a x|b y|c z", 3, 3.0, 1.0, 1.0, ""),
    ("1 |a :3 :4 x", 3, 8.0, 1.0, 1.0, ""),
    ("1 |a color:red size:XL x:1", 3, 3.0, 1.0, 1.0, ""),
    ("1 |a u:http://x.org/a|b?c:d", 1, 1.0, 1.0, 1.0, ""),
    ("1 |a x:1e-3 y:+2 z:.5 w:5. v:1E2", 5, 107.501, 1.0, 1.0, ""),
    ("1 |a x:-1.5e+2", 1, -150.0, 1.0, 1.0, ""),
    ("1 |näme über:2", 1, 2.0, 1.0, 1.0, ""),
    ("1  2  |a x", 1, 1.0, 1.0, 2.0, ""),
    ("0.0 |a x", 1, 1.0, 0.0, 1.0, ""),
    ("1e0 1e1 |a x", 1, 1.0, 1.0, 10.0, ""),
    ("1 |a x:16777217 y:0.1", 2, 16777220.0, 1.0, 1.0, ""),
    ("1 |ad|user", 0, 0.0, 1.0, 1.0, ""),
    ("1 2 'a:b'c|a x", 1, 1.0, 1.0, 2.0, "a:b'c"),
    ("1 ''|a x", 1, 1.0, 1.0, 1.0, "'"),
    ("1 |a:0 x y", 0, 0.0, 1.0, 1.0, ""),
]


@pytest.mark.parametrize(("line", "count", "total", "label", "importance", "tag"), LINES)
def test_lines_mean_what_they_mean_in_vowpal_wabbit(
    tmp_path, line, count, total, label, importance, tag
):
    (tmp_path / "a.vw").write_text(f"{line}\n", encoding="utf-8")
    keep = ["importance", "tag"]
    with open_log(tmp_path / "a.vw", label=None, keep=keep) as log:
        (row,) = pa.Table.from_batches(log, log.schema).to_pylist()
    assert (row.pop("importance"), row.pop("tag")) == (np.float32(importance), tag)
    values = [value for entries in row.values() for _, value in entries]
    assert (len(values), sum(values)) == (count, pytest.approx(total, rel=1e-6))
    if label is None:
        with pytest.raises(LogError, match="the label is missing"):
            read(tmp_path / "a.vw")
    else:
        assert read(tmp_path / "a.vw", skip_bad=True)[0].column("click").to_pylist() == [label > 0]


names = st.text(
    st.characters(codec="utf-8", exclude_characters=" \t\r\n:|"), min_size=1, max_size=12
)
values = st.floats(-(2.0**48), 2.0**48, width=32).filter(bool)
namespaces = st.dictionaries(
    st.sampled_from(["user", "ad", "|", "tag", "click", "ü"]),
    st.lists(st.tuples(names, values), max_size=4),
)
rows = st.lists(st.tuples(st.booleans(), namespaces), min_size=1, max_size=30)


@settings(max_examples=60)
@given(rows, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["{!r}", "{:.9g}", "{:+.8e}"]))
def test_what_is_written_is_read(tmp_path_factory, rows, end, spelling):
    """Any names and values, in any namespaces, of which one may have the name of a column."""
    path = tmp_path_factory.getbasetemp() / "written.vw"
    known = dict.fromkeys(name for _, row in rows for name in row)
    lines = []
    for label, row in rows:
        line = "1 " if label else "-1 "  # and an empty namespace at the end
        for name, entries in row.items():
            line += f"|{'' if name == '|' else name}"
            line += "".join(f" {key}:{spelling.format(value)}" for key, value in entries) + " "
        lines.append(f"{line}|{end}")
    path.write_text("".join(lines), encoding="utf-8", newline="")
    got, log = read(path)
    column = {name: f"|{name}" if name in ("tag", "click") else name for name in known}
    assert log.schema.names == ["click", "importance", *column.values()]
    assert got.column("click").to_pylist() == [label for label, _ in rows]
    for name in known:
        expected = [
            [(key, float(np.float32(value))) for key, value in row.get(name, [])] for _, row in rows
        ]
        assert got.column(column[name]).to_pylist() == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "the line is empty: examples of several lines are not read"),
        ("1 a b", "the line has no | before its features"),
        ("1\t|a x", "a tab is before the first |"),
        ("1:0.5:0.2 |a x", "the label is '1:0.5:0.2', not one number: the labels of contextual"),
        ("shared |a x", "the label is 'shared', not one number"),
        ("1 2 3 4 |a x", "the label is .1 2 3 4 ., not one number"),
        ("2 |a x", "the label is 2.0, not 0 or 1"),
        ("1|a x", "the label is missing: '1' is a tag, as no space is between it and the |"),
        ("1 x |a x", "the importance is 'x', not a number of at least 0"),
        ("1 -2 |a x", "the importance is '-2', not a number of at least 0"),
        ("1 1 0.5 |a x", "the base is '0.5', but a base other than 0 is not read"),
        ("1 |:2 x", "':' does not begin a namespace"),
        ("1 |a:x y", "the scale of a namespace is 'x', not a number"),
        ("1 |a:1:2 y", "'a:1:' does not begin a namespace"),
        ("1 |a x:", "'x:' is not a feature, which is name or name:value"),
        ("1 |a x: 2", "'x:' is not a feature"),
        ("1 |a x:1,5", "'x:1,5' is not a feature"),
        ("1 |a x:0x10", "'x:0x10' is not a feature"),
        ("1 |a x:1:2", "'x:1:2' is not a feature"),
        ("1 |a x:-Inf", "'x:-Inf' is not finite"),
        ("1 |a x:nan", "'x:nan' is not finite"),
        ("1 |a x:1e39", "'1e39' is not finite"),
        ("1 |a:1e20 x:1e20", "'1e20' is not finite|'1e20' is more than 2\\*\\*48 in magnitude"),
        ("1 |a x:1e15", r"'1e15' is more than 2\*\*48 in magnitude: scale the values"),
        ("1 |a x\ry", "a carriage return is not at the end of the line"),
        ("1 |a \udcff", "the line is not UTF-8"),
    ],
)
def test_faults(tmp_path, line, reason):
    """A broken line is named by its number; the others are read."""
    lines = ["-1 |a x", "1 |a y:2", line, "1 |a z"]
    (tmp_path / "a.vw").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    with pytest.raises(LogError, match=f"a.vw, line 3: {reason}"):
        read(tmp_path / "a.vw")
    got, log = read(tmp_path / "a.vw", skip_bad=True)
    assert got.column("a").to_pylist() == [[("x", 1)], [("y", 2)], [("z", 1)]]
    assert sum(log.skipped.values()) == 1


def rounded(text):
    """Return the float32 that is nearest to a decimal number, the even one of two."""
    exact, found = Fraction(text), np.float32(text)
    near = [
        np.nextafter(found, np.float32(-np.inf)),
        found,
        np.nextafter(found, np.float32(np.inf)),
    ]
    return min(near, key=lambda x: (abs(Fraction(float(x)) - exact), int(x.view(np.uint32)) % 2))


def test_every_number_is_rounded_once():
    """Spellings of which a double would round twice, or that a quotient of doubles would miss."""
    rng = np.random.default_rng(0)
    exact = rng.integers(2**23, 2**24, 2000) * 2.0 ** rng.integers(-30, 10, 2000)
    middle = exact + 2.0 ** (np.floor(np.log2(exact)) - 24)  # between two floats
    texts = [f"{x:.{digits}g}" for x in (*exact, *middle) for digits in (7, 9, 15, 17, 25)]
    texts += [f"{x:.{digits}e}" for x in exact for digits in (5, 14, 30)]
    line = "1 |a " + " ".join(f"f:{text}" for text in texts) + "\n"
    splitter = _core.SparseSplitter("vw", ["a"], [], "fault", True)
    assert splitter.add(line.encode()) == []
    ((_, _, found),) = splitter.take()["columns"]
    np.testing.assert_array_equal(found, [rounded(text) for text in texts])


def test_a_log_without_a_line_that_is_read_says_why(tmp_path):
    (tmp_path / "cb.vw").write_text("1:2:0.4 |user u1\n2:1:0.6 |user u2\n")
    with pytest.raises(LogError, match=r"cb.vw, line 1: the label is '1:2:0.4', .* bandits"):
        open_log(tmp_path / "cb.vw", label="click")


def test_importance_weighs_and_a_namespace_may_be_late(tmp_path, monkeypatch):
    from adagrad.ctr.logs import blocks

    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 12)
    lines = [f"{i % 2} {i % 3} '{i} |a x{i} |b y\n" for i in range(1000)]
    lines[900] = "1 |new z |a x\n"
    (tmp_path / "a.vw").write_text("".join(lines))
    how_out = (
        "line 901: the namespace 'new' is new, but the first MiB .* --ignore new, or .*--columns"
    )
    for skip_bad in (False, True):
        with pytest.raises(LogError, match=how_out):
            read(tmp_path / "a.vw", skip_bad=skip_bad)
    got, log = read(tmp_path / "a.vw", ignore=["new"])
    assert (log.weight, log.schema.names) == ("importance", ["click", "importance", "a", "b"])
    assert got.num_rows == 667  # an importance of 0 is an example that is not learned
    assert set(got.column("importance").to_pylist()) == {1.0, 2.0}
    got, log = read(tmp_path / "a.vw", columns=["new", "b"], keep=["tag"])
    assert log.schema.names == ["click", "importance", "new", "b", "tag"]
    assert got.column("new").to_pylist()[600] == [("z", 1.0)]
    assert got.column("tag").to_pylist()[:2] == ["1", "2"]


def test_files_of_a_log_have_all_their_namespaces(tmp_path):
    (tmp_path / "1.vw").write_text("1 |a x\n0 |b y:2\n")
    (tmp_path / "2.vw.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf1 |c z |a x:3\r\n\r\n\n"))
    got, _ = read(tmp_path)
    assert got.column("a").to_pylist() == [[("x", 1)], [], [("x", 3)]]
    assert got.column("c").to_pylist() == [[], [], [("z", 1)]]


def test_no_other_weight(tmp_path):
    (tmp_path / "a.vw").write_text("1 |a x\n")
    with pytest.raises(LogError, match="weights of a vw file are in the column 'importance'"):
        read(tmp_path / "a.vw", weight="w")
    with pytest.raises(LogError, match="a vw file has no column 'r' for a rate"):
        read(tmp_path / "a.vw", negative_rate="r")


@pytest.mark.parametrize(
    ("line", "format"),
    [
        ("1 |a x", "vw"),
        ("|a x y", "vw"),
        ("-1 2 'tag|a x", "vw"),
        ("1:0.5:0.2 |a x", "vw"),
        ("shared | x", "vw"),
        ("id|click|site", None),
        ("1|5|a b", None),
        ("1 0:3:1 1:4:0.5", "libffm"),
        ("1 3:1 4:0.5", "libsvm"),
    ],
)
def test_the_first_line_tells_the_format(line, format):
    from adagrad.ctr.logs.content import looks_like

    assert looks_like(line) == format


def test_arguments_of_the_compiled_module():
    with pytest.raises(ValueError, match="the syntax must be 'vw' or 'libffm', got 'csv'"):
        _core.SparseSplitter("csv", [], [], "add", False)
    with pytest.raises(ValueError, match="late must be 'add', 'pass' or 'fault', got 'no'"):
        _core.SparseSplitter("vw", [], [], "no", False)
    with pytest.raises(ValueError, match="lines must end with a line end"):
        _core.SparseSplitter("vw", [], [], "add", False).add(b"1 |a x")
