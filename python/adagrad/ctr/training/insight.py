"""What a model has learned: slots with their weights, accumulators and rates, and their features.

Called by ``adagrad inspect`` and the report. Nothing is drawn or printed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.examples import Examples, region_size
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.logs.libsvm import IDS
from adagrad.ctr.training.encoders import Encoder, SlotEncoder

__all__ = [
    "EXPERT_HEADS",
    "Slots",
    "calibration_groups",
    "deciles",
    "expert_rows",
    "feature_text",
    "features_in_sample",
    "field_names",
    "sampled_slots",
    "trained_slots",
]

_KIND = ("rate", "start", "power")
EXPERT_HEADS = ("expert", *_KIND, "weight", "logloss", "share")

ABOUT_EXPERTS = (
    "With --lr auto, five linear learners train side by side, and the weights with which their"
    " margins are added up are learned, too; a weight may be negative. The model is this mixture:"
    " one linear model. Rate, start and power are the step size of an expert, the start of its"
    " accumulators, and the power of them that divides the step; bayes has a variance for each"
    " weight instead. The logloss is that of predictions before learning. The predictions that are"
    " scored are guarded: an average of the experts and the mixture, in which the share of each"
    " grows with the likelihood that it gave to the labels so far."
)
ABOUT_PAIRS = (
    " The pairs are added to the mixture with a weight of their own, which is 0 while the mixture"
    " alone predicts better. Their logloss is that of the sum, and their share is that of the sum"
    " beside the guarded mixture."
)
"""What `expert_rows` are, for the report."""

MARGIN = 16.0  # the histogram of `Progressive` covers log-odds from -16 to 16

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Slots:
    """Some slots of a model.

    Attributes
    ----------
    slots : ndarray of int64, shape [n]
        Slot numbers, ascending.
    counts : ndarray of int64, shape [n], or None
        Occurrences of each slot in a sample.
    weights : ndarray of float32, shape [n]
        Linear weights.
    accumulators : ndarray of float32, shape [n], or None
        Their accumulators; None for a mixture, each of whose experts has its own.
    rates : ndarray of float32, shape [n]
        Effective learning rates of the next step; for a mixture, the variances of the weights of
        its Bayesian expert.
    """

    slots: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64] | None
    weights: npt.NDArray[np.float32]
    accumulators: npt.NDArray[np.float32] | None
    rates: npt.NDArray[np.float32]


def calibration_groups(board: Progressive, groups: int) -> tuple[Doubles, Doubles, Doubles]:
    """Cut predictions into groups of equal weight, by prediction.

    Returns
    -------
    predicted, observed, weight : ndarray of float64, shape [at most groups]
        Mean prediction, share of positives, and total weight of each group. A prediction counts as
        the middle of its histogram bin, which is 1/1024 wide in log-odds.
    """
    both = board.bins.sum(axis=0)
    p = 1 / (1 + np.exp(-_margins(both.size)))
    # A bin is not split: it belongs to the group of its middle.
    middle = (np.cumsum(both) - 0.5 * both) / max(both.sum(), 1e-300)
    group = np.minimum((middle * groups).astype(np.int64), groups - 1)
    weight = np.bincount(group, both, groups)
    some = weight > 0
    predicted = np.bincount(group, both * p, groups)[some] / weight[some]
    observed = np.bincount(group, board.bins[1], groups)[some] / weight[some]
    return predicted, observed, weight[some].astype(np.float64)


def deciles(board: Progressive) -> list[list[str]]:
    """Return ten groups of predictions as texts, by prediction.

    Each has its weight, mean prediction, share of positives, and the ratio of the two.
    """
    return [
        [
            f"{weight:,.0f}",
            _percent(predicted),
            _percent(observed),
            f"{predicted / observed:.3f}" if observed else "-",
        ]
        for predicted, observed, weight in zip(
            *(array.tolist() for array in calibration_groups(board, 10)), strict=True
        )
    ]


def _percent(share: float) -> str:
    """Return a share with three digits, zeros included, so that a column of them is even."""
    return f"{100 * share:#.3g} %".replace(". %", " %")


def expert_rows(model: Model) -> list[list[str]]:
    """Return the experts of a mixture as texts, in the order of `EXPERT_HEADS`; none without one.

    Two lines follow: the mixture, and the guarded mixture whose predictions are scored. Between
    them are the pairs of a factorization machine, with the logloss of the mixture and the pairs.
    """
    if model.mixture is None:
        return []
    experts = model.mixture.experts()
    rows = [_expert_row(expert) for expert in experts]
    nothing = [""] * (len(_KIND) + 1)
    share = 1.0 - sum(expert["share"] for expert in experts)
    guarded = model.progressive.metrics()["logloss"]
    pairs = [] if model.pair_mixing is None else [_expert_row(model.pair_mixing.expert())]
    return [
        *rows,
        ["mixture", *nothing, f"{model.mixture.logloss():.5f}", f"{100 * share:.1f} %"],
        *pairs,
        ["guarded", *nothing, f"{guarded:.5f}", ""],
    ]


def _expert_row(expert: dict[str, Any]) -> list[str]:
    return [
        expert["name"],
        *("-" if expert[name] is None else f"{expert[name]:g}" for name in _KIND),
        f"{expert['weight']:+.3f}",
        f"{expert['logloss']:.5f}",
        f"{100 * expert['share']:.1f} %",
    ]


def trained_slots(model: Model) -> Slots:
    """Return the slots that received a gradient. O(slots of the model)."""
    if model.mixture is not None:
        return _slots(model, model.mixture.touched().astype(np.int64), None)
    start = np.float32(model.settings.fixed_rule.initial_accumulator)
    return _slots(model, np.flatnonzero(_accumulators(model) != start), None)


def sampled_slots(model: Model, x: Examples) -> Slots:
    """Return the slots of some examples, with how often each occurs there."""
    slots, counts = np.unique(x.slots, return_counts=True)
    return _slots(model, slots.astype(np.int64), counts)


def features_in_sample(
    encoder: Encoder, sample: pa.RecordBatch
) -> dict[int, list[tuple[str, Any]]]:
    """Return the features of a sample by slot, as pairs of field and value."""
    if not isinstance(encoder, SlotEncoder):
        found: dict[int, list[tuple[str, Any]]] = encoder.inverse(sample)  # type: ignore[attr-defined]
        return found
    ids = np.unique(sample.column(IDS).flatten().to_numpy())
    by_slot: dict[int, list[tuple[str, Any]]] = {}
    for slot, id_ in zip(encoder.slots(ids).tolist(), ids.tolist(), strict=True):
        by_slot.setdefault(slot, []).append(("id", id_))
    return by_slot


def field_names(encoder: Encoder) -> Callable[[int], str]:
    """Return a function from a slot to the fields whose features may be there, as text."""
    if isinstance(encoder, SlotEncoder):
        return "id {}".format
    assert isinstance(encoder, HashingEncoder)
    if not hasattr(encoder, "fields_"):  # the model learned from Examples
        return "slot {}".format
    regions_of = encoder.regions()
    size = region_size(2 ** int(encoder.bits))

    def of_slot(slot: int) -> str:
        found = [name for name, regions in regions_of.items() if slot // size in regions]
        return " or ".join(found[:4]) + (f" or {len(found) - 4} more" if found[4:] else "")

    return of_slot


def feature_text(features: list[tuple[str, Any]]) -> str:
    """Return the features of a slot as text: the first two, and the number of further ones."""
    shown = [f"{field}={_value_text(value)}" for field, value in features[:2]]
    return " | ".join(shown) + (f" | {len(features) - 2} more" if features[2:] else "")


def _value_text(value: Any) -> str:
    if isinstance(value, tuple):  # of a cross
        return "*".join(map(_value_text, value))
    return "(missing)" if value is None else str(value)


def _accumulators(model: Model) -> npt.NDArray[np.float32]:
    return model.tables["linear"].state.reshape(-1)


def _slots(
    model: Model, slots: npt.NDArray[np.int64], counts: npt.NDArray[np.int64] | None
) -> Slots:
    import scipy.sparse

    # The uncertainty of an example with one entry of value 1 is the rate of its slot, or the
    # variance of its weight and of the bias. The last example has only the bias.
    n = len(slots)
    starts = np.append(np.arange(n + 1), n)
    shape = n + 1, model.settings.n_slots
    single = scipy.sparse.csr_matrix((np.ones(n, np.float32), slots, starts), shape=shape)
    uncertainty = model.uncertainty(Examples.from_csr(single))
    rates = uncertainty[:-1] - uncertainty[-1]
    weights, _ = model.linear()
    accumulators = None if model.mixture is not None else _accumulators(model)[slots]
    return Slots(slots, counts, weights[slots], accumulators, rates)


def _margins(bins: int) -> Doubles:
    width = 2 * MARGIN / bins
    return np.asarray(-MARGIN + width * (np.arange(bins) + 0.5), np.float64)
