"""Training of one model, which with ``lr="auto"`` begins with the choice of its learning rate.

The estimators, the training loop of logs and the cluster hold a `Trainer`. What a model learns from
a batch is in `model`, how rates are compared in `sweep`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from adagrad._arguments import check_storable
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.labeled import LabeledExamples, concatenate
from adagrad.ctr.learners.model import Model, Settings
from adagrad.ctr.learners.progressive import Floats
from adagrad.ctr.learners.sweep import RATES, SWEEP_EXAMPLES, sweep
from adagrad.rule import Rule

__all__ = ["Trainer", "Watch"]

Watch = Callable[[Floats, LabeledExamples], None]
"""Receives the predictions for the examples held back, and these, once the rate is chosen."""


class Trainer:
    """A model in training.

    With `auto_rate`, the first 20,480 examples are held back. When they are complete, or when
    `choose_rate` is called, the rate that predicts them best is chosen, and a model that has
    learned them at this rate continues.

    Parameters
    ----------
    model : Model
        Learns in place. With `auto_rate` it must be new, and a model of the same settings but for
        the rate takes its place.
    auto_rate : bool, default False
        Whether to choose the learning rate.
    """

    def __init__(self, model: Model, *, auto_rate: bool = False) -> None:
        self._trained = model
        self._held_back: list[LabeledExamples] | None = [] if auto_rate else None
        self._preview: Model | None = None  # of the examples held back so far

    @property
    def has_rate(self) -> bool:
        """Whether the learning rate is known: given, or chosen."""
        return self._held_back is None

    @property
    def examples(self) -> int:
        """Number of examples learned or held back."""
        if self._held_back is None:
            return self._trained.examples
        return sum(map(len, self._held_back))

    @property
    def settings(self) -> Settings:
        """Settings of the model; the rate is a placeholder until `has_rate`."""
        return self._trained.settings

    def model(self, *, threads: int = 0) -> Model:
        """Return the model as it would be if no more examples came.

        Before the rate is chosen this is a preview, which later examples do not change.
        """
        if self._held_back is None:
            return self._trained
        if self._preview is None:
            self._preview = self._at_best_rate(self._held_back, threads)
        return self._preview

    def check(self, x: Examples, passes: int, rule: Rule) -> None:
        """Raise a ValueError if `learn` could not learn examples to the end.

        Parameters
        ----------
        x : Examples
        passes : int
            How often they will be learned.
        rule : Rule
            The rule they will be learned with.
        """
        self._trained.check(x)
        first = self._held_back[0].x if self._held_back else x
        if first.n_fields != x.n_fields:
            raise ValueError(
                f"X has {x.n_fields} fields, but earlier examples had {first.n_fields}"
            )
        slowest = rule if self.has_rate else rule.replace(lr=RATES[0])
        last = self.examples + passes * len(x)
        if slowest.lr_decay and slowest.lr and last:
            check_storable("lr", slowest.lr_at(last), "float32")

    def learn(
        self,
        batch: LabeledExamples,
        *,
        threads: int = 0,
        count: bool = True,
        watch: Watch | None = None,
    ) -> None:
        """Learn from examples, or hold them back until the rate is chosen.

        Parameters
        ----------
        batch : LabeledExamples
            In the order of learning. What is held back is copied.
        threads, count
            As for `Model.learn`.
        watch
            As for `choose_rate`.
        """
        if self._held_back is not None:
            room = SWEEP_EXAMPLES - self.examples
            self._held_back.append(batch[:room].copy())
            self._preview = None
            if len(batch) < room:
                return
            self.choose_rate(threads=threads, watch=watch)
            batch = batch[room:]
        self._trained.learn(batch.x, batch.y, batch.weights, threads=threads, count=count)

    def choose_rate(self, *, threads: int = 0, watch: Watch | None = None) -> None:
        """Choose the rate from the examples held back so far; without effect if it is known.

        Parameters
        ----------
        threads : int, default 0
            As for `Model.learn`.
        watch : callable, optional
            Called with the predictions for the examples held back, and with these examples.
        """
        if self._held_back is not None:
            self._trained = self._at_best_rate(self._held_back, threads, watch)
            self._held_back = self._preview = None

    def retune(self, settings: Settings) -> None:
        """Continue with another rate and other penalties.

        Parameters
        ----------
        settings : Settings
            Equal to `settings` but for ``l1`` and the rule's ``lr``, ``lr_decay`` and
            ``weight_decay``.
        """
        self._trained.retune(settings)
        self._preview = None

    def _at_best_rate(
        self, held_back: list[LabeledExamples], threads: int, watch: Watch | None = None
    ) -> Model:
        """Return a model that has learned these examples at the rate that predicts them best."""
        settings = self.settings
        if not held_back:
            return Model(settings)
        first = concatenate(held_back)
        lr, margins = sweep(settings, first.x, first.y, first.weights)
        model = Model(dataclasses.replace(settings, rule=settings.fixed_rule.replace(lr=lr)))
        model.learn(first.x, first.y, first.weights, threads=threads, count=False)
        # What `progressive` counts are the predictions of all rates, mixed: no rate was known.
        model.progressive.add(margins, first.y, first.weights)
        if watch is not None:
            watch(margins, first)
        return model
