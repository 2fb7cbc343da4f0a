"""A scorer answers with the bits of the learner whose weights it got."""

from __future__ import annotations

import numpy as np
import pytest

from checks import need_packages

need_packages("sklearn", "scipy", "pyarrow")

from adagrad.ctr import (
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    HashingEncoder,
    LogisticRegression,
)
from adagrad.serving import Scorer, write_export

CLASSES = [LogisticRegression, FactorizationMachine, FieldAwareFactorizationMachine]


def columns_of(n, seed):
    rng = np.random.default_rng(seed)
    return {
        "site": [f"s{i}" for i in rng.integers(0, 60, n)],
        "ad": rng.integers(0, 500, n).tolist(),
        "price": rng.gamma(1, 3, n).tolist(),
        "tags": [[f"t{j}" for j in rng.integers(0, 9, rng.integers(0, 4))] for _ in range(n)],
        "user": [None if x < 0.2 else f"u{int(x * 40)}" for x in rng.random(n)],
        "time": (1_700_000_000 + rng.integers(0, 10**6, n)).tolist(),
    }


def encoder():
    kinds = {"site": None, "ad": "categorical", "price": "value", "tags": None, "user": None}
    fields = {**kinds, "time": "calendar"}
    return HashingEncoder(bits=12, crosses=[("site", "ad")], multi="mean", fields=fields)


@pytest.mark.parametrize("learner", CLASSES)
@pytest.mark.parametrize("how", [{"lr": 0.1}, {"lr": "auto"}, {"lr": 0.1, "l1": 0.3}])
def test_equals_the_learner(learner, how, tmp_path):
    x, y = columns_of(600, 0), np.random.default_rng(1).random(600) < 0.3
    model = learner(encoder=encoder(), **how).fit(x, y)
    path = tmp_path / "click.score"
    summary = write_export(model, path)
    assert summary["bytes"] == path.stat().st_size
    scorer = Scorer(path)
    later = columns_of(100, 2)
    assert np.array_equal(scorer.decision_function(later), model.decision_function(later))
    assert np.array_equal(scorer.predict_proba(later), model.predict_proba(later))
    row = {name: values[0] for name, values in later.items()}
    assert scorer.predict_one(row) == model.predict_proba([row])[0, 1]


@pytest.mark.parametrize("learner", CLASSES)
@pytest.mark.parametrize("how", [{"lr": 0.1}, {"lr": "auto"}, {"lr": 0.1, "l1": 0.3}])
def test_rows(learner, how, tmp_path):
    x, y = columns_of(600, 0), np.random.default_rng(1).random(600) < 0.3
    model = learner(encoder=encoder(), **how).fit(x, y)
    write_export(model, tmp_path / "click.score")
    scorer = Scorer(tmp_path / "click.score")
    later = columns_of(100, 2)
    rows = [{name: values[i] for name, values in later.items()} for i in range(100)]
    expected = model.predict_proba(rows)[:, 1]
    assert np.array_equal([scorer._core.predict_one(row) for row in rows], expected)
    assert np.array_equal([model.predict_one(row) for row in rows], expected)
