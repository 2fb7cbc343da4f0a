"""What is in a model: its slots with weight, accumulator and rate, and the features they stand for.

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
from adagrad.ctr.training.pipeline import IDS, Encoder, SlotEncoder

__all__ = ["Slots", "fields", "in_sample", "label", "names", "touched"]


@dataclass(frozen=True)
class Slots:
    """Some slots of a model.

    Attributes
    ----------
    slots : ndarray of int64, shape [n]
        Ascending.
    counts : ndarray of int64, shape [n], or None
        Entries of a sample that are in each.
    weights, accumulators, rates : ndarray of float32, shape [n]
        The linear params, their accumulators, and the rate of the next step.
    """

    slots: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64] | None
    weights: npt.NDArray[np.float32]
    accumulators: npt.NDArray[np.float32]
    rates: npt.NDArray[np.float32]


def touched(model: Model) -> Slots:
    """Return the slots that were ever learned."""
    return _slots(model, np.flatnonzero(_accumulators(model) != _start(model)), None)


def in_sample(model: Model, x: Examples) -> Slots:
    """Return the slots of some examples, with how often each occurs there."""
    slots, counts = np.unique(x.slots, return_counts=True)
    return _slots(model, slots.astype(np.int64), counts)


def names(encoder: Encoder, sample: pa.RecordBatch) -> dict[int, list[tuple[str, Any]]]:
    """Return what is in each slot, of the values in a sample: pairs of field and value."""
    if not isinstance(encoder, SlotEncoder):
        found: dict[int, list[tuple[str, Any]]] = encoder.inverse(sample)  # type: ignore[attr-defined]
        return found
    ids = np.unique(sample.column(IDS).flatten().to_numpy())
    of_slot: dict[int, list[tuple[str, Any]]] = {}
    for slot, name in zip(encoder.slots(ids).tolist(), ids.tolist(), strict=True):
        of_slot.setdefault(slot, []).append(("id", name))
    return of_slot


def fields(encoder: Encoder) -> Callable[[int], str]:
    """Return what tells the fields that may be in a slot, which share its region, as text."""
    if isinstance(encoder, SlotEncoder):
        return "id {}".format
    assert isinstance(encoder, HashingEncoder)
    dealt = encoder.regions()
    size = region_size(2 ** int(encoder.bits))

    def of_slot(slot: int) -> str:
        found = [name for name, regions in dealt.items() if slot // size in regions]
        return " or ".join(found[:4]) + (f" or {len(found) - 4} more" if found[4:] else "")

    return of_slot


def label(values: list[tuple[str, Any]]) -> str:
    """Return what a slot stands for as text: of the values that meet there the first two."""
    shown = [f"{field}={'(missing)' if value is None else value}" for field, value in values[:2]]
    return " | ".join(shown) + (f" | {len(values) - 2} more" if values[2:] else "")


def _start(model: Model) -> np.float32:
    start: np.float32 = np.float32(model.settings.rule.initial_accumulator)
    return start


def _accumulators(model: Model) -> npt.NDArray[np.float32]:
    return model.tables["linear"].state.reshape(-1)


def _slots(
    model: Model, slots: npt.NDArray[np.int64], counts: npt.NDArray[np.int64] | None
) -> Slots:
    import scipy.sparse

    # The learner's own formula, asked for one entry of value 1 at a time.
    one = np.ones(len(slots), np.float32)
    single = scipy.sparse.csr_matrix(
        (one, slots, np.arange(len(slots) + 1)), shape=(len(slots), model.settings.n_slots)
    )
    rates = model.uncertainty(Examples.from_csr(single))
    weights = model.tables["linear"].weights.reshape(-1)
    return Slots(slots, counts, weights[slots], _accumulators(model)[slots], rates)
