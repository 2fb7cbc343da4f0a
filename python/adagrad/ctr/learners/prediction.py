"""What a learner predicts and what it has learned: the part of its interface that changes nothing.

The base class of `ClickLearner`, which learns the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

import adagrad._core as _core
from adagrad.ctr.encoding.described import id_reader, id_row, refused_ids, row_reader
from adagrad.ctr.encoding.inputs import Features
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.validation import InputValidation

__all__ = ["Predictions"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class Predictions(InputValidation):
    """Predictions and fitted attributes of a learner; see `LogisticRegression`."""

    _trained: Model

    @property
    def _model(self) -> Model:
        check_is_fitted(self, "classes_")
        return self._trained

    @property
    def lr_(self) -> float:
        """The fixed learning rate in use. With ``lr="auto"`` there is none: see `experts_`."""
        rule = self._model.settings.rule
        if rule is None:
            raise AttributeError("lr_ is of a fixed rate, but lr='auto' has five: see experts_")
        return rule.lr

    @property
    def experts_(self) -> list[dict[str, Any]]:
        """What ``lr="auto"`` mixes: one dict per expert.

        ``name``, ``rate``, ``start`` and ``power`` say what the expert is; ``weight`` is its factor
        in the model, which may be negative; ``logloss`` the mean of its own progressive loss, in
        nats; ``share`` its posterior probability as the best predictor. The pairs of a
        factorization machine come last.
        """
        if self._model.mixture is None:
            raise AttributeError("experts_ are of lr='auto', but this model has a fixed rate: lr_")
        return self._model.experts()

    @property
    def seed_(self) -> int:
        """The seed in use: `seed`, or the one that `random_state` is or has drawn."""
        check_is_fitted(self, "classes_")
        return self._seed()

    @property
    def n_examples_(self) -> int:
        """Number of examples learned, in all passes; those of weight 0 are not learned."""
        return self._model.examples

    @property
    def n_iter_(self) -> int:
        """Passes made: `n_passes_`, or 1 for a learner that knows only `partial_fit`."""
        check_is_fitted(self, "classes_")
        passes: int = vars(self).get("n_passes_", 1)
        return passes

    @property
    def progressive_(self) -> dict[str, float]:
        """Metrics of the predictions made before learning, over all examples so far.

        ``logloss`` (mean, in nats), ``normalized_entropy``, ``auc`` and ``calibration`` (sum of
        predictions over sum of labels). Later passes over the same examples do not count. Weights
        count, and a `negative_rate` does not: the metrics are of the examples as they are.
        """
        return self._model.progressive.metrics()

    @property
    def intercept_(self) -> Floats:
        """The bias, shape [1]; 0 without one. With a `negative_rate`, plus its logarithm."""
        model = self._model
        return np.array([model.linear()[1] + model.settings.offset], np.float32)

    @property
    def coef_(self) -> Floats:
        """The linear params, shape [1, n_slots].

        At a fixed rate without `l1` and `l2`, a view of the model's table.
        """
        return self._model.linear()[0][None, :]

    def decision_function(self, X: Features) -> Floats:
        """Return the log-odds of the positive class.

        Parameters
        ----------
        X
            As for `fit`.

        Returns
        -------
        ndarray of float32, shape [n]
            With a `negative_rate`, those of examples whose negatives are all kept.
        """
        model = self._model
        return model.margins(self._examples(X, reset=False), threads=self._threads())

    def predict_proba(self, X: Features) -> npt.NDArray[np.float64]:
        """Return the probabilities of both classes, in the order of ``classes_``.

        Parameters
        ----------
        X
            As for `fit`.

        Returns
        -------
        ndarray of float64, shape [n, 2]
        """
        return _core.probabilities(self.decision_function(X), self._threads())

    def predict_one(self, row: Mapping[str, Any]) -> float:
        """Return the probability of the positive class of one row.

        It has the bits of ``predict_proba([row])[0, 1]``, in microseconds.

        Parameters
        ----------
        row : dict
            Values by column, as in the rows of dicts that an encoder takes: a column that it lacks
            is missing, and other keys do not count. A column ``user.id`` may be the key "id" of a
            dict "user". A learner without an encoder takes
            ``{"ids": [...], "values": [...]}``: the columns of a matrix, counted from 0, and their
            values, which are 1 if there are none.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            The row is no dict, or a value cannot be encoded.

        Examples
        --------
        >>> from adagrad.ctr import HashingEncoder, LogisticRegression
        >>> log = {"site": ["a", "b", "a", "b"], "ad": ["x", "x", "y", "y"]}
        >>> model = LogisticRegression(encoder=HashingEncoder()).fit(log, [1, 0, 1, 0])
        >>> row = {"site": "a", "ad": "x"}
        >>> model.predict_one(row) == model.predict_proba([row])[0, 1]
        True
        """
        known = vars(self)
        model: Model = known.get("_trained") or self._model
        encoder = known.get("encoder_", self.encoder)
        reader, form = (_reader_of_ids(model), None) if encoder is None else row_reader(encoder)
        if form is not None:
            row = form(row)
        margin = None if reader is None else model.margin_of_row(reader, row)
        if margin is not None:
            return _core.probability(margin)
        if not isinstance(row, Mapping):
            raise TypeError(f"row must be a dict of values by column, got {row!r:.80}")
        if encoder is None:
            return self._predict_ids(row)
        return float(self.predict_proba([row])[0, 1])

    def _predict_ids(self, row: Mapping[str, Any]) -> float:
        """Predict a row whose ids and values are arrays, or raise."""
        n_slots = self._model.settings.n_slots
        margin = self._model.margin_of_row(id_reader(n_slots), id_row(row, n_slots))
        if margin is None:
            raise refused_ids(row, n_slots)
        return _core.probability(margin)

    def predict_log_proba(self, X: Features) -> npt.NDArray[np.float64]:
        """Return the logarithms of the probabilities of both classes.

        They are computed from the log-odds, so that they are accurate and finite even where a
        probability is 0 or 1 in float64.

        Parameters
        ----------
        X
            As for `fit`.

        Returns
        -------
        ndarray of float64, shape [n, 2]
        """
        margins = self.decision_function(X).astype(np.float64)
        return -np.logaddexp(0.0, np.stack([margins, -margins], axis=1))

    def predict(self, X: Features) -> Array:
        """Return the more likely class of each example.

        Parameters
        ----------
        X
            As for `fit`.

        Returns
        -------
        ndarray, shape [n]
            Values of ``classes_``; the negative class if both are equally likely.
        """
        positive = self.decision_function(X) > 0
        classes: Array = self.classes_[positive.astype(np.intp)]
        return classes

    def uncertainty(self, X: Features) -> Floats:
        r"""Return how uncertain the model is about each example, for exploring rare ads.

        Parameters
        ----------
        X
            As for `fit`.

        Returns
        -------
        ndarray of float32, shape [n]
            With ``lr="auto"``, the variance of the margin under the Bayesian expert:
            :math:`v_0 + \sum_i v_i x_i^2` over the entries, of values as the expert scales them,
            with the variances :math:`v_0` of the bias and :math:`v_i` of the params. It is large if
            features are rare.

            At a fixed rate, :math:`\sum_i r_i x_i^2` over the entries, where :math:`r_i` is the
            effective rate of the entry's linear param: :math:`\eta / \sqrt{s_i + \epsilon}` for the
            textbook rule, :math:`\eta / (\sqrt{s_i + \epsilon} + \eta \lambda_2)` with an `l2` of
            :math:`\lambda_2`. It bounds how far one more example could move the linear part of the
            margin. It is not a variance: it scales with the rate.

        Notes
        -----
        The factors of factorization machines do not count. The step of a factor is proportional to
        the factors it is multiplied by, so a well-known example could get the larger sum.

        References
        ----------
        McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, section 6.
        """
        model = self._model
        return model.uncertainty(self._examples(X, reset=False), threads=self._threads())


def _reader_of_ids(model: Model) -> _core.RowReader:
    settings = model.settings
    if settings.kind == "ffm" and settings.n_slots != settings.n_fields:
        raise ValueError(
            "the model learned from Examples with fields, which a row of ids does not have: set"
            " encoder, or call predict_proba with Examples"
        )
    return id_reader(settings.n_slots)
