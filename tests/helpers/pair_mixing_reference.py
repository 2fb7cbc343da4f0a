"""The reference of cpp/ctr/pair_mixing.cpp: one example at a time, in Python's floats."""

from __future__ import annotations

import numpy as np

import reference
from checks import Array
from ctr_reference import exp_of_minus, sigmoid

F = np.float32
PRIOR = 0.03, 0.3, 0.01


def logarithm(x: float) -> float:
    return float(reference.logarithm(np.array([x]))[0])


def minus_log_sum(x: list[float]) -> float:
    apart = F(max(x) - min(x))
    return min(x) - logarithm(1.0 + float(exp_of_minus(apart)))


def clipped(z: np.float32) -> float:
    return float(z if z < 30 else F(30)) if z > -30 else -30.0


class PairMixing:
    def __init__(self, has_bias: bool, growth: float = 1.0) -> None:
        self.theta, self.has_bias = [1.0, 1.0, 0.0], has_bias
        self.covariance = [[PRIOR[r] if r == s else 0.0 for s in range(3)] for r in range(3)]
        self.evidence, self.losses = [0.0, 0.0], [0.0, 0.0]
        self.weight, self.largest_weight = 0.0, 1.0
        self.lambda_ = 1.0 / growth

    def state(self) -> Array:
        parts = (
            self.theta,
            *self.covariance,
            self.evidence,
            self.losses,
            [self.weight, self.largest_weight],
        )
        return np.concatenate([np.array(part) for part in parts])

    def mixed(self, linear: np.float32, pairs: np.float32, y: float, o: float) -> np.float32:
        """The margin of the mixture, before a step of its weights."""
        theta, covariance = self.theta, self.covariance
        u = [clipped(linear), clipped(pairs), float(self.has_bias)]
        margin = F((theta[0] * u[0] + theta[1] * u[1]) + theta[2] * u[2])
        if self.lambda_ != 1.0:
            for r, row in enumerate(covariance):
                row[:] = [self.lambda_ * p for p in row]
                row[r] += (1.0 - self.lambda_) * PRIOR[r]
        pu = [(row[0] * u[0] + row[1] * u[1]) + row[2] * u[2] for row in covariance]
        quadratic = (u[0] * pu[0] + u[1] * pu[1]) + u[2] * pu[2]
        p, q = float(sigmoid(margin)), float(sigmoid(-margin))
        oh = o * (p * q)
        d = 1.0 + oh * quadratic
        of_theta, of_covariance = o * (q if y > 0 else -p) / d, oh / d
        distance = abs(of_theta * quadratic)
        bounded = of_theta * (4.0 / distance) if distance > 4.0 else of_theta
        for r, row in enumerate(covariance):
            theta[r] += bounded * pu[r]
            for s in range(3):
                row[s] -= of_covariance * (pu[r] * pu[s])
        return margin

    def step(
        self,
        linear: np.float32,
        guarded: np.float32,
        pairs: np.float32,
        y: float,
        o: float,
    ) -> np.float32:
        """The guarded margin of an example, before a step."""
        choices = [guarded, self.mixed(linear, pairs, y, o)]
        least = min(self.evidence)
        self.largest_weight = max(o, self.largest_weight)
        one, zero = [], []
        for k, z in enumerate(choices):
            size = np.abs(z)
            near = logarithm(1.0 + float(exp_of_minus(size)))
            far = near + float(size)
            behind = (self.evidence[k] - least) / self.largest_weight
            one.append(behind + (far if z < 0 else near))
            zero.append(behind + (near if z < 0 else far))
            loss = far if (y > 0) == (z < 0) else near
            self.evidence[k] = self.lambda_ * self.evidence[k] + o * loss
            self.losses[k] += o * loss
        self.weight += o
        return F(minus_log_sum(zero) - minus_log_sum(one))
