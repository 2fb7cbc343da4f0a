"""The oracle: each formula in NumPy, with the operations in the order the contract gives.

`step` and `step_rows` take any Rule; `PRESETS` spells each preset's own formula in three lines.
The library must equal all of them with ==.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import adagrad

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
