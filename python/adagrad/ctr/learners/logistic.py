"""Logistic regression by AdaGrad."""

from __future__ import annotations

from typing import Any, Literal

from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.estimator import ClickLearner
from adagrad.ctr.learners.model import Settings
from adagrad.rule import Rule

__all__ = ["LogisticRegression"]


class LogisticRegression(ClickLearner):
    """Logistic regression for rare features: one pass, a rate for every coordinate.

    The margin of an example is the bias plus the sum of ``w * x`` over its entries; its gradient in
    a param is ``(p - y) * x`` and every entry takes one step of the rule. All arithmetic is in
    float32 and in a fixed order, so a model has the same bits on any number of threads.

    Parameters
    ----------
    lr : float, "auto" or None, default None
        Step size; None leaves that of the rule. "auto" trains eight rates from 0.01 to 1 side by
        side on the first 20,480 examples (or all, if there are fewer), predicts these by the mean
        of the eight, weighted by how well each has done, and goes on with the best: the model is
        that of a fixed rate, bit for bit.
    rule : adagrad.Rule or None, default None
        Any rule; None is ``Rule(lr=0.1, eps=1.0)``: the textbook's with accumulators from 1, which
        was best over several logs (bench/ctr.py). Repeated slots take a step each, in order.
    l1 : float, default 0.0
        L1 penalty: after each step a touched param moves towards 0 by ``l1`` times its own rate.
    l2 : float, default 0.0
        L2 penalty: ``l2 * w`` is added to the gradients of touched params.
    fit_intercept : bool, default True
        Whether there is a bias. It takes no penalty by L1.
    passes : int, default 1
        How often `fit` goes through the examples, at most.
    shuffle : bool, default False
        Whether each pass has an order of its own, from `seed`.
    seed : int, default 0
        Of the shuffle.
    encoder : HashingEncoder, optional
        Turns raw columns into examples. `fit` uses a copy, ``encoder_``, which takes the columns
        that it first sees, by name and kind, from then on.
    warm_start : bool, default False
        Whether `fit` goes on from the model there is.
    n_jobs : int, optional
        At most so many threads; ``adagrad.get_num_threads()`` where None, all processors where -1.

    Attributes
    ----------
    classes_ : ndarray, shape [2]
        The negative and the positive class.
    progressive_ : dict of str to float
        ``logloss``, ``normalized_entropy``, ``auc``, ``calibration`` of the predictions that came
        before learning.
    coef_ : ndarray of float32, shape [1, n_slots]
        The params: a view.
    intercept_ : ndarray of float32, shape [1]
        The bias.
    lr_ : float
        The rate in use.
    n_examples_ : int
        Examples learned from.
    n_passes_ : int
        Passes that `fit` made.
    validation_logloss_ : float
        Of the model that was kept, where `fit` had a validation set.

    Notes
    -----
    Threads own regions of slots (eight, whatever their number); examples come in rounds of up to
    64 on params that stand still, the first 1,024 one by one. Entries of a region are added one by
    one, then the regions in order.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", JMLR 12 (2011). McMahan et al., "Ad Click Prediction: a View from the Trenches",
    KDD 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad.ctr import LogisticRegression
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    >>> model = LogisticRegression(lr=0.5, passes=20).fit(x, [1, 0, 1, 0])
    >>> model.predict(x)
    array([1, 0, 1, 0])
    """

    def __init__(
        self,
        lr: float | Literal["auto"] | None = None,
        *,
        rule: Rule | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        fit_intercept: bool = True,
        passes: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        encoder: Any = None,
        warm_start: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.lr = lr
        self.rule = rule
        self.l1 = l1
        self.l2 = l2
        self.fit_intercept = fit_intercept
        self.passes = passes
        self.shuffle = shuffle
        self.seed = seed
        self.encoder = encoder
        self.warm_start = warm_start
        self.n_jobs = n_jobs

    def _settings(self, x: Examples, rule: Rule) -> Settings:
        return Settings("lr", x.n_slots, rule, l1=self._l1(), intercept=bool(self.fit_intercept))
