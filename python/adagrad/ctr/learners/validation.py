"""Checks of the arguments and parameters of a learner, before it learns anything.

The base class of `ClickLearner`. What scikit-learn demands of an estimator's input belongs here;
what is learned from it does not.
"""

from __future__ import annotations

import contextlib
import copy
import numbers
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import validate_data

from adagrad._arguments import check_flag, check_integer, check_real
from adagrad._cpus import available_cpus
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.examples import Examples, check_unmasked
from adagrad.ctr.encoding.inputs import Features
from adagrad.ctr.encoding.matrices import checked_csr
from adagrad.ctr.encoding.matrix_rows import MatrixRows
from adagrad.ctr.learners.frames import (
    check_array_of_numbers,
    check_columns_of_numbers,
    warn_of_integers,
)
from adagrad.ctr.learners.labeled import LabeledExamples
from adagrad.ctr.learners.seeds import RandomState, drawn_seed, draws, fixed_seed
from adagrad.ctr.learners.settings import check_negative_rate, check_penalties
from adagrad.ctr.learners.targets import (
    check_class_weight,
    check_products,
    class_weighted,
    labels_of,
    warn_if_reversed,
    weights_of,
)
from adagrad.rule import Rule

__all__ = ["InputValidation"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

DEFAULT_RULE = Rule(lr=0.1, eps=1.0)
"""With eps = 1 accumulators in effect start at 1, as in libffm, but take no memory until touched.
A first small gradient then moves a param by less than its rate."""


class InputValidation(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Turns checked arguments into examples, labels and weights, and parameters into a rule.

    See `LogisticRegression` for the parameters.
    """

    lr: float | Literal["auto"] | None
    rule: Rule | None
    l1: float
    l2: float
    half_life: float | None
    class_weight: Mapping[Any, float] | Literal["balanced"] | None
    passes: int
    shuffle: bool
    seed: int
    # Those of learners that an earlier version has pickled are None and 1.
    random_state: RandomState = None
    negative_rate: float = 1.0
    encoder: HashingEncoder | None
    encoder_: HashingEncoder
    warm_start: bool
    n_jobs: int | None
    verbose: int

    classes_: Array
    _drawn: int  # by `random_state`

    def _labeled(
        self,
        X: Features,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        *,
        reset: bool,
    ) -> LabeledExamples:
        """Return a batch of which everything is checked.

        Parameters
        ----------
        X, y, sample_weight, classes
            As for `partial_fit`.
        class_weight
            As the parameter of this name; None for examples that are not learned.
        reset : bool
            Whether the batch is the first of a model, and says what later ones must be like.
        """
        x = self._examples(X, reset=reset)
        labels = self._labels(y, classes, reset)
        if len(labels) != len(x):
            raise ValueError(f"X has {len(x)} examples, but y has {len(labels)}")
        weights = weights_of(sample_weight, len(x))
        weights = class_weighted(class_weight, self.classes_, labels, weights)
        check_products(x, weights)
        return LabeledExamples(x, labels, weights)

    def _examples(self, X: Features, reset: bool) -> Examples | MatrixRows:
        self._check_encoder()
        if self.encoder is not None and not isinstance(X, Examples):
            X = self._encode(X, reset)
        if not isinstance(X, Examples):
            return self._matrix(X, reset)
        if len(X) == 0 and reset:
            raise ValueError("X has no examples")
        if reset:
            self._note_features(X.n_slots)
        return X

    def _check_encoder(self) -> None:
        if not isinstance(self.encoder, (HashingEncoder, type(None))):
            raise TypeError(
                "encoder must be a HashingEncoder, such as HashingEncoder(), or None, got"
                f" {self.encoder!r}"
            )
        if self.encoder is not None and self.encoder.output != "examples":
            raise ValueError(
                f"the encoder of a learner must have output='examples', got {self.encoder.output!r}"
            )

    def _note_features(self, n_slots: int) -> None:
        """Note the features: the columns of the encoder, if it knows them, or else the slots."""
        encoder: HashingEncoder | None = self.__dict__.get("encoder_", self.encoder)
        self.__dict__.pop("feature_names_in_", None)  # of an earlier fit
        self.n_features_in_ = n_slots
        if (
            encoder is not None
            and hasattr(encoder, "fields_")
            and 2 ** int(encoder.bits) == n_slots
        ):
            self.n_features_in_ = encoder.n_features_in_
            if hasattr(encoder, "feature_names_in_"):  # arrays have none
                self.feature_names_in_ = encoder.feature_names_in_

    def _matrix(self, X: Any, reset: bool) -> MatrixRows:
        """Convert a matrix, or columns of numbers, as scikit-learn does."""
        threads = 0
        with contextlib.suppress(TypeError, ValueError):  # `_check` raises, after X is checked
            threads = self._threads()
        if scipy.sparse.issparse(X) and X.format == "csr" and X.ndim == 2 and X.shape[0]:
            rows = MatrixRows.if_right(X, threads=threads)
            if rows is not None:
                validate_data(self, X, skip_check_array=True, reset=reset)
                return rows
        if isinstance(X, (list, tuple)):
            X = np.asarray(X)
        integers = None
        if scipy.sparse.issparse(X):
            X = checked_csr(X)  # before scikit-learn converts it
        else:
            check_unmasked("X", X)
            integers = check_columns_of_numbers(X)
        try:
            matrix = validate_data(
                self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset
            )
        except OverflowError as error:  # of an integer among objects
            raise ValueError(f"X has a number that float64 cannot hold: {error}") from None
        except ValueError:
            check_array_of_numbers(X)  # which knows the way out
            raise
        check_array_of_numbers(X)
        if integers is not None and reset:
            warn_of_integers(integers, matrix.data if scipy.sparse.issparse(matrix) else matrix)
        csr = matrix if scipy.sparse.issparse(matrix) else scipy.sparse.csr_matrix(matrix)
        return MatrixRows.of(csr, threads=threads)

    def _encode(self, X: Any, reset: bool) -> Examples:
        """Encode columns. The first batch of a model determines their names and kinds."""
        assert self.encoder is not None
        if reset:
            self.encoder_ = copy.deepcopy(self.encoder)
            if not hasattr(self.encoder_, "fields_"):
                return self.encoder_.fit_transform(X)
        encoder: HashingEncoder = self.__dict__.get("encoder_", self.encoder)
        if not hasattr(encoder, "fields_"):
            raise ValueError(
                "X has columns, but the model learned from Examples and its encoder has seen no"
                " columns: fit the encoder first, or pass Examples"
            )
        given = self.encoder
        if (
            isinstance(given, HashingEncoder)
            and given.to_dict()["params"] != encoder.to_dict()["params"]  # lists or tuples
        ):
            raise ValueError(
                f"the model began with {encoder!r}, which cannot become {given!r}: fit a new"
                " model, or a clone"
            )
        return encoder.transform(X)

    def _labels(self, y: Any, classes: Any, reset: bool) -> Floats:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        y = labels_of("y", y)
        if reset or classes is not None:
            known = np.unique(y if classes is None else labels_of("classes", classes))
            if classes is None:
                check_classification_targets(y)
            if len(known) > 2:
                kind = type_of_target(known)
                wrapped = f"sklearn.multiclass.OneVsRestClassifier({type(self).__name__}(...))"
                raise ValueError(
                    f"Only binary classification is supported. The type of the target is {kind}."
                    + (f" Use {wrapped} for {len(known)} classes." * (kind == "multiclass"))
                )
            if len(known) < 2:
                raise ValueError(
                    f"y needs two classes, found one class: {known.tolist()};"
                    " partial_fit(X, y, classes=[0, 1]) names both"
                )
            if not reset and not np.array_equal(known, self.classes_):
                raise ValueError(f"classes were {self.classes_.tolist()}, got {known.tolist()}")
            self.classes_ = known
        positive = y == self.classes_[1]
        strange = ~(positive | (y == self.classes_[0]))
        if strange.any():
            at = int(np.flatnonzero(strange)[0])
            raise ValueError(
                f"y[{at}] = {y[at : at + 1].tolist()[0]!r} is not one of the classes"
                f" {self.classes_.tolist()}"
            )
        if reset and len(y):
            warn_if_reversed(self.classes_, positive.mean())
        return np.asarray(positive, np.float32)

    def _check(self) -> None:
        """Check the parameters that `_rule` and `_settings` do not."""
        self._threads()
        fixed_seed(self.seed, self.random_state)
        for name in ("shuffle", "warm_start", "fit_intercept", "normalize"):
            check_flag(name, getattr(self, name, False))
        if not isinstance(self.verbose, (bool, np.bool_)):
            check_integer("verbose", self.verbose, 0)

    def _check_params(self) -> None:
        """Check all parameters, whatever the next call needs."""
        self._check()
        check_class_weight(self.class_weight)
        check_negative_rate(self.negative_rate)
        self._rule()
        self._half_life()
        check_integer("passes", self.passes, 1, 2**31)

    def _rule(self) -> Rule | None:
        """Return the rule of a fixed rate, or None for the mixture."""
        if isinstance(self.lr, str) and self.lr != "auto":
            raise ValueError(f"lr must be a number, None or 'auto', got {self.lr!r}")
        if self.rule is None and isinstance(self.lr, str):
            for name in ("l1", "l2"):
                if check_real(name, getattr(self, name)) != 0.0:
                    raise ValueError(f"{name} needs a fixed rate: give lr, such as lr=0.1")
            return None
        if self.half_life is not None:
            raise ValueError(
                "half_life needs lr='auto' without a rule: at a fixed rate, accumulators forget by"
                " the accumulator_decay of the rule, once per step"
            )
        rule = DEFAULT_RULE if self.rule is None else self.rule
        if not isinstance(rule, Rule):
            raise TypeError(f"rule must be an adagrad.Rule or None, got {rule!r}")
        if rule.on_nonfinite == "raise":
            raise ValueError(
                "a rule with on_nonfinite='raise' needs all gradients before the first step, which"
                " the click learners do not have: use 'skip' or 'propagate'"
            )
        if rule.weight_decay_rows == "all" and rule.weight_decay != 0.0:
            raise ValueError(
                "a rule with weight_decay_rows='all' decays every row in every step, but the click"
                " learners only touch the rows of an example: use weight_decay_rows='touched'"
            )
        if rule.accumulator == "row" and hasattr(self, "factors"):
            raise ValueError(
                "a rule with accumulator='row' has one accumulator per row, but factors need one"
                " each: use accumulator='element'"
            )
        if self.lr is not None and not isinstance(self.lr, str):
            rule = rule.replace(lr=self.lr)
        check_penalties(rule, *self._penalties())
        return rule

    def _penalties(self) -> tuple[float, float]:
        return check_real("l1", self.l1), check_real("l2", self.l2)

    def _half_life(self) -> float | None:
        if self.half_life is None:
            return None
        half_life = check_real("half_life", self.half_life)
        if half_life < 64.0:
            raise ValueError(f"half_life must be at least 64 examples, got {half_life:g}")
        return half_life

    def _seed(self, *, begins: bool = False) -> int:
        """Return the seed of a model, which a generator draws when the model begins."""
        if not draws(self.random_state):
            return fixed_seed(self.seed, self.random_state)
        if begins or not hasattr(self, "_drawn"):
            self._drawn = drawn_seed(self.random_state)
        return self._drawn

    def _threads(self) -> int:
        if self.n_jobs is None:
            return 0
        if isinstance(self.n_jobs, bool) or not isinstance(self.n_jobs, numbers.Integral):
            raise TypeError(f"n_jobs must be an integer or None, got {self.n_jobs!r}")
        if self.n_jobs < 0:
            return max(1, available_cpus() + 1 + int(self.n_jobs))
        return check_integer("n_jobs", self.n_jobs, 1, 1024)
