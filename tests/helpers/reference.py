"""The oracle: each formula in NumPy, with the operations in the order the contract gives.

`step` and `step_rows` take any Rule; `PRESETS` spells each preset's own formula in three lines.
The library must equal all of them with ==.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import adagrad
from halves import HALVES

Array = npt.NDArray[Any]


def power(x: Array, p: float) -> Array:
    """x ** p, one square root for each binary digit of p."""
    p = float(x.dtype.type(p))
    if p == 1.0:
        return x
    product = np.ones_like(x)
    while p > 0.0:
        x, p = np.sqrt(x), 2.0 * p
        if p >= 1.0:
            product, p = product * x, p - 1.0
    return product


def gradient(rule: adagrad.Rule, w: Array, g: Array) -> Array:
    h = w.dtype.type(rule.scale) * (-g if rule.maximize else g)
    if rule.clip_value is not None:
        h = np.clip(h, -w.dtype.type(rule.clip_value), w.dtype.type(rule.clip_value))
    if rule.weight_decay and rule.weight_decay_mode == "coupled":
        h = h + w.dtype.type(rule.weight_decay) * w
    return h


def statistic(rule: adagrad.Rule, h: Array, lr: Any) -> Array:
    if rule.statistic == "count":
        return (h != 0).astype(h.dtype)
    return (lr * h) * (lr * h) if rule.statistic == "scaled_square" else h * h


def accumulate(rule: adagrad.Rule, s: Array, a: Array) -> Array:
    return s.dtype.type(rule.accumulator_decay) * s + a


def advance(rule: adagrad.Rule, w: Array, h: Array, d: Array, lr: Any) -> Array:
    real = w.dtype.type
    eps, wd = real(rule.eps), real(rule.weight_decay)
    inside = rule.eps_position == "inside"
    q = power(d + eps, rule.power) if inside else power(d, rule.power) + eps
    decoupled = rule.weight_decay_mode == "decoupled" and rule.weight_decay != 0.0
    start = w
    if rule.evaluation == "g/d*lr":
        move = lr * (h / q + w * wd) if decoupled else lr * (h / q)
    else:
        move = (lr * h) / q if rule.evaluation == "lr*g/d" else (lr / q) * h
        start = w - w * wd * lr if decoupled else w
    if rule.skip_zero_accumulator:
        return np.where(d == 0, start, start - move)
    return start - move


def step(rule: adagrad.Rule, w: Array, g: Array, s: Array, t: int = 1) -> tuple[Array, Array]:
    """New w and s of a dense step; s like w, or one entry for each row of w."""
    lr = w.dtype.type(rule.lr_at(t))
    with np.errstate(all="ignore"):
        h = gradient(rule, w, g)
        a = statistic(rule, h, lr)
        keep = np.isfinite(g)
        if s.shape != w.shape:
            if rule.row_statistic == "max":
                a = a.max(axis=1)
            else:
                a = a.any(axis=1).astype(a.dtype) if rule.statistic == "count" else a.mean(axis=1)
            keep = keep.all(axis=1)
        new = accumulate(rule, s, a)
        d = s if rule.lagged else new
        column = (slice(None), None) if s.shape != w.shape else ()
        moved = advance(rule, w, h, d[column], lr)
    if rule.on_nonfinite == "skip":
        return np.where(keep[column], moved, w), np.where(keep, new, s)
    return moved, new


def sum_rows(rows: Array, g: Array) -> tuple[Array, Array]:
    """The different ids, ascending, and the sums of their gradients in order of appearance."""
    unique = np.unique(rows)
    summed = np.empty((len(unique), *g.shape[1:]), g.dtype)
    with np.errstate(all="ignore"):
        for k, row in enumerate(unique):
            first, *rest = np.flatnonzero(rows == row)
            summed[k] = g[first]
            for i in rest:
                summed[k] = summed[k] + g[i]
    return unique, summed


def step_rows(
    rule: adagrad.Rule, w: Array, g: Array, s: Array, rows: Array, t: int = 1
) -> tuple[Array, Array]:
    """New w and s of a sparse step."""
    w, s = w.copy(), s.copy()
    lr = w.dtype.type(rule.lr_at(t))
    scalar = w.ndim == 1
    if scalar:  # a table of rows of one element
        w, g = w[:, None], g[:, None]
        s = s[:, None]
    if rule.weight_decay_rows == "all" and rule.weight_decay:
        w = w - w * w.dtype.type(rule.weight_decay) * lr
        rule = rule.replace(weight_decay=0.0, weight_decay_rows="touched")
    if rule.duplicates == "sum":
        rows, g = sum_rows(rows, g)
    keep = [rule.on_nonfinite != "skip" or bool(np.isfinite(x).all()) for x in g]
    whole = rule.replace(on_nonfinite="propagate")
    passes = ["update"]
    if rule.duplicates == "each":
        passes = ["advance", "accumulate"] if rule.lagged else ["accumulate", "advance"]
    for part in passes:
        for i, row in enumerate(rows):
            one = slice(int(row), int(row) + 1)
            if not keep[i]:
                continue
            if part == "advance":
                with np.errstate(all="ignore"):
                    h = gradient(whole, w[one], g[i : i + 1])
                    d = s[one] if s.shape == w.shape else s[one][:, None]
                    w[one] = advance(whole, w[one], h, d, lr)
                continue
            moved, new = step(whole, w[one], g[i : i + 1], s[one], t)
            s[one] = new
            if part == "update":
                w[one] = moved
    return (w[:, 0], s[:, 0]) if scalar else (w, s)


# Random numbers and 16-bit storage (cpp/adagrad/random.hpp, half.hpp). Arrays of uint64 and uint32
# wrap, as the C++ does.
GOLDEN = 0x9E3779B97F4A7C15
STREAMS = ("initial weights", "step", "decay", "weight decay")


def u64(x: Any) -> Array:
    """At least one-dimensional: NumPy's arrays wrap silently, its scalars warn."""
    return np.atleast_1d(np.asarray(x, np.uint64))


def mix64(x: Array) -> Array:
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def hash32(x: Array) -> Array:
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
    x = (x ^ x >> np.uint32(15)) * np.uint32(0x846CA68B)
    return x ^ x >> np.uint32(16)


def key(seed: Any, stream: str, step: Any) -> Array:
    stream_number = u64(STREAMS.index(stream))
    return mix64(mix64(mix64(u64(seed) + u64(GOLDEN)) + stream_number) + u64(step))


def row_key(key: Array, row: Any) -> Array:
    return mix64(key + u64(row) * u64(GOLDEN))


def occurrence_key(row_key: Array, i: Any) -> Array:
    return mix64(row_key + u64(i))


def word(row_key: Array, j: Any) -> Array:
    """32 random bits for coordinate j: the low 16 are for w, the high 16 for s."""
    low = row_key.astype(np.uint32) + u64(j).astype(np.uint32) * np.uint32(0x9E3779B9)
    return hash32(low) ^ (row_key >> np.uint64(32)).astype(np.uint32)


def stochastic(x: Array, r: Array, half: str) -> Array:
    """The bits of float32 `x` stored in 16, rounded by `r` in [0, 65536)."""
    bits, r = x.view(np.uint32), r.astype(np.uint32)
    sign = (bits >> np.uint32(16)) & np.uint32(0x8000)
    m = bits & np.uint32(0x7FFFFFFF)
    if half == "bfloat16":
        infinity, nan = 0x7F80, 0x7FC0
        finite = (m + r) >> np.uint32(16)
    else:
        infinity, nan = 0x7C00, 0x7E00
        normal = (m + (r >> np.uint32(3))).astype(np.int64) >> 13
        normal = np.minimum(normal - (112 << 10), infinity)
        small = np.where(m < 0x38800000, np.abs(x), 0).astype(float) * 2.0**24
        subnormal = np.floor(small) + (small % 1 * 65536 > r)
        finite = np.where(m < 0x38800000, subnormal.astype(np.int64), normal)
    stored = np.where(m < 0x7F800000, finite, np.where(m == 0x7F800000, infinity, nan))
    return sign.astype(np.uint16) | stored.astype(np.uint16)


def unit(bits: Array) -> Array:
    return ((bits >> np.uint64(12)).astype(float) + 0.5) * 2.0**-52


def logarithm(x: Array) -> Array:
    """Natural logarithm of a normal number, in the operations of random.hpp."""
    m, e = np.frexp(x)
    low = m < np.uint64(0x3FE6A09E00000000).view(float)
    m, e = np.where(low, 2 * m, m), np.where(low, e - 1, e).astype(float)
    t = (m - 1.0) / (m + 1.0)
    z = t * t
    series = np.full_like(x, 1.0 / 23.0)
    for k in range(21, 1, -2):
        series = series * z + 1.0 / k
    high, rest = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
    return e * high + ((e * rest + 2.0 * t * z * series) + 2.0 * t)


def normal_quantile(u: Array) -> Array:
    """AS241, PPND16 (Wichura, Applied Statistics 37, 1988)."""

    def ratio(numerator: str, denominator: str, x: Array, factor: Any = 1.0) -> Array:
        a, b = (np.polyval([float(c) for c in p.split()], x) for p in (numerator, denominator))
        return a * factor / b

    q = u - 0.5
    central = ratio(
        "2509.0809287301226727 33430.575583588128105 67265.770927008700853 45921.953931549871457"
        " 13731.693765509461125 1971.5909503065514427 133.14166789178437745 3.387132872796366608",
        "5226.495278852854561 28729.085735721942674 39307.89580009271061 21213.794301586595867"
        " 5394.1960214247511077 687.1870074920579083 42.313330701600911252 1",
        0.180625 - q * q,
        q,
    )
    r = np.sqrt(-logarithm(np.where(q < 0, u, 1.0 - u)))
    near = ratio(
        "7.7454501427834140764e-4 0.0227238449892691845833 0.24178072517745061177"
        " 1.27045825245236838258 3.64784832476320460504 5.7694972214606914055"
        " 4.6303378461565452959 1.42343711074968357734",
        "1.05075007164441684324e-9 5.475938084995344946e-4 0.0151986665636164571966"
        " 0.14810397642748007459 0.68976733498510000455 1.6763848301838038494"
        " 2.05319162663775882187 1",
        r - 1.6,
    )
    far = ratio(
        "2.01033439929228813265e-7 2.71155556874348757815e-5 1.2426609473880784386e-3"
        " 0.026532189526576123093 0.29656057182850489123 1.7848265399172913358"
        " 5.4637849111641143699 6.6579046435011037772",
        "2.04426310338993978564e-15 1.4215117583164458887e-7 1.8463183175100546818e-5"
        " 7.868691311456132591e-4 0.0148753612908506148525 0.1369298809227358053"
        " 0.59983220655588793769 1",
        r - 5.0,
    )
    tail = np.where(r <= 5.0, near, far)
    return np.where(np.abs(q) <= 0.425, central, np.where(q < 0, -tail, tail))


def initial_weights(
    init: str, seed: Any, coordinates: Any, scale: float, dtype: npt.DTypeLike
) -> Array:
    """Weights of coordinates c = row * dim + j."""
    u = unit(mix64(key(seed, "initial weights", 0) + u64(coordinates) * u64(GOLDEN)))
    return (scale * (normal_quantile(u) if init == "normal" else 2.0 * u - 1.0)).astype(dtype)


# Tables (cpp/adagrad/half_rows.hpp, pooling.hpp). A step of theirs is taken by rounds of rows that
# differ, so that NumPy takes each round at once.
def rounds(rows: Array) -> Iterator[Array]:
    """Positions of the first occurrence of each row, then of the second, and so on."""
    order = np.argsort(rows, kind="stable")
    starts = np.flatnonzero(np.diff(rows[order], prepend=rows[order][:1] - 1))
    rank = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    for k in range(rank.max(initial=-1) + 1):
        yield order[rank == k]


def sum_occurrences(rows: Array, g: Array) -> tuple[Array, Array]:
    """What `sum_rows` returns, by rounds."""
    unique, of = np.unique(rows, return_inverse=True)
    summed = np.zeros((len(unique), *g.shape[1:]), g.dtype)
    with np.errstate(all="ignore"):
        for k, i in enumerate(rounds(rows)):
            summed[of[i]] = g[i] if k == 0 else summed[of[i]] + g[i]
    return unique, summed


def stored(x: Array, dtype: str, r: Array) -> Array:
    """What a float is after it was stored as `dtype`, rounded by `r` if that has 16 bits."""
    if dtype not in HALVES:
        return x
    return stochastic(x, r, dtype).view(HALVES[dtype]).astype(np.float32)


class Table:
    """The oracle of adagrad.Table: w of shape [rows, dim], and s like it or [rows]."""

    def __init__(self, table: adagrad.Table) -> None:
        real = np.float64 if table.dtype == "float64" else np.float32
        self.rule, self.seed = table.rule, table.seed
        self.steps, self.decays = table.steps, table.decays
        self.dtype, self.state_dtype = table.dtype, table.state_dtype
        self.w = table.weights.astype(real).reshape(table.rows, table.dim)
        self.s = table.state.astype(real)
        if table._layout.state == "element":
            self.s = self.s.reshape(self.w.shape)

    def step(
        self, rows: Array, g: Array, duplicates: str | None = None, lr: float | None = None
    ) -> int:
        """Returns the number of rows that were left alone."""
        policy, dim, real = duplicates or self.rule.duplicates, self.w.shape[1], self.w.dtype.type
        self.steps += 1
        rate = self.rule.lr_at(self.steps) if lr is None else lr
        rule = self.rule.replace(lr=rate, lr_decay=0.0, on_nonfinite="propagate")
        if rule.weight_decay_rows == "all" and rule.weight_decay:
            moved = self.w - self.w * real(rule.weight_decay) * real(rate)
            self._store(np.arange(len(self.w)), key(self.seed, "weight decay", self.steps), moved)
            rule = rule.replace(weight_decay=0.0, weight_decay_rows="touched")
        rows, g = rows.astype(np.int64), g.reshape(len(rows), dim)
        if policy == "sum":
            rows, g = sum_occurrences(rows, g)
        keep = np.full(len(rows), True)
        if self.rule.on_nonfinite == "skip":
            keep = np.isfinite(g).all(axis=1)
        passes = ["update"]
        if policy == "each":
            passes = ["advance", "accumulate"] if rule.lagged else ["accumulate", "advance"]
        of_step = key(self.seed, "step", self.steps)
        for part in passes:
            for occurrences in rounds(rows):
                i = occurrences[keep[occurrences]]
                w, s = self.w[rows[i]], self.s[rows[i]]
                moved, new = step(rule, w, g[i], s)
                if part == "advance":
                    d = s if s.shape == w.shape else s[:, None]
                    with np.errstate(all="ignore"):
                        moved = advance(rule, w, gradient(rule, w, g[i]), d, real(rate))
                again = i if policy in ("sequential", "each") else None
                self._store(
                    rows[i],
                    of_step,
                    moved if part != "accumulate" else None,
                    new if part != "advance" else None,
                    again,
                )
        return int(np.sum(~keep))

    def _store(
        self,
        rows: Array,
        of_step: Array,
        w: Array | None = None,
        s: Array | None = None,
        again: Array | None = None,
    ) -> None:
        dim = self.w.shape[1]
        of_rows = row_key(of_step, rows)
        if again is not None:
            of_rows = occurrence_key(of_rows, again)
        words = word(of_rows[:, None], np.arange(dim + 1))
        if w is not None:
            self.w[rows] = stored(w, self.dtype, words[:, :dim] & np.uint32(0xFFFF))
        if s is not None:
            r = words >> np.uint32(16)
            r = r[:, dim] if self.s.ndim == 1 else r[:, :dim]
            self.s[rows] = stored(s, self.state_dtype, r)

    def decay(self, gamma: float, floor: float = 0.0) -> None:
        faded = self.s.dtype.type(gamma) * self.s
        faded = np.where(faded < floor, self.s.dtype.type(floor), faded)
        self.decays += 1
        of_decay = key(self.seed, "decay", self.decays)
        self._store(np.arange(len(self.w)), of_decay, s=faded)

    def pool(
        self, rows: Array, offsets: Array, mode: str = "sum", weights: Array | None = None
    ) -> Array:
        bags = [rows[a:b] for a, b in itertools.pairwise(offsets.astype(np.int64))]
        out = np.zeros((len(bags), self.w.shape[1]), self.w.dtype)
        factors = None if weights is None else iter(weights)
        for b, bag in enumerate(bags):
            for k, row in enumerate(bag):
                x = self.w[row] if factors is None else next(factors) * self.w[row]
                out[b] = x if k == 0 else out[b] + x
            if mode == "mean" and len(bag):
                out[b] = out[b] / self.w.dtype.type(len(bag))
        return out

    @staticmethod
    def expand(offsets: Array, g: Array, mode: str = "sum", weights: Array | None = None) -> Array:
        """The gradient of each occurrence, for that of each bag."""
        sizes = np.diff(offsets.astype(np.int64))
        column = (slice(None),) + (None,) * (g.ndim - 1)
        if mode == "mean":
            with np.errstate(all="ignore"):
                g = g / sizes.astype(g.dtype)[column]
        each = np.repeat(g, sizes, axis=0)
        return each if weights is None else weights[column] * each


# Each preset as its own system spells it: f(w, g, s) with the default hyperparameters of the
# preset, and lr = 0.1 where the system has none. g of the row-wise presets has shape [N, D].
Formula = Callable[[Array, Array, Array], tuple[Array, Array]]
PRESETS: dict[str, Formula] = {}


def preset(name: str) -> Callable[[Formula], Formula]:
    def add(formula: Formula) -> Formula:
        PRESETS[name] = formula
        return formula

    return add


@preset("textbook")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr, eps = w.dtype.type(0.1), w.dtype.type(1e-6)
    s = s + g * g
    return w - (lr * g) / np.sqrt(s + eps), s


@preset("torch")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr, eps = w.dtype.type(0.01), w.dtype.type(1e-10)
    s = s + g * g
    return w - (lr * g) / (np.sqrt(s) + eps), s


@preset("keras")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr, eps = w.dtype.type(0.001), w.dtype.type(1e-7)
    s = s + g * g
    return w - (lr * g) / np.sqrt(s + eps), s


@preset("optax")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr, eps = w.dtype.type(0.1), w.dtype.type(1e-7)
    s = s + g * g
    return w - lr * np.where(s > 0, g / np.sqrt(s + eps), w.dtype.type(0)), s


@preset("mxnet")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr, eps = w.dtype.type(0.01), w.dtype.type(1e-7)
    s = s + g * g
    return w - lr * (g / np.sqrt(s + eps)), s


@preset("tf1")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr = w.dtype.type(0.1)
    s = s + g * g
    return w - (lr * g) / np.sqrt(s), s


@preset("fbgemm")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr, eps = w.dtype.type(0.01), w.dtype.type(1e-8)
    s = s + g * g
    return w - (lr * g) / (np.sqrt(s) + eps), s


@preset("fbgemm_rowwise")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr, eps = w.dtype.type(0.01), w.dtype.type(1e-8)
    s = s + (g * g).mean(axis=1)
    return w - (lr / (np.sqrt(s) + eps))[:, None] * g, s


@preset("torchrec_rowwise")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr, eps = w.dtype.type(0.01), w.dtype.type(1e-10)
    s = s + (g * g).mean(axis=1)
    return w - (lr * g) / (np.sqrt(s) + eps)[:, None], s


@preset("caffe2")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr, eps = w.dtype.type(0.01), w.dtype.type(1e-4)
    s = s + g * g
    return w - (lr * g) / (np.sqrt(s) + eps), s


@preset("libffm")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr, g = w.dtype.type(0.2), g + w.dtype.type(2e-5) * w
    s = s + g * g
    return w - (lr / np.sqrt(s)) * g, s


@preset("lightfm")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr = w.dtype.type(0.05)
    w = w - (lr / np.sqrt(s)) * g
    return w, s + g * g


@preset("glove")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    g = w.dtype.type(0.05) * g
    w = w - g / np.sqrt(s)
    return w, s + g * g


@preset("river")
def _(w: Array, g: Array, s: Array) -> tuple[Array, Array]:
    lr, eps = w.dtype.type(0.1), w.dtype.type(1e-8)
    s = s + g * g
    return w - (lr / np.sqrt(s + eps)) * g, s
