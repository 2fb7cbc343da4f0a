"""What the three learners share: scikit-learn's interface on a model."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from adagrad import _core
from adagrad._arguments import check_integer
from adagrad.ctr.encoding.examples import Examples, concatenate
from adagrad.ctr.learners.model import Model, Settings
from adagrad.ctr.learners.progressive import measured
from adagrad.ctr.learners.sweep import SWEEP_EXAMPLES, sweep
from adagrad.ctr.learners.validation import Batch, Checked
from adagrad.rule import Rule

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

CHUNK = 65_536
"""Examples between two looks at interrupts; a multiple of the learners' rounds of 64."""

_RETUNED = frozenset({"l1", "lr", "lr_decay", "weight_decay"})
_OF_EXAMPLES = frozenset({"n_slots", "n_fields", "parts", "rule"})


class ClickLearner(Checked):
    """Common part of the learners; see `LogisticRegression`."""

    _model: Model

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        validation: tuple[Any, Any] | None = None,
    ) -> ClickLearner:
        """Learn from examples, once or `passes` times.

        Parameters
        ----------
        X : Examples, sparse matrix or 2-D array, or raw columns where there is an `encoder`
            Of shape [n, n_slots]; a column of a matrix is a slot.
        y : array-like, shape [n]
            Labels of two classes; the larger one is the positive.
        sample_weight : array-like, shape [n], optional
            Factors of the gradients, finite and not negative.
        validation : tuple of X and y, optional
            Stop after the first pass whose logloss on these is not lower than the best one
            before, and keep the model of that.

        Returns
        -------
        self
        """
        go_on = self.warm_start and hasattr(self, "classes_")
        with self._all_or_nothing():
            batch = self._batch(X, y, sample_weight, None, reset=not go_on)
            if batch[2] is not None and not batch[2].any():
                raise ValueError("sample_weight is zero for every example")
            held_out = None if validation is None else self._batch(*validation, None, None, False)
            passes = check_integer("passes", self.passes, 1, 2**31)
            self._check()
            self._start_or_retune(batch[0], not go_on)
        best: tuple[float, Model] | None = None
        self.n_passes_ = 0
        for number in range(passes):
            self._pass(batch, number)
            self.n_passes_ += 1
            if held_out is None:
                continue
            loss = measured(
                functools.partial(self._model.margins, threads=self._threads()), _parts(held_out)
            ).metrics()["logloss"]
            if best is not None and not loss < best[0]:
                self._model = best[1]
                break
            best = (loss, self._model.copy() if number + 1 < passes else self._model)
        if best is not None:
            self.validation_logloss_ = best[0]
        return self

    def _pass(self, batch: Batch, number: int) -> None:
        x, y, weights = batch
        order = None
        if self.shuffle:
            order = np.random.default_rng([self.seed, number]).permutation(len(x))
        for start in range(0, len(x), CHUNK):
            if order is None:
                part: Any = slice(start, start + CHUNK)
                some = x[part]
            else:
                part = order[start : start + CHUNK]
                some = x.take(part)
            of_part = None if weights is None else weights[part]
            self._learn(some, y[part], of_part, count=number == 0)
        if number == 0:
            self._settle()

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> ClickLearner:
        """Learn from more examples, once.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array-like, shape [2], optional
            The two classes; needed in the first call where `y` may lack one.

        Returns
        -------
        self

        Notes
        -----
        A stream cut at multiples of 64 examples gives the bits of one call, and of `fit`.

        `lr`, `l1`, `l2` and `n_jobs` may be set to something else between two calls. With
        ``lr="auto"`` the rate in use stays.
        """
        first = not hasattr(self, "classes_")
        with self._all_or_nothing():
            batch = self._batch(X, y, sample_weight, classes, reset=first)
            self._check()
            self._start_or_retune(batch[0], first)
        for start in range(0, len(batch[0]), CHUNK):
            x, labels, weights = (
                None if part is None else part[start : start + CHUNK] for part in batch
            )
            self._learn(x, labels, weights, count=True)
        return self

    # -- the model ------------------------------------------------------------------------------

    def _settings(self, x: Examples, rule: Rule) -> Settings:
        raise NotImplementedError

    def _start(self, x: Examples) -> None:
        """Begin a new model for examples like these."""
        self._model = Model(self._settings(x, self._rule()))
        self._held: list[Batch] | None = [] if self.lr == "auto" else None
        self._tried: Model | None = None

    def _start_or_retune(self, x: Examples, start: bool) -> None:
        """Begin a new model, or let the one there is take up what was set since."""
        if start:
            self._start(x)
            return
        now = self._model.settings
        rule = self._rule()
        if self.lr == "auto":
            rule = rule.replace(lr=now.rule.lr)
        wanted = self._settings(x, rule)
        for before, after in ((now, wanted), (now.rule, wanted.rule)):
            for name in (field.name for field in dataclasses.fields(before)):
                old, new = getattr(before, name), getattr(after, name)
                if old != new and name not in _RETUNED | _OF_EXAMPLES:
                    raise ValueError(
                        f"{name} was {old!r} when the model began and cannot become {new!r}: fit"
                        " anew, or a clone"
                    )
        if (now.l1, now.rule) == (wanted.l1, wanted.rule):
            return
        if self.lr != "auto":
            self._settle()
        self._model.retune(dataclasses.replace(self._model.settings, l1=wanted.l1, rule=rule))
        self._tried = None

    def _learn(self, x: Any, y: Any, weights: Any, count: bool) -> None:
        self._tried = None
        if self._held is None:
            self._model.learn(x, y, weights, threads=self._threads(), count=count)
            return
        room = SWEEP_EXAMPLES - sum(len(held[0]) for held in self._held)
        weight = None if weights is None else weights[:room]
        # copies: the caller may use its arrays again before the choice
        self._held.append(copy.deepcopy((x[:room], y[:room], weight)))
        if len(x) >= room:
            self._settle()
            weight = None if weights is None else weights[room:]
            self._model.learn(x[room:], y[room:], weight, threads=self._threads(), count=count)

    def _choose(self) -> Model:
        """Return a model that has learned the examples held back, at the rate they show best."""
        assert self._held is not None
        settings = self._model.settings
        if not self._held:
            return Model(settings)
        x = concatenate([held[0] for held in self._held])
        y = np.concatenate([held[1] for held in self._held])
        weights = None
        if any(held[2] is not None for held in self._held):
            weights = np.concatenate(
                [np.ones(len(h[1]), np.float32) if h[2] is None else h[2] for h in self._held]
            )
        lr, margins = sweep(settings, x, y, weights)
        model = Model(dataclasses.replace(settings, rule=settings.rule.replace(lr=lr)))
        model.learn(x, y, weights, threads=self._threads(), count=False)
        model.progressive.add(margins, y, weights)
        return model

    def _settle(self) -> None:
        """Fix the rate of ``lr="auto"``."""
        if self._held is not None:
            self._model = self._choose()
            self._held = None

    def _ready(self) -> Model:
        """Return the model as it would be if no more examples came."""
        check_is_fitted(self, "classes_")
        if self._held is None:
            return self._model
        if self._tried is None:
            self._tried = self._choose()
        return self._tried

    # -- what it has learned --------------------------------------------------------------------

    @property
    def lr_(self) -> float:
        """The rate in use: with ``lr="auto"`` the best one so far."""
        return self._ready().settings.rule.lr

    @property
    def n_examples_(self) -> int:
        """How many examples it has learned from, in all passes."""
        return self._ready().examples

    @property
    def progressive_(self) -> dict[str, float]:
        """Metrics of the predictions that came before learning, over everything seen so far.

        ``logloss`` (mean, nats), ``normalized_entropy``, ``auc`` and ``calibration`` (sum of
        predictions over sum of labels). Later passes over the same examples do not count.
        """
        return self._ready().progressive.metrics()

    @property
    def intercept_(self) -> Floats:
        """The bias, [1]."""
        bias = self._ready().bias
        return np.zeros(1, np.float32) if bias is None else bias[:1]

    @property
    def coef_(self) -> Floats:
        """The linear params, [1, n_slots]: a view of the model's table."""
        return self._ready().tables["linear"].weights[None, :]

    def decision_function(self, X: Any) -> Floats:
        """Return log-odds, [n].

        Parameters
        ----------
        X
            As for `fit`.
        """
        model = self._ready()
        return model.margins(self._examples(X, reset=False), threads=self._threads())

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the probabilities of both classes, [n, 2], in the order of ``classes_``.

        Parameters
        ----------
        X
            As for `fit`.
        """
        return _core.probabilities(self.decision_function(X))

    def predict(self, X: Any) -> Array:
        """Return the likelier class of each example, [n].

        Parameters
        ----------
        X
            As for `fit`.
        """
        positive = self.decision_function(X) > 0
        classes: Array = self.classes_[positive.astype(np.intp)]
        return classes

    def uncertainty(self, X: Any) -> Floats:
        """Return how little is known of each example: for exploration of rare ads.

        Parameters
        ----------
        X
            As for `fit`.

        Returns
        -------
        ndarray of float32, shape [n]
            Sum over the entries of ``rate * x**2``, rate being the rule's effective one of the
            entry's linear param, ``lr / sqrt(s + eps)`` for the textbook's: a bound of how far one
            more example could move the linear part of the margin. Large where features are rare.
            Not a variance; its scale is that of the rate.

        Notes
        -----
        The factors of factorization machines do not count. A factor's step is as large as what
        it meets, so that with them an example that is known well could have the larger sum.

        References
        ----------
        McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, section 6.
        """
        model = self._ready()
        return model.uncertainty(self._examples(X, reset=False), threads=self._threads())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the learner to a file, in the safetensors format; `adagrad.ctr.load` reads it.

        Parameters
        ----------
        path : str or PathLike
            A file that is there is replaced as a whole, or not at all.

        Notes
        -----
        While ``lr="auto"`` is undecided, the model is written as it would be if no more examples
        came, and what is loaded goes on with its rate.
        """
        from adagrad.ctr.learners import files

        files.write(path, self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")


def _parts(batch: Batch) -> Iterator[tuple[Examples, Floats]]:
    for start in range(0, len(batch[0]), CHUNK):
        part = slice(start, start + CHUNK)
        yield batch[0][part], batch[1][part]
