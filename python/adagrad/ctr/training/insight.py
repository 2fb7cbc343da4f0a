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
from adagrad.ctr.logs.libsvm import IDS
from adagrad.ctr.training.encoders import Encoder, SlotEncoder

__all__ = [
    "Slots",
    "feature_text",
    "features_in_sample",
    "field_names",
    "sampled_slots",
    "trained_slots",
]


@dataclass(frozen=True)
class Slots:
    """Some slots of a model.

    Attributes
    ----------
    slots : ndarray of int64, shape [n]
        Slot numbers, ascending.
    counts : ndarray of int64, shape [n], or None
        Occurrences of each slot in a sample.
    weights, accumulators, rates : ndarray of float32, shape [n]
        Linear weights, their accumulators, and the effective learning rates of the next step.
    """

    slots: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64] | None
    weights: npt.NDArray[np.float32]
    accumulators: npt.NDArray[np.float32]
    rates: npt.NDArray[np.float32]


def trained_slots(model: Model) -> Slots:
    """Return the slots that received a gradient. O(slots of the model)."""
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

    # The uncertainty of an example with one entry of value 1 is the rate of its slot.
    one = np.ones(len(slots), np.float32)
    single = scipy.sparse.csr_matrix(
        (one, slots, np.arange(len(slots) + 1)), shape=(len(slots), model.settings.n_slots)
    )
    rates = model.uncertainty(Examples.from_csr(single))
    weights, _ = model.linear()
    return Slots(slots, counts, weights[slots], _accumulators(model)[slots], rates)
