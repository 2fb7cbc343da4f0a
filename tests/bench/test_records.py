"""What is made of the records of the benchmarks: comparisons, pages, and the gate."""

from __future__ import annotations

import copy
import json
import re
import sys

import pytest

import benchmark
from checks import ROOT

sys.path.append(str(ROOT))  # bench/ is not part of what is installed

import bench.__main__ as bench_main
from bench import compare, everything, gate, machine, pages, record
from bench.results import Claim, Result, Shape, Variant

MACHINE = {
    "kind": "toaster-2-cores",
    "adagrad": "0.1.0",
    "compiler": "12.2.0",
    "isa": "x86-64-v3",
    "isas": ["x86-64", "x86-64-v3"],
    "cpu": "Toaster",
    "cores": 2,
    "caches": {"L1": 32768},
    "system": "Linux 6",
    "versions": {"Python": "3.11.7", "NumPy": "2.4.6"},
    "huge_pages": "madvise",
    "load": 0.1,
}


def cell(variant, shape="64", group="", **ratios):
    facts = {"shape": shape, "count": 1, "variant": variant, "group": group, "rounds": 5}
    return {**facts, "ns": [1.0, 1.0, 1.0], **ratios}


def part(results, claims=(), **other):
    empty = {"seconds": 1, "left_out": [], "nowhere": [], "tables": [], "faster_peers": []}
    empty |= {"losses": [], "panels": []}
    return {**empty, "results": results, "claims": [claim(*c) for c in claims], **other}


def claim(text, value, relation, target):
    c = Claim(text, value, relation, target)
    return c.__dict__ | {"met": c.met}


def whole(**questions):
    facts = {"format": 1, "date": "2026-01-02T03:04:05+00:00", "commit": "c" * 40, "dirty": False}
    return {**facts, "how": "quick", "machine": MACHINE, "questions": questions}


@pytest.fixture
def before():
    results = [
        cell("adagrad", over_limit=[1.1, 1.2, 1.3]),
        cell("limit", over_adagrad=[0.7, 0.8, 0.9]),
        cell("NumPy", over_adagrad=[3.9, 4.0, 4.1]),
        cell("adagrad", shape="2 k"),
        cell("adagrad, 1 thread", shape="2 k", over_adagrad=[1.5, 1.6, 1.7]),
    ]
    claims = [("NumPy / adagrad", 4.0, ">=", 3.5)]
    return whole(call=part(results, claims), coalesce=part([cell("NumPy", over_adagrad=[2, 2, 2])]))


def compared(tmp_path, capsys, a, b, *options):
    """The exit status of the command, and what it prints."""
    for name, it in (("a", a), ("b", b)):
        record.write(it, tmp_path / f"{name}.json")
    status = compare.main([str(tmp_path / "a.json"), str(tmp_path / "b.json"), *options])
    return status, capsys.readouterr().out


def test_a_record_is_read_as_written(tmp_path, before):
    path = tmp_path / "r.json"
    record.write(before, path)
    assert record.read(path) == before == json.loads(path.read_text(encoding="utf-8"))
    assert list(tmp_path.iterdir()) == [path]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert sum("variant" in line for line in lines) == 6  # a result a line: differences are seen
    path.write_text('{"question": "dense"}')
    with pytest.raises(ValueError, match=r"r\.json is not a result of `python -m bench`"):
        record.read(path)
    with pytest.raises(ValueError, match=r"none\.json"):
        record.read(tmp_path / "none.json")


def test_ratios_are_of_rounds():
    """A round that is slow for both does not change the ratio."""
    a, b = (
        Result(Shape("s", 1), Variant(name, print), seconds)
        for name, seconds in (("a", (1.0, 9.0, 1.2)), ("b", (2.0, 18.0, 2.4)))
    )
    assert b.over(a) == (2.0, 2.0, 2.0)


def test_nothing_moved(tmp_path, capsys, before):
    after = copy.deepcopy(before)
    for c in after["questions"]["call"]["results"]:
        c["ns"] = [5.0, 5.0, 5.0]  # another day: times do not matter
    after["questions"]["call"]["results"][0]["over_limit"] = [1.2, 1.5, 1.6]  # the spread overlaps
    status, printed = compared(tmp_path, capsys, before, after)
    assert status == 0
    assert "0 of 4 ratios moved beyond their spread and 10 %." in printed
    assert "Slower" not in printed


def test_what_moved_is_sorted_and_fails(tmp_path, capsys, before):
    after = copy.deepcopy(before)
    ours, _, numpy, _, one_thread = after["questions"]["call"]["results"]
    ours["over_limit"] = [1.45, 1.5, 1.55]
    numpy["over_adagrad"] = [1.9, 2.0, 2.1]
    one_thread["over_adagrad"] = [1.9, 2.0, 2.1]
    after["questions"]["call"]["claims"] = [claim("NumPy / adagrad", 2.0, ">=", 3.5)]
    after["machine"] = {**MACHINE, "versions": {**MACHINE["versions"], "NumPy": "3.0"}}
    del after["questions"]["coalesce"]
    status, printed = compared(tmp_path, capsys, before, after)
    assert status == 1
    assert "Differs: NumPy: 2.4.6, then 3.0" in printed
    slower, faster = printed.index("Slower in B"), printed.index("Faster in B")
    halved, limit, threads = (printed.index(text) for text in ("-50 %", "-20 %", "+25 %"))
    assert slower < halved < limit < faster < threads
    assert "3 of 3 ratios moved beyond their spread and 10 %; 1 are only in A." in printed
    assert "met (4.00 x, asked >= 3.5)  NOT MET (2.00 x, asked >= 3.5)" in printed
    assert "Slower by more than 15 %: by 25 %." in printed  # as far as limit and NumPy agree
    assert compared(tmp_path, capsys, before, after, "--slower", "30")[0] == 0


def test_one_reference_that_moves_is_no_fall(tmp_path, capsys, before):
    """The limit says that we are as fast as before: NumPy got faster."""
    after = copy.deepcopy(before)
    after["questions"]["call"]["results"][2]["over_adagrad"] = [1.9, 2.0, 2.1]
    status, printed = compared(tmp_path, capsys, before, after)
    assert (status, "-50 %" in printed) == (0, True)
    after["questions"]["call"]["results"][0]["over_limit"] = [1.45, 1.5, 1.55]
    assert compared(tmp_path, capsys, before, after)[0] == 1


def test_machines_of_different_kinds(tmp_path, capsys, before):
    other = {**before, "machine": {**MACHINE, "kind": "mainframe"}}
    with pytest.raises(SystemExit) as refused:
        compared(tmp_path, capsys, before, other)
    assert refused.value.code == 2
    assert "different machines: toaster-2-cores and mainframe" in capsys.readouterr().err
    assert compared(tmp_path, capsys, before, other, "--anyway")[0] == 0


def test_all_reports_what_fails(tmp_path, capfd, monkeypatch):
    """A question that crashes costs the others nothing."""
    monkeypatch.setattr(bench_main, "QUESTIONS", {"nonsense": "crashes", "gate": "runs"})
    path = tmp_path / "all.json"
    options = ("--smoke", "--budget", "1e-9", "--json", str(path))
    assert everything.main(options) == 1
    found = record.read(path)
    assert found["how"] == "smoke"
    assert found["machine"]["kind"] == machine.kind()
    assert "invalid choice: 'nonsense'" in found["questions"]["nonsense"]["error"]
    assert found["questions"]["gate"]["results"]
    assert re.search(r"\nnonsense .*FAILED: .*invalid choice", capfd.readouterr().out)


def test_a_missing_package_is_no_failure(tmp_path):
    path = tmp_path / "door.json"
    # Without numba too, which is asked for first and may be missing anyway.
    printed = benchmark.smoke("door", "--json", str(path), without="pyarrow,numba")
    assert "door needs pyarrow" in printed
    found = record.read(path)["questions"]["door"]
    assert {"pyarrow", "numba"} <= set(found["left_out"])
    assert found["results"] == []


def test_shapes_that_no_label_names_are_said(tmp_path):
    path = tmp_path / "call.json"
    options = ("--only", "2^99", "--json", str(path))
    assert "No shape has '2^99' in its label." in benchmark.smoke(
        "dense", *options, without="torch"
    )
    assert record.read(path)["questions"]["dense"]["nowhere"] == ["2^99"]


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Run the check against kept ratios, with a list of what is measured in turn."""

    def run(kept, *measured):
        def results(ratios):
            times = [
                (name, n, t) for n, r in ratios for name, t in (("adagrad", 1 / r), ("limit", 1))
            ]
            return part([cell(name, n, ns=[9 * t] * 3, least_ns=t) for name, n, t in times])

        if kept is not None:
            path = tmp_path / f"{machine.kind()}.json"
            record.write(whole(gate=results(kept.items())), path)
        asked = []

        def ask(question, options, folder):
            asked.append(options)
            return results(measured[len(asked) - 1].items())

        monkeypatch.setattr(gate.everything, "ask", ask)
        return gate.main(["--kept", str(tmp_path)]), asked

    return run


def test_gate(checked, capsys):
    kept = {"a": 0.5, "b": 2.0}
    slow, fine = {"a": 0.5, "b": 1.49}, {"a": 0.4, "b": 1.6}
    assert checked(kept, fine) == (0, [[]])
    assert checked(kept, slow, {"b": 1.6}) == (0, [[], ["--only", "b"]])
    assert "FELL" not in capsys.readouterr().out
    assert checked(kept, slow, slow)[0] == 1
    assert re.search(r"\nb .* -26 %  FELL\n", capsys.readouterr().out)
    assert checked(kept, {"a": 0.5}, {})[0] == 1  # no longer measured
    assert checked(kept, {"a": 0.5}, {"b": 2.0})[0] == 0


def test_gate_on_an_unknown_machine(checked, capsys):
    assert checked(None) == (0, [])
    assert f"No ratios are kept for {machine.kind()}" in capsys.readouterr().out


def test_pages_show_every_question():
    results = [cell("NumPy", "16 M", over_adagrad=[4.0, 5.0, 6.0])]
    tables = [{"title": "ns", "headers": ["", "x"], "rows": [["64", "1.0"]]}]
    claims = [("text", 1.0, ">=", 2.0)]
    dense = part(results, claims, tables=tables, faster_peers=["64: numba 0.50"])
    text = (
        "a\n<!-- bench: dense -->\nstale\n<!-- end -->\nb <!-- bench: summary -->\n<!-- end -->\n"
    )
    shown = pages.fill(text, whole(dense=dense))
    assert "stale" not in shown
    for line in ("64  1.0\n", "  64: numba 0.50\n", "  NOT MET       text: 1.00 x, asked >= 2 x\n"):
        assert line in shown
    assert "| `dense` | 0 | 1 | 0 | 1 |" in shown
    assert pages.fill(shown, whole(dense=dense)) == shown
    with pytest.raises(ValueError, match="the page has no <!-- bench: call -->"):
        pages.fill(text, whole(dense=dense, call=dense))
    with pytest.raises(ValueError, match="<!-- bench: none --> is no question"):
        pages.fill("<!-- bench: none -->\n<!-- end -->", whole())
    readme = pages.fill("<!-- bench: readme -->\n<!-- end -->", whole(dense=dense))
    assert "| `step` on 16 M float32, in DRAM | NumPy | **5.00×** |" in readme
    assert "| torch, default | not measured |" in readme
    ratios = pages.fill("<!-- bench: ratios dense -->\n<!-- end -->", whole(dense=dense))
    assert "| time / ours | NumPy |\n|---|---|\n| 16 M | 5.00 |\n" in ratios


def test_other_records_say_where_they_are_from(tmp_path):
    other = {**whole(call=part([])), "commit": "d" * 40}
    kept = tmp_path / "kept.json"
    both = pages.merge([(tmp_path / "a", whole(dense=part([]))), (tmp_path / "b", other)], kept)
    assert both["questions"]["call"]["source"].startswith("2026-01-02, dddddddddddd, quick run")
    assert "source" not in both["questions"]["dense"]
    record.write(both, kept)
    new = whole(dense=part([]), call=part([cell("NumPy")]))
    assert pages.merge([(tmp_path / "a", new)], kept) == both
    broken = whole(call={"error": "it broke"})
    with pytest.raises(ValueError, match="call failed: it broke"):
        pages.merge([(tmp_path / "a", whole()), (tmp_path / "b", broken)], kept)


def shown_record():
    """What the pages are made of."""
    text = (ROOT / pages.PAGE).read_text(encoding="utf-8")
    for path in sorted(record.KEPT.glob("*.json")):
        kept = record.read(path)
        if pages.fill(text, kept) == text:
            return kept
    return None


def test_numbers_of_the_pages_come_from_a_kept_record():
    kept = shown_record()
    hint = "write the pages with `python -m bench docs bench/results/MACHINE.json`"
    assert kept is not None, hint
    for path in pages.blocks():
        text = path.read_text(encoding="utf-8")
        assert pages.fill(text, kept) == text, f"{path.name}: {hint}"
    assert not re.search(r"/(home|tmp|root|work|Users)/", json.dumps(kept))
    for question in kept["questions"].values():
        assert "error" not in question


def test_pictures_of_the_pages_come_from_that_record():
    kept = shown_record()
    assert kept is not None
    page = ROOT / pages.PAGE
    for name in pages.PICTURE.findall(page.read_text(encoding="utf-8")):
        drawn = (page.parent / "pictures" / f"bench-{name}.png").read_bytes()
        digest = pages.digest(kept["questions"][name]["panels"])
        assert f"{pages.DIGEST}\0{digest}".encode() in drawn, name
