"""Logistic regression trained by AdaGrad: parameters and settings; `estimator` has the rest."""

from __future__ import annotations

from typing import Any, Literal

from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.estimator import ClickLearner
from adagrad.ctr.learners.model import Settings
from adagrad.rule import Rule

__all__ = ["LogisticRegression"]


class LogisticRegression(ClickLearner):
    """Logistic regression for rare features, in one pass, with a rate for every coordinate.

    The margin of an example is the bias plus the sum of ``w * x`` over its entries. The gradient of
    a param is ``(p - y) * x``, and every entry takes one step of the rule. All arithmetic is in
    float32 and in a fixed order, so a model has the same bits on any number of threads.

    Parameters
    ----------
    lr : float, "auto" or None, default None
        Step size; None means that of the rule. "auto" trains eight rates from 0.01 to 1 side by
        side on the first 20,480 examples (or all, if there are fewer) and continues with the best.
        The model has the bits of one trained at that rate. The progressive metrics of these
        examples are those of the mean of the eight predictions, weighted by their likelihood.
    rule : adagrad.Rule or None, default None
        Update rule. None means ``Rule(lr=0.1, eps=1.0)``: the textbook rule with accumulators that
        in effect start at 1, which did best over several logs (bench/ctr.py). If an example repeats
        a slot, each occurrence takes a step, in order.
    l1 : float, default 0.0
        L1 penalty: after each step, a touched param moves towards 0 by ``l1`` times its rate.
    l2 : float, default 0.0
        L2 penalty: ``l2 * w`` is added to the gradients of touched params. It is the rule's
        ``weight_decay``, of which only one may be given.
    fit_intercept : bool, default True
        Whether to learn a bias. No penalty applies to it, neither `l1` nor `l2` nor the rule's
        ``weight_decay``: a penalty would pull all predictions away from the base rate.
    passes : int, default 1
        The most passes that `fit` makes over the examples.
    shuffle : bool, default False
        Whether to shuffle the examples before each pass.
    seed : int, default 0
        Seed of the shuffle.
    encoder : HashingEncoder, optional
        Encodes raw columns as examples. `fit` uses a copy, ``encoder_``, which from then on expects
        the columns it has first seen, by name and kind.
    warm_start : bool, default False
        Whether `fit` continues from the current model.
    n_jobs : int, optional
        The most threads to use. None means ``adagrad.get_num_threads()``, -1 all processors.

    Attributes
    ----------
    classes_ : ndarray, shape [2]
        The negative and the positive class: the smaller and the larger label.
    progressive_ : dict of str to float
        ``logloss``, ``normalized_entropy``, ``auc`` and ``calibration`` of the predictions made
        before learning.
    coef_ : ndarray of float32, shape [1, n_slots]
        The params, as a view.
    intercept_ : ndarray of float32, shape [1]
        The bias.
    lr_ : float
        The learning rate in use.
    n_examples_ : int
        Number of examples learned, in all passes. Those of weight 0 are not learned.
    n_passes_ : int
        Number of passes that `fit` has made.
    validation_logloss_ : float
        Logloss of the kept model on the validation set, if `fit` had one.

    Notes
    -----
    The slots are divided into eight regions, whatever the number of threads, and each region
    belongs to one thread. The first 1,024 examples are learned one by one; later ones in rounds of
    up to 64, during which predictions use the params from before the round. The entries of a region
    are summed in order, then the regions in order.

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
