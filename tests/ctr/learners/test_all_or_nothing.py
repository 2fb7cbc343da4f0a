"""A call that raises has changed no byte of a learner, whatever was wrong and wherever it was."""

from __future__ import annotations

import numpy as np
import pytest

from adagrad import Rule
from adagrad.ctr import (
    Examples,
    HashingEncoder,
)
from adagrad.ctr.learners import estimator
from adagrad.ctr.learners.files import CLASSES as KINDS
from ctr_data import bits

N = 400


@pytest.fixture(autouse=True)
def many_chunks(monkeypatch):
    """The faults lie in the last of several chunks, each of which is a call of its own."""
    monkeypatch.setattr(estimator, "CHUNK", 64)


@pytest.fixture
def data(rng):
    columns = {f"c{j}": rng.integers(0, 50, N) for j in range(9)}
    x = HashingEncoder(bits=9, numeric="categorical").transform(columns)
    return x, rng.integers(0, 2, N)


def state(learner):
    known = {name: repr(value) for name, value in vars(learner).items() if name != "_trained"}
    known = {**known, "n_features": learner.n_features_in_, "classes": learner.classes_.tolist()}
    model = learner._model
    return known, bits(model), model.examples, model.settings


def last(array, value):
    array = np.array(array, object if isinstance(value, (str, type(None))) else None)
    array = array.astype(np.result_type(array, type(value)) if array.dtype != object else object)
    array[-1] = value
    return array


def stray(x):
    """The last example has a field that does not belong to the region of its slot."""
    n = len(x)
    bounds = np.append(
        (np.arange(n)[:, None] * int(x.bounds[-1]) + x.bounds[None, :-1].astype(int)).ravel(),
        len(x.slots),
    )
    fields = np.tile(x.fields, n)
    fields[-1] = 0
    return Examples(
        x.slots, bounds.astype(np.uint32), x.n_slots, n, fields=fields, n_fields=x.n_fields
    )


ONES = np.ones(N)
CALLS = {
    "class": lambda x, y: {"X": x, "y": last(y, 7)},
    "None": lambda x, y: {"X": x, "y": last(y, None)},
    "text": lambda x, y: {"X": x, "y": last(y, "yes")},
    "NaN": lambda x, y: {"X": x, "y": last(y, np.nan)},
    "length": lambda x, y: {"X": x, "y": y[:-1]},
    "weight": lambda x, y: {"X": x, "y": y, "sample_weight": last(ONES, -1.0)},
    "NaN weight": lambda x, y: {"X": x, "y": y, "sample_weight": last(ONES, np.nan)},
    "infinite weight": lambda x, y: {"X": x, "y": y, "sample_weight": last(ONES, np.inf)},
    "large weight": lambda x, y: {"X": x, "y": y, "sample_weight": last(ONES, 2.0**48 + 1)},
    "text weight": lambda x, y: {"X": x, "y": y, "sample_weight": last(ONES, "1")},
    "slots": lambda x, y: {"X": Examples.from_csr(np.ones((N, 3))), "y": y},
    "matrix": lambda x, y: {"X": last(x.to_csr().toarray(), np.nan), "y": y},
    "nothing": lambda x, y: {"X": None, "y": y},
}
PARAMS = {
    "l2": {"l2": 1e39},
    "l1": {"l1": 1e39},
    "half life": {"half_life": 0.5},
    "another half life": {"half_life": 100.0},
    "lr": {"lr": -1.0},
    "lr text": {"lr": "best"},
    "rate": {"lr": 1e-60},
    "seed": {"seed": -1},
    "intercept": {"fit_intercept": False},
    "rule": {"rule": Rule(eps=0.5)},
}


def learned(kind, x, y, lr=0.1):
    return KINDS[kind](lr=lr, n_jobs=1).partial_fit(x, y)


@pytest.mark.parametrize("lr", [0.1, "auto"])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_examples(data, kind, name, lr):
    learner = learned(kind, *data, lr)
    arguments = CALLS[name](*data)
    for warm in (True, False):
        learner.set_params(warm_start=warm)
        before = state(learner)
        for method in (learner.partial_fit, learner.fit):
            if name == "slots" and method == learner.fit and not warm:
                continue  # a new model may have another number of slots
            with pytest.raises((TypeError, ValueError)):
                method(**arguments)
            assert state(learner) == before
    learner.partial_fit(*data)


@pytest.mark.parametrize("lr", [0.1, "auto"])
@pytest.mark.parametrize("name", PARAMS)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_params(data, kind, name, lr):
    learner = learned(kind, *data, lr)
    given = learner.get_params()
    before = state(learner)
    learner.set_params(**PARAMS[name])
    with pytest.raises((TypeError, ValueError)):
        learner.partial_fit(*data)
    assert state(learner.set_params(**given)) == before


@pytest.mark.parametrize("lr", [0.1, "auto"])
def test_a_field_in_a_wrong_region(data, lr):
    x, y = data
    learner = learned("ffm", x, y, lr)
    before = state(learner)
    assert learner._model.settings.parts == 2
    with pytest.raises(ValueError, match=r"is a field of part 0, but its slot"):
        learner.partial_fit(stray(x), y)
    with pytest.raises(ValueError, match=r"is a field of part 0, but its slot"):
        learner.fit(x, y, validation=(stray(x), y))
    assert state(learner) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_that_decays_to_zero(data, kind):
    x, y = data
    rule = Rule(lr=1e-30, lr_decay=1e13)  # to 0 in float32, within the examples
    learner = KINDS[kind](rule=rule, n_jobs=1).partial_fit(x[:1], y[:1], classes=[0, 1])
    before = state(learner)
    for method in (learner.partial_fit, learner.fit):
        with pytest.raises(ValueError, match="is 0 in float32"):
            method(x, y)
        assert state(learner) == before
