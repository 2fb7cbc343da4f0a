"""Logistic regression trained by AdaGrad: parameters and settings; `estimator` has the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.encoding.matrix_rows import MatrixRows
from adagrad.ctr.learners.estimator import ClickLearner
from adagrad.ctr.learners.seeds import RandomState
from adagrad.ctr.learners.settings import Settings
from adagrad.rule import Rule

__all__ = ["LogisticRegression"]


class LogisticRegression(ClickLearner):
    r"""Logistic regression for rare features, in one pass, with a rate for every coordinate.

    The probability of a positive is :math:`1 / (1 + e^{-m})`, and the margin of an example is the
    bias plus a sum over its entries:

    .. math::

        m = b + \sum_i w_i x_i

    By default there is no learning rate to choose: five learners train side by side and are mixed.
    All arithmetic is in a fixed order, so a model has the same bits on any number of threads.

    Parameters
    ----------
    lr : float, "auto" or None, default "auto"
        "auto" without a `rule` mixes five experts, see Notes. A number is the fixed step size of
        one AdaGrad rule, which learns two to three times as fast in an eighth of the memory. None,
        and "auto" with a `rule`, mean the rate of the rule.
    rule : adagrad.Rule or None, default None
        Update rule of a fixed rate. None means ``Rule(lr=0.1, eps=1.0)``: the textbook rule with
        accumulators that in effect start at 1. If an example repeats a slot, each occurrence takes
        a step, in order.
    l1 : float, default 0.0
        L1 penalty: a param is exactly 0 until the gradients of its slot add up to more than `l1`.
        Try 0.01 to 1. `l1` and `l2` need a fixed rate, and a rule without options but ``eps``,
        ``eps_position``, ``initial_accumulator`` and ``evaluation``; see Notes.
    l2 : float, default 0.0
        L2 penalty: the divisor of a param, :math:`\sqrt{s + \epsilon} / \eta`, grows by `l2`, which
        keeps the params of rare features small; see Notes. Try 1 to 100.
    half_life : float or None, default None
        Number of examples, at least 64, after which what was learned from an example counts half,
        for logs that drift. None forgets nothing. It needs ``lr="auto"``; at a fixed rate, the
        ``accumulator_decay`` of a rule makes it forget.
    class_weight : dict, "balanced" or None, default None
        Weights of the classes, by class; 1 for a class that is not named. They multiply
        `sample_weight`, and so change what is predicted: with "balanced", which gives both classes
        half of the weight, probabilities are no longer click rates. `partial_fit` refuses
        "balanced", since it needs all labels. A `validation` set is not weighted by class.
    negative_rate : float, default 1.0
        The rate at which negatives were kept among the examples, above 0 and at most 1: 0.1 if nine
        of ten were left out at random. The model learns from what is there. Every prediction adds
        the logarithm of the rate to the margin, so that it holds where all negatives are. If the
        rate differs from example to example, give ``1 / rate`` as the `sample_weight` of negatives
        instead.
    fit_intercept : bool, default True
        Whether to learn a bias. No penalty applies to it, neither `l1` nor `l2` nor the rule's
        ``weight_decay``: a penalty would pull all predictions away from the base rate.
    passes : int, default 1
        The most passes that `fit` makes over the examples.
    shuffle : bool, default False
        Whether to shuffle the examples before each pass. If the labels are ordered, `fit` does so
        anyway, with a warning.
    seed : int, default 0
        Seed of the shuffle, from 0 to :math:`2^{64} - 2`.
    random_state : int, RandomState, Generator or None, default None
        The name of scikit-learn for `seed`, which its tools set. Unless it is None, `seed` does not
        count. A ``np.random.RandomState`` or ``np.random.Generator`` draws a seed for each new
        model. None does not: two fits give the same bits.
    encoder : HashingEncoder, optional
        Encodes raw columns as examples. `fit` uses a copy, ``encoder_``, which from then on expects
        the columns it has first seen, by name and kind.
    warm_start : bool, default False
        Whether `fit` continues from the current model.
    n_jobs : int, optional
        The most threads to use. None means ``adagrad.get_num_threads()``, -1 all processors
        that this process may use.
    verbose : int, default 0
        With 1, a line to the standard error after each pass or call of `partial_fit`, and about
        every second in between.

    Attributes
    ----------
    classes_ : ndarray, shape [2]
        The negative and the positive class: the smaller and the larger label.
    progressive_ : dict of str to float
        ``logloss``, ``normalized_entropy``, ``auc`` and ``calibration`` of the predictions made
        before learning.
    coef_ : ndarray of float32, shape [1, n_slots]
        The params; at a fixed rate without `l1` and `l2`, as a view.
    intercept_ : ndarray of float32, shape [1]
        The bias plus ``log(negative_rate)``, so that ``X @ coef_.T + intercept_`` is the margin.
    experts_ : list of dict
        With ``lr="auto"``, for each expert its ``name``, ``rate``, ``start`` and ``power`` (None
        for the Bayesian one), its ``weight`` in the mixture, the mean ``logloss`` of its own
        predictions before learning, and its ``share`` in those that `progressive_` measures.
    seed_ : int
        The seed in use: `seed`, or the one that `random_state` is or has drawn.
    lr_ : float
        The fixed learning rate in use; there is none with ``lr="auto"``.
    n_examples_ : int
        Number of examples learned, in all passes. Those of weight 0 are not learned.
    n_passes_ : int
        Number of passes that `fit` has made.
    n_iter_ : int
        The same by scikit-learn's name; 1 after `partial_fit` alone.
    loss_curve_ : list of float
        For each pass of the last `fit`, the mean logloss of the predictions made before each
        example was learned. From the second pass on the model has learned the example before, so
        that only the first value says how well it predicts.
    feature_names_in_, n_features_in_ : ndarray of str, int
        The columns that X had: those of the encoder, if it knows them, or of a DataFrame. Without
        names, the number of slots.
    validation_logloss_ : float
        Logloss of the kept model on the validation set, if `fit` had one.

    Notes
    -----
    The slots are divided into eight regions, whatever the number of threads, and each region
    belongs to one thread. After n examples, predictions use the params from before a round of
    :math:`n / 512` examples, rounded down to a power of two, from 1 to 64. The entries of a region
    are summed in order, then the regions in order.

    With ``lr="auto"``, four of the experts are AdaGrad learners whose accumulators start at 1 or
    0.01 and grow by the squared gradients, at rates from 0.25 to 2; one of them divides by the
    accumulator instead of its root. The fifth is a Bayesian learner with a variance for every
    coordinate. All of them divide each value by the root of the mean square of the values that its
    slot has had, so that a column may be scaled by any factor. Their steps are implicit: the
    gradient is that after the step, which therefore never overshoots. A regression on the five
    margins and a constant learns how to weight them, by one Newton step per round, which moves no
    margin by more than 4; a weight may be negative. The weighted sum of the experts is again a
    linear model, and that is what `coef_`, `predict` and files hold for prediction.

    The predictions that `progressive_` measures are an average over the mixture and the single
    experts, weighted by how likely each made the labels so far. The total loss of this average
    exceeds that of the best of them by at most :math:`\log 10` nats. Later passes train the
    experts, but not their weights. Training takes 64 bytes per slot, instead of 8 at a fixed rate.

    With `l1` or `l2`, params are learned by FTRL-proximal (McMahan et al. 2013, algorithm 1) on the
    accumulators of AdaGrad, at one rate :math:`\eta`. A slot keeps z and s. A gradient g changes
    them, and with the penalties :math:`\lambda_1` and :math:`\lambda_2` the param follows from
    them:

    .. math::

        s' &= s + g^2 \\
        z' &= z + g - (d' - d)\, w \\
        w' &= -\frac{z' - \lambda_1 \operatorname{sign}(z')}{d' + \lambda_2}

    Here :math:`d = \sqrt{s + \epsilon} / \eta` before the step, and :math:`d'` after it. The param
    is 0 where :math:`|z'| \le \lambda_1`. With both penalties 0 that is AdaGrad.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", JMLR 12 (2011). McMahan and Streeter, "Adaptive Bound Optimization for Online
    Convex Optimization", COLT 2010. McMahan et al., "Ad Click Prediction: a View from the
    Trenches", KDD 2013. Implicit steps: Kulis and Bartlett, "Implicit Online Learning", ICML 2010.
    Newton steps: Hazan, Agarwal and Kale, "Logarithmic Regret Algorithms for Online Convex
    Optimization", Machine Learning 69 (2007). The average over predictors: Vovk, "Aggregating
    Strategies", COLT 1990.

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
        lr: float | Literal["auto"] | None = "auto",
        *,
        rule: Rule | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        half_life: float | None = None,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        negative_rate: float = 1.0,
        fit_intercept: bool = True,
        passes: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        random_state: RandomState = None,
        encoder: HashingEncoder | None = None,
        warm_start: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.lr = lr
        self.rule = rule
        self.l1 = l1
        self.l2 = l2
        self.half_life = half_life
        self.class_weight = class_weight
        self.negative_rate = negative_rate
        self.fit_intercept = fit_intercept
        self.passes = passes
        self.shuffle = shuffle
        self.seed = seed
        self.random_state = random_state
        self.encoder = encoder
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _settings(self, x: Examples | MatrixRows, rule: Rule | None, seed: int) -> Settings:
        return Settings("lr", x.n_slots, rule, **self._linear_settings())
