"""What the numbers of a diagnosis mean, in a paragraph of plain words.

Called by `diagnosis`. The thresholds are rules of thumb, written here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adagrad._text import three_digits

if TYPE_CHECKING:
    from adagrad.ctr.diagnosis.diagnosis import Diagnosis

__all__ = ["FEW_ROWS", "ILL", "RARE", "RARE_SHARE", "SPREAD", "Verdict", "verdict"]

RARE = 10
"""A feature is rare that occurs so many times or fewer."""

RARE_SHARE = 0.5
"""Features are mostly rare, or entries mostly of rare features, from this share on."""

SPREAD = 10.0
"""Gradient scales (99 % over 1 %) differ, and rescaling helps the condition number, from here."""

ILL = 1000.0
"""A condition number is large from here."""

FEW_ROWS = 100
"""With fewer rows, being rare means nothing."""


@dataclass(frozen=True)
class Verdict:
    """Whether per-coordinate rates help.

    Attributes
    ----------
    kind : {"rare", "thin", "scales", "correlated", "even"}
        The first that holds.

        ``"rare"``
            Most features are rare (`RARE`, `RARE_SHARE`), beside frequent ones that hold most
            entries: AdaGrad's own case.
        ``"thin"``
            Most features are rare, and most entries are theirs.
        ``"scales"``
            Gradient scales or the gain of the condition number reach `SPREAD`.
        ``"correlated"``
            The condition number after rescaling reaches `ILL`.
        ``"even"``
            None of these.
    helps : bool
        Of the first and the third.
    text : str
        The paragraph.
    """

    kind: str
    helps: bool
    text: str


def verdict(found: Diagnosis) -> Verdict:
    """Return the verdict on everything else that was found."""
    kind = _kind(found)
    text = _TEXTS[kind](found)
    if found.rows < FEW_ROWS:
        text += f" All this is from {found.rows:,} rows, which are few."
    return Verdict(kind, kind in ("rare", "scales"), text)


def _kind(found: Diagnosis) -> str:
    condition = found.conditioning
    if found.rows >= FEW_ROWS and found.rare.value >= RARE_SHARE:
        return "rare" if found.rare_entries.value < RARE_SHARE else "thin"
    if found.scale_ratio >= SPREAD or condition.gain >= SPREAD:
        return "scales"
    return "correlated" if condition.after.condition >= ILL else "even"


def _rare(found: Diagnosis) -> str:
    rest = _percent(1 - found.rare_entries.value)
    return (
        f"Most features are rare: {_percent(found.seen_once.value)} are seen once and"
        f" {_percent(found.rare.value)} {RARE} times or fewer, beside frequent ones that make up"
        f" {rest} of the entries. One rate for all either shakes the frequent features or leaves"
        " the rare ones where they start. Per-coordinate rates will help: use AdaGrad."
    )


def _thin(found: Diagnosis) -> str:
    entries = _percent(found.rare_entries.value)
    return (
        f"Most features are rare ({_percent(found.rare.value)} are seen {RARE} times or fewer), and"
        f" so are most entries ({entries}): there is little to learn about any of them. AdaGrad"
        " gives each its full rate, which is the best that an optimizer can do; coarser features"
        " (groups, bins, fewer ids) would do more."
    )


def _scales(found: Diagnosis) -> str:
    condition = found.conditioning
    parts = []
    if found.scale_ratio >= SPREAD:
        parts.append(f"their gradients differ in scale {three_digits(found.scale_ratio)} to 1")
    if condition.gain >= SPREAD:
        parts.append(
            f"the condition number falls from {three_digits(condition.before.condition)} to"
            f" {three_digits(condition.after.condition)} when each is rescaled"
        )
    return (
        f"The features are frequent enough, but {' and '.join(parts)}. Per-coordinate rates do that"
        " rescaling while they learn: AdaGrad will help, and so would standardizing the columns"
        " first, where they are dense."
    )


def _correlated(found: Diagnosis) -> str:
    after = three_digits(found.conditioning.after.condition)
    return (
        "The features are frequent and of similar scale, but depend on each other: the condition"
        f" number is {after} even after each is rescaled. Rates for each coordinate, AdaGrad's too,"
        " do not cure that: decorrelate or drop features, or use a second-order method such as"
        " L-BFGS."
    )


def _even(found: Diagnosis) -> str:
    ratio = three_digits(found.scale_ratio)
    condition = three_digits(found.conditioning.before.condition)
    return (
        f"The features are frequent, of similar scale ({ratio} to 1) and well conditioned"
        f" (condition number {condition}): any optimizer does, plain SGD included. AdaGrad does no"
        " harm, but per-coordinate rates have little to adapt to."
    )


_TEXTS = {
    "rare": _rare,
    "thin": _thin,
    "scales": _scales,
    "correlated": _correlated,
    "even": _even,
}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
