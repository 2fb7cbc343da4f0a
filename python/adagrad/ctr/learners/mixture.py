"""The mixture of linear experts that learns with ``lr="auto"``: its memory, and what it has mixed.

`model` holds one. The arithmetic is in ``cpp/ctr/mixture.hpp`` and ``mixing.hpp``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.encoding.matrix_rows import MatrixRows, count_entries
from adagrad.ctr.learners.stored_rows import differing
from adagrad.tables.memory import allocate

__all__ = ["EXPERTS", "Expert", "Mixture", "check_ranges"]

Floats = npt.NDArray[np.float32]
Slots = npt.NDArray[np.uint32]


class Expert(NamedTuple):
    """The kind of an expert.

    Attributes
    ----------
    name : str
    rate, start, power : float or None
        Step size, initial accumulator and the power of the accumulator that divides the step; None
        for the Bayesian expert.
    """

    name: str
    rate: float | None = None
    start: float | None = None
    power: float | None = None


EXPERTS = (
    Expert("adagrad 0.5", 0.5, 1.0, 0.5),
    Expert("adagrad 0.25", 0.25, 0.01, 0.5),
    Expert("adagrad 2", 2.0, 0.01, 0.5),
    Expert("adagrad 1/s", 1.0, 1.0, 1.0),
    Expert("bayes"),
)

_ROW = 16  # floats of a slot: see cpp/ctr/mixture.hpp
_STATE = np.dtype(  # MixingState of cpp/ctr/types.hpp
    [
        ("theta", "f8", 8),
        ("precision", "f8", (6, 8)),
        ("evidence", "f8", 8),
        ("losses", "f8", 8),
        ("weight", "f8"),
        ("largest_weight", "f8"),
        ("entries", "f8"),
        ("scale", "f8"),
    ]
)
_COUNT = 6  # the place in a row of the number of its values
_WEIGHTS, _SUMS = slice(0, 7), slice(8, 13)  # of a row: what is not always zero
ROW_COLUMNS = {"experts": 7, "experts.accumulators": 5}
"""The number of columns of each of `Mixture.row_tensors`."""

_MANY = 1 << 16
"""Entries of a call that predicts so many that storing weights may be worth its time."""

_WORTH = 2
"""Entries to predict for each slot, from which on storing the weights of all slots saves time.

Without them an entry takes three times as long, because its row has four times the bytes."""

_PRIOR = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.5])  # of the guard


_MOST = np.finfo(np.float64).max
_RANGES = {
    **dict.fromkeys(("theta", "precision", "covariance"), (-_MOST, _MOST)),
    **dict.fromkeys(("evidence", "losses", "weight", "entries"), (0.0, _MOST)),
    "largest_weight": (1.0, _MOST),
}


def check_ranges(
    state: Any, whose: str, ranges: Mapping[str, tuple[float, float]] | None = None
) -> None:
    """Raise a ValueError if a number of a state of mixing cannot be.

    Parameters
    ----------
    state : structured scalar
    whose : str
        What the state is of, for the message.
    ranges : dict of str to (float, float), optional
        The smallest and the largest value of fields that only this state has.
    """
    limits = {**_RANGES, **(ranges or {})}
    for name in state.dtype.names:
        least, most = limits[name]
        found = np.ravel(state[name])
        if (wrong := found[~((least <= found) & (found <= most))]).size:
            raise ValueError(f"the {name} of {whose} is {wrong[0]}")


class _Stored(NamedTuple):
    """A linear model that only predicts, and the slope and the offset that it is made with."""

    of: tuple[float, float]
    weights: Floats
    bias: float


class Mixture:
    """Five experts that learn side by side, and the weights of their margins.

    Parameters
    ----------
    n_slots : int
    intercept : bool
        Whether there is a bias.
    half_life : float, optional
        Number of examples, at least 64, in which accumulators and evidence lose half their weight.
        None for never.

    Attributes
    ----------
    rows : ndarray of float32, shape [n_slots, 16]
        State of each slot: five weights, the root of the mean square of its values, their number,
        a zero; then the accumulators of the experts and three zeros. All zero until the slot is
        touched.
    bias : ndarray of float32, shape [16], or None
        The same for the bias.
    state : ndarray, shape [76]
        The mixing weights, their precision, the losses and the counts.
    """

    _stored: _Stored | None
    _predicted: int  # entries, in calls of many, since the mixture last changed
    _changes = 0

    def __init__(self, n_slots: int, intercept: bool, half_life: float | None = None) -> None:
        self.rows = allocate(n_slots * _ROW * 4).view(np.float32).reshape(n_slots, _ROW)
        self.bias = np.zeros(_ROW, np.float32) if intercept else None
        self.state = np.zeros(_STATE.itemsize // 8)
        self._scaled = np.zeros(1)  # an array, so that a file can fill it
        self.half_life = half_life
        start = self._fields
        start["theta"][:5] = 0.2
        np.fill_diagonal(start["precision"], [10.0, 10.0, 10.0, 10.0, 10.0, 100.0])
        start["largest_weight"] = start["scale"] = 1.0
        self._connect()

    @property
    def _fields(self) -> Any:
        return self.state.view(_STATE)[0]

    @property
    def scaled(self) -> bool:
        """Whether an example had values other than 1."""
        return bool(self._scaled[0])

    def _connect(self) -> None:
        self._forget()
        self._learner = _core.MixtureLearner(
            self.rows, len(self.rows), self.bias, self.state, self.half_life or 0.0
        )

    def learn(
        self,
        x: Examples,
        y: Floats,
        weights: Floats | None,
        t: int,
        *,
        mixes: bool,
        threads: int,
        mixed: Floats | None = None,
    ) -> Floats:
        """Learn from examples; see `Model.learn`.

        Parameters
        ----------
        x, y, weights, threads
            As for `Model.learn`.
        t : int
            Number of examples learned before.
        mixes : bool
            Whether the mixing weights learn, too. They must see predictions for new examples.
        mixed : ndarray of float32, shape [n], optional
            Receives the margins of the mixture without its guard.

        Returns
        -------
        ndarray of float32, shape [n]
            The guarded margins: the average of the experts and the mixture, weighted by the
            likelihood that each gave to the labels before.
        """
        scaled = self.scaled or x.values is not None
        try:
            margins = self._learner.learn(x, y, weights, t, scaled, mixes, threads, mixed)
        finally:
            self._forget()
        self._scaled[0] = scaled
        return margins

    def margins(
        self, x: Examples | MatrixRows, slope: float = 1.0, offset: float = 0.0, *, threads: int = 0
    ) -> Floats:
        """Return the margins of the linear model that `linear` returns, shape [n].

        Notes
        -----
        Where many examples are predicted, its weights are stored until the mixture learns: four
        bytes a slot, a sixteenth of `rows`.
        """
        entries = count_entries(x)
        if entries >= _MANY:
            self._predicted += entries
        if self._predicted < _WORTH * len(self.rows):
            return self._learner.margins(x, slope, offset, threads)
        stored = self._stored
        if stored is None or stored.of != (slope, offset):
            changes = self._changes
            stored = _Stored((slope, offset), *self._learner.weights(slope, offset, threads))
            if self._changes == changes:  # no other thread has learned meanwhile
                self._stored = stored
        return _core.stored_margins(stored.weights, stored.bias, x, threads)

    def margin_of_row(
        self, reader: _core.RowReader, row: object, slope: float, offset: float
    ) -> float | None:
        """Return the margin of one row; None if it must be encoded as a batch of one."""
        return self._learner.margin_of_row(reader, row, slope, offset)

    def _forget(self) -> None:
        """Drop the stored weights, because the mixture learns, or is written to from outside."""
        self._stored, self._predicted = None, 0
        self._changes += 1

    def variances(self, x: Examples, *, threads: int = 0) -> Floats:
        """Return the variances of the margins of the Bayesian expert, shape [n]."""
        return self._learner.variances(x, threads)

    def check(self, x: Examples) -> None:
        """Raise a ValueError if the examples do not fit the mixture."""
        self._learner.check(x)

    @property
    def proportions(self) -> npt.NDArray[np.float64]:
        """The mixing weights of the experts and of the bias, shape [8]; a view."""
        theta: npt.NDArray[np.float64] = self._fields["theta"]
        return theta

    def linear(
        self,
        slope: float = 1.0,
        offset: float = 0.0,
        slots: Slots | None = None,
        proportions: npt.NDArray[np.float64] | None = None,
    ) -> tuple[Floats, float]:
        """Return a linear model: the weights of all or some slots, and the bias.

        Its margin is `slope` times that of the mixture, plus `offset`. Other `proportions` mix the
        experts in another way than the mixture has learned.
        """
        if slots is None and proportions is None:
            return self._learner.weights(slope, offset, 0)
        rows = self.rows if slots is None else np.ascontiguousarray(self.rows[slots])
        state = self.state.copy()
        if proportions is not None:
            state.view(_STATE)[0]["theta"][:] = proportions
        some = _core.MixtureLearner(rows, len(rows), self.bias, state, 0.0)
        return some.weights(slope, offset, 0 if slots is None else 1)

    def touched(self) -> Slots:
        """Return the slots that occurred in an example with a value, ascending."""
        new = np.zeros((1, 1), np.float32)
        return differing({"count": self.rows[:, _COUNT : _COUNT + 1]}, lambda *_: new)

    def row_tensors(self) -> dict[str, Floats]:
        """Return the state of each slot as views: weights and values seen, and accumulators."""
        self._forget()
        columns = {"experts": _WEIGHTS, "experts.accumulators": _SUMS}
        return {name: self.rows[:, some] for name, some in columns.items()}

    def halve(self, slots: Slots) -> None:
        """Halve the accumulators of some slots, their scale and those of the bias.

        They are those of a mixture that forgets, in whose other slots this was done before. It
        changes no bit of what they mean.
        """
        self._forget()
        self.rows[slots, _SUMS] *= np.float32(0.5)
        if self.bias is not None:
            self.bias[_SUMS] *= np.float32(0.5)
        self._fields["scale"] *= 0.5

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return the rest of the state, as views."""
        self._forget()
        bias = {} if self.bias is None else {"experts.bias": self.bias}
        return bias | {"experts.scaled": self._scaled, "mixing": self.state}

    @staticmethod
    def tensor_shapes(intercept: bool) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the dtype and the shape of each of `tensors`."""
        bias: dict[str, tuple[str, tuple[int, ...]]] = {"experts.bias": ("float32", (_ROW,))}
        mixing = {
            "experts.scaled": ("float64", (1,)),
            "mixing": ("float64", (_STATE.itemsize // 8,)),
        }
        return {**(bias if intercept else {}), **mixing}

    def check_tensors(self) -> None:
        """Raise a ValueError if what was written into `tensors` is not the state of a mixture."""
        state = self._fields
        check_ranges(state, "its mixing", {"scale": (1.0, 2.0)})
        if (least := state["precision"].diagonal().min()) <= 0.0:
            raise ValueError(f"the precision of its mixing has {least} in its diagonal")
        if self.bias is not None and not np.isfinite(self.bias).all():
            raise ValueError("experts.bias has a number that is not finite")
        if self._scaled[0] not in (0.0, 1.0):
            raise ValueError(f"experts.scaled is {self._scaled[0]}, expected 0 or 1")

    def experts(self) -> list[dict[str, Any]]:
        """Return the experts: what they are, and how much each counts.

        Returns
        -------
        list of dict
            ``name``; ``rate``, ``start`` and ``power`` (None for the Bayesian expert); ``weight``
            in the mixture, which may be negative; ``logloss`` of its own predictions before
            learning, in nats; ``share`` in the guarded prediction, from 0 to 1.
        """
        state, shares = self._fields, self.shares()
        loss = state["losses"] / state["weight"] if state["weight"] else np.full(8, np.nan)
        return [
            expert._asdict()
            | {
                "weight": float(state["theta"][e]),
                "logloss": float(loss[e]),
                "share": float(shares[e]),
            }
            for e, expert in enumerate(EXPERTS)
        ]

    def rate_factor(self, t: int) -> float:
        """Return the factor of the rates of the AdaGrad experts after t examples."""
        entries = float(self._fields["entries"])
        return math.sqrt(t / entries) if entries else 1.0

    def shares(self) -> npt.NDArray[np.float64]:
        """Return the share of each expert, and of the mixture, in the guarded prediction, [6]."""
        state = self._fields
        evidence = state["evidence"][:6]
        likelihood = _PRIOR * np.exp((evidence.min() - evidence) / state["largest_weight"])
        shares: npt.NDArray[np.float64] = likelihood / likelihood.sum()
        return shares

    def logloss(self) -> float:
        """Return the mean progressive logloss of the mixture without its guard, in nats."""
        state = self._fields
        return float(state["losses"][5] / state["weight"]) if state["weight"] else float("nan")

    def copy(self) -> Mixture:
        """Return an independent mixture with the same bits."""
        other = Mixture(len(self.rows), self.bias is not None, self.half_life)
        touched = self.touched()
        other.rows[touched] = self.rows[touched]
        if self.bias is not None and other.bias is not None:
            other.bias[:] = self.bias
        other.state[:] = self.state
        other._scaled[:] = self._scaled
        return other

    def __getstate__(self) -> dict[str, Any]:
        touched = self.touched()
        return {
            "n_slots": len(self.rows),
            "half_life": self.half_life,
            "slots": touched,
            "rows": self.rows[touched],
            "bias": self.bias,
            "state": self.state,
            "scaled": self.scaled,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["n_slots"], state["bias"] is not None, state["half_life"])  # type: ignore[misc]
        self.rows[state["slots"]] = state["rows"]
        if self.bias is not None:
            self.bias[:] = state["bias"]
        self.state[:] = state["state"]
        self._scaled[:] = state["scaled"]
