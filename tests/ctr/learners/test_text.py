"""Weights as text and back, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from adagrad.ctr import LogisticRegression
from checks import assert_same_bits
from ctr_data import batch, labels


@pytest.fixture
def learner(rng):
    x = batch(rng, 600, 1000, values=True)
    return LogisticRegression(lr=0.2).fit(x, labels(rng, x))


@pytest.mark.parametrize("state", [False, True])
def test_every_bit_comes_back(tmp_path, rng, learner, state):
    learner.coef_[0, :4] = np.float32(1e-45), np.float32(3.4028235e38), np.inf, np.nan
    learner.to_text(tmp_path / "model", state=state)
    back = LogisticRegression(lr=0.2).from_text(tmp_path / "model")
    assert_same_bits(back.coef_.copy(), learner.coef_.copy())
    assert_same_bits(back.intercept_, learner.intercept_)
    tables = [m._model.tables["linear"].state.copy() for m in (back, learner)]
    assert (tables[0] == tables[1]).all() == state
    x = batch(rng, 50, 1000)
    assert_same_bits(back.decision_function(x), learner.decision_function(x))


def test_what_is_written(tmp_path):
    learner = LogisticRegression(lr=0.0).fit([[1.0, 0.0, 2.0]] * 2, [0, 1])
    learner.coef_[0] = 0.1, 0, -3
    learner.to_text(tmp_path / "model")
    assert (tmp_path / "model").read_text() == (
        "adagrad.ctr.LogisticRegression 1\nslots: 3\nstate: no\nbias: 0.0\n\n0:0.1\n2:-3.0\n"
    )


HEAD = "adagrad.ctr.LogisticRegression 1\nslots: 3\nstate: no\nbias: 0.0\n\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 is '', expected"),
        ("Version 9.0\n", "line 1 is 'Version 9.0', expected"),
        (HEAD.replace("slots: 3", "slots: x"), "the header, up to line 5, is wrong"),
        (HEAD + "3:1.0\n", "line 6, '3:1.0': slot '3' is not below 3"),
        (HEAD + "0:1.0\n1:x\n", "line 7, '1:x': could not convert"),
        (HEAD + "0:1.0 2.0\n", "line 6, .*: expected 1 numbers, got 2"),
        (HEAD.replace("bias: 0.0\n", ""), "does not agree with fit_intercept"),
    ],
)
def test_what_is_refused(tmp_path, learner, text, message):
    (tmp_path / "model").write_text(text)
    before = learner.coef_.copy()
    with pytest.raises(ValueError, match=message):
        learner.from_text(tmp_path / "model")
    assert_same_bits(learner.coef_.copy(), before)
