"""What scikit-learn tests of classifiers, and of what wraps them, with the click learners.

Its checks of estimators run on all learners. Of its suites, those tests run that have two classes
or wrap a classifier for more: a module finds a learner under the name of its classifier.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from sklearn.utils.estimator_checks import (
    check_class_weight_balanced_linear_classifier,
    check_class_weight_classifiers,
    parametrize_with_checks,
)

from adagrad.ctr import (
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    LogisticRegression,
)

pytestmark = [
    pytest.mark.unsanitized,
    pytest.mark.filterwarnings("ignore"),  # of data in an order, and scikit-learn's own
]

LEARNERS = [
    LogisticRegression(),
    LogisticRegression(lr=0.1),
    LogisticRegression(lr=0.1, passes=3, shuffle=True, l1=1e-4, l2=1e-4, n_jobs=2),
    FactorizationMachine(4, passes=3),
    FieldAwareFactorizationMachine(),
    FieldAwareFactorizationMachine(lr=0.1),
]


@parametrize_with_checks(LEARNERS)
def test_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(0.1, passes=50),
        FactorizationMachine(4, lr=0.1, passes=50),
        FieldAwareFactorizationMachine(lr=0.1, passes=50),
    ],
    ids=["lr", "fm", "ffm"],
)
@pytest.mark.parametrize(
    "check", [check_class_weight_classifiers, check_class_weight_balanced_linear_classifier]
)
def test_weights_of_classes(estimator, check):
    check(type(estimator).__name__, estimator)


# -- suites -------------------------------------------------------------------------------------

# For each module, what it makes in the place of scikit-learn's classifiers, and its tests without
# `test_`; None for all that make one.
SUITES: dict[str, tuple[Callable[..., Any], tuple[str, ...] | None]] = {
    "sklearn.tests.test_multiclass": (FieldAwareFactorizationMachine, None),
    "sklearn.tests.test_calibration": (
        LogisticRegression,
        (
            "calibration",
            "sample_weight",
            "calibration_ensemble_false",
            "calibration_prob_sum",
            "calibration_attributes",
            "calibration_votingclassifier",
            "calibration_frozen",
            "calibration_inconsistent_prefit_n_features_in",
        ),
    ),
    "sklearn.ensemble.tests.test_stacking": (
        FactorizationMachine,
        (
            "get_feature_names_out",
            "stacking_classifier_drop_binary_prob",
            "stacking_prefit",
            "stacking_classifier_error",
            "stacking_prefit_error",
            "stacking_with_sample_weight",
        ),
    ),
    "sklearn.ensemble.tests.test_bagging": (
        FieldAwareFactorizationMachine,
        ("bagging_allow_nan_tag", "bagging_small_max_features", "estimators_samples"),
    ),
    "sklearn.inspection.tests.test_permutation_importance": (FieldAwareFactorizationMachine, None),
    "sklearn.inspection.tests.test_partial_dependence": (
        FactorizationMachine,
        (
            "mixed_type_categorical",
            "partial_dependence_unfitted",
            "partial_dependence_sample_weight_size_error",
        ),
    ),
    "sklearn.model_selection.tests.test_classification_threshold": (
        FieldAwareFactorizationMachine,
        (
            "fixed_threshold_classifier",
            "fixed_threshold_classifier_classes_",
            "fixed_threshold_classifier_metadata_routing",
            "tuned_threshold_classifier_cv_float",
            "fixed_threshold_classifier_fitted_estimator",
            "fit_and_score_over_thresholds_sample_weight",
            "tuned_threshold_classifier_cv_zeros_sample_weights_equivalence",
        ),
    ),
    "sklearn.model_selection.tests.test_search": (
        LogisticRegression,
        ("search_cv_sample_weight_equivalence", "cv_results_multi_size_array"),
    ),
    "sklearn.model_selection.tests.test_validation": (
        LogisticRegression,
        (
            "cross_val_predict_with_method_multilabel_ovr",
            "callable_multimetric_confusion_matrix_cross_validate",
        ),
    ),
    "sklearn.tests.test_multioutput": (
        FactorizationMachine,
        (
            "multi_output_classification_partial_fit_sample_weights",
            "fit_params_no_routing",
            "multi_output_not_fitted_error",
            "base_chain_random_order",
        ),
    ),
}
THEIRS = ("GaussianNB", "LinearSVC", "LogisticRegression", "MultinomialNB", "SGDClassifier")
# Params of theirs that say how to solve what a learner does not solve.
SOLVING = {"C", "alpha", "dual", "loss", "max_iter", "solver", "tol"}


def chosen(module: ModuleType, names: tuple[str, ...] | None) -> Iterator[tuple[str, Any]]:
    """Yield tests of a module: those with these names, or all that make a classifier."""
    if names is not None:
        yield from ((name, getattr(module, f"test_{name}")) for name in names)
        return
    for name, test in inspect.getmembers(module, inspect.isfunction):
        source = inspect.getsource(test) if name.startswith("test_") else ""
        if any(f"{theirs}(" in source for theirs in THEIRS):
            yield name.removeprefix("test_"), test


def stand_in(learner: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes a learner of the params of a classifier."""

    def made(**params: Any) -> Any:
        return learner(**{name: params[name] for name in params.keys() - SOLVING})

    return made


for _path, (_, _names) in SUITES.items():
    for _name, _test in chosen(importlib.import_module(_path), _names):
        globals()[f"test_{_path.rpartition('test_')[2]}_{_name}"] = _test


@pytest.fixture(autouse=True)
def learners_in_their_place(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    learner, _ = SUITES.get(request.function.__module__, (None, None))
    if learner is not None:
        for name in THEIRS:
            made = stand_in(learner)
            monkeypatch.setattr(request.function.__module__ + "." + name, made, raising=False)


# The fixture of the module that these tests take.
data = importlib.import_module("sklearn.tests.test_calibration").data
