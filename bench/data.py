"""Ids as feature hashing produces them: uniform or Zipf over a table, new for every sample."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

# A batch repeats only after 8 M other ids, so that no cache holds any of it by then.
POOL = 1 << 23
SMOKE_POOL = 1 << 17
# Knuth's multiplicative hash (The Art of Computer Programming 3, 6.4): odd, so that it permutes the
# ids of a table of 2^k rows, and neighboring ranks of a Zipf law end up far apart.
KNUTH = 2654435769

UNIFORM, ZIPF_105, ZIPF_12, DISTINCT = "uniform", "Zipf 1.05", "Zipf 1.2", "no repeats"
LAWS = (UNIFORM, ZIPF_105, ZIPF_12)


@functools.cache
def _ranks(exponent: float, count: int) -> np.ndarray:
    """Draw more Zipf ranks than needed, because a table cuts off the tail."""
    return np.random.default_rng(1).zipf(exponent, count * (4 if exponent < 1.1 else 2)) - 1


def draw(law: str, bits: int, count: int) -> np.ndarray:
    """Return `count` int64 ids in [0, 2**bits)."""
    size = 1 << bits
    if law == UNIFORM:
        return np.random.default_rng(1).integers(0, size, count)
    if law == DISTINCT:
        ranks = np.arange(count) % size  # any `size` in a row are different
    else:
        ranks = _ranks(float(law.split()[1]), count)
        ranks = ranks[ranks < size][:count]
        if len(ranks) < count:
            raise RuntimeError(f"{law}: too few of the ranks are below {size}")
    return ranks * KNUTH % size


@dataclass(frozen=True)
class Batches:
    """Slices of a pool of ids and gradients, [n] and [n] or [n, dim]."""

    ids: np.ndarray
    g: np.ndarray
    n: int
    dim: int = 0

    def __call__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return batch number `i`; the numbers wrap around."""
        width = max(self.dim, 1)
        start = i % (len(self.ids) // self.n) * self.n
        start_g = i % (len(self.g) // (self.n * width)) * self.n * width
        g = self.g[start_g : start_g + self.n * width]
        return self.ids[start : start + self.n], g.reshape(self.n, width) if self.dim else g

    def unique(self) -> float:
        """Return the share of different ids in a batch."""
        return len(np.unique(self(0)[0])) / self.n


@functools.cache
def gradients(count: int) -> np.ndarray:
    """Return positive float32 values: the limit adds them to s, which must not become negative."""
    g = np.random.default_rng(2).random(count, dtype=np.float32)
    g += np.float32(0.5)
    return g


def power(bits: int) -> str:
    """Return a table size as text."""
    return f"2^{bits}"


def thousands(n: int) -> str:
    """Return a batch size as text."""
    return f"{n // 10**6} M" if n >= 10**6 else f"{n // 1000} k"
