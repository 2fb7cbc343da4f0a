"""What the learners share: scikit-learn's interface on a model.

Arguments are checked in `validation`, what is learned is a `Model`, and `prediction` shows what it
knows. A learner adds its parameters and the settings that they make.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from adagrad._arguments import check_integer, check_storable
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.encoding.inputs import Features
from adagrad.ctr.encoding.matrix_rows import MatrixRows
from adagrad.ctr.learners import file_format
from adagrad.ctr.learners.file_format import SavedLearner
from adagrad.ctr.learners.label_order import is_learned_in_order
from adagrad.ctr.learners.labeled import LabeledExamples
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.passes import Pass
from adagrad.ctr.learners.prediction import Predictions
from adagrad.ctr.learners.progressive import measured
from adagrad.ctr.learners.settings import Settings, check_negative_rate
from adagrad.ctr.learners.targets import check_products, class_weighted, weights_of
from adagrad.rule import Rule
from adagrad.tables.metadata import rule_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ClickLearner"]

CHUNK = 65_536
"""Examples between two checks for interrupts; a multiple of the largest round."""


class ClickLearner(Predictions):
    """Common part of the learners; see `LogisticRegression`."""

    # What `adagrad.ctr.load` found in the file beside the learner: the columns of its log.
    _extra: Any = None
    _saw_order = False  # in a call of `partial_fit`, which warned

    n_passes_: int
    loss_curve_: list[float]

    def fit(
        self,
        X: Features,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        validation: tuple[Features, ArrayLike]
        | tuple[Features, ArrayLike, ArrayLike]
        | None = None,
    ) -> Self:
        """Learn from examples, in up to `passes` passes.

        Parameters
        ----------
        X : Examples, sparse matrix or array of shape [n, n_slots], or columns
            Each column of a matrix is a slot, and for a field-aware machine also a field. Several
            entries of a row in one column are learned one by one, and are pairs of each other:
            ``X.sum_duplicates()`` adds them up. With an `encoder`, X holds raw columns: a
            DataFrame, an Arrow table, a dict, an array or a list of dicts. Without one, all columns
            of a DataFrame must be numbers, which are taken as amounts; a warning says so if all of
            them are integers, which may be ids.
        y : array-like, shape [n]
            Labels of two classes; the larger one is the positive class. Text is compared as text:
            ``"yes"`` is larger than ``"no"``, but ``"noclick"`` is larger than ``"click"``. A
            warning says which one is positive if it is probably the other one.
        sample_weight : array-like, shape [n], optional
            Factors of the gradients, from 0 to :math:`2^{48}`, also after multiplication with any
            value of the example. An example of weight 0 teaches nothing: the model has the bits of
            one that has not seen it.
        validation : tuple of X, y and perhaps sample_weight, optional
            Stop after the first pass that does not lower the logloss on these examples, and keep
            the model of the pass before. They are predicted as any others: with a `negative_rate`,
            they need all negatives, or weights of 1 / rate for those that were kept.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter is not valid. The learner is unchanged then.

        Notes
        -----
        Labels in an order, such as all negatives first, are learned as with ``shuffle=True``, and a
        warning says so: labels that change less than a twentieth as often as in a random order. Ten
        examples or fewer of a class are never ordered. Weights do not matter for this.
        """
        proceed = self.warm_start and hasattr(self, "classes_")
        with self._all_or_nothing():
            batch = self._labeled(
                X, y, sample_weight, class_weight=self.class_weight, reset=not proceed
            ).with_weight()
            if batch.weights is not None and not len(batch):
                raise ValueError("sample_weight is zero for every example")
            held_out = None if validation is None else self._labeled(*validation, reset=False)
            passes = check_integer("passes", self.passes, 1, 2**31)
            self._check()
            shuffle = self.shuffle or not is_learned_in_order(batch.y, "fit")
            others = [] if held_out is None else [held_out.x]
            self._start_or_retune(batch.x, not proceed, passes, others)
        if passes > 1 and not shuffle:
            batch = batch.arranged()
        best: tuple[float, Model] | None = None
        self.n_passes_, self.loss_curve_ = 0, []
        for number in range(passes):
            self.loss_curve_.append(self._pass(batch, number, passes, shuffle))
            self.n_passes_ += 1
            if held_out is None:
                continue
            loss = self._logloss(held_out)
            if self.verbose:
                print(f"{type(self).__name__}: validation logloss {loss:.5f}", file=sys.stderr)
            if best is not None and not loss < best[0]:
                self._trained = best[1]
                break
            best = (loss, self._model.copy() if number + 1 < passes else self._model)
        if best is not None:
            self.validation_logloss_ = best[0]
        return self

    def _pass(self, batch: LabeledExamples, number: int, passes: int, shuffle: bool) -> float:
        """Learn from all examples once, and return the mean loss of the predictions before."""
        title = f"{type(self).__name__}, pass {number + 1} of {passes}"
        order, current = None, Pass(title, len(batch), bool(self.verbose))
        if shuffle:
            order = np.random.default_rng([self._seed(), number]).permutation(len(batch))
        for part in _chunks(len(batch)):
            some = batch[part] if order is None else batch.take(order[part])
            self._learn(some, current, count=number == 0)
        return current.logloss

    def _learn(self, batch: LabeledExamples, current: Pass, *, count: bool = True) -> None:
        threads, sums = self._threads(), self._trained.progressive.sums
        before = sums.copy()
        margins = self._trained.learn(batch.x, batch.y, batch.weights, threads=threads, count=count)
        if count:
            weight, _, loss, _ = (sums - before).tolist()
            current.count(len(batch), weight, loss)
        else:
            current.add(margins, batch)

    def _logloss(self, held_out: LabeledExamples) -> float:
        model, threads = self._model, self._threads()
        parts = (held_out[part] for part in _chunks(len(held_out)))
        return measured(lambda x: model.margins(x, threads=threads), parts).metrics()["logloss"]

    def partial_fit(
        self,
        X: Features,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
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
        Examples are learned in the order in which they come, unless the labels of a call are in an
        order, as `fit` sees it; the first such call warns. Calls whose labels are all alike are
        beyond its sight: after many of them the model predicts this label for everything, so
        shuffle such data before.

        A stream cut at multiples of 64 examples gives the same bits as one call, and as a `fit`,
        if none of them shuffles.

        `n_jobs` may be changed between two calls, and so may a fixed `lr`, with `l1` and `l2`.
        Other penalties change the weights at once. A change from or to no penalty is refused,
        because a slot keeps something else with penalties than without.
        """
        first = not hasattr(self, "classes_")
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} needs all labels, which partial_fit does not"
                " have: give a dict of weights, or call fit"
            )
        with self._all_or_nothing():
            batch = self._labeled(X, y, sample_weight, classes, self.class_weight, reset=first)
            self._check()
            some = batch.with_weight()
            again = self._saw_order and not first
            in_order = is_learned_in_order(some.y, "partial_fit", again=again)
            self._saw_order = again or not in_order
            self._start_or_retune(some.x if len(some) else batch.x, first)
        batch = some
        if not in_order:
            batch = some.take(np.random.default_rng([self._seed(), 0]).permutation(len(some)))
        current = Pass(f"{type(self).__name__}, partial_fit", len(batch), bool(self.verbose))
        for part in _chunks(len(batch)):
            self._learn(batch[part], current)
        return self

    def _weighted(self, batch: LabeledExamples) -> LabeledExamples:
        """Return examples of a log with the weights of their classes, as `partial_fit` does.

        Raises
        ------
        ValueError
            A weight, or its product with a value of the example, is too large.
        """
        weights = weights_of(batch.weights, len(batch))
        weights = class_weighted(self.class_weight, self.classes_, batch.y, weights)
        check_products(batch.x, weights)
        return LabeledExamples(batch.x, batch.y, weights).with_weight()

    # -- the model ------------------------------------------------------------------------------

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

    def _settings(self, x: Examples | MatrixRows, rule: Rule | None, seed: int) -> Settings:
        """Return the settings of a model for examples like these."""
        raise NotImplementedError

    def _linear_settings(self) -> dict[str, Any]:
        """Return the settings of the linear part, which all learners have."""
        l1, l2 = self._penalties()
        half_life, intercept = self._half_life(), bool(self.fit_intercept)
        return {
            "l1": l1,
            "l2": l2,
            "half_life": half_life,
            "intercept": intercept,
            "negative_rate": check_negative_rate(self.negative_rate),
        }

    def _start_or_retune(
        self,
        x: Examples | MatrixRows,
        start: bool,
        passes: int = 1,
        others: Sequence[Examples | MatrixRows] = (),
    ) -> None:
        """Begin a new model, or apply to the model what was changed since it began.

        Raises if it cannot learn these examples in so many passes, or cannot predict `others`.
        """
        wanted = self._settings(x, self._rule(), self._seed(begins=start))
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
        The file holds the seed in use, `seed_`: a learner from a file has it as its `seed`, and
        ``random_state=None``.

        A learner that was loaded keeps what its file says of the columns of its log and of the
        runs that trained it, so that ``adagrad predict``, ``evaluate`` and ``train --init`` read
        logs as before. ``adagrad train --resume`` does not continue from it, because it has learned
        something else meanwhile.
        """
        file_format.write(path, self._saved(self._extra))

    def _saved(self, extra: Any = None) -> SavedLearner:
        """Return what a file holds; `_restored` is the inverse."""
        model = self._model
        self._check_params()
        params = self.get_params(deep=False)
        del params["random_state"]  # which earlier versions do not know
        if params["negative_rate"] == 1.0:
            del params["negative_rate"]
        params["seed"] = self._seed()
        if isinstance(params["rule"], Rule):
            params["rule"] = dataclasses.asdict(params["rule"])
        if params["encoder"] is not None:
            # The fitted encoder: it knows its columns.
            params["encoder"] = getattr(self, "encoder_", params["encoder"]).to_dict()
            HashingEncoder.from_dict(params["encoder"])  # refuse what could not be read again
        if isinstance(params["class_weight"], Mapping):  # JSON would turn its keys into texts
            params["class_weight"] = list(params["class_weight"].items())
        fitted = {name: value for name in file_format.FITTED if (value := vars(self).get(name))}
        names = vars(self).get("feature_names_in_")
        if params["encoder"] is not None:  # which knows the names of its columns
            fitted["n_features_in_"] = model.settings.n_slots
        elif names is not None:
            fitted["feature_names_in_"] = names.tolist()
        return SavedLearner(type(self).__name__, params, self.classes_, fitted, model, extra)

    @classmethod
    def _restored(cls, path: str | os.PathLike[str], saved: SavedLearner) -> Self:
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
        if params.get("class_weight") not in (None, "balanced"):
            params["class_weight"] = dict(params["class_weight"])
        learner = cls(**_at_rate_of(params, saved.model.settings.rule))
        learner._check_params()
        learner.classes_ = saved.classes
        learner.__dict__.update(file_format.fitted_attributes(saved))
        if learner.encoder is not None:
            if hasattr(learner.encoder, "fields_"):
                learner.encoder_ = copy.deepcopy(learner.encoder)
            learner._note_features(saved.model.settings.n_slots)
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
    """Return the params of a learner in a file, so that it continues with the rule of its model.

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
