"""A parameter server that sends whole arrays, after the pattern of Ray's documentation.

The pattern is synchronous training in "Parameter Server", an example of Ray Core. One actor holds
the weights. In each round every worker gets all of them, computes the dense gradient of its next
batch and sends it back. The server sums the gradients and takes a step. This one trains a logistic
regression by AdaGrad, in NumPy, on the same batches of hashed slots as adagrad.distributed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from adagrad import Rule
from adagrad.ctr import HashingEncoder
from adagrad.ctr.logs import open_log

Floats = npt.NDArray[np.float32]


class ParameterServer:
    """All weights and accumulators.

    Parameters
    ----------
    bits : int
        There are ``2**bits`` weights, followed by a bias.
    rule : Rule
        Its `lr` is the learning rate; accumulators start at its `eps`.
    """

    def __init__(self, bits: int, rule: Rule) -> None:
        self.lr = np.float32(rule.lr)
        self.weights = np.zeros((1 << bits) + 1, np.float32)
        self.sums = np.full_like(self.weights, rule.eps)

    def get_weights(self) -> Floats:
        return self.weights

    def apply_gradients(self, *gradients: Floats) -> Floats:
        """Step by the sum of the workers' gradients; return the weights."""
        g = np.sum(gradients, axis=0)
        self.sums += g * g
        self.weights -= self.lr * g / np.sqrt(self.sums)
        return self.weights


class DataWorker:
    """Reads and encodes the batches of its share of a log, and computes gradients.

    Parameters
    ----------
    paths : sequence of Path
        The worker's share of the log, as Parquet files.
    label : str
    encoder : HashingEncoder
    size : int
        Examples per batch.
    """

    def __init__(
        self, paths: Sequence[Path], label: str, encoder: HashingEncoder, size: int
    ) -> None:
        self.label, self.encoder, self.size = label, encoder, size
        self.batches = self.read(paths)

    def read(self, paths: Sequence[Path]) -> Iterator[pa.Table]:
        seen = 0
        for path in paths:
            with open_log(path, label=self.label) as log:
                for rows in log:
                    at = 0
                    while at < len(rows):
                        size = min(self.size, max(64, seen // 8))  # as in adagrad.distributed
                        yield rows.slice(at, size)
                        at += size
                        seen += size

    def compute_gradients(self, weights: Floats) -> tuple[Floats, float, int]:
        """Return the gradient of the next batch, its loss in nats before the step, and its rows.

        After the last batch the number of rows is 0.
        """
        rows = next(self.batches, None)
        if rows is None:
            return np.zeros_like(weights), 0.0, 0
        x = self.encoder.transform(rows)
        y = rows.column(self.label).to_numpy().astype(np.float32)
        slots = x.slots.reshape(len(y), -1)
        margins = weights[slots].sum(axis=1) + weights[-1]
        loss = float(np.logaddexp(0.0, np.where(y > 0, -margins, margins)).sum())
        residuals = 1 / (1 + np.exp(-margins)) - y
        gradient = np.bincount(
            slots.ravel(), np.repeat(residuals, slots.shape[1]), minlength=len(weights)
        )
        gradient[-1] = residuals.sum()
        return gradient.astype(np.float32), loss, len(y)


def train(
    paths: Sequence[Path],
    label: str,
    encoder: HashingEncoder,
    *,
    workers: int,
    size: int,
    rule: Rule,
    show: Callable[[int], None],
) -> float:
    """Train on a log in one pass; return the progressive logloss.

    After each round, `show` is called with the number of rows learned.
    """
    server = ray.remote(num_cpus=0)(ParameterServer).remote(encoder.bits, rule)
    worker = ray.remote(num_cpus=0)(DataWorker)
    crew = [worker.remote(paths[k::workers], label, encoder, size) for k in range(workers)]
    weights, seen, loss = server.get_weights.remote(), 0, 0.0
    try:
        while True:
            computed = [w.compute_gradients.options(num_returns=3).remote(weights) for w in crew]
            weights = server.apply_gradients.remote(*(gradient for gradient, _, _ in computed))
            told = ray.get([ref for _, *rest in computed for ref in rest])
            rows = sum(told[1::2])
            if rows == 0:
                return loss / seen
            seen, loss = seen + rows, loss + sum(told[0::2])
            show(seen)
    finally:
        for actor in (server, *crew):
            ray.kill(actor)
