"""What all questions share: timing in rotation, and the report of the results.

A question makes shapes and variants and chooses what to print; this file has no shape, peer or
target.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import adagrad
from bench import machine, record
from bench.results import LIMIT, PRINTED, US, Claim, Result, Shape, Variant, number, table

MIN_ROUNDS, MAX_ROUNDS = 5, 201
QUICK_BUDGET = 1.0  # seconds
MIN_SAMPLE = 2e-4  # seconds: perf_counter costs 1e-7, so it is below 0.1 % of a sample


class Report:
    """Times variants shape by shape, and keeps, prints and writes the results.

    Attributes
    ----------
    smoke : bool
        Whether shapes are so small that a run only shows that it works.
    short : bool
        Whether only the shapes that claims name are measured, with fewer samples.
    """

    def __init__(self, args: argparse.Namespace, title: str) -> None:
        self.args = args
        self.smoke: bool = args.smoke
        self.short: bool = args.quick and not args.smoke
        self.only: Sequence[str] = args.only or ("",)
        self.selected: set[str] = set()  # those of `only` that are in the label of a shape
        self.began = time.perf_counter()
        self.clock = time.perf_counter  # of samples
        self.claims: list[Claim] = []
        self.results: list[Result] = []
        self.losses: list[dict[str, Any]] = []  # of learners on logs, for the JSON file
        adagrad.set_num_threads(1)
        self.record = record.begin(
            "smoke" if self.smoke else "quick" if self.short else "long",
        )
        for name in ("torch", "numba"):  # limited to one thread whatever the question asks of them
            machine.peer(name)
        print(f"{args.question}: {title}\n{machine.header(self.record['machine'])}")
        print(
            "One thread unless stated otherwise. Variants take turns in one process, in a new "
            "order each round.\nNumbers are medians; ± is half the distance between the quartiles.",
            flush=True,
        )

    def measure(
        self, shape: Shape, variants: Sequence[Variant], repeat: bool, budget: float = 2.0
    ) -> None:
        """Time all variants in rotation.

        Parameters
        ----------
        shape : Shape
            Of the data they work on.
        variants : sequence of Variant
            Their results have been compared, which also warmed them up.
        repeat : bool
            Whether a sample consists of several calls on the same memory after an untimed one, for
            numbers in cache. Otherwise each sample is one call on the result of `prepare`.
        budget : float, default 2.0
            Seconds after which to stop, but not before five rounds. ``--budget`` replaces it.

        Notes
        -----
        Measuring a shape again, on other memory, adds samples to its first results.
        """
        if self.short:
            budget = min(budget, QUICK_BUDGET)
        budget = self.args.budget or (0.1 if self.smoke else budget)
        if sys.stderr.isatty():
            print(f"... {shape.label}", file=sys.stderr)
        samples: list[list[float]] = [[] for _ in variants]
        calls = [1] * len(variants)
        order, clock = np.random.default_rng(0), self.clock
        gc.collect()
        gc.disable()
        start, rounds = time.perf_counter(), 0
        while rounds < MAX_ROUNDS:
            # The first round is discarded: it determines how many calls make a sample.
            for k in order.permutation(len(variants)):
                v = variants[k]
                x = v.prepare(rounds * len(variants) + int(k))
                if repeat:
                    v.call(x)
                call, turns = v.call, range(calls[k])
                begin = clock()
                for _ in turns:
                    call(x)
                seconds = (clock() - begin) / calls[k]
                if rounds != 0:
                    samples[k].append(seconds)
                elif repeat:
                    calls[k] = 1 + int(MIN_SAMPLE / seconds)
            rounds += 1
            if rounds > (1 if self.smoke else MIN_ROUNDS) and time.perf_counter() - start > budget:
                break
        gc.enable()
        for v, seconds in zip(variants, samples, strict=True):
            before = self.get(shape.label, v.name, v.group)
            if before is not None:
                self.results[self.results.index(before)] = Result(
                    shape, v.label_only(), before.seconds + tuple(seconds)
                )
            else:
                self.results.append(Result(shape, v.label_only(), tuple(seconds)))

    def wants(self, label: str) -> bool:
        """Return whether ``--only``, or else the quick form, selects a shape."""
        found = [text for text in self.only if text in label]
        self.selected.update(found)
        return bool(found)

    def nowhere(self) -> list[str]:
        """Return what was to be in the label of a shape and is in none."""
        return [text for text in self.only if text and text not in self.selected]

    def get(self, label: str, name: str = US, group: str = "") -> Result | None:
        """Return one result, or None if it was not measured."""
        for r in self.results:
            if (r.shape.label, r.variant.name, r.variant.group) == (label, name, group):
                return r
        return None

    def ratio(self, label: str, name: str, group: str = "", of: str = US) -> float | None:
        """Return the time of variant `name` over that of variant `of`, the median of the rounds."""
        a, b = self.get(label, name, group), self.get(label, of, group)
        return None if a is None or b is None else a.over(b)[1]

    def names(self, group: str = "") -> list[str]:
        """Return the variants of a group in the order of their first result."""
        return list(dict.fromkeys(r.variant.name for r in self.results if r.variant.group == group))

    def shapes(self, group: str = "") -> list[Shape]:
        """Return the shapes of a group in order."""
        return list(
            {r.shape.label: r.shape for r in self.results if r.variant.group == group}.values()
        )

    def by_shape(self, title: str, group: str = "") -> None:
        """Print a group: one row per shape, one column per variant, with its ratio to ours."""
        rows = []
        if not self.shapes(group):
            return
        for shape in self.shapes(group):
            row = [shape.label]
            for name in self.names(group):
                r, ratio = self.get(shape.label, name, group), self.ratio(shape.label, name, group)
                tail = "" if name == US or ratio is None else f"{number(ratio):>6}x"
                row.append("-" if r is None else f"{r.text()}{tail}")
            rows.append(row)
        table(title, ["", *self.names(group)], rows)

    def finish(self, panels: Sequence[Any]) -> None:
        """Print where peers are faster and which claims hold; write the requested files."""
        print("\nWhere a peer is faster than adagrad (its time / ours):")
        lost = []
        for r in self.results:
            ratio = self.ratio(r.shape.label, r.variant.name, r.variant.group)
            if r.variant.is_peer and ratio is not None and ratio < 1.0:
                group = f"{r.variant.group}, " if r.variant.group else ""
                lost.append(f"{r.shape.label}: {group}{r.variant.name} {ratio:.2f}")
        print("\n".join(f"  {line}" for line in lost) if lost else "  nowhere in this run")

        print("\nClaims:" if self.claims else "\nNo claims are made here.")
        for c in self.claims:
            print(f"  {c}")
        drawn = self.args.picture and machine.peer("matplotlib") is not None
        for text in self.nowhere():
            print(f"No shape has {text!r} in its label.")
        if machine.left_out():
            print(f"Left out, not installed: {', '.join(machine.left_out())}")
        if self.args.json:
            self.record["questions"][self.args.question] = self.as_dict(lost, panels)
            record.write(self.record, Path(self.args.json))
        if drawn:
            from bench.picture import draw

            draw(
                [panel for panel in panels if panel.series],
                self.args.picture,
                f"python -m bench {self.args.question}",
            )

    def as_dict(self, lost: Sequence[str], panels: Sequence[Any]) -> dict[str, Any]:
        """Return all measurements, for the JSON file."""
        cells = []
        for r in self.results:
            cell: dict[str, Any] = {"shape": r.shape.label, "count": r.shape.count, **r.shape.facts}
            cell |= {"variant": r.variant.name, "group": r.variant.group, "rounds": len(r.seconds)}
            cell["ns"] = [record.short(x) for x in r.quartiles()]
            cell["least_ns"] = record.short(1e9 * min(r.seconds) / r.shape.count)
            for key, name in (("over_adagrad", US), ("over_limit", LIMIT)):
                other = self.get(r.shape.label, name, r.variant.group)
                if other is not None and other is not r:
                    cell[key] = [record.short(x) for x in r.over(other)]
            cells.append(cell)
        claims = [
            c.__dict__
            | {"value": None if c.value is None else record.short(float(c.value))}
            | {"met": None if c.met is None else bool(c.met)}
            for c in self.claims
        ]
        return {
            "seconds": round(time.perf_counter() - self.began),
            "left_out": machine.left_out(),
            "nowhere": self.nowhere(),
            "results": cells,
            "tables": [t.__dict__ for t in PRINTED],
            "faster_peers": list(lost),
            "claims": claims,
            "losses": self.losses,
            "panels": [panel.as_dict() for panel in panels if panel.series],
        }
