"""The reference of the mixture: the documented order of operations, in NumPy.

The learner must equal it with ==.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad.ctr import Examples
from ctr_reference import REGIONS, F, bounds_of, exp_of_minus, rounds, sigmoid
from reference import logarithm

Array = npt.NDArray[Any]
D = np.float64
RATE = np.array([0.5, 0.25, 2, 1, 0, 0, 0, 0], F)
FIXED = np.array([0, 0, 0, 0, 1, 0, 0, 0], F)
SLOT_START = np.array([1, 0.01, 0.01, 1, 10, 1, 1, 1], F)
BIAS_START = np.array([1, 0.01, 0.01, 1, 1, 1, 1, 1], F)
ADAPTIVE = np.array([1, 1, 1, 1, 0, 0, 0, 0], F)
BAYESIAN = np.array([0, 0, 0, 0, 1, 0, 0, 0], F)
PRIOR = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.5, 0, 0], F)
START_PRECISION = np.array([10.0, 10.0, 10.0, 10.0, 10.0, 100.0])


def ordered(terms: Array) -> Any:
    """terms[0] + terms[1] + ..., added in this order."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def of_inputs(terms: Array) -> Any:
    """The sum of the first six terms: neighbors first."""
    a, b, c, d, e, f = terms[:6]
    return ((a + b) + (c + d)) + (e + f)


def solution(precision: Array, b: Array) -> Array:
    """The x of precision x = b, by L D L', column by column."""
    n = 6
    lower, d, x = np.zeros((n, n)), np.zeros(n), np.zeros(n)
    for j in range(n):
        d[j] = precision[j, j]
        for k in range(j):
            d[j] = d[j] - lower[j, k] * lower[j, k] * d[k]
        d[j] = max(d[j], 10.0)
        for i in range(j + 1, n):
            lower[i, j] = precision[i, j]
            for k in range(j):
                lower[i, j] = lower[i, j] - lower[i, k] * lower[j, k] * d[k]
            lower[i, j] = lower[i, j] / d[j]
    for i in range(n):
        x[i] = b[i]
        for k in range(i):
            x[i] = x[i] - lower[i, k] * x[k]
    for i in reversed(range(n)):
        x[i] = x[i] / d[i]
        for k in range(i + 1, n):
            x[i] = x[i] - lower[k, i] * x[k]
    return x


def growth_in(half_life: float | None) -> float:
    if half_life is None:
        return 1.0
    x = 0.69314718055994530942 / half_life
    total = 1.0
    for k in range(12, 0, -1):
        total = 1.0 + total * x / k
    return total


class Mixture:
    """The mixture; `rows` and `bias` are laid out as the learner's."""

    def __init__(self, n_slots: int, intercept: bool, half_life: float | None = None) -> None:
        self.rows = np.zeros((n_slots, 16), F)
        self.bias = np.zeros(16, F) if intercept else None
        self.theta = np.zeros(8)
        self.theta[:5] = 0.2
        self.precision = np.zeros((6, 8))
        self.precision[range(6), range(6)] = START_PRECISION
        self.evidence, self.losses = np.zeros(8), np.zeros(8)
        self.weight = self.entries = 0.0
        self.largest = 1.0
        self.scale = 1.0
        self.growth = growth_in(half_life)
        self.half_life = half_life
        self.examples = 0

    @property
    def state(self) -> Array:
        counts = [self.weight, self.largest, self.entries, self.scale]
        parts = (self.theta, self.precision.ravel(), self.evidence, self.losses, counts)
        return np.concatenate(parts)

    @np.errstate(all="ignore")
    def learn(
        self, x: Examples, y: Array, weights: Array | None = None, *, mixes: bool = True
    ) -> Array:
        out = np.empty(len(x), F)
        for part in rounds(self.examples, len(x)):
            o = np.ones(part.stop - part.start, F) if weights is None else weights[part]
            out[part] = self._round(x[part], y[part], o, self.examples + part.start, mixes)
        self.examples += len(x)
        while self.scale >= 2.0:  # which changes no bit of what the accumulators mean
            self.scale = self.scale / 2
            self.rows[:, 8:] /= F(2)
            if self.bias is not None:
                self.bias[8:] /= F(2)
        return out

    def _round(self, x: Examples, y: Array, o: Array, t: int, mixes: bool) -> Array:
        n, bounds = len(x), bounds_of(x)
        own = self._scaled_values(x)
        scale = F(self.scale)
        inverse = F(1) / scale
        z, gain, of_bias, rate = (np.zeros((n, 8), F) for _ in range(4))
        for i in range(n):
            regions = np.zeros((REGIONS, 8), F)
            for region in range(REGIONS):
                for k in range(bounds[i, region], bounds[i, region + 1]):
                    row = self.rows[x.slots[k], :8].copy()
                    row[5:] = own[k], 0, 0
                    regions[region] = regions[region] + row * own[k]
            z[i] = ordered(np.vstack([np.zeros((1, 8), F), regions]))
            self.entries = self.entries + (1.0 + float(z[i, 5]))
            c = F(np.sqrt((t + i + 1) / self.entries))
            rate[i] = RATE * c + FIXED
            if self.bias is not None:
                z[i] = z[i] + self.bias[:8]
        p = sigmoid(z)
        g = (p - y[:, None]) * o[:, None]
        gain = (g * g) * scale * ADAPTIVE
        if self.bias is not None:
            of_bias = self._rates(self.bias[8:], gain, BIAS_START, rate, inverse)
        for _ in range(n):
            self.scale = self.scale * self.growth
        r, k_sum = np.zeros((len(x.slots), 8), F), np.zeros((n, 8), F)
        for i in range(n):
            regions = np.zeros((REGIONS, 8), F)
            for region in range(REGIONS):
                for k in range(bounds[i, region], bounds[i, region + 1]):
                    square = own[k] * own[k]
                    s = self.rows[x.slots[k], 8:]
                    r[k] = self._rates(s, gain[i] * square, SLOT_START, rate[i], inverse)
                    regions[region] = regions[region] + r[k] * square
            k_sum[i] = ordered(np.vstack([np.zeros((1, 8), F), regions]))
            if self.bias is not None:
                k_sum[i] = k_sum[i] + of_bias[i]
        mixed = self._mix(z, y, o, mixes)
        rho = self._residuals(z, k_sum, y, o)
        after, before = rho * (F(1) - rho), p * (F(1) - p) * F(0.5)
        h = o[:, None] * np.where(after > before, after, before)
        step = np.where(y[:, None] > 0, o[:, None] * rho, -(o[:, None] * rho))
        gain = gain + h / (F(1) + h * k_sum) * scale * BAYESIAN
        for i in range(n):
            for k in range(bounds[i, 0], bounds[i, REGIONS]):
                row = self.rows[x.slots[k]]
                row[:5] = (row[:8] + (r[k] * own[k]) * step[i])[:5]
                row[8:] = row[8:] + gain[i] * (own[k] * own[k])
            if self.bias is not None:
                self.bias[:5] = (self.bias[:8] + of_bias[i] * step[i])[:5]
                self.bias[8:] = self.bias[8:] + gain[i]
        return mixed

    def _scaled_values(self, x: Examples) -> Array:
        values = np.ones(len(x.slots), F) if x.values is None else x.values
        own = np.zeros(len(x.slots), F)
        for k, (slot, value) in enumerate(zip(x.slots, values, strict=True)):
            m, n = self.rows[slot, 5:7]
            if value != 0:
                n = n + F(1)
                square, now = D(m) * D(m), D(value) * D(value)
                m = F(np.sqrt(square + (now - square) / D(n)))
                self.rows[slot, 5:7] = m, n
            own[k] = value / m if m > 0 else F(0)
        return own

    def _rates(self, s: Array, gain: Array, start: Array, rate: Array, inverse: Any) -> Array:
        d = start + (s + gain) * inverse
        lanes = np.arange(8) < 3
        return rate / np.where(lanes, np.sqrt(d), d)

    def _residuals(self, z: Array, k_sum: Array, y: Array, o: Array) -> Array:
        a = o[:, None] * k_sum
        m = np.where(y[:, None] > 0, z, -z)
        rho = np.clip(-m / (a + F(1e-30)), F(0), F(1))
        for _ in range(3):
            s = sigmoid(-(m + a * rho))
            rho = rho - (rho - s) / (F(1) + a * (s * (F(1) - s)))
        return rho

    def _mix(self, z: Array, y: Array, o: Array, mixes: bool) -> Array:
        state = (self.theta, self.precision, self.evidence, self.losses, self.weight, self.largest)
        before = [np.copy(part) for part in state]
        n, decay = len(y), 1.0 / self.growth
        out, kept = np.empty(n, F), 1.0
        for _ in range(n):
            kept = kept * decay
        u = np.zeros((n, 8))
        u[:, :5] = np.clip(z[:, :5], F(-30), F(30))
        u[:, 5] = self.bias is not None
        m = np.zeros((n, 8), F)
        m[:, :5] = z[:, :5]
        m[:, 5] = [F(of_inputs(self.theta * row)) for row in u]
        mixed = m[:, 5].copy()
        m = np.where(y[:, None] > 0, m, -m)
        e = exp_of_minus(np.abs(m)).astype(D)
        likely = 1.0 / (1.0 + e)
        unlikely = e * likely
        right, wrong = np.where(m < 0, unlikely, likely), np.where(m < 0, likely, unlikely)
        losses = logarithm(1.0 + e.ravel()).reshape(n, 8) + np.where(m < 0, -m.astype(D), 0.0)

        if decay != 1.0:
            self.precision = self.precision * kept
            self.precision[range(6), range(6)] += (1.0 - kept) * START_PRECISION
        b = np.zeros(8)
        for i in range(n):
            weight = D(o[i])
            g = weight * wrong[i, 5] if y[i] > 0 else -(weight * wrong[i, 5])
            h = weight * (right[i, 5] * wrong[i, 5])
            b = b + u[i] * g
            self.precision = self.precision + u[i] * u[i, :6, None] * h
        step = np.zeros(8)
        step[:6] = solution(self.precision, b)
        most = max([4.0, *(abs(of_inputs(step * row)) for row in u)])
        self.theta = self.theta + step * (4.0 / most)

        for i in range(n):
            weight = D(o[i])
            self.weight = self.weight + weight
            self.largest = max(self.largest, weight)
            behind = (self.evidence - self.evidence[:6].min()) / self.largest
            share = (PRIOR * exp_of_minus(behind.astype(F))).astype(D)
            self.evidence = decay * self.evidence + weight * losses[i]
            self.losses = self.losses + weight * losses[i]
            label, other = of_inputs(right[i] * share), of_inputs(wrong[i] * share)
            if label > 1e-300 and other > 1e-300:
                towards = F(logarithm(label) - logarithm(other))
                out[i] = towards if y[i] > 0 else -towards
            else:
                out[i] = mixed[i]
        if not mixes:
            self.theta, self.precision, self.evidence, self.losses = before[:4]
            self.weight, self.largest = map(float, before[4:])
        return out

    @np.errstate(all="ignore")
    def linear(self) -> tuple[Array, Any]:
        theta = self.theta.astype(F)
        m = self.rows[:, 5]
        weights = np.where(m > 0, ordered([theta[e] * self.rows[:, e] for e in range(5)]) / m, F(0))
        weights = np.clip(weights, -np.finfo(F).max, np.finfo(F).max)
        if self.bias is None:
            return weights, F(0)
        return weights, ordered([theta[e] * self.bias[e] for e in range(5)]) + theta[5]
