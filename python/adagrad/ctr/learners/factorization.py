"""Factorization machines trained by AdaGrad, plain and field-aware."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_integer, check_real
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.examples import REGIONS, Examples, region_size
from adagrad.ctr.encoding.inputs import Features
from adagrad.ctr.encoding.matrix_rows import MatrixRows
from adagrad.ctr.learners.estimator import ClickLearner
from adagrad.ctr.learners.file_format import SavedLearner, StrPath
from adagrad.ctr.learners.layouts import parts_of_fields
from adagrad.ctr.learners.model import NO_FIELDS
from adagrad.ctr.learners.seeds import RandomState
from adagrad.ctr.learners.settings import Settings
from adagrad.rule import Rule

__all__ = ["FactorizationMachine", "FieldAwareFactorizationMachine"]

MOST_BYTES = 1 << 32
"""Memory of the vectors of a matrix, from which on its columns cannot be meant as fields."""


class _FactorLearner(ClickLearner):
    """What both machines share: the params of their vectors."""

    factors: int
    normalize: bool
    init_scale: float

    def _factor_settings(self) -> dict[str, Any]:
        return {
            "factors": check_integer("factors", self.factors, 1, 4096),
            "init_scale": check_real("init_scale", self.init_scale),
            "normalize": bool(self.normalize),
        }

    def _check_params(self) -> None:
        super()._check_params()
        self._factor_settings()


class FactorizationMachine(_FactorLearner):
    r"""Factorization machine for rare features: logistic regression plus all pairs of entries.

    The margin of an example is that of `LogisticRegression` plus a sum over all pairs of its
    entries, with a vector :math:`v_i` of `factors` numbers for each slot:

    .. math::

        m = b &+ \sum_i w_i x_i \\
              &+ \sum_{i<j} \langle v_i, v_j \rangle\, x_i x_j

    It takes time linear in the number of entries (Rendle 2010, equation 5).

    With ``lr="auto"`` the linear part is the mixture of experts that `LogisticRegression` is; see
    its Notes. The pairs learn beside it, from what it does not explain, at a rate of their own:
    ``Rule(lr=0.1, eps=1e-4)``. A second mixture finds the weight of both, and a guard compares it
    with the linear part alone, so that pairs cost at most :math:`\log 2` nats in all progressive
    predictions together. What predicts is the linear part and the pairs with these weights, or the
    linear part alone if it was better so far. Later passes do not train these weights. Training
    takes ``64 + 8 * factors`` bytes per slot, or ``8 + 8 * factors`` at a fixed rate.

    Parameters
    ----------
    factors : int, default 8
        Length of the vectors, from 1 to 4096. Multiples of 4 are fast.
    normalize : bool, default True
        Whether to divide the values of each example by their Euclidean length, in the pairs.
        Without it the sum over the pairs grows with the square of the number of entries, and
        training may diverge. Version 0.1 had no such option; its models are not normalized.
    encoder, warm_start, n_jobs, verbose
        As for `LogisticRegression`.
    lr, rule, l1, l2, half_life, class_weight, negative_rate, fit_intercept, passes, shuffle
        As for `LogisticRegression`. A fixed `lr` or a `rule` is that of both parts, which are then
        trained as one. `l1` applies to the linear params only; `l2` also adds ``l2 * v`` to the
        gradients of touched vectors.
    seed, random_state
        As for `LogisticRegression`. The seed also determines the initial vectors.
    init_scale : float, default 0.1
        Standard deviation of the initial vectors. The linear params start at 0.

    Attributes
    ----------
    factors_ : ndarray of float32, shape [n_slots, factors]
        The vectors, as a view.
    n_passes_, n_iter_, loss_curve_, validation_logloss_, feature_names_in_, n_features_in_
        As for `LogisticRegression`.
    classes_, progressive_, coef_, intercept_, experts_, seed_, lr_, n_examples_
        As for `LogisticRegression`. The last of `experts_` are the pairs: their weight, which is 0
        while they are left out of the model, the logloss of both parts together, and the share that
        the guard gives to them.

    Notes
    -----
    The linear part of ``lr="auto"`` does not learn from the pairs. An interaction is learned from
    the examples that have entries for both of its features, so give an entry to each value that
    matters: categories, or -1 and 1 instead of 0 and 1.

    References
    ----------
    S. Rendle, "Factorization Machines", ICDM 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad.ctr import FactorizationMachine
    >>> x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]] * 50)
    >>> y = [1, 0, 0, 1] * 50  # neither column is informative alone
    >>> model = FactorizationMachine().fit(x, y)
    >>> model.predict(x[:4])
    array([1, 0, 0, 1])
    """

    def __init__(
        self,
        factors: int = 8,
        *,
        normalize: bool = True,
        lr: float | Literal["auto"] | None = "auto",
        rule: Rule | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        half_life: float | None = None,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        negative_rate: float = 1.0,
        fit_intercept: bool = True,
        init_scale: float = 0.1,
        passes: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        random_state: RandomState = None,
        encoder: HashingEncoder | None = None,
        warm_start: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.factors = factors
        self.normalize = normalize
        self.lr = lr
        self.rule = rule
        self.l1 = l1
        self.l2 = l2
        self.half_life = half_life
        self.class_weight = class_weight
        self.negative_rate = negative_rate
        self.fit_intercept = fit_intercept
        self.init_scale = init_scale
        self.passes = passes
        self.shuffle = shuffle
        self.seed = seed
        self.random_state = random_state
        self.encoder = encoder
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _settings(self, x: Examples | MatrixRows, rule: Rule | None, seed: int) -> Settings:
        of_parts = {**self._linear_settings(), **self._factor_settings()}
        return Settings("fm", x.n_slots, rule, seed=seed, **of_parts)

    @classmethod
    def _restored(cls, path: StrPath, saved: SavedLearner) -> ClickLearner:
        # Version 0.1 had no such parameter, and did not normalize.
        saved.params.setdefault("normalize", saved.model.settings.normalize)
        return super()._restored(path, saved)

    @property
    def factors_(self) -> npt.NDArray[np.float32]:
        """The vectors, [n_slots, factors], as a view of the model's table."""
        weights = self._model.tables["factors"].weights
        return weights.reshape(len(weights), -1)


class FieldAwareFactorizationMachine(_FactorLearner):
    r"""Field-aware factorization machine: each slot has a vector for every field.

    The margin of an example is that of `LogisticRegression` plus a sum over all pairs of its
    entries, where :math:`f_i` is the field of entry i (Juan et al. 2016, equation 4):

    .. math::

        \sum_{i<j} \langle v_{i, f_j}, v_{j, f_i} \rangle\, x_i x_j

    It takes time quadratic in the number of entries, and ``8 * factors * n_fields`` bytes per slot
    beside those of `LogisticRegression`. With ``lr="auto"`` the pairs learn beside a mixture of
    experts, as in `FactorizationMachine`.

    Parameters
    ----------
    factors : int, default 4
        Length of the vectors, from 1 to 4096; 4 and 8 are fast.
    normalize, lr, rule, l1, l2, half_life, class_weight, negative_rate, fit_intercept, init_scale
        As for `FactorizationMachine`.
    passes, shuffle, seed, random_state, encoder, warm_start, n_jobs, verbose
        As for `FactorizationMachine`.

    Attributes
    ----------
    n_passes_, n_iter_, loss_curve_, validation_logloss_, feature_names_in_, n_features_in_
        As for `LogisticRegression`.
    classes_, progressive_, coef_, intercept_, experts_, seed_, lr_, n_examples_
        As for `LogisticRegression`.
    factors_ : ndarray of float32, shape [n_slots, n_fields, factors]
        The vectors: ``factors_[i, f]`` is that of slot i for entries of field f. A view, or a copy
        where threads share the pairs.

    Notes
    -----
    X has fields: the columns that an `encoder` encodes, those of a matrix, or those of `Examples`
    made with fields. In a matrix, column j is slot j and field j, and zeros do not count. For d
    columns the vectors take ``8 * factors * d ** 2`` bytes, and more than 4 GiB are refused; so
    give categories of many values to an `encoder`, and not as a column for each value.

    Threads share the pairs if every field keeps to one region of the slots, as with a
    `HashingEncoder` of at least eight fields, none of them wide. In a matrix they do not. Rounds
    have at most 8 examples.

    References
    ----------
    Y. Juan, Y. Zhuang, W.-S. Chin and C.-J. Lin, "Field-aware Factorization Machines for CTR
    Prediction", RecSys 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad.ctr import FieldAwareFactorizationMachine
    >>> x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]] * 50)
    >>> y = [1, 0, 0, 1] * 50  # neither column is informative alone
    >>> model = FieldAwareFactorizationMachine().fit(x, y)
    >>> model.predict(x[:4])
    array([1, 0, 0, 1])
    >>> model.factors_.shape
    (2, 2, 4)
    """

    def __init__(
        self,
        factors: int = 4,
        *,
        normalize: bool = True,
        lr: float | Literal["auto"] | None = "auto",
        rule: Rule | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        half_life: float | None = None,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        negative_rate: float = 1.0,
        fit_intercept: bool = True,
        init_scale: float = 0.1,
        passes: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        random_state: RandomState = None,
        encoder: HashingEncoder | None = None,
        warm_start: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.factors = factors
        self.normalize = normalize
        self.lr = lr
        self.rule = rule
        self.l1 = l1
        self.l2 = l2
        self.half_life = half_life
        self.class_weight = class_weight
        self.negative_rate = negative_rate
        self.fit_intercept = fit_intercept
        self.init_scale = init_scale
        self.passes = passes
        self.shuffle = shuffle
        self.seed = seed
        self.random_state = random_state
        self.encoder = encoder
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _settings(self, x: Examples | MatrixRows, rule: Rule | None, seed: int) -> Settings:
        if not isinstance(x, MatrixRows) and x.fields is None:
            raise ValueError(NO_FIELDS)
        of_factors = self._factor_settings()
        if isinstance(x, MatrixRows):
            _check_columns(x.n_slots, of_factors["factors"])
        return Settings(
            "ffm",
            x.n_slots,
            rule,
            n_fields=x.n_fields,
            parts=2 if _keeps_to_regions(x) else 1,
            seed=seed,
            **self._linear_settings(),
            **of_factors,
        )

    def _examples(self, X: Features, reset: bool) -> Examples | MatrixRows:
        x = super()._examples(X, reset)
        return x.with_fields() if isinstance(x, MatrixRows) else x

    @property
    def factors_(self) -> npt.NDArray[np.float32]:
        """The vectors, [n_slots, n_fields, factors]: see the class."""
        model = self._model
        settings, by_part = model.settings, []
        for part in range(settings.parts):
            weights = model.tables[f"factors{part}"].weights
            by_part.append(weights.reshape(len(weights), -1, settings.factors))
        if len(by_part) == 1:
            return by_part[0]
        places = zip(*parts_of_fields(settings), strict=True)
        return np.stack([by_part[part][:, place] for part, place in places], axis=1)


def _check_columns(columns: int, factors: int) -> None:
    """Raise a ValueError if the vectors of all pairs of columns take more memory than is sane."""
    size = 8 * factors * columns**2  # with accumulators
    if size > MOST_BYTES:
        raise ValueError(
            f"X has {columns:,} columns, each of which would be a field, so that {factors} factors"
            f" for every pair of columns take {size / 2**30:,.1f} GiB. The most are"
            f" {MOST_BYTES >> 30} GiB, or {math.isqrt(MOST_BYTES // (8 * factors)):,} columns: pass"
            " the columns that these were made of and"
            " encoder=HashingEncoder(), pass Examples with fewer fields, or use a"
            " FactorizationMachine"
        )


def _keeps_to_regions(x: Examples | MatrixRows) -> bool:
    """Whether field j only has slots of region j % 8, and every region has a field."""
    if isinstance(x, MatrixRows) or x.n_fields < REGIONS:
        return False
    assert x.fields is not None
    slots = x.slots[: len(x.fields)] if x.is_fixed else x.slots
    # The rows of a matrix may keep to regions by chance, and later rows then have other columns.
    return bool(
        np.array_equal(slots // region_size(x.n_slots), x.fields % REGIONS)
        and not np.array_equal(slots, x.fields)
    )
