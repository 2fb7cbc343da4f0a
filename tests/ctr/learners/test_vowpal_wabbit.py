"""Penalties mean what they mean in Vowpal Wabbit's FTRL-proximal: the weights are the same."""

from __future__ import annotations

import numpy as np

from adagrad import Rule
from checks import need_packages

need_packages("scipy", "sklearn")

import scipy.sparse

from adagrad.ctr import LogisticRegression

# Printed by version 9.11.9 for the examples below, whose ids were the indices of features:
# vw --loss_function logistic --ftrl --ftrl_alpha 0.1 --ftrl_beta 1 --l1 5 --l2 2 --noconstant
WEIGHTS = [0, 0, -0.246852, -0.242027, -0.245914, -0.0125365, -0.108371, -0.090031, -0.0116035]
WEIGHTS += [-0.208716, -0.0324461, -0.17691, -0.132121, 0, -0.145339]


def test_weights_are_those_of_ftrl():
    i = np.arange(400)
    slots = np.stack([i % 5, 5 + i // 3 % 5, 10 + i * i % 7], axis=1)
    y = ((i * i + i // 4) % 5 < 2).astype(int)
    x = scipy.sparse.csr_matrix((np.ones(1200), slots.ravel(), np.arange(0, 1201, 3)), (400, 15))
    rule = Rule(lr=0.1, eps=1.0, eps_position="outside")
    learner = LogisticRegression(rule=rule, l1=5.0, l2=2.0, fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(learner.coef_[0], WEIGHTS, rtol=1e-5, atol=1e-7)
