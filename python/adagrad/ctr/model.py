"""What a click learner learns: tables, bias and counts, trained and asked on batches of examples.

The estimators put scikit-learn's interface on it, `files` writes it, the command line streams
through it. It knows neither scikit-learn nor files.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from adagrad import _core
from adagrad.ctr.examples import Examples
from adagrad.ctr.progressive import Progressive
from adagrad.rule import Rule
from adagrad.table import Table

__all__ = ["ONE_BY_ONE", "Kind", "Model", "Settings"]

ONE_BY_ONE = 1024
"""So many first examples of a model are learned one by one, later ones in rounds of up to 64."""

Kind = Literal["lr", "fm", "ffm"]
Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides a model before its first example.

    Attributes
    ----------
    kind : {"lr", "fm", "ffm"}
        Logistic regression, factorization machine, field-aware factorization machine.
    n_slots : int
        Rows of its tables.
    rule : Rule
        With the rate, and L2 as coupled weight decay.
    l1 : float
        L1 penalty of linear params.
    intercept : bool
        Whether there is a bias.
    factors : int
        Length of the vectors of a factorization machine; 0 for "lr".
    n_fields : int
        Fields of a field-aware one; 0 for the others.
    init_scale : float
        Standard deviation of the first factors.
    normalize : bool
        Divide a field-aware machine's examples by their length.
    seed : int
        Of the first factors.
    """

    kind: Kind
    n_slots: int
    rule: Rule
    l1: float = 0.0
    intercept: bool = True
    factors: int = 0
    n_fields: int = 0
    init_scale: float = 0.0
    normalize: bool = False
    seed: int = 0


class Model:
    """A model and what it has seen.

    Parameters
    ----------
    settings : Settings
        What to start from.

    Attributes
    ----------
    settings : Settings
        As given.
    tables : dict of str to Table
        Params and accumulators, by name: "linear" [n_slots], and of factorization machines
        "factors" or "factors0" and "factors1".
    bias : ndarray of float32, shape [2], or None
        The bias and its accumulator.
    examples : int
        How many it has learned from.
    progressive : Progressive
        How good the predictions were that came before learning.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tables = _tables(settings)
        start = settings.rule.initial_accumulator
        self.bias = np.array([0.0, start], np.float32) if settings.intercept else None
        self.examples = 0
        self.progressive = Progressive()
        self._learner = _learner(settings, self.tables, self.bias)

    def learn(
        self,
        x: Examples,
        y: Floats,
        weights: Floats | None = None,
        *,
        threads: int = 0,
        count: bool = True,
    ) -> Floats:
        """Predict each example, then learn from it, in order.

        Parameters
        ----------
        x : Examples
            Of as many slots as the model has.
        y : ndarray of float32, shape [n]
            0 or 1.
        weights : ndarray of float32, shape [n], optional
            Factors of the gradients.
        threads : int, default 0
            At most so many; `adagrad.get_num_threads()` where 0. The bits do not depend on it.
        count : bool, default True
            Whether the predictions count in `progressive`: not where the examples are old.

        Returns
        -------
        ndarray of float32, shape [n]
            The margins that were predicted.
        """
        margins = self._learner.learn(x, y, weights, self.examples, ONE_BY_ONE, threads)
        self.examples += len(x)
        if count:
            self.progressive.add(margins, y, weights)
        return margins

    def margins(self, x: Examples, *, threads: int = 0) -> Floats:
        """Return the log-odds of examples, [n]."""
        return self._learner.margins(x, threads)

    def copy(self) -> Model:
        """Return a model of the same bits in memory of its own."""
        other = Model.__new__(Model)
        other.settings, other.examples = self.settings, self.examples
        other.tables = {name: table.copy() for name, table in self.tables.items()}
        other.bias = None if self.bias is None else self.bias.copy()
        other.progressive = Progressive.restore(self.progressive.state())
        other._learner = _learner(other.settings, other.tables, other.bias)
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_learner"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.bias is not None and not self.bias.flags.writeable:  # joblib maps what it loads
            self.bias = self.bias.copy()
        self._learner = _learner(self.settings, self.tables, self.bias)

    def uncertainty(self, x: Examples, *, threads: int = 0) -> Floats:
        """Return the sums of effective rates, [n]; see `LogisticRegression.uncertainty`."""
        assert isinstance(self._learner, _core.LinearLearner)
        return self._learner.rates(x, self.examples, threads)


def _tables(settings: Settings) -> dict[str, Table]:
    return {"linear": Table(settings.n_slots, rule=settings.rule)}


def _learner(settings: Settings, tables: dict[str, Table], bias: Floats | None) -> _core.Learner:
    rule = settings.rule
    return _core.LinearLearner(
        tables["linear"]._memory,
        settings.n_slots,
        bias,
        rule._compiled,
        rule.lr,
        rule.lr_decay,
        settings.l1,
    )
