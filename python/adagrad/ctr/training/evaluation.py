"""The scores of a learner on a log with a label."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from adagrad.ctr.learners.estimator import ClickLearner
from adagrad.ctr.learners.labeled import LabeledExamples
from adagrad.ctr.learners.progressive import Progressive, measured
from adagrad.ctr.logs.log import Log
from adagrad.ctr.training.encoders import Encoder, encoder_of
from adagrad.ctr.training.pipeline import encoded

__all__ = ["Look", "Predictor", "best_of", "evaluate"]


class Predictor(Protocol):
    """A `ClickLearner` or a `Scorer`."""

    def decision_function(self, X: Any) -> npt.NDArray[np.float32]:
        """Return the log-odds of examples."""
        ...


Look = Callable[[pa.RecordBatch], None]
"""Called with the first batch of a log."""


def best_of(validation: list[dict[str, float]]) -> int:
    """Return the pass, from 1, with the lowest logloss; the first of several."""
    losses = [metrics["logloss"] for metrics in validation]
    return 1 + min(range(len(losses)), key=lambda k: (math.isnan(losses[k]), losses[k], k))


def evaluate(
    estimator: Predictor,
    log: Log,
    encoder: Encoder | None = None,
    look: Look | None = None,
    negative_rate: float = 1.0,
) -> Progressive:
    """Return the scores of an estimator's predictions on a log with a label.

    They are weighted by the weights and the rates of negatives that the log was opened with.

    Parameters
    ----------
    estimator : ClickLearner or Scorer
        A trained one.
    log : Log
        Opened for it, with a label.
    encoder : Encoder, optional
        Encodes the log; by default as `encoder_of` says for a learner.
    look : callable, optional
        Called with the first batch.
    negative_rate : float, default 1.0
        The rate at which the negatives of the log were kept: they weigh 1 / rate.
    """
    of_classes = None if negative_rate == 1.0 else (1.0 / negative_rate, 1.0)

    def batches() -> Iterator[LabeledExamples]:
        first = look
        for batch in encoded(log, encoder or encoder_of(cast(ClickLearner, estimator))):
            if first is not None:
                first(batch.batch)
                first = None
            yield batch.labeled(of_classes)

    return measured(estimator.decision_function, batches())
