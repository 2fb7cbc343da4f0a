"""``python -m bench compare A.json B.json``: which ratios moved from A to B, beyond their spread.

A ratio divides the times of two variants in each round: ours by the limit's, a peer's by ours.
It moved if the quartiles of its rounds in A and in B have no value in common. What is measured
beside several references got slower only as far as all of them say so: else a reference moved.
Times are never compared, nor are machines of different kinds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench import record
from bench.results import LIMIT, US, Table, number


class Key(NamedTuple):
    """What a ratio is of."""

    question: str
    group: str
    shape: str
    ours: str
    other: str

    @property
    def ratio(self) -> str:
        """The ratio as text."""
        of_limit = self.other == LIMIT
        return f"{self.ours} / {LIMIT}" if of_limit else f"{self.other} / {self.ours}"


@dataclass(frozen=True)
class Ratio:
    """The quartiles of a ratio, and whether we are faster where it is higher."""

    low: float
    median: float
    high: float
    higher_is_faster: bool

    def speed(self, before: Ratio) -> float:
        """Return how many times as fast we are as before."""
        gained = self.median / before.median
        return gained if self.higher_is_faster else 1 / gained

    def apart(self, other: Ratio) -> bool:
        """Return whether the quartiles have no value in common."""
        return self.low > other.high or self.high < other.low


def ratios(whole: dict[str, Any]) -> Iterator[tuple[Key, Ratio]]:
    """Yield our ratios to the limit and the ratios of peers to ours.

    What has neither, such as two threads beside one, is compared as the time of a variant of ours
    over that of the first: higher means that the first is faster.
    """
    for question, part in whole["questions"].items():
        cells = part.get("results", [])
        compared = {
            (c["group"], c["shape"])
            for c in cells
            if c["variant"] == LIMIT or not c["variant"].startswith(US)
        }
        for c in cells:
            ours = c["variant"].startswith(US)
            if ours and "over_limit" in c:
                key, pair, higher = "over_limit", (c["variant"], LIMIT), False
            elif "over_adagrad" in c and c["variant"] != LIMIT:
                if ours and (c["group"], c["shape"]) in compared:
                    continue
                key, pair, higher = "over_adagrad", (US, c["variant"]), True
            else:
                continue
            if None not in c[key]:
                yield Key(question, c["group"], c["shape"], *pair), Ratio(*c[key], higher)


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return what may move ratios besides the code: versions, compilers, forms."""
    facts = {"form": lambda r: r["how"], "compiler": lambda r: r["machine"]["compiler"]}
    versions = {**a["machine"]["versions"], **b["machine"]["versions"]}
    for name in versions:
        facts[name] = lambda r, name=name: r["machine"]["versions"].get(name, "missing")
    return [f"{name}: {f(a)}, then {f(b)}" for name, f in facts.items() if f(a) != f(b)]


def verdicts(whole: dict[str, Any]) -> dict[tuple[str, str], tuple[bool | None, str]]:
    """Return whether each claim is met, and its value as text."""
    found = {}
    for question, part in whole["questions"].items():
        for c in part.get("claims", []):
            value = "-" if c["value"] is None else f"{number(c['value'])} {c['unit']}"
            found[question, c["text"]] = c["met"], f"{value}, asked {c['relation']} {c['target']:g}"
    return found


def compare(a: dict[str, Any], b: dict[str, Any], least: float) -> tuple[list[Table], float, str]:
    """Return tables of what moved by more than `least`, the worst speed, and a line of counts."""
    before, after = dict(ratios(a)), dict(ratios(b))
    both = [key for key in before if key in after]
    moved = sorted(
        (after[key].speed(before[key]), key) for key in both if after[key].apart(before[key])
    )
    tables = []
    for title, slower in (("Slower in B", True), ("Faster in B", False)):
        rows = []
        for speed, key in moved if slower else reversed(moved):
            if (speed < 1) == slower and max(speed, 1 / speed) > 1 + least:
                values = [
                    f"{number(r.median)} ({number(r.low)} to {number(r.high)})"
                    for r in (before[key], after[key])
                ]
                what = ", ".join(filter(None, (key.question, key.group, key.shape)))
                rows.append([what, key.ratio, f"{100 * (speed - 1):+.0f} %", *values])
        if rows:
            tables.append(Table(title, ["", "ratio", "speed", "A", "B"], rows))
    old, new = verdicts(a), verdicts(b)
    words = {True: "met", False: "NOT MET", None: "not measured"}
    rows = [
        [f"{key[0]}: {key[1]}", *(f"{words[met]} ({value})" for met, value in (old[key], new[key]))]
        for key in old
        if key in new and old[key][0] != new[key][0]
    ]
    if rows:
        tables.append(Table("Claims with another verdict", ["", "A", "B"], rows))
    shown = sum(len(t.rows) for t in tables if t.headers[1] == "ratio")
    counts = f"{shown} of {len(both)} ratios moved beyond their spread and {100 * least:g} %"
    for name, one, other in (("A", before, after), ("B", after, before)):
        if len(one) > len(both):
            counts += f"; {sum(key not in other for key in one)} are only in {name}"
    agreed: dict[tuple[str, ...], float] = {}  # the speed that all references of a variant allow
    for key in both:
        speed = after[key].speed(before[key]) if after[key].apart(before[key]) else 1.0
        agreed[key[:-1]] = max(speed, agreed.get(key[:-1], 0.0))
    return tables, min(agreed.values(), default=1.0), counts


def main(arguments: Sequence[str]) -> int:
    """Print what moved; return 1 if something is slower than allowed, 2 for other machines."""
    parser = argparse.ArgumentParser(prog="python -m bench compare", description=__doc__)
    parser.add_argument("a", type=Path, metavar="A.json")
    parser.add_argument("b", type=Path, metavar="B.json")
    parser.add_argument(
        "--least", type=float, default=10, metavar="PERCENT", help="show no smaller move (10)"
    )
    parser.add_argument(
        "--slower", type=float, default=15, metavar="PERCENT", help="fail if so much slower (15)"
    )
    parser.add_argument("--anyway", action="store_true", help="compare different machines")
    args = parser.parse_args(arguments)
    try:
        a, b = record.read(args.a), record.read(args.b)
    except ValueError as error:
        parser.error(str(error))
    kinds = [r["machine"]["kind"] for r in (a, b)]
    if kinds[0] != kinds[1] and not args.anyway:
        parser.error(f"different machines: {kinds[0]} and {kinds[1]}; --anyway compares them")
    for name, path, r in (("A", args.a, a), ("B", args.b, b)):
        print(f"{name}: {path.name}: {record.source(r)}, {r['machine']['cpu']}")
    for line in differences(a, b):
        print(f"Differs: {line}")
    tables, worst, counts = compare(a, b, args.least / 100)
    for t in tables:
        print(f"\n{t}")
    print(f"\n{counts}.")
    failed = worst < 1 / (1 + args.slower / 100)
    if failed:
        print(f"Slower by more than {args.slower:g} %: by {100 * (1 / worst - 1):.0f} %.")
    return int(failed)
