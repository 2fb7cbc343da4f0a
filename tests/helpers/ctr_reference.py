"""The reference of logistic regression: the documented order of operations, in float32 NumPy.

The learners must equal it with ==. Its steps come from reference.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import adagrad
import reference
from adagrad.ctr import Examples

Array = npt.NDArray[Any]
F = np.float32
REGIONS = 8
ROUND = 64


def exp_of_minus(x: Array) -> Array:
    """e^-x for x >= 0 by cpp/ctr/sigmoid.hpp."""
    small = x < F(87)
    bounded = np.where(small, x, F(87))
    shifted = bounded * F(1.44269504) + F(12582912)
    n = shifted - F(12582912)
    r = (n * F(0.693359375) - bounded) - n * F(2.12194440e-4)
    y = np.full_like(r, F(1) / F(5040))
    for c in (F(1) / F(720), F(1) / F(120), F(1) / F(24), F(1) / F(6), F(0.5), F(1), F(1)):
        y = y * r + c
    return np.where(small, y * np.ldexp(F(1), -n.astype(int)), F(0))


def sigmoid(z: Array) -> Array:
    e = exp_of_minus(np.abs(z))
    return np.where(np.isnan(z), z, np.where(z < 0, e, F(1)) / (F(1) + e))


def bounds_of(x: Examples) -> Array:
    """The first entry of each region of each example, and the end of the last region: [n, 9]."""
    if x.is_fixed:
        return np.arange(len(x))[:, None] * int(x.bounds[-1]) + x.bounds[None, :].astype(int)
    return x.bounds.astype(int)[np.arange(len(x))[:, None] * REGIONS + np.arange(REGIONS + 1)]


def sums(terms: Array, start: Array, stop: Array) -> Array:
    """0 + terms[start] + terms[start + 1] + ... before stop, added in this order."""
    total = np.zeros(start.shape, F)
    for k in range(int((stop - start).max(initial=0))):
        more = start + k < stop
        total[more] = total[more] + terms[start[more] + k]
    return total


def rounds(t: int, n: int, most: int = ROUND) -> Iterator[slice]:
    """The rounds of n examples that follow t others."""
    begin = 0
    while begin < n:
        at = t + begin
        length = 1
        while 2 * length <= min(at // 512, most):
            length *= 2
        end = min(n, begin + length - at % length)
        yield slice(begin, end)
        begin = end


def rate(rule: adagrad.Rule, d: Array, t: int) -> Array:
    """The effective rate: how far a gradient of 1 moves a param."""
    lr = F(rule.lr_at(t))
    if rule.eps_position == "inside":
        q = reference.power(d + F(rule.eps), rule.power)
    else:
        q = reference.power(d, rule.power) + F(rule.eps)
    return lr * (F(1) / q) if rule.evaluation == "g/d*lr" else lr / q


def step(rule: adagrad.Rule, w: Array, s: Array, ids: Array, g: Array, t: int) -> None:
    """Step coordinates in place and in order; repeated ids step one after another."""
    for i in reference.rounds(ids.astype(np.int64)):
        k = ids[i]
        w[k], s[k] = reference.step(rule, w[k], g[i], s[k], t)


Penalties = tuple[float, float]
"""l1 and l2."""


def _roots(rule: adagrad.Rule, s: Array) -> Array:
    return np.sqrt(s + F(rule.eps if rule.eps_position == "inside" else 0.0))


def _damping(rule: adagrad.Rule, penalties: Penalties) -> Any:
    """What is added to the root."""
    return F(rule.eps if rule.eps_position == "outside" else 0.0) + F(rule.lr) * F(penalties[1])


def ftrl_weights(rule: adagrad.Rule, penalties: Penalties, z: Array, s: Array) -> Array:
    """The weights of FTRL-proximal, by cpp/ctr/proximal.hpp."""
    size = np.abs(z) - F(rule.lr) * F(penalties[0])
    w = size / (_roots(rule, s) + _damping(rule, penalties))
    return np.where(size <= 0, F(0), np.where(z < 0, w, -w))


def ftrl_step(
    rule: adagrad.Rule, penalties: Penalties, z: Array, s: Array, ids: Array, g: Array
) -> None:
    """FTRL-proximal steps in place and in order; repeated ids step one after another."""
    if rule.on_nonfinite == "skip":
        ids, g = ids[np.isfinite(g)], g[np.isfinite(g)]
    for i in reference.rounds(ids.astype(np.int64)):
        k, h = ids[i], g[i]
        grown = s[k] + h * h
        change = _roots(rule, grown) - _roots(rule, s[k])
        z[k] = (z[k] + F(rule.lr) * h) - change * ftrl_weights(rule, penalties, z[k], s[k])
        s[k] = grown


class Linear:
    """Logistic regression. `bias` holds the bias and its accumulator, or is None.

    With `penalties`, which may both be 0, `w` holds the z of FTRL-proximal. The bias takes no
    penalty, nor the weight decay of the rule.
    """

    def __init__(
        self,
        n_slots: int,
        rule: adagrad.Rule,
        penalties: Penalties | None = None,
        intercept: bool = True,
    ) -> None:
        self.rule, self.penalties = rule, penalties
        self.w = np.zeros(n_slots, F)
        self.s = np.full(n_slots, rule.initial_accumulator, F)
        self.bias = np.array([0.0, rule.initial_accumulator], F) if intercept else None
        self.examples = 0

    def weights(self) -> Array:
        with np.errstate(all="ignore"):
            if self.penalties is None:
                return self.w
            return ftrl_weights(self.rule, self.penalties, self.w, self.s)

    def margins(self, x: Examples) -> Array:
        w = self.weights()
        with np.errstate(all="ignore"):
            terms = w[x.slots] if x.values is None else w[x.slots] * x.values
            bounds = bounds_of(x)
            partial = sums(terms, bounds[:, :-1], bounds[:, 1:])
            if self.bias is not None:
                partial[:, -1] = partial[:, -1] + self.bias[0]
            return sums(partial.ravel(), *(np.arange(len(x)) * REGIONS + k for k in (0, REGIONS)))

    @np.errstate(all="ignore")
    def learn(self, x: Examples, y: Array, weights: Array | None = None) -> Array:
        margins = np.empty(len(x), F)
        indptr = x.indptr
        for part in rounds(self.examples, len(x)):
            some = x[part]
            t = self.examples + part.start + 1
            z = margins[part] = self.margins(some)
            g = sigmoid(z) - y[part]
            if weights is not None:
                g = g * weights[part]
            of_entry = np.repeat(g, np.diff(indptr[part.start : part.stop + 1]))
            if x.values is not None:
                of_entry = of_entry * some.values
            if self.penalties is None:
                step(self.rule, self.w, self.s, some.slots, of_entry, t)
            else:
                ftrl_step(self.rule, self.penalties, self.w, self.s, some.slots, of_entry)
            if self.bias is not None:
                of_bias = self.rule.replace(weight_decay=0.0)
                step(of_bias, self.bias[:1], self.bias[1:], np.zeros(len(g), int), g, t)
        self.examples += len(x)
        return margins

    @np.errstate(all="ignore")
    def uncertainty(self, x: Examples) -> Array:
        s = self.s[x.slots]
        if self.penalties is None:
            terms = rate(self.rule, s, self.examples + 1)
        else:
            root = _roots(self.rule, s)
            terms = F(self.rule.lr) / (root + _damping(self.rule, self.penalties))
        if x.values is not None:
            terms = terms * x.values * x.values
        return sums(terms, x.indptr[:-1], x.indptr[1:])
