"""scikit-learn's meta-estimators around a learner: what they return is what its methods return."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adagrad.ctr import HashingEncoder, LogisticRegression
from adagrad.ctr.learners.files import CLASSES as KINDS
from ctr_data import bits

pytestmark = pytest.mark.unsanitized

N = 400
META = {
    "calibrated": lambda learner: CalibratedClassifierCV(learner, cv=2),
    "stacked": lambda learner: StackingClassifier([("a", learner)], LogisticRegression(), cv=2),
    "voting": lambda learner: VotingClassifier([("a", learner), ("b", learner)], voting="soft"),
    "searched": lambda learner: GridSearchCV(learner, {"passes": [1, 2], "lr": [0.1]}, cv=2),
    "threshold": lambda learner: TunedThresholdClassifierCV(learner, cv=2),
    "one of two": OneVsRestClassifier,
    "piped": make_pipeline,
}


@pytest.fixture
def frame(rng):
    log = {"site": rng.integers(0, 5, N), "ad": rng.integers(0, 9, N)}
    return pd.DataFrame({name: column.astype(str) for name, column in log.items()}).assign(
        price=rng.random(N)
    )


@pytest.fixture
def y(frame):
    return ((frame["site"].astype(int) + frame["ad"].astype(int)) % 3 == 0).to_numpy().astype(int)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("meta", META)
def test_raw_columns_and_examples_give_the_same(kind, meta, frame, y):
    """Columns are encoded in every fold, by a copy of the encoder; Examples were before."""
    x = HashingEncoder(8).fit_transform(frame)
    by_columns = META[meta](KINDS[kind](encoder=HashingEncoder(8))).fit(frame, y)
    by_examples = META[meta](KINDS[kind]()).fit(x, y)
    found = by_columns.predict_proba(frame)
    np.testing.assert_array_equal(found, by_examples.predict_proba(x))
    np.testing.assert_array_equal(by_columns.predict(frame), by_examples.predict(x))
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_folds_are_those_of_the_learner_itself(kind, frame, y):
    learner, folds = KINDS[kind](encoder=HashingEncoder(8)), StratifiedKFold(3)
    found = cross_val_predict(learner, frame, y, cv=folds, method="decision_function")
    for train, test in folds.split(frame, y):
        learner.fit(frame.iloc[train], y[train])
        np.testing.assert_array_equal(found[test], learner.decision_function(frame.iloc[test]))


@pytest.mark.parametrize("kind", KINDS)
def test_inspection_of_raw_columns(kind, frame, y):
    learner = KINDS[kind](encoder=HashingEncoder(8), passes=5).fit(frame, y)
    drops = permutation_importance(learner, frame, y, random_state=0, scoring="neg_log_loss")
    assert drops.importances_mean[:2].min() > drops.importances_mean[2]
    found = partial_dependence(learner, frame, ["price"], grid_resolution=4, kind="average")
    for value, mean in zip(found["grid_values"][0], found["average"][0], strict=True):
        expected = learner.predict_proba(frame.assign(price=value))[:, 1].mean()
        assert mean == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_sample_weights_are_routed(rng, kind):
    X, y, weights = rng.standard_normal((N, 3)), rng.integers(0, 2, N), rng.integers(0, 3, N)
    weights = weights.astype(float)
    scaled = StandardScaler().fit_transform(X)
    direct = KINDS[kind](lr=0.1).fit(scaled, y, weights)
    with sklearn.config_context(enable_metadata_routing=True):
        asks = KINDS[kind](lr=0.1).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        piped = make_pipeline(scaler, asks).fit(X, y, sample_weight=weights)
        assert bits(piped[-1]._model) == bits(direct._model)
        with pytest.raises(TypeError, match="'sample_weight'}, which are not routed to any object"):
            make_pipeline(scaler, asks.set_fit_request(sample_weight=False)).fit(
                X, y, sample_weight=weights
            )
        both = KINDS[kind](lr=0.1).set_fit_request(sample_weight=True)
        both.set_score_request(sample_weight=True)
        found = cross_validate(both, X, y, cv=2, params={"sample_weight": weights})
        for part, (train, test) in enumerate(StratifiedKFold(2).split(X, y)):
            learner = KINDS[kind](lr=0.1).fit(X[train], y[train], weights[train])
            assert found["test_score"][part] == learner.score(X[test], y[test], weights[test])
        parts = OneVsRestClassifier(KINDS[kind](lr=0.1))
        parts.estimator.set_partial_fit_request(classes=True)
        parts.partial_fit(X, y, classes=[0, 1])
    assert bits(parts.estimators_[0]._model) == bits(KINDS[kind](lr=0.1).partial_fit(X, y)._model)
