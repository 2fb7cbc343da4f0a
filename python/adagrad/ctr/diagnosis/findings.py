"""What a diagnosis finds: numbers with how they were taken, and the verdict on them.

Made by `diagnosis`, shown by ``adagrad diagnose``. Nothing is computed here.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from adagrad.ctr.diagnosis.conditioning import Conditioning
from adagrad.ctr.diagnosis.occupancy import Estimate
from adagrad.ctr.diagnosis.verdict import RARE, Verdict, verdict

__all__ = ["Diagnosis", "Rate", "TableSize"]


@dataclass(frozen=True)
class TableSize:
    """A table that is large enough.

    Attributes
    ----------
    bits : int
        It has ``2**bits`` slots: the least number from 8 to 32 with which at most a tenth of the
        features share a slot, or in which every id of a libsvm log is its own slot.
    sharing : float
        Share of the features that share a slot, expected under a uniform hash:
        ``1 - (1 - 1/m)^(n-1)`` for n features in m slots; 0 where ids are slots.
    bytes : dict of str to int
        Of an `adagrad.Table` with one param and one accumulator a slot, by their dtypes.
    """

    bits: int
    sharing: float
    bytes: dict[str, int]


@dataclass(frozen=True)
class Rate:
    """The learning rate that did best on the first rows.

    Attributes
    ----------
    lr : float
        As ``LogisticRegression(lr="auto")`` chooses it.
    rows : int
        So many, from the first.
    logloss, normalized_entropy : float
        Of the predictions made on them, each before it was learned from.
    """

    lr: float
    rows: int
    logloss: float
    normalized_entropy: float


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was found. An `Estimate` is a value and its standard error, 0 where it was counted.

    Attributes
    ----------
    rows, entries : int
        Of the stream; an entry is a value that is not 0.
    positive : float or None
        Share of the rows; None without labels.
    features : Estimate
        Different features.
    seen_once, rare : Estimate
        Share of the features that occur once, and ten times or fewer.
    rare_entries : Estimate
        Share of the entries that belong to these rare features.
    zipf_slope : float or None
        Of a straight line fitted by least squares to log count over log rank, at up to 50 ranks
        evenly spaced in log rank from 10 to 1,000 or the last; None with fewer than 20 features.
    scales : tuple of float
        1 %, 50 % and 99 % quantiles over the features of their gradient's root mean square.
        The gradient is that of the logloss at w = 0 over all rows: every prediction is 1/2 there,
        so it is ``x / 2`` or ``-x / 2`` whatever the label, and 0 in rows without the feature.
    conditioning : Conditioning
        Of the rows 0, `sample_stride`, 2 `sample_stride`, ..., and the features that are most
        frequent in them, 256 at most.
    sample_stride : int
        The least power of two with which that is no more than 32,768 rows and 2^22 entries.
    table : TableSize
        The suggestion.
    rate : Rate or None
        The suggestion; None where there is none.
    no_rate : str
        Why.
    ranks, counts, rms : ndarray, shape [k]
        At some ranks, evenly spaced in log rank: how often that feature occurs, and its gradient's
        root mean square.
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
    rate: Rate | None
    no_rate: str
    ranks: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    rms: npt.NDArray[np.float64]
    verdict: Verdict = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdict", verdict(self))

    @property
    def scale_ratio(self) -> float:
        """The 99 % quantile of the gradient scales over the 1 % quantile."""
        return self.scales[2] / self.scales[0]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the curves as what JSON can hold; None for what is not finite."""
        condition = self.conditioning

        def estimate(x: Estimate) -> dict[str, float]:
            return {"value": x.value, "standard_error": x.error}

        def spectrum(name: str) -> dict[str, Any]:
            of = getattr(condition, name)
            discs = {"lower": of.discs.lower, "upper": of.discs.upper}
            return {"condition_number": of.condition, "gershgorin": discs}

        everything = {
            "rows": self.rows,
            "entries": self.entries,
            "entries_per_row": self.entries / self.rows,
            "positive": self.positive,
            "features": estimate(self.features),
            "seen_once": estimate(self.seen_once),
            "seen_ten_times_or_fewer": estimate(self.rare),
            "entries_of_rare_features": estimate(self.rare_entries),
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
                "before": spectrum("before"),
                "after": spectrum("after"),
            },
            "table": dataclasses.asdict(self.table),
            "rate": None if self.rate is None else dataclasses.asdict(self.rate),
            "no_rate": self.no_rate,
            "verdict": dataclasses.asdict(self.verdict),
        }
        plain: dict[str, Any] = _plain(everything)
        return plain


def _plain(value: Any) -> Any:
    """Return a tree of dicts with None for the numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _plain(of) for name, of in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
