"""Counts of a server in memory that its workers share, and their text for Prometheus.

Each worker adds to a row of its own, so that no lock is needed and a worker that dies leaves its
counts. Any worker answers for all: it adds up the rows.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BOUNDS", "CODES", "PATHS", "Counts", "Page"]

PATHS = ("predict", "health", "metrics", "docs", "other")
CODES = (200, 400, 404, 405, 408, 413, 415, 422, 431, 500, 503, 504)
BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of the histogram of latencies, in seconds."""

_CELLS = {
    pair: at for at, pair in enumerate(itertools.product(PATHS, CODES))
}  # where the requests of a path and a code are counted
_BUCKETS = len(_CELLS)
_SUM = _BUCKETS + len(BOUNDS) + 1
_ROWS, _SAMPLED, _LOADED, _REFUSED, _GENERATION, _SECONDS = range(_SUM + 1, _SUM + 7)
_COLUMNS = _SUM + 7


def width(n_columns: int) -> int:
    """Return the numbers that a worker needs."""
    return _COLUMNS + 3 * n_columns


class Counts:
    """What one worker counts.

    Parameters
    ----------
    memory : buffer of float64, shape [workers, width]
        The rows of all workers.
    row : int
        That of this one.
    n_columns : int
        Columns of the model.
    """

    def __init__(self, memory: Any, row: int, n_columns: int) -> None:
        self.all = np.frombuffer(memory, np.float64).reshape(-1, width(n_columns))
        self._row: Any = memoryview(self.all[row])  # four times as quick as an array
        self._columns = self.all[row, _COLUMNS:].reshape(3, n_columns)

    def request(self, path: str, code: int, seconds: float | None = None, rows: int = 0) -> None:
        """Count a request, and the time and rows of one that was answered."""
        row = self._row
        row[_CELLS[path, code if code in CODES else 500]] += 1
        if seconds is not None:
            row[_BUCKETS + bisect.bisect_left(BOUNDS, seconds)] += 1
            row[_SUM] += seconds
            row[_ROWS] += rows

    def sample(
        self, rows: int, values: npt.NDArray[Any], unseen: npt.NDArray[Any], missing: Any
    ) -> None:
        """Count the values of some rows by column: all, those never learned, those missing."""
        self._row[_SAMPLED] += rows
        self._columns += (values, unseen, missing)

    def loaded(self, generation: int, seconds: float) -> None:
        """Note the model that this worker serves now, and how long it took to load."""
        self._row[_GENERATION], self._row[_SECONDS] = generation, seconds

    def published(self) -> None:
        """Count a model that was taken."""
        self._row[_LOADED] += 1

    def refused(self) -> None:
        """Count a model that was refused."""
        self._row[_REFUSED] += 1

    def generations(self) -> dict[int, int]:
        """Return the number of workers that serve each model."""
        found = self.all[:, _GENERATION]
        numbers, counts = np.unique(found[found > 0].astype(np.int64), return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


class Page:
    """The text of /metrics.

    Parameters
    ----------
    counts : Counts
    columns : sequence of str
        Names of the columns.
    info : dict of str to str
        Labels of the model: its version, kind and file.
    state : dict of str to float
        ``ready``, ``refused`` and ``loaded_at``.
    """

    def __init__(
        self,
        counts: Counts,
        columns: Sequence[str],
        info: dict[str, str],
        state: dict[str, float],
    ) -> None:
        self.counts, self.columns, self.info, self.state = counts, columns, info, state

    def text(self) -> tuple[bytes, str]:
        """Return the page and its media type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Any]:
        """Yield the families of metrics."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        every = self.counts.all
        total = every.sum(axis=0)
        requests = CounterMetricFamily(
            "adagrad_requests", "Requests by path and HTTP status.", labels=("path", "code")
        )
        for (path, code), at in _CELLS.items():
            if total[at]:
                requests.add_metric((path, str(code)), total[at])
        yield requests
        ends = [*map(str, BOUNDS), "+Inf"]
        sums = np.cumsum(total[_BUCKETS:_SUM]).tolist()
        yield HistogramMetricFamily(
            "adagrad_predict_seconds",
            "Seconds from the end of a request to /predict to its answer.",
            buckets=list(zip(ends, sums, strict=True)),
            sum_value=total[_SUM],
        )
        for name, text, at in (
            ("adagrad_rows", "Rows that were answered.", _ROWS),
            ("adagrad_models_loaded", "Model files that were taken into service.", _LOADED),
            ("adagrad_models_refused", "Model files that were refused.", _REFUSED),
            ("adagrad_sampled_rows", "Rows whose values were looked at.", _SAMPLED),
        ):
            yield CounterMetricFamily(name, text, value=total[at])
        by_column = total[_COLUMNS:].reshape(3, -1)
        for name, text, values in zip(
            ("adagrad_column_values", "adagrad_column_unseen", "adagrad_column_missing"),
            (
                "Values of a column in sampled rows.",
                "Those that the model never learned: their weights are 0.",
                "Rows of the sample that lack the column.",
            ),
            by_column,
            strict=True,
        ):
            family = CounterMetricFamily(name, text, labels=("column",))
            for column, value in zip(self.columns, values.tolist(), strict=True):
                family.add_metric((column,), value)
            yield family
        yield InfoMetricFamily("adagrad_model", "The model that is served.", value=self.info)
        workers = GaugeMetricFamily(
            "adagrad_workers", "Workers by the number of the model they serve.", labels=("model",)
        )
        for generation, n in self.counts.generations().items():
            workers.add_metric((str(generation),), n)
        yield workers
        for name, text, value in (
            ("adagrad_model_load_seconds", "Time to load the model.", every[:, _SECONDS].max()),
            ("adagrad_model_loaded_at", "Unix time of its publication.", self.state["loaded_at"]),
            (
                "adagrad_model_refused",
                "Whether the model file, as it is now, was refused.",
                self.state["refused"],
            ),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))
