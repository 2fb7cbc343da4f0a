"""Hashed examples for bench/ctr.py, and the learners of others on the same data.

The examples are made up: each field draws values by a Zipf law, labels follow weights planted on
the values, not on their slots, so that collisions cost logloss.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from adagrad.ctr import Examples
from adagrad.ctr.encoding.examples import REGIONS, region_size

FIELDS = 39
ZIPF = 1.15


@dataclass(frozen=True)
class Clicks:
    """Examples and labels, and how they are called."""

    name: str
    x: Examples
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    @property
    def entries(self) -> int:
        """Entries of all examples."""
        return len(self.x.slots)


def hashed(values: np.ndarray, fields: np.ndarray | int) -> np.ndarray:
    """Return 64 bits for each value of a field."""
    return _mix(values + (np.asarray(fields, np.uint64) << np.uint64(48)))


def _mix(h: np.ndarray) -> np.ndarray:
    h = (h ^ h >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ h >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return h ^ h >> np.uint64(31)


def _values(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.minimum(random.zipf(ZIPF, shape), 1 << 40).astype(np.uint64)


def _planted(h: np.ndarray) -> np.ndarray:
    """Return the weight of each value: uniform, with mean 0."""
    return (h >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)


def _labels(random: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    return (random.random(len(logits)) < 1 / (1 + np.exp(-logits))).astype(np.float32)


@functools.cache
def fielded(examples: int, bits: int) -> Clicks:
    """Return examples of 39 fields, one value each, dealt to regions as the encoder deals them."""
    random = np.random.default_rng(bits)
    size = region_size(1 << bits)
    order = sorted(range(FIELDS), key=lambda field: (field % REGIONS, field))
    slots = np.empty((examples, FIELDS), np.uint32)
    logits = np.full(examples, -1.5, np.float32)
    for column, field in enumerate(order):
        h = hashed(_values(random, (examples,)), field)
        slots[:, column] = field % REGIONS * size + (h % np.uint64(size)).astype(np.uint32)
        logits += np.float32(0.6) * _planted(h)
    counts = np.bincount([field % REGIONS for field in order], minlength=REGIONS)
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)
    fields = np.array(order, np.uint16)
    x = Examples(slots.reshape(-1), bounds, 1 << bits, examples, fields=fields, n_fields=FIELDS)
    return Clicks(f"2^{bits}", x, _labels(random, logits))


@functools.cache
def generic(examples: int, bits: int) -> Clicks:
    """Return rows of a sparse matrix: 5 to 119 values, a column each."""
    random = np.random.default_rng(bits)
    lengths = random.integers(5, 120, examples)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    h = _mix(_values(random, (int(indptr[-1]),)))
    logits = np.float32(0.3) * np.add.reduceat(_planted(h), indptr[:-1]) - np.float32(1.5)
    import scipy.sparse

    columns = (h % np.uint64(1 << bits)).astype(np.int32)
    matrix = scipy.sparse.csr_matrix(
        (np.ones(len(columns), np.float32), columns, indptr.astype(np.int32)),
        shape=(examples, 1 << bits),
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return Clicks(f"CSR, 2^{bits}", Examples.from_csr(matrix), _labels(random, logits))


def nats(margins: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the loss of each example."""
    margins = margins.astype(np.float64)
    return np.logaddexp(0.0, np.where(y > 0, -margins, margins))


def logloss(margins: np.ndarray, y: np.ndarray) -> float:
    """Return the mean in nats."""
    return float(nats(margins, y).mean())


def vw_lines(clicks: Clicks) -> Iterator[str]:
    """Yield examples as Vowpal Wabbit reads them."""
    indptr, names = clicks.x.indptr, clicks.x.slots.astype(str)
    if clicks.x.values is not None:
        names = [f"{name}:{value}" for name, value in zip(names, clicks.x.values, strict=True)]
    for i, label in enumerate(clicks.y):
        entries = " ".join(names[indptr[i] : indptr[i + 1]])
        yield f"{1 if label > 0 else -1} | {entries}\n"


@contextmanager
def vw_files(clicks: Clicks) -> Iterator[tuple[Path, Path]]:
    """Write examples as Vowpal Wabbit reads them: text, and its own binary cache."""
    from vowpalwabbit import Workspace

    with TemporaryDirectory() as folder:
        text, cache = Path(folder) / "log.txt", Path(folder) / "log.cache"
        with text.open("w") as file:
            file.writelines(vw_lines(clicks))
        Workspace(f"--quiet --noop -d {text} --cache_file {cache}").finish()
        yield text, cache


def vw_pass(source: str, bits: int) -> tuple[float, float]:
    """Let Vowpal Wabbit make one pass with its defaults; return seconds and progressive logloss."""
    from vowpalwabbit import Workspace

    start = time.perf_counter()
    vw = Workspace(f"--quiet --loss_function logistic -b {bits} {source}")
    seconds = time.perf_counter() - start
    loss = vw.get_sum_loss() / vw.get_weighted_examples()
    vw.finish()
    return seconds, loss


def sgd_pass(matrix: Any, y: np.ndarray) -> None:
    """Let scikit-learn's SGDClassifier make one pass."""
    from sklearn.linear_model import SGDClassifier

    SGDClassifier(loss="log_loss").partial_fit(matrix, y, classes=[0.0, 1.0])
