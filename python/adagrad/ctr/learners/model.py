"""The model of a click learner: tables, bias and counts, which learn from batches of examples.

The estimators, the training loop, the demo and the cluster train it, and `file_format` writes it.
It knows neither scikit-learn nor files.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.encoding.matrix_rows import MatrixRows, examples_of
from adagrad.ctr.learners.compiled import learner, linear_learner
from adagrad.ctr.learners.layouts import layouts, new_rows, tensor_of
from adagrad.ctr.learners.mixture import ROW_COLUMNS, Mixture
from adagrad.ctr.learners.pairs import MIXTURE_ALONE, Exported, PairMixing
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.learners.settings import Settings
from adagrad.ctr.learners.stored_rows import differing
from adagrad.tables.table import Table

__all__ = ["NO_FIELDS", "Model"]

Floats = npt.NDArray[np.float32]
Slots = npt.NDArray[np.uint32]
Memory = Mapping[str, npt.NDArray[Any] | None]

NO_FIELDS = (
    "X has no fields, but a field-aware machine needs them: pass a matrix, whose columns are its"
    " fields, set encoder, or make Examples with fields"
)


class Model:
    """A model, the number of examples it has learned, and its progressive metrics.

    Parameters
    ----------
    settings : Settings
        What to begin with.

    Attributes
    ----------
    settings : Settings
        As given, or as last retuned.
    tables : dict of str to Table
        Params and accumulators by name: "linear" [n_slots]; for a factorization machine also
        "factors" [n_slots, factors]; for a field-aware one "factors0" and possibly "factors1", with
        `factors` numbers for each field of the part. With penalties, the params of "linear" are
        the z of FTRL-proximal (cpp/ctr/proximal.hpp): see `linear`. Beside a mixture there is no
        table "linear", and factors have the rule `PAIR_RULE`.
    mixture : Mixture or None
        The linear part of a model without a rule.
    pair_mixing : PairMixing or None
        How its margin and the pairs are combined, in a factorization machine without a rule.
    bias : ndarray of float32, shape [2], or None
        The bias and its accumulator; None as well for a mixture, which has its own.
    examples : int
        Number of examples learned, in all passes.
    progressive : Progressive
        Metrics of the predictions made before learning.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.examples = 0
        self.progressive = Progressive()
        self.mixture: Mixture | None = None
        self.pair_mixing: PairMixing | None = None
        self.tables = {
            name: Table(settings.n_slots, rule=settings.rule_of(name), **layout)
            for name, layout in layouts(settings).items()
        }
        self.bias: Floats | None = None
        if settings.rule is None:
            self.mixture = Mixture(settings.n_slots, settings.intercept, settings.half_life)
            if settings.kind != "lr":
                self.pair_mixing = PairMixing(settings.intercept, settings.half_life)
        elif settings.intercept:
            self.bias = np.array([0.0, settings.rule.initial_accumulator], np.float32)
        self._connect()

    def _connect(self) -> None:
        if self.mixture is None or self.pair_mixing is not None:
            self._learner = learner(self.settings, self._memory, self.bias)

    @property
    def _memory(self) -> Memory:
        return {name: table._memory for name, table in self.tables.items()}

    def learn(
        self,
        x: Examples | MatrixRows,
        y: Floats,
        weights: Floats | None = None,
        *,
        threads: int = 0,
        count: bool = True,
    ) -> Floats:
        """Predict each example, then learn from it, in order.

        Parameters
        ----------
        x : Examples or MatrixRows
            n examples with as many slots as the model.
        y : ndarray of float32, shape [n]
            Labels, 0 or 1.
        weights : ndarray of float32, shape [n], optional
            Factors of the gradients, above 0: see `LabeledExamples.with_weight`.
        threads : int, default 0
            The most threads to use; 0 means `adagrad.get_num_threads()`. The bits do not depend on
            it.
        count : bool, default True
            Whether the predictions count in `progressive`, and teach the weights of a mixture's
            experts. False for examples learned before.

        Returns
        -------
        ndarray of float32, shape [n]
            The predicted margins, as trained; those of a mixture are guarded.
        """
        x = examples_of(x)
        t, mixture, pair_mixing = self.examples, self.mixture, self.pair_mixing
        if mixture is None:
            margins = self._learner.learn(x, y, weights, t, threads)
        elif pair_mixing is None:
            margins = mixture.learn(x, y, weights, t, mixes=count, threads=threads)
        else:
            self._learner.check(x)  # before anything learns
            linear = np.empty(len(x), np.float32)
            guarded = mixture.learn(x, y, weights, t, mixes=count, threads=threads, mixed=linear)
            # Margins of the mixture do not depend on the pairs, so these may learn after it.
            pairs = self._learner.learn(x, y, weights, t, threads, linear)
            margins = pair_mixing.mix(linear, guarded, pairs, y, weights, learns=count)
        self.examples += len(x)
        if count:
            self.progressive.add(margins, y, weights)
        return margins

    @property
    def _exported(self) -> Exported:
        """What predicts beside a mixture."""
        return MIXTURE_ALONE if self.pair_mixing is None else self.pair_mixing.exported()

    def margins(self, x: Examples | MatrixRows, *, threads: int = 0) -> Floats:
        """Return the margins (log-odds) of n examples: float32, shape [n].

        They are of examples whose negatives are all kept: those of `margins_as_trained`, plus the
        offset of the settings.
        """
        margins = self.margins_as_trained(x, threads=threads)
        if self.settings.negative_rate != 1.0:
            margins += np.float32(self.settings.offset)
        return margins

    def margins_as_trained(self, x: Examples | MatrixRows, *, threads: int = 0) -> Floats:
        """Return the margins of n examples whose negatives are kept at the rate of training."""
        self._check_fields(x)  # also while the pairs are left out
        if self.mixture is None:
            if self.settings.kind == "lr" and not self.settings.is_penalized:
                memory = self._memory["linear"]
                assert memory is not None
                bias = 0.0 if self.bias is None else float(self.bias[0])
                return _core.stored_margins(memory.view(np.float32), bias, x, threads)
            return self._learner.margins(examples_of(x), threads)
        slope, offset, scale = self._exported
        if scale:
            x = examples_of(x)
        linear = self.mixture.margins(x, slope, offset, threads=threads)
        return linear + scale * self._learner.margins(x, threads) if scale else linear

    def margin_of_row(self, reader: _core.RowReader, row: object) -> float | None:
        """Return the margin of one row; None if it must be encoded as a batch of one.

        Parameters
        ----------
        reader : _core.RowReader
            Of as many slots as the model.
        row : dict
            Values by column.
        """
        if self.mixture is None:
            margin = self._learner.margin_of_row(reader, row)
        else:
            slope, offset, scale = self._exported
            margin = self.mixture.margin_of_row(reader, row, slope, offset)
            if scale and margin is not None:
                pairs = self._learner.margin_of_row(reader, row)
                assert pairs is not None
                margin = float(np.float32(margin) + scale * np.float32(pairs))
        if margin is None or self.settings.negative_rate == 1.0:
            return margin
        return float(np.float32(margin) + np.float32(self.settings.offset))

    def check(self, x: Examples | MatrixRows) -> None:
        """Raise a ValueError if the examples do not fit the model."""
        self._check_fields(x)
        if isinstance(x, MatrixRows):
            x = x[:0].examples()  # whose entries are right
        if self.mixture is not None:
            self.mixture.check(x)
        if self.mixture is None or self.pair_mixing is not None:
            self._learner.check(x)

    def _check_fields(self, x: Examples | MatrixRows) -> None:
        """Raise a ValueError if a field-aware model cannot tell the fields of the entries."""
        n_fields = self.settings.n_fields
        if self.settings.kind != "ffm" or (isinstance(x, Examples) and x.fields is not None):
            return
        if x.n_fields == 0:
            raise ValueError(NO_FIELDS)
        if x.n_fields != n_fields:
            raise ValueError(
                f"X is a matrix of {x.n_fields} columns, each a field of its own, but the model has"
                f" {n_fields} fields: pass Examples with these fields, or columns for an encoder"
            )

    def linear(self, slots: Slots | None = None) -> tuple[Floats, float]:
        """Return the weights of the linear part, of all or some slots, and the trained bias or 0.

        The weights are a view of the table, unless they are computed: those of a mixture, and of a
        model with penalties.
        """
        if self.mixture is not None:
            slope, offset, _ = self._exported
            return self.mixture.linear(slope, offset, slots)
        bias = 0.0 if self.bias is None else float(self.bias[0])
        if self.settings.is_penalized:
            return linear_learner(self.settings, self._memory).weights(slots), bias
        weights = self.tables["linear"].weights.reshape(-1)
        return weights if slots is None else weights[slots], bias

    def experts(self) -> list[dict[str, Any]]:
        """Return what a model without a rule mixes: see `ClickLearner.experts_`."""
        found = [] if self.mixture is None else self.mixture.experts()
        return found if self.pair_mixing is None else [*found, self.pair_mixing.expert()]

    def retune(self, settings: Settings) -> None:
        """Continue with another rate and other penalties; all other settings must be equal."""
        if self.mixture is None:
            self._learner = learner(settings, self._memory, self.bias)  # or raise
        self.settings = settings

    def copy(self) -> Model:
        """Return an independent model with the same bits."""
        other = Model.__new__(Model)
        other.settings, other.examples = self.settings, self.examples
        other.tables = {name: table.copy() for name, table in self.tables.items()}
        other.bias = None if self.bias is None else self.bias.copy()
        other.progressive = Progressive.restore(self.progressive.state())
        other.mixture = None if self.mixture is None else self.mixture.copy()
        other.pair_mixing = None if self.pair_mixing is None else self.pair_mixing.copy()
        other._connect()
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_learner"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.bias is not None:  # joblib may have mapped it, and Table copies its own memory
            self.bias = np.array(self.bias, subok=False)
        self._connect()

    def row_tensors(self) -> dict[str, Floats]:
        """Return the state of each slot by name: views of the model, shape [n_slots, c]."""
        rows = {} if self.mixture is None else self.mixture.row_tensors()
        for name, table in self.tables.items():
            assert table._memory is not None
            rows[tensor_of(name, self.settings)] = table._memory.view(np.float32).reshape(
                table.rows, -1
            )
        return rows

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return the rest of the state by name: views of the model."""
        mixture = {} if self.mixture is None else self.mixture.tensors()
        pairs = {} if self.pair_mixing is None else {"mixing.pairs": self.pair_mixing.state}
        bias = {} if self.bias is None else {"bias": self.bias}
        return mixture | pairs | bias | self.progressive.state()

    def check_tensors(self) -> None:
        """Raise a ValueError if what was written into `tensors` is not the state of a model."""
        self.progressive.check()
        if self.mixture is not None:
            self.mixture.check_tensors()
        if self.pair_mixing is not None:
            self.pair_mixing.check_tensors()

    def touched(self) -> Slots:
        """Return the slots whose state does not have the bits of a new model's, ascending."""
        found = [] if self.mixture is None else [self.mixture.touched()]
        if self.tables:
            tensors = self.row_tensors().items()
            rows = {name: array for name, array in tensors if name not in ROW_COLUMNS}
            found.append(differing(rows, functools.partial(new_rows, self.settings)))
        return functools.reduce(np.union1d, found)

    def uncertainty(self, x: Examples | MatrixRows, *, threads: int = 0) -> Floats:
        """Return the uncertainty of n examples, shape [n]; see `ClickLearner.uncertainty`."""
        x = examples_of(x)
        if self.mixture is not None:
            return self.mixture.variances(x, threads=threads)
        linear = linear_learner(self.settings, self._memory, self.bias)
        return linear.rates(x, self.examples, threads)
