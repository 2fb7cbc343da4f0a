"""Logs in libffm's format."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad.ctr.logs import LogError, blocks
from log_files import read

entries = st.tuples(
    st.integers(0, 5),
    st.integers(0, 2**63 - 1),
    st.floats(-(2.0**48), 2.0**48, width=32),
)
rows = st.lists(st.tuples(st.booleans(), st.lists(entries, max_size=6)), min_size=1, max_size=30)


@settings(max_examples=60)
@given(rows, st.sampled_from([" ", "\t", "  "]), st.sampled_from(["\n", "\r\n", " \n"]))
def test_what_is_written_is_read(tmp_path_factory, rows, space, end):
    path = tmp_path_factory.getbasetemp() / "written.ffm"
    lines = [space.join([str(int(y)), *(f"{f}:{i}:{x!r}" for f, i, x in row)]) for y, row in rows]
    path.write_text("".join(line + end for line in lines), newline="")
    got, log = read(path)
    fields = dict.fromkeys(field for _, row in rows for field, _, _ in row)
    assert log.schema.names == ["click", *map(str, fields)]
    assert got.column("click").to_pylist() == [y for y, _ in rows]
    for field in fields:
        expected = [[(i, float(np.float32(x))) for f, i, x in row if f == field] for _, row in rows]
        assert got.column(str(field)).to_pylist() == expected


@settings(max_examples=30)
@given(rows, st.sampled_from([" ", "\t", ","]), st.sampled_from(["\n", "\r\n"]))
def test_a_log_to_predict_needs_no_labels(tmp_path_factory, rows, space, end):
    path = tmp_path_factory.getbasetemp() / "unlabeled.ffm"
    lines = [[f"{f}:{i}:{x!r}" for f, i, x in row] for _, row in rows if row] or [["0:1:1"]]
    found = []
    for label in ([], ["1"]):
        path.write_text("".join(space.join(label + line) + end for line in lines), newline="")
        found.append(read(path, label=None)[0])
    assert found[0].equals(found[1])


@pytest.mark.parametrize("line", ["x:1:1 0:1:1", "0:1 0:1:1", "0:1:1:1", "0:1:x", ":1:1"])
def test_a_first_entry_is_judged_like_the_others(tmp_path, line):
    path = tmp_path / "a.ffm"
    path.write_text(f"0:1:1 1:2:0.5\n{line}\n")
    entry = line.split()[0]
    with pytest.raises(LogError, match=f"line 2: '{entry}' is not field:id:value"):
        read(path, label=None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "the line is empty"),
        ("x 0:1:1", "the label is 'x', not 0 or 1"),
        ("2 0:1:1", "the label is 2.0, not 0 or 1"),
        ("0:1:1 1:2:1", "the label is missing"),
        ("1 0:1", "'0:1' is not field:id:value with a field below"),
        ("1 0:1:1:1", "'0:1:1:1' is not field:id:value"),
        ("1 0:-1:1", "'0:-1:1' is not field:id:value"),
        ("1 0:9223372036854775808:1", "'0:9223372036854775808:1' is not field:id:value"),
        ("1 a:1:1", "'a:1:1' is not field:id:value"),
        ("1 0:1:x", "'0:1:x' is not field:id:value"),
        ("1 0:1:", "'0:1:' is not field:id:value"),
        ("1 0:1:inf", "'0:1:inf' is not finite"),
        ("1 0:1:1e30", r"'0:1:1e30' is more than 2\*\*48"),
        ("1 0:1:1 \r 1:1:1", "a carriage return"),
    ],
)
def test_faults(tmp_path, line, reason):
    path = tmp_path / "a.ffm"
    path.write_text("\n".join(["0 0:1:1 1:2:0.5", "1 0:3:1", line, "1 1:7:2"]), newline="")
    with pytest.raises(LogError, match=f"a.ffm, line 3: {reason}"):
        read(path)
    got, log = read(path, skip_bad=True)
    assert got.column("0").to_pylist() == [[(1, 1)], [(3, 1)], []]
    assert sum(log.skipped.values()) == 1


def test_a_late_field_and_fields_that_are_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 12)
    lines = [f"{i % 2} 0:{i}:1 001:5:1\n" for i in range(1000)]
    lines[900] = "1 7:3:1\n"
    (tmp_path / "a.ffm").write_text("".join(lines))
    with pytest.raises(LogError, match=r"line 901: the field 7 is new, .* --ignore 7, or name all"):
        read(tmp_path / "a.ffm")
    assert read(tmp_path / "a.ffm", ignore=["7"])[1].schema.names == ["click", "0", "1"]
    got, _ = read(tmp_path / "a.ffm", columns=["7"])
    assert got.column("7").to_pylist()[899:902] == [[], [(3, 1)], []]
