"""``python -m bench docs FILE.json``: writes the numbers of README.md and of the pages in docs.

A page has the blocks ``<!-- bench: NAME -->`` to ``<!-- end -->``; what is between them comes from
the record of a run and is never edited by hand. NAME is ``machine``, ``summary`` or ``readme``; a
question, whose block has everything that it printed; or ``ratios`` and a question, a table of the
times of peers over ours. The record is kept in bench/results.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import machine, record
from bench.results import LIMIT, US, Claim, Table, number

PAGE, README = "docs/benchmarks.md", "README.md"
BLOCK = re.compile(r"(?<=<!-- bench: )(?P<name>[\w ]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
PICTURE = re.compile(r"\(pictures/bench-(\w+)\.png\)")
RATIOS = "ratios "
MOST_CLAIMS = 40  # of which those that are met are shown as well
DIGEST = "Description"  # where a picture names the numbers that it was drawn from


class Line(NamedTuple):
    """A row of the table in README: a task, and who it is measured against."""

    task: str
    question: str
    group: str
    shape: str  # how its label begins
    peers: dict[str, str]


LINES = (
    Line(
        "`step` on 16 M float32, in DRAM",
        "dense",
        "",
        "16 M",
        {"NumPy": "NumPy", "torch": "torch, default", "torch fused": "torch, `fused=True`"},
    ),
    Line("`step` on 64 float32", "call", "", "64", {"numba": "numba loop, no checks"}),
    Line(
        "`step_rows` on 1 M uniform ids of 67 M, duplicates summed",
        "rows",
        "sum",
        "2^26 uniform, 1 M",
        {"NumPy": "NumPy", "torch sparse": "torch, sparse gradient"},
    ),
    Line(
        "`Table.step` on 1 M uniform ids of 67 M, one update per id",
        "table",
        "sequential",
        "2^26 uniform, 1 M",
        {"numba": "numba loop, two arrays"},
    ),
    Line(
        "`TableEmbeddingBag`, 65,536 rows of 16, forward and backward",
        "embedding",
        "element",
        "D 16, single ids, uniform",
        {"fbgemm": "fbgemm", "torch EmbeddingBag": "torch, `EmbeddingBag`"},
    ),
    Line(
        "logistic regression at a fixed rate, 39 hashed fields, 4 M slots",
        "ctr",
        "one pass, 39 fields",
        "2^22",
        {"VW, cache": "Vowpal Wabbit, from its cache", "SGDClassifier": "scikit-learn"},
    ),
)


def ratio(whole: dict[str, Any], line: Line, peer: str) -> float | None:
    """Return the time of a peer over ours."""
    for cell in whole["questions"].get(line.question, {}).get("results", []):
        where = (cell["group"], cell["variant"]) == (line.group, peer)
        label = cell["shape"]
        if where and (label == line.shape or label.startswith(f"{line.shape},")):
            return cell.get("over_adagrad", [None, None])[1]
    return None


def readme(whole: dict[str, Any]) -> str:
    """Return the table of speedups."""
    rows = ["| task | peer | speedup |", "|---|---|---|"]
    for line in LINES:
        for k, (peer, name) in enumerate(line.peers.items()):
            x = ratio(whole, line, peer)
            text = "not measured" if x is None else f"{number(x)}×"
            if x is not None and not 0.95 <= x < 1.15:  # else we are as fast as they are
                text = f"**{text}**" if x > 1 else f"**{text}: we lose**"
            rows.append(f"| {'' if k else line.task} | {name} | {text} |")
    m = whole["machine"]
    return "\n".join(rows) + f"\n\nMeasured on {m['cpu']}, {m['cores']} cores ({when(whole)}).\n"


def when(whole: dict[str, Any]) -> str:
    """Return the date and the commit of a run."""
    return f"{whole['date'][:10]}, commit {(whole['commit'] or 'unknown')[:12]}"


def fenced(text: str) -> str:
    """Return text as it is."""
    return f"```text\n{text}\n```\n"


def the_machine(whole: dict[str, Any]) -> str:
    """Return where and when everything was measured."""
    return fenced(f"{record.source(whole)}\n{machine.header(whole['machine'])}")


def summary(whole: dict[str, Any]) -> str:
    """Return one line for each question: its claims, and the peers that are faster."""
    rows = [
        "| benchmark | claims met | NOT MET | not measured | cases where a peer is faster |",
        "|---|---|---|---|---|",
    ]
    for name, part in whole["questions"].items():
        verdicts = [claim["met"] for claim in part["claims"]]
        counts = [verdicts.count(True), verdicts.count(False), verdicts.count(None)]
        cells = map(str, [*counts, len(part["faster_peers"])])
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def question(whole: dict[str, Any], name: str) -> str:
    """Return everything that a question printed."""
    part = whole["questions"].get(name)
    if part is None or "error" in part:
        return "Not measured in this run.\n"
    texts = [str(Table(**t)) for t in part["tables"]]
    if part["faster_peers"]:
        lines = (f"  {line}" for line in part["faster_peers"])
        texts.append("\n".join(["Where a peer is faster than adagrad (its time / ours):", *lines]))
    elif any("over_adagrad" in cell for cell in part["results"]):
        texts.append("No peer is faster than adagrad in this run.")
    claims = [Claim(**{k: v for k, v in c.items() if k != "met"}) for c in part["claims"]]
    if claims:
        shown = claims if len(claims) <= MOST_CLAIMS else [c for c in claims if not c.met]
        met = len(claims) - len(shown)
        head = f"Claims, besides {met} that are met:" if met else "Claims:"
        texts.append("\n".join([head, *(f"  {c}" for c in shown)]))
    if part["left_out"]:
        texts.append(f"Left out, not installed: {', '.join(part['left_out'])}")
    if "source" in part:
        texts.insert(0, f"Measured apart from the others: {part['source']}")
    return fenced("\n\n".join(texts))


def ratios(whole: dict[str, Any], name: str) -> str:
    """Return the times of peers over ours as a table, a column for each peer of each group."""
    cells = [
        c
        for c in whole["questions"].get(name, {}).get("results", [])
        if "over_adagrad" in c and not c["variant"].startswith((US, LIMIT))
    ]
    found = {(c["shape"], c["group"], c["variant"]): c["over_adagrad"][1] for c in cells}
    columns = list(dict.fromkeys((c["group"], c["variant"]) for c in cells))
    several = len({group for group, _ in columns}) > 1
    headers = [f"{peer}, {group}" if several else peer for group, peer in columns]
    rows = [f"| time / ours | {' | '.join(headers)} |", f"|---|{'---|' * len(headers)}"]
    for shape in dict.fromkeys(c["shape"] for c in cells):
        values = [found.get((shape, *column)) for column in columns]
        texts = ["-" if x is None else number(x) for x in values]
        rows.append(f"| {shape} | {' | '.join(texts)} |")
    return ("\n".join(rows) if cells else "Not measured in this run.") + "\n"


BLOCKS: dict[str, Callable[[dict[str, Any]], str]] = {
    "machine": the_machine,
    "summary": summary,
    "readme": readme,
}


def fill(text: str, whole: dict[str, Any]) -> str:
    """Return a page with the blocks of a record.

    Raises
    ------
    ValueError
        If a block is of no question, or if the page of the summary lacks that of a question.
    """
    from bench.__main__ import QUESTIONS

    names = [match["name"] for match in BLOCK.finditer(text)]
    for name in names:
        if name not in BLOCKS and name.removeprefix(RATIOS) not in QUESTIONS:
            raise ValueError(f"<!-- bench: {name} --> is no question")
    missing = [name for name in whole["questions"] if name not in names]
    if missing and "summary" in names:
        raise ValueError(f"the page has no <!-- bench: {missing[0]} -->")

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        if name in BLOCKS:
            made = BLOCKS[name](whole)
        elif name.startswith(RATIOS):
            made = ratios(whole, name.removeprefix(RATIOS))
        else:
            made = question(whole, name)
        return f"{name}{match[2]}{made}"

    return BLOCK.sub(replaced, text)


def blocks() -> list[Path]:
    """Return the pages that have blocks."""
    every = [record.ROOT / README, *sorted((record.ROOT / "docs").glob("*.md"))]
    return [path for path in every if BLOCK.search(path.read_text(encoding="utf-8"))]


def digest(panels: Sequence[dict[str, Any]]) -> str:
    """Return what identifies the numbers of a picture."""
    return hashlib.sha256(json.dumps(panels).encode()).hexdigest()


def pictures(whole: dict[str, Any]) -> dict[str, Any]:
    """Return the panels of the pictures that the page shows, by question."""
    text = (record.ROOT / PAGE).read_text(encoding="utf-8")
    found = {name: whole["questions"].get(name, {}).get("panels") for name in PICTURE.findall(text)}
    for name, panels in found.items():
        if not panels:
            raise ValueError(f"{PAGE} shows a picture of {name}, of which nothing was measured")
    return found


def draw(name: str, kept: Sequence[dict[str, Any]]) -> Path:
    """Draw the picture of a question."""
    from bench import picture

    path = record.ROOT / "docs" / "pictures" / f"bench-{name}.png"
    panels = [picture.Panel(p["title"], p["x"], p["series"]) for p in kept]
    facts = {DIGEST: digest(kept), "Software": None}
    picture.draw(panels, str(path), f"python -m bench {name}", facts)
    return path


def merge(wholes: Sequence[tuple[Path, dict[str, Any]]], kept: Path) -> dict[str, Any]:
    """Return the first record with the questions of the others, which say where they come from.

    What came from another record before stays, until it comes from a new one.
    """
    from bench.__main__ import QUESTIONS

    (_, first), *others = wholes
    before = record.read(kept)["questions"] if kept.exists() else {}
    first["questions"].update({k: part for k, part in before.items() if "source" in part})
    for path, other in others:
        for name, part in other["questions"].items():
            if "error" in part:
                raise ValueError(f"{path}: {name} failed: {part['error']}")
            source = f"{record.source(other)}, {other['machine']['cpu']}"
            first["questions"][name] = part | {"source": source}
    found = first["questions"]
    return {**first, "questions": {name: found[name] for name in QUESTIONS if name in found}}


def main(arguments: Sequence[str]) -> int:
    """Keep a record and write the pages from it."""
    parser = argparse.ArgumentParser(prog="python -m bench docs", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.json")
    parser.add_argument("--no-pictures", action="store_true", help="leave those as they are")
    args = parser.parse_args(arguments)
    try:
        wholes = [(path, record.read(path)) for path in args.files]
        kept = record.KEPT / f"{wholes[0][1]['machine']['kind']}.json"
        whole = merge(wholes, kept)
        drawn = {} if args.no_pictures else pictures(whole)
        pages = {path: fill(path.read_text(encoding="utf-8"), whole) for path in blocks()}
    except ValueError as error:
        parser.error(str(error))
    for part in whole["questions"].values():
        part.pop("losses", None)  # long, and on no page
    kept.parent.mkdir(exist_ok=True)
    record.write(whole, kept)
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    for path in (kept, *pages, *(draw(name, panels) for name, panels in drawn.items())):
        print(path.relative_to(record.ROOT))
    return 0
