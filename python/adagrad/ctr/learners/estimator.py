"""What the learners share: scikit-learn's interface on a model.

Arguments are checked in `validation`, what is learned is a `Model`. A learner adds its parameters
and the settings that they make.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

import adagrad._core as _core
from adagrad._arguments import check_integer, check_storable
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners import file_format
from adagrad.ctr.learners.file_format import SavedLearner
from adagrad.ctr.learners.labeled import LabeledExamples
from adagrad.ctr.learners.model import Model, Settings
from adagrad.ctr.learners.progressive import measured
from adagrad.ctr.learners.validation import InputValidation
from adagrad.rule import Rule
from adagrad.tables.metadata import rule_of

__all__ = ["ClickLearner"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

CHUNK = 65_536
"""Examples between two checks for interrupts; a multiple of the learners' rounds of 64."""


class ClickLearner(InputValidation):
    """Common part of the learners; see `LogisticRegression`."""

    _trained: Model
    # What `adagrad.ctr.load` found in the file beside the learner: the columns of its log.
    _extra: Any = None

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        validation: tuple[Any, Any] | None = None,
    ) -> ClickLearner:
        """Learn from examples, in up to `passes` passes.

        Parameters
        ----------
        X : Examples, sparse matrix or array of shape [n, n_slots], or columns
            Each column of a matrix is a slot. With an `encoder`, X holds raw columns: a DataFrame,
            an Arrow table or a dict. Without one, all columns of a DataFrame must be numbers, which
            are taken as amounts; a warning says so if all of them are integers, which may be ids.
        y : array-like, shape [n]
            Labels of two classes; the larger one is the positive class. Text is compared as text:
            "yes" is larger than "no", but "noclick" is larger than "click". A warning says which
            one is positive if it is probably the other one.
        sample_weight : array-like, shape [n], optional
            Factors of the gradients, from 0 to 2**48, also after multiplication with any value of
            the example. An example of weight 0 teaches nothing: the model has the bits of one that
            has not seen it.
        validation : tuple of X and y, optional
            Stop after the first pass that does not lower the logloss on these examples, and keep
            the model of the pass before.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter is not valid. The learner is unchanged then.
        """
        proceed = self.warm_start and hasattr(self, "classes_")
        with self._all_or_nothing():
            batch = self._labeled(X, y, sample_weight, reset=not proceed).with_weight()
            if batch.weights is not None and not len(batch):
                raise ValueError("sample_weight is zero for every example")
            held_out = None if validation is None else self._labeled(*validation, reset=False)
            passes = check_integer("passes", self.passes, 1, 2**31)
            self._check()
            others = [] if held_out is None else [held_out.x]
            self._start_or_retune(batch.x, not proceed, passes, others)
        best: tuple[float, Model] | None = None
        self.n_passes_ = 0
        for number in range(passes):
            self._pass(batch, number)
            self.n_passes_ += 1
            if held_out is None:
                continue
            loss = self._logloss(held_out)
            if best is not None and not loss < best[0]:
                self._trained = best[1]
                break
            best = (loss, self._model.copy() if number + 1 < passes else self._model)
        if best is not None:
            self.validation_logloss_ = best[0]
        return self

    def _pass(self, batch: LabeledExamples, number: int) -> None:
        order = None
        if self.shuffle:
            order = np.random.default_rng([self.seed, number]).permutation(len(batch))
        for part in _chunks(len(batch)):
            some = batch[part] if order is None else batch.take(order[part])
            self._learn(some, count=number == 0)

    def _learn(self, batch: LabeledExamples, *, count: bool = True) -> None:
        threads = self._threads()
        self._trained.learn(batch.x, batch.y, batch.weights, threads=threads, count=count)

    def _logloss(self, held_out: LabeledExamples) -> float:
        model, threads = self._model, self._threads()
        parts = ((held_out.x[part], held_out.y[part]) for part in _chunks(len(held_out)))
        return measured(lambda x: model.margins(x, threads=threads), parts).metrics()["logloss"]

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> ClickLearner:
        """Learn from more examples, in one pass.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array-like, shape [2], optional
            The two classes. Needed in the first call if `y` may lack one of them.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter is not valid. The learner is unchanged then.

        Notes
        -----
        A stream cut at multiples of 64 examples gives the same bits as one call, and as `fit`.

        `n_jobs` may be changed between two calls, and so may a fixed `lr`, with `l1` and `l2`.
        Other penalties change the weights at once. A change from or to no penalty is refused,
        because a slot keeps something else with penalties than without.
        """
        first = not hasattr(self, "classes_")
        with self._all_or_nothing():
            batch = self._labeled(X, y, sample_weight, classes, reset=first)
            self._check()
            some = batch.with_weight()
            self._start_or_retune(some.x if len(some) else batch.x, first)
        batch = some
        for part in _chunks(len(batch)):
            self._learn(batch[part])
        return self

    # -- the model ------------------------------------------------------------------------------

    @property
    def _model(self) -> Model:
        check_is_fitted(self, "classes_")
        return self._trained

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Restore all attributes if a check raises."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _settings(self, x: Examples, rule: Rule | None) -> Settings:
        """Return the settings of a model for examples like these."""
        raise NotImplementedError

    def _start_or_retune(
        self, x: Examples, start: bool, passes: int = 1, others: Sequence[Examples] = ()
    ) -> None:
        """Begin a new model, or apply to the model what was changed since it began.

        Raises if it cannot learn these examples in so many passes, or cannot predict `others`.
        """
        wanted = self._settings(x, self._rule())
        if start:
            self.__dict__.pop("_extra", None)  # of another model
            self._trained = Model(wanted)
        model = self._trained
        model.settings.check_change(wanted)
        for some in (x, *others):
            model.check(some)
        rule, last = wanted.rule, model.examples + passes * len(x)
        if rule is not None and rule.lr_decay and rule.lr and last:
            check_storable("lr", rule.lr_at(last), "float32")
        retuned = dataclasses.replace(model.settings, rule=rule, l1=wanted.l1, l2=wanted.l2)
        if retuned != model.settings:
            model.retune(retuned)

    # -- what it has learned --------------------------------------------------------------------

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
        nats; ``share`` its posterior probability as the best predictor.
        """
        mixture = self._model.mixture
        if mixture is None:
            raise AttributeError("experts_ are of lr='auto', but this model has a fixed rate: lr_")
        return mixture.experts()

    @property
    def n_examples_(self) -> int:
        """Number of examples learned, in all passes; those of weight 0 are not learned."""
        return self._model.examples

    @property
    def progressive_(self) -> dict[str, float]:
        """Metrics of the predictions made before learning, over all examples so far.

        ``logloss`` (mean, in nats), ``normalized_entropy``, ``auc`` and ``calibration`` (sum of
        predictions over sum of labels). Later passes over the same examples do not count.
        """
        return self._model.progressive.metrics()

    @property
    def intercept_(self) -> Floats:
        """The bias, shape [1]; 0 without one."""
        return np.array([self._model.linear()[1]], np.float32)

    @property
    def coef_(self) -> Floats:
        """The linear params, shape [1, n_slots].

        At a fixed rate without `l1` and `l2`, a view of the model's table.
        """
        return self._model.linear()[0][None, :]

    def decision_function(self, X: Any) -> Floats:
        """Return the log-odds of the positive class.

        Parameters
        ----------
        X
            As for `fit`.

        Returns
        -------
        ndarray of float32, shape [n]
        """
        model = self._model
        return model.margins(self._examples(X, reset=False), threads=self._threads())

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the probabilities of both classes, in the order of ``classes_``.

        Parameters
        ----------
        X
            As for `fit`.

        Returns
        -------
        ndarray of float64, shape [n, 2]
        """
        return _core.probabilities(self.decision_function(X))

    def predict(self, X: Any) -> Array:
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

    def uncertainty(self, X: Any) -> Floats:
        """Return how uncertain the model is about each example, for exploring rare ads.

        Parameters
        ----------
        X
            As for `fit`.

        Returns
        -------
        ndarray of float32, shape [n]
            With ``lr="auto"``, the variance of the margin under the Bayesian expert: the sum of
            ``v * x**2`` over the entries, of values as the expert scales them, plus the variance of
            the bias. It is large if features are rare.

            At a fixed rate, the sum of ``rate * x**2`` over the entries, where rate is the
            effective rate of the entry's linear param: ``lr / sqrt(s + eps)`` for the textbook
            rule, ``lr / (sqrt(s + eps) + lr * l2)`` with `l2`. It bounds how far one more example
            could move the linear part of the margin. It is not a variance: it scales with the rate.

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

    # -- files ----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the learner to a safetensors file, which `adagrad.ctr.load` reads.

        Parameters
        ----------
        path : str or PathLike
            An existing file is replaced as a whole, or not at all.

        Raises
        ------
        TypeError, ValueError
            If the file cannot hold a parameter or a class, or a parameter is not valid.
        OSError
            If the file cannot be written. The old file is untouched then.

        Notes
        -----
        A learner that was loaded keeps what its file says of the columns of its log, so that
        ``adagrad predict`` and ``evaluate`` read the log as before. ``adagrad train --resume`` does
        not continue from it, because it has learned something else meanwhile.

        """
        file_format.write(path, self._saved(self._extra))

    def _saved(self, extra: Any = None) -> SavedLearner:
        """Return what a file holds; `_restored` is the inverse."""
        model = self._model
        self._check_params()
        params = self.get_params(deep=False)
        if isinstance(params["rule"], Rule):
            params["rule"] = dataclasses.asdict(params["rule"])
        if params["encoder"] is not None:
            # The fitted encoder: it knows its columns.
            params["encoder"] = getattr(self, "encoder_", params["encoder"]).to_dict()
            HashingEncoder.from_dict(params["encoder"])  # refuse what could not be read again
        fitted = {name: value for name in file_format.FITTED if (value := vars(self).get(name))}
        names = vars(self).get("feature_names_in_")
        if names is not None:
            fitted["feature_names_in_"] = names.tolist()
        return SavedLearner(type(self).__name__, params, self.classes_, fitted, model, extra)

    @classmethod
    def _restored(cls, path: str | os.PathLike[str], saved: SavedLearner) -> ClickLearner:
        """Return the learner in a file.

        Raises
        ------
        TableFileError, TypeError, ValueError
            If the file is damaged: no learner has such parameters or fitted attributes.
        """
        params = dict(saved.params)
        of_format_1 = file_format.PARAMS_OF_FORMAT_1.intersection(cls._get_param_names())
        if missing := sorted(of_format_1 - params.keys()):
            raise ValueError(f"params lack {', '.join(missing)}")
        if params["rule"] is not None:
            params["rule"] = rule_of(path, params["rule"])
        if params["encoder"] is not None:
            params["encoder"] = HashingEncoder.from_dict(params["encoder"])
        learner = cls(**_at_rate_of(params, saved.model.settings.rule))
        learner._check_params()
        learner.classes_ = saved.classes
        learner.__dict__.update(file_format.fitted_attributes(saved))
        learner._trained = saved.model
        return learner

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")


def _at_rate_of(params: dict[str, Any], rule: Rule | None) -> dict[str, Any]:
    """Return the params of a learner in a file, so that it goes on with the rule of its model.

    Under ``lr="auto"``, version 0.1 chose a rate, and a cluster chooses a rule.
    """
    given = params["rule"]
    if params["lr"] != "auto" or rule is None or given == rule:
        return params
    if params["l2"]:
        rule = rule.replace(weight_decay=0.0)  # which l2 is
    return {**params, "lr": rule.lr, "rule": rule if given is None else given}


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, CHUNK):
        yield slice(start, start + CHUNK)
