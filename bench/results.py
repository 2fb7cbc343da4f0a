"""The parts of a benchmark: shapes, variants, results, claims and tables of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

US = "adagrad"
LIMIT = "limit"


def _nothing(_: int) -> None:
    return None


@dataclass(frozen=True)
class Shape:
    """One row of the table: its label, its number of elements or ids, and facts for the JSON."""

    label: str
    count: int  # elements or ids of one call
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """One way to do the work. `prepare(i)` is not timed; its result is passed to `call`."""

    name: str
    call: Callable[[Any], object]
    prepare: Callable[[int], Any] = _nothing
    group: str = ""

    def label_only(self) -> Variant:
        """Return the variant without its calls, which would keep whole tables in memory."""
        return Variant(self.name, _nothing, group=self.group)

    @property
    def is_peer(self) -> bool:
        """Whether the variant is another library's."""
        return not self.name.startswith((US, LIMIT))


@dataclass(frozen=True)
class Result:
    """The seconds of each sample of one variant at one shape."""

    shape: Shape
    variant: Variant
    seconds: tuple[float, ...]

    def quartiles(self) -> tuple[float, float, float]:
        """Return the quartiles in nanoseconds per element or id."""
        q = np.percentile(self.seconds, [25, 50, 75]) / self.shape.count * 1e9
        return float(q[0]), float(q[1]), float(q[2])

    @property
    def ns(self) -> float:
        """Median in nanoseconds per element or id."""
        return self.quartiles()[1]

    def over(self, other: Result) -> tuple[float, float, float]:
        """Return the quartiles of this time over another's, round by round.

        Both variants had a turn in each round, so that what slows a whole round cancels.
        """
        q = np.percentile(np.divide(self.seconds, other.seconds), [25, 50, 75])
        return float(q[0]), float(q[1]), float(q[2])

    def text(self) -> str:
        """Median and half the distance between the quartiles, as a share of it."""
        low, median, high = self.quartiles()
        return f"{number(median)} ±{round(50 * (high - low) / median)}%"


@dataclass(frozen=True)
class Claim:
    """A target, and the value measured for it (None: not measured in this run)."""

    text: str
    value: float | None
    relation: str  # ">=" or "<="
    target: float
    unit: str = "x"

    @property
    def met(self) -> bool | None:
        """Whether the value reaches the target."""
        if self.value is None:
            return None
        return self.value >= self.target if self.relation == ">=" else self.value <= self.target

    def __str__(self) -> str:
        """Return the verdict, the claim and its numbers as a line."""
        verdict = {True: "met", False: "NOT MET", None: "not measured"}[self.met]
        value = "" if self.value is None else f"{number(self.value)} {self.unit}, "
        return (
            f"{verdict:12}  {self.text}: {value}asked {self.relation} {self.target:g} {self.unit}"
        )


def number(x: float) -> str:
    """Return three digits, without exponents."""
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


@dataclass(frozen=True)
class Table:
    """Rows of text under headers."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        """Align the first column to the left, the others to the right."""
        lines = [list(self.headers), *(list(row) for row in self.rows)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.headers))]
        text = [self.title]
        for k, line in enumerate(lines):
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            text.append("  ".join(cells).rstrip())
            if k == 0:
                text.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
        return "\n".join(text)


PRINTED: list[Table] = []  # what this process has shown, for the JSON file


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headers, and keep them."""
    PRINTED.append(Table(title, headers, rows))
    print(f"\n{PRINTED[-1]}")


def check(name: str, got: np.ndarray, want: np.ndarray, rtol: float = 0.0) -> None:
    """Raise if the results of a variant are wrong; rtol 0 compares with ``==``."""
    same = np.array_equal(got, want) if rtol == 0.0 else np.allclose(got, want, rtol, atol=0.0)
    if not same:
        worst = float(np.max(np.abs(got - want) / np.abs(want)))
        raise RuntimeError(f"{name} computes something else: off by {worst:.2g}, allowed {rtol}")
