"""Synthetic click logs with known click probabilities and the long tails of real logs.

`adagrad.datasets` exports the one public function. Reading and learning do not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["synthetic_clicks"]

BLOCK = 1 << 14
CALIBRATION_ROWS = 1 << 16
INTEGERS, CATEGORIES, LATENT = 13, 26, 4
# Random streams of a seed. Blocks of rows use the streams 2, 3, ...
TRUTH, CALIBRATION, FIRST_BLOCK = 0, 1, 2
WEIGHT_SCALE, PAIR_SCALE, INTEGER_SCALE = 0.25, 0.25, 0.08
# 2**32 divided by the golden ratio, rounded to an odd number: the strings of a field's values do
# not resemble each other.
SCATTER = 0x9E3779B1


class Tail(NamedTuple):
    r"""Frequencies of the values of a field.

    A share ``1 - fresh`` of the rows has the value of rank r in ``[0, size)`` with a density
    proportional to :math:`(r + a)^{-b}`, where a is ``shift`` and b is ``power`` (the
    Zipf-Mandelbrot law). Each of the other rows has one of :math:`2^{31}` further values, which
    hardly ever occurs again.
    """

    power: float
    shift: float
    size: int
    fresh: float = 0.0


# Fitted at 100,000 rows to three statistics of real logs, given in this order: slope of log
# frequency on log rank, share of the ten most frequent values, share of values seen once.
TAILS = {
    "ip": Tail(0.625, 1.07, 16_344, 0.116),  # -0.60, 3.4 %, 50 %
    "device_ip": Tail(0.589, 21.6, 1_069, 0.061),  # -0.52, 4 %, 85 %
    "category": Tail(0.795, 0.68, 1_066, 0.074),  # -0.80, 20 %, 87 %
    "app": Tail(3.794, 11.8, 172),  # -3.1, 82 %
    "channel": Tail(5.754, 91.98, 351),  # -2.8, 39 %
    "slot": Tail(1.913, 0.58, 1_647),  # -1.7, 93 %
    "domain": Tail(1.886, 0.28, 5_186),  # -1.6, 96 %
    "city": Tail(1.506, 11.05, 628),  # -1.4, 32 %
}
FIELDS = [list(TAILS)[field % len(TAILS)] for field in range(CATEGORIES)]
# Positions of fields that interact. Their distributions are steep, so that pairs of values recur
# and a model can learn their weights.
PAIRS = ((3, 4), (4, 7), (3, 15), (11, 12), (2, 20))
# In these fields 5 % of the categories, or 10 % of the integers, are missing.
SPARSE_CATEGORIES = (2, 10, 18)
SPARSE_INTEGERS = (0, 4, 8, 12)


@dataclass(frozen=True)
class Truth:
    """The true model: weights of values, latent vectors of pairs of fields, slopes of integers."""

    weights: list[NDArray[np.float64]]
    latent: list[tuple[NDArray[np.float64], NDArray[np.float64]]]
    slopes: NDArray[np.float64]


def synthetic_clicks(
    rows: int,
    seed: int = 0,
    *,
    click_rate: float = 0.05,
    batch_rows: int = 65_536,
    dictionary: bool = False,
    probability: bool = False,
) -> pa.RecordBatchReader:
    r"""Generate a click log as a stream of record batches, in constant memory.

    The columns resemble those of the Criteo logs: ``click`` (float32, 0 or 1), ``I1`` to ``I13``
    (int64, not negative) and ``C1`` to ``C26`` (strings of 8 hexadecimal digits). Some integers
    and categories are null.

    Parameters
    ----------
    rows : int
        Number of rows. A shorter log is the beginning of a longer one.
    seed : int
        Not negative. The rows depend only on this and on ``click_rate``.
    click_rate : float
        Mean probability of a click, in (0, 1).
    batch_rows : int
        Rows per batch, at least 1; the last batch may be shorter. The rows do not depend on this.
    dictionary : bool
        Whether the categories are dictionaries (int32 to string).
    probability : bool
        Whether to add a last column ``probability`` (float64), the probability p with which each
        click was drawn. Its logloss, the mean of :math:`-\log p` for a click and
        :math:`-\log (1 - p)` for any other row, is the best that any learner can reach in the long
        run.

    Returns
    -------
    pyarrow.RecordBatchReader
        It is also an iterator over the batches.

    Raises
    ------
    ValueError
        A parameter is out of range.

    Notes
    -----
    The log-odds of a click are the sum of a constant; a weight for the value of each category;
    ``dot(u, v)`` for each of five pairs of categories, whose values have latent vectors of length
    four; and, for each integer, a slope times its ``log1p``. Weights and vectors are normally
    distributed. Missing values add nothing. Neither do values that hardly any two rows share,
    because no learner can learn from a value that it sees once. The constant makes the mean
    probability of 65,536 other rows equal to ``click_rate``, so the mean of a log differs from it
    by about 1 %.

    The categories take turns at eight distributions that were measured on real logs. Some are
    nearly flat, and most of their values occur once (``C1``, ``C2``, ``C3``, ``C9``, ...); others
    are steep. At 100,000 rows the log matches three statistics: the slope of log frequency on log
    rank over ranks 10 to 1000, the share of the ten most frequent values, and the share of values
    that occur once. Longer logs have more distinct values, and each frequent value occurs more
    often.

    Rows are generated in blocks of 16,384, each by a generator with the key (seed, block), so
    every machine with the same version of NumPy generates the same rows.

    Examples
    --------
    >>> from adagrad.datasets import synthetic_clicks
    >>> log = synthetic_clicks(1000, seed=1)
    >>> log.schema.names[:3], sum(batch.num_rows for batch in log)
    (['click', 'I1', 'I2'], 1000)
    """
    import pyarrow as pa

    from adagrad._batches import rechunk

    if rows < 0:
        raise ValueError(f"rows must not be negative, got {rows}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if not 0 < click_rate < 1:
        raise ValueError(f"click_rate must be in (0, 1), got {click_rate}")
    if batch_rows < 1:
        raise ValueError(f"batch_rows must be at least 1, got {batch_rows}")
    text = pa.dictionary(pa.int32(), pa.string()) if dictionary else pa.string()
    schema = pa.schema(
        [
            ("click", pa.float32()),
            *((f"I{column + 1}", pa.int64()) for column in range(INTEGERS)),
            *((f"C{column + 1}", text) for column in range(CATEGORIES)),
            *([("probability", pa.float64())] if probability else []),
        ]
    )
    truth = _truth(np.random.default_rng([seed, TRUTH]))
    rng = np.random.default_rng([seed, CALIBRATION])
    constant = _constant(_log_odds(truth, *_features(rng, CALIBRATION_ROWS)), click_rate)

    def tables() -> Iterator[pa.Table]:
        for block, first in enumerate(range(0, rows, BLOCK)):
            rng = np.random.default_rng([seed, FIRST_BLOCK + block])
            table = _table(rng, truth, constant, schema)
            yield table.slice(0, rows - first)

    return pa.RecordBatchReader.from_batches(schema, rechunk(tables(), batch_rows))


def _truth(rng: np.random.Generator) -> Truth:
    def normal(scale: float, *shape: int) -> NDArray[np.float64]:
        values = rng.normal(0.0, scale, shape)
        # The last row is for fresh and missing values.
        return np.concatenate([values, np.zeros_like(values[:1])])

    def vectors(field: int) -> NDArray[np.float64]:
        # So scaled, the sum of LATENT products has the standard deviation PAIR_SCALE.
        return normal(np.sqrt(PAIR_SCALE) / LATENT**0.25, TAILS[FIELDS[field]].size, LATENT)

    return Truth(
        weights=[normal(WEIGHT_SCALE, TAILS[name].size) for name in FIELDS],
        latent=[(vectors(left), vectors(right)) for left, right in PAIRS],
        slopes=rng.normal(0.0, INTEGER_SCALE, INTEGERS),
    )


def _features(rng: np.random.Generator, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw integers [13, rows] and categories [26, rows]; -1 stands for a missing value."""
    scale = np.linspace(0.5, 5.0, INTEGERS)[:, np.newaxis]
    integers = np.expm1(np.abs(rng.normal(0.0, 1.0, (INTEGERS, rows))) * scale).astype(np.int64)
    for column in SPARSE_INTEGERS:
        integers[column, rng.random(rows) < 0.1] = -1
    categories = np.empty((CATEGORIES, rows), np.int64)
    for column, name in enumerate(FIELDS):
        categories[column] = _ranks(rng, TAILS[name], rows)
    for column in SPARSE_CATEGORIES:
        categories[column, rng.random(rows) < 0.05] = -1
    return integers, categories


def _ranks(rng: np.random.Generator, tail: Tail, rows: int) -> NDArray[np.int64]:
    """Draw values, numbered by rank, by inverting the integral of their density."""
    rest = 1.0 - tail.power
    low, high = tail.shift**rest, (tail.size + tail.shift) ** rest
    ranks = (low + rng.random(rows) * (high - low)) ** (1.0 / rest) - tail.shift
    values: NDArray[np.int64] = np.clip(ranks, 0, tail.size - 1).astype(np.int64)
    if tail.fresh:
        fresh = rng.random(rows) < tail.fresh
        values[fresh] = tail.size + rng.integers(0, 1 << 31, np.count_nonzero(fresh))
    return values


def _log_odds(
    truth: Truth, integers: NDArray[np.int64], categories: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the log-odds of a click [rows], without the constant."""
    odds = truth.slopes @ np.log1p(np.maximum(integers, 0))
    known = [
        np.where((column < 0) | (column >= len(weights) - 1), len(weights) - 1, column)
        for column, weights in zip(categories, truth.weights, strict=True)
    ]
    for column, weights in zip(known, truth.weights, strict=True):
        odds += weights[column]
    for (left, right), (u, v) in zip(PAIRS, truth.latent, strict=True):
        odds += np.einsum("ij,ij->i", u[known[left]], v[known[right]])
    return odds


def _sigmoid(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-odds))


def _constant(odds: NDArray[np.float64], click_rate: float) -> float:
    """Find, by bisection, the constant that makes the mean probability ``click_rate``."""
    middle = float(np.log(click_rate) - np.log1p(-click_rate))
    low, high = middle - float(odds.max()), middle - float(odds.min())
    for _ in range(50):
        constant = (low + high) / 2
        if _sigmoid(odds + constant).mean() < click_rate:
            low = constant
        else:
            high = constant
    return (low + high) / 2


def _table(rng: np.random.Generator, truth: Truth, constant: float, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    integers, categories = _features(rng, BLOCK)
    chance = _sigmoid(_log_odds(truth, integers, categories) + constant)
    arrays: list[Any] = [pa.array((rng.random(BLOCK) < chance).astype(np.float32))]
    arrays += [pa.array(column, mask=column < 0) for column in integers]
    for field, column in enumerate(categories):
        texts = _texts(field, column)
        arrays.append(texts if schema.field("C1").type == texts.type else texts.dictionary_encode())
    if schema.names[-1] == "probability":
        arrays.append(pa.array(chance))
    return pa.table(arrays, schema=schema)


# The four hexadecimal digits of every 16-bit number.
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_HEX = _DIGITS[(np.arange(1 << 16)[:, np.newaxis] >> np.array([12, 8, 4, 0])) & 15]


def _texts(field: int, values: NDArray[np.int64]) -> pa.StringArray:
    """Write each value as 8 hexadecimal digits, distinct within a field, and -1 as null."""
    import pyarrow as pa

    codes = (values * SCATTER + field * 0x85EBCA6B) & 0xFFFFFFFF
    digits = np.concatenate([_HEX[codes >> 16], _HEX[codes & 0xFFFF]], axis=1)
    texts = pa.StringArray.from_buffers(
        len(values),
        pa.py_buffer(np.arange(0, 8 * len(values) + 8, 8, dtype=np.int32)),
        pa.py_buffer(digits.tobytes()),
    )
    missing = values < 0
    if not missing.any():
        return texts
    return texts.take(pa.array(np.arange(len(values)), mask=missing))
