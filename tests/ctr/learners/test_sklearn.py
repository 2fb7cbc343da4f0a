"""The checks that scikit-learn has for estimators."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from adagrad.ctr import FactorizationMachine, LogisticRegression

pytestmark = pytest.mark.unsanitized

ONLINE = "an online learner takes one step for weight 2, not two"


def expected_failures(_):
    return {
        "check_sample_weight_equivalence_on_dense_data": ONLINE,
        "check_sample_weight_equivalence_on_sparse_data": ONLINE,
    }


@parametrize_with_checks(
    [
        LogisticRegression(),
        LogisticRegression(lr=0.1),
        LogisticRegression(lr=0.1, passes=3, shuffle=True, l1=1e-4, l2=1e-4, n_jobs=2),
        FactorizationMachine(4, passes=3),
    ],
    expected_failed_checks=expected_failures,
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)
