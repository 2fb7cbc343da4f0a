"""More than two classes, through scikit-learn's meta-estimators."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.multiclass import OneVsRestClassifier

from adagrad.ctr import HashingEncoder
from adagrad.ctr.learners.files import CLASSES as KINDS

pytestmark = pytest.mark.unsanitized


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_of_three_classes_names_the_way_out(kind):
    learner, X = KINDS[kind](), np.eye(3)
    name = type(learner).__name__
    message = (
        "Only binary classification is supported. The type of the target is multiclass. Use"
        rf" sklearn.multiclass.OneVsRestClassifier\({name}\(...\)\) for 3 classes."
    )
    for y in ([0, 1, 2], ["a", "b", "c"]):
        with pytest.raises(ValueError, match=message):
            learner.fit(X, y)
        with pytest.raises(ValueError, match=message):
            learner.partial_fit(X, y[:1] * 3, classes=y)
    with pytest.raises(ValueError, match=r"The type of the target is continuous\.$"):
        learner.partial_fit(X, [0.0, 0.5, 1.0], classes=[0.0, 0.5, 1.0])


@pytest.mark.filterwarnings("ignore:the labels are ordered")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_data_sets_that_are_sorted_by_class(kind, load):
    """A hundred and fifty rows in the order of their classes, as scikit-learn ships them."""
    X, y = load(return_X_y=True)
    model = OneVsRestClassifier(KINDS[kind]()).fit(X, y)
    assert model.score(X, y) > 0.75
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_raw_columns_and_an_encoder(rng, kind):
    site = rng.integers(0, 30, 1500)
    frame = pd.DataFrame({"site": site.astype(str), "ad": rng.integers(0, 9, 1500).astype(str)})
    y = np.array(["none", "click", "buy"])[site % 3]
    model = OneVsRestClassifier(KINDS[kind](encoder=HashingEncoder(10))).fit(frame, y)
    assert model.score(frame, y) > 0.95
    assert model.classes_.tolist() == ["buy", "click", "none"]
