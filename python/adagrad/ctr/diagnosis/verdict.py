"""The findings of a diagnosis and the verdict on them.

Made by `diagnosis`, printed by `words`. Nothing is read from a log here. The thresholds are rules
of thumb, written here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from adagrad._text import three_digits
from adagrad.ctr.diagnosis.conditioning import Conditioning, Spectrum
from adagrad.ctr.diagnosis.occupancy import Estimate

__all__ = ["RARE", "Diagnosis", "Quality", "TableSize", "Verdict"]

RARE = 10
"""A feature that occurs at most this often is rare."""

RARE_SHARE = 0.5
"""From this share on, features are mostly rare, or entries mostly those of rare features."""

SPREAD = 10.0
"""From this ratio on, gradient scales (99 % over 1 %) differ, and rescaling helps the condition
number."""

ILL = 1000.0
"""From this value on, a condition number is large."""

FEW_ROWS = 100
"""With fewer rows, being rare means nothing."""


@dataclass(frozen=True)
class TableSize:
    """The size of a table that is large enough.

    Attributes
    ----------
    bits : int
        The table has ``2**bits`` slots. This is the least number from 8 to 32 with which at most a
        tenth of the features share a slot, or in which every id of a libsvm log is its own slot.
    sharing : float
        Share of the features that share a slot, expected for a uniform hash:
        :math:`1 - (1 - 1/m)^{n-1}` for n features in m slots; 0 if ids are slots.
    bytes : dict of str to int
        Size of an `adagrad.Table` with one param and one accumulator per slot, by their dtypes.
    """

    bits: int
    sharing: float
    bytes: dict[str, int]


@dataclass(frozen=True)
class Quality:
    """How well ``LogisticRegression()`` predicts the first rows.

    Attributes
    ----------
    rows : int
        Number of these rows.
    logloss, normalized_entropy : float
        Quality of the predictions, each made before its row was learned.
    """

    rows: int
    logloss: float
    normalized_entropy: float


@dataclass(frozen=True)
class Verdict:
    """Whether per-coordinate rates help.

    Attributes
    ----------
    kind : {"rare", "thin", "scales", "correlated", "even"}
        The first of these that applies.

        ``"rare"``
            Most features are rare (`RARE`, `RARE_SHARE`), and most entries belong to frequent
            ones. This is what AdaGrad is made for.
        ``"thin"``
            Most features are rare, and most entries belong to them.
        ``"scales"``
            The ratio of gradient scales, or the gain in condition number, reaches `SPREAD`.
        ``"correlated"``
            The condition number after rescaling reaches `ILL`.
        ``"even"``
            None of the above.
    helps : bool
        True for "rare" and "scales".
    text : str
        A paragraph that explains the verdict.
    """

    kind: str
    helps: bool
    text: str


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The findings of a diagnosis.

    An `Estimate` is a value and its standard error, which is 0 if the value was counted.

    Attributes
    ----------
    rows, entries : int
        Size of the stream; an entry is a value that is not 0.
    positive : float or None
        Share of the rows that are positive; None without labels.
    features : Estimate
        Number of distinct features.
    seen_once, rare : Estimate
        Share of the features that occur once, and at most ten times.
    rare_entries : Estimate
        Share of the entries that belong to these rare features.
    zipf_slope : float or None
        Slope of a straight line through log count over log rank. It is fitted by least squares to
        up to 50 ranks, evenly spaced in log rank from 10 to 1,000 or the last rank. None with fewer
        than 20 features.
    scales : tuple of float
        The 1 %, 50 % and 99 % quantiles, over the features, of the root mean square of their
        gradient. This is the gradient of the logloss at :math:`w = 0` over all rows. Every
        prediction is 1/2 there, so it is :math:`x / 2` or :math:`-x / 2`, depending on the label,
        and 0 in rows without the feature.
    conditioning : Conditioning
        Curvature along the most frequent features, at most 256, of the rows 0, `sample_stride`,
        2 `sample_stride`, and so on.
    sample_stride : int
        The least power of two that gives at most 32,768 rows and :math:`2^{22}` entries.
    table : TableSize
        The suggested table.
    quality : Quality or None
        How well a logistic regression predicts the first rows, if they have labels.
    no_quality : str
        Why that is not known; empty if it is.
    ranks, counts, rms : ndarray, shape [k]
        Count and root mean square of the gradient of the features at some ranks, which are evenly
        spaced in log rank.
    verdict : Verdict
        What all this means.
    """

    RARE: ClassVar[int] = RARE

    rows: int
    entries: int
    positive: float | None
    features: Estimate
    seen_once: Estimate
    rare: Estimate
    rare_entries: Estimate
    zipf_slope: float | None
    scales: tuple[float, float, float]
    conditioning: Conditioning
    sample_stride: int
    table: TableSize
    quality: Quality | None
    no_quality: str
    ranks: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    rms: npt.NDArray[np.float64]
    verdict: Verdict = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdict", _verdict(self))

    @property
    def scale_ratio(self) -> float:
        """The 99 % quantile of the gradient scales over the 1 % quantile."""
        return self.scales[2] / self.scales[0]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the curves, for JSON; numbers that are not finite become None."""
        condition = self.conditioning
        everything = {
            "rows": self.rows,
            "entries": self.entries,
            "entries_per_row": self.entries / self.rows,
            "positive": self.positive,
            "features": _estimate(self.features),
            "seen_once": _estimate(self.seen_once),
            "seen_ten_times_or_fewer": _estimate(self.rare),
            "entries_of_rare_features": _estimate(self.rare_entries),
            "zipf_slope": self.zipf_slope,
            "gradient_scale": {
                **dict(zip(("q01", "q50", "q99"), self.scales, strict=True)),
                "ratio": self.scale_ratio,
            },
            "conditioning": {
                "rows": condition.rows,
                "every": self.sample_stride,
                "features": condition.features,
                "rank": condition.rank,
                "before": _spectrum(condition.before),
                "after": _spectrum(condition.after),
            },
            "table": dataclasses.asdict(self.table),
            "quality": None if self.quality is None else dataclasses.asdict(self.quality),
            "no_quality": self.no_quality,
            "verdict": dataclasses.asdict(self.verdict),
        }
        return {name: _finite_or_none(value) for name, value in everything.items()}


def _estimate(x: Estimate) -> dict[str, float]:
    return {"value": x.value, "standard_error": x.error}


def _spectrum(of: Spectrum) -> dict[str, Any]:
    discs = {"lower": of.discs.lower, "upper": of.discs.upper}
    return {"condition_number": of.condition, "gershgorin": discs}


def _finite_or_none(value: Any) -> Any:
    """Replace numbers that are not finite by None, in a tree of dicts."""
    if isinstance(value, dict):
        return {name: _finite_or_none(of) for name, of in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- the verdict --------------------------------------------------------------------------------


def _verdict(found: Diagnosis) -> Verdict:
    kind = _kind(found)
    text = _TEXTS[kind](found)
    if found.rows < FEW_ROWS:
        text += f" All this is based on only {found.rows:,} rows."
    return Verdict(kind, kind in ("rare", "scales"), text)


def _kind(found: Diagnosis) -> str:
    condition = found.conditioning
    if found.rows >= FEW_ROWS and found.rare.value >= RARE_SHARE:
        return "rare" if found.rare_entries.value < RARE_SHARE else "thin"
    if found.scale_ratio >= SPREAD or condition.gain >= SPREAD:
        return "scales"
    return "correlated" if condition.after.condition >= ILL else "even"


def _rare(found: Diagnosis) -> str:
    frequent = _percent(1 - found.rare_entries.value)
    return (
        f"Most features are rare: {_percent(found.seen_once.value)} occur once and"
        f" {_percent(found.rare.value)} at most {RARE} times, while frequent features make up"
        f" {frequent} of the entries. A single learning rate is either too large for the frequent"
        " features or too small for the rare ones. Per-coordinate rates will help: use AdaGrad."
    )


def _thin(found: Diagnosis) -> str:
    entries = _percent(found.rare_entries.value)
    return (
        f"Most features are rare ({_percent(found.rare.value)} occur at most {RARE} times), and"
        f" so are most entries ({entries}), so there is little to learn about any feature. AdaGrad"
        " gives each its full rate, which is the best that an optimizer can do. Coarser features"
        " (groups, bins, fewer ids) would do more."
    )


def _scales(found: Diagnosis) -> str:
    condition = found.conditioning
    parts = []
    if found.scale_ratio >= SPREAD:
        parts.append(f"their gradients differ in scale by {three_digits(found.scale_ratio)} to 1")
    if condition.gain >= SPREAD:
        parts.append(
            f"the condition number falls from {three_digits(condition.before.condition)} to"
            f" {three_digits(condition.after.condition)} when each is rescaled"
        )
    return (
        f"The features are frequent enough, but {' and '.join(parts)}. Per-coordinate rates do this"
        " rescaling during training: AdaGrad will help. If the columns are dense, standardizing"
        " them first would help as well."
    )


def _correlated(found: Diagnosis) -> str:
    after = three_digits(found.conditioning.after.condition)
    return (
        "The features are frequent and of similar scale, but depend on each other: the condition"
        f" number is {after} even after each is rescaled. Per-coordinate rates, AdaGrad's included,"
        " do not cure that. Decorrelate or drop features, or use a second-order method such as"
        " L-BFGS."
    )


def _even(found: Diagnosis) -> str:
    ratio = three_digits(found.scale_ratio)
    condition = three_digits(found.conditioning.before.condition)
    return (
        f"The features are frequent, of similar scale ({ratio} to 1) and well conditioned"
        f" (condition number {condition}). Any optimizer will do, plain SGD included. AdaGrad does"
        " no harm, but per-coordinate rates have little to adapt to."
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
