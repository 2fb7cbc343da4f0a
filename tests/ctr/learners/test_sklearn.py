"""The checks that scikit-learn has for estimators."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import (
    check_class_weight_balanced_linear_classifier,
    check_class_weight_classifiers,
    parametrize_with_checks,
)

from adagrad.ctr import FactorizationMachine, LogisticRegression

pytestmark = pytest.mark.unsanitized

ONLINE = "an online learner takes one step for weight 2, not two"


FEW_PASSES = "the check sets max_iter to 1000; few passes at a fixed rate are not enough"


def expected_failures(estimator):
    fixed = {} if estimator.lr == "auto" else {"check_class_weight_classifiers": FEW_PASSES}
    return fixed | {
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


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(0.1, passes=50), FactorizationMachine(4, lr=0.1, passes=50)],
    ids=["lr", "fm"],
)
@pytest.mark.parametrize(
    "check", [check_class_weight_classifiers, check_class_weight_balanced_linear_classifier]
)
def test_weights_of_classes(estimator, check):
    check(type(estimator).__name__, estimator)
