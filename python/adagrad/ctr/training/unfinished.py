"""The last round of a run, which the next run finishes.

A model learns in rounds of up to 64 examples: within a round, no example sees what the others have
taught. The number of all examples decides where a round ends, so a log usually ends within one. A
model file therefore keeps the examples of its last round, and what the model was before them. A run
that begins from it learns them again, together with the examples that complete the round, and so
has the bits of one run over both logs.
"""

from __future__ import annotations

import base64
import dataclasses
import reprlib
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_integer
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.encoding.matrix_rows import examples_of
from adagrad.ctr.learners.labeled import LabeledExamples, joined
from adagrad.ctr.learners.model import Model
from adagrad.ctr.training.curve import ROUND

__all__ = ["Unfinished", "round_start"]

Array = npt.NDArray[Any]

_OF_ROUND = 512
"""How many examples a model has learned per example of a round; see cpp/ctr/rounds.hpp."""

_BINS = "progressive.bins"


def round_start(examples: int) -> int:
    """Return after how many examples the round began that the last of so many examples is in.

    They are as many if the round is complete.
    """
    length = 1
    while length < ROUND and 2 * length * _OF_ROUND <= examples:
        length *= 2
    return examples - examples % length


@dataclasses.dataclass
class Unfinished:
    """The examples of a round, and the state of a model before them.

    Attributes
    ----------
    examples : LabeledExamples
        The examples; their weights are without those of the classes.
    rows : dict of str to ndarray of float32, shape [slots, columns]
        The rows of their slots, ascending, before the round; see `Model.row_tensors`.
    rest : dict of str to ndarray
        The rest of the state; see `Model.tensors`. Of the bins of the progressive metrics, only
        those that the round has changed.
    bins : ndarray of int64
        Which bins these are.
    """

    examples: LabeledExamples
    rows: dict[str, Array]
    rest: dict[str, Array]
    bins: Array

    @classmethod
    def before(cls, model: Model, examples: LabeledExamples) -> Unfinished:
        """Return copies of what a model will change when it learns examples."""
        slots = np.unique(examples_of(examples.x).slots)
        rows = {name: array[slots] for name, array in model.row_tensors().items()}
        rest = {name: array.copy() for name, array in model.tensors().items()}
        return cls(examples, rows, rest, np.arange(rest[_BINS].size))

    def followed_by(self, others: LabeledExamples) -> LabeledExamples:
        """Return the examples with those that follow them."""
        parts = [self.examples, others]
        if self.examples.weights is not None or others.weights is not None:
            ones = (np.ones(len(part), np.float32) for part in parts)
            parts = [
                LabeledExamples(part.x, part.y, one if part.weights is None else part.weights)
                for part, one in zip(parts, ones, strict=True)
            ]
        return joined(parts)

    def undo(self, model: Model) -> None:
        """Take the examples back from a model that has learned them.

        Raises
        ------
        ValueError
            The state is not that of a model.
        """
        slots, mixture = np.unique(examples_of(self.examples.x).slots), model.mixture
        scale = 1.0 if mixture is None else float(mixture._fields["scale"])
        for name, array in model.row_tensors().items():
            array[slots] = self.rows[name]
        for name, array in model.tensors().items():
            if name == _BINS:
                array.reshape(-1)[self.bins] = self.rest[name].reshape(-1)
            else:
                array[...] = self.rest[name]
        model.check_tensors()
        model.examples -= len(self.examples)
        if mixture is not None and scale < float(mixture._fields["scale"]):
            # All accumulators were halved within the round, and stay so.
            mixture.halve(slots)

    def to_json(self, model: Model) -> dict[str, Any]:
        """Return what `from_json` reads, for a model that has learned the examples."""
        now, old = model.tensors()[_BINS].reshape(-1), self.rest[_BINS].reshape(-1)
        bins = self.bins[now[self.bins] != old]
        rest = {**self.rest, _BINS: old[np.searchsorted(self.bins, bins)]}
        x, y, weights = examples_of(self.examples.x), self.examples.y, self.examples.weights
        arrays = {"slots": x.slots, "bounds": x.bounds, "labels": y, "bins": bins}
        optional = {"values": x.values, "fields": x.fields, "weights": weights}
        arrays |= {name: array for name, array in optional.items() if array is not None}
        arrays |= self.rows | rest
        sizes = {"examples": len(x), "n_fields": x.n_fields}
        return sizes | {name: _packed(array) for name, array in arrays.items()}

    @classmethod
    def from_json(cls, found: Any, model: Model) -> Unfinished:
        """Return what `to_json` wrote.

        Raises
        ------
        TypeError, ValueError, IndexError
            It is damaged.
        """
        if not isinstance(found, dict) or {
            type(found.get(name)) for name in ("examples", "n_fields")
        } != {int}:
            raise TypeError(f"the last round is {reprlib.repr(found)}")
        n, n_fields = found["examples"], found["n_fields"]
        if not 0 < n < min(ROUND, model.examples + 1):
            raise ValueError(f"the last round has {n} examples")
        optional = {
            name: _unpacked(found, name, dtype) if name in found else None
            for name, dtype in (("values", "<f4"), ("fields", "<u2"), ("weights", "<f4"))
        }
        x = Examples(
            _unpacked(found, "slots", "<u4"),
            _unpacked(found, "bounds", "<u4"),
            model.settings.n_slots,
            n,
            values=optional["values"],
            fields=optional["fields"],
            n_fields=check_integer("n_fields", n_fields, 0, 1 << 16),
        )
        count = len(np.unique(x.slots))
        rows = {
            name: _unpacked(found, name, "<f4", (count, array.shape[1]))
            for name, array in model.row_tensors().items()
        }
        bins = _unpacked(found, "bins", "<i8")
        rest = {}
        for name, array in model.tensors().items():
            shape = bins.shape if name == _BINS else array.shape
            rest[name] = _unpacked(found, name, array.dtype.str, shape)
            if name == _BINS and len(bins) and not 0 <= bins.min() <= bins.max() < array.size:
                raise ValueError("the last round has a bin that does not exist")
        if not all(np.isfinite(array).all() for array in rows.values()):
            raise ValueError("the last round has the state of a slot that is not finite")
        y, weights = _unpacked(found, "labels", "<f4", (n,)), optional["weights"]
        if not ((y == 0) | (y == 1)).all():
            raise ValueError("a label of the last round is neither 0 nor 1")
        if weights is not None and not (weights.shape == (n,) and (weights > 0).all()):
            raise ValueError("the weights of the last round are damaged")
        return cls(LabeledExamples(x, y, weights), rows, rest, bins)


def _packed(array: Array) -> list[Any]:
    data = np.ascontiguousarray(array)
    return [data.dtype.str, list(data.shape), base64.b64encode(data.tobytes()).decode()]


def _unpacked(found: Any, name: str, dtype: str, shape: tuple[int, ...] | None = None) -> Array:
    """Return an array of a dtype and, unless it has one axis of any length, a shape."""
    kind, sizes, text = found[name]
    data = np.frombuffer(base64.b64decode(text, validate=True), dtype)
    if kind != dtype or list(shape or data.shape) != sizes:
        raise ValueError(f"the {name} of the last round are damaged")
    array: Array = data.reshape(sizes).copy()
    return array
