"""The last round of a run is taken back, and learned again with the rows that complete it."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from checks import need_packages

need_packages("pyarrow", "sklearn")

import scipy.sparse

from adagrad import Rule
from adagrad.ctr import Examples
from adagrad.ctr.learners.labeled import LabeledExamples
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from adagrad.ctr.training.unfinished import Unfinished, round_start

SLOTS, MOST = 64, 2_100
MODELS = {
    "rate": Settings("lr", SLOTS, Rule(lr=0.1)),
    "auto": Settings("lr", SLOTS, None),
    "half-life": Settings("lr", SLOTS, None, half_life=99.0),
    "l1": Settings("lr", SLOTS, Rule(lr=0.1), l1=0.1),
    "fm": Settings("fm", SLOTS, None, factors=2, init_scale=0.1),
}


def examples(values: bool) -> tuple[Examples, np.ndarray]:
    rng = np.random.default_rng(3)
    x = scipy.sparse.random(MOST, SLOTS, 0.05, "csr", np.float32, rng)
    if not values:
        x.data[:] = 1
    return Examples.from_csr(x), rng.integers(0, 2, MOST).astype(np.float32)


X, Y = examples(values=False)
WITH_VALUES, _ = examples(values=True)


@given(st.integers(0, 10**6))
def test_where_a_round_begins(n: int) -> None:
    start = round_start(n)
    assert 0 <= n - start < 64
    assert round_start(start) == start
    if n >= 64 * 512:
        assert start % 64 == 0


def state(model: Model) -> dict[str, bytes]:
    tensors = {**model.row_tensors(), **model.tensors()}
    return {name: array.tobytes() for name, array in tensors.items()}


@pytest.mark.parametrize("kind", MODELS)
@settings(max_examples=15)
@given(st.integers(1_024, MOST), st.integers(0, 70), st.booleans())
@example(first=1_089, more=10, valued=False)
def test_the_next_run_has_the_bits_of_one(kind: str, first: int, more: int, valued: bool) -> None:
    x = WITH_VALUES if valued else X
    end = min(first + more, MOST)
    whole, model = Model(MODELS[kind]), Model(MODELS[kind])
    whole.learn(x[:end], Y[:end])
    start = round_start(first)
    model.learn(x[:start], Y[:start])
    before = copy.deepcopy(model)
    last = Unfinished.before(model, LabeledExamples(x[start:first], Y[start:first]))
    model.learn(x[start:first], Y[start:first])
    if kind == "half-life" and first == 1_089:
        scales = [one.mixture._fields["scale"] for one in (before, model)]
        assert scales[1] < scales[0], "all accumulators are halved within the round"
    if start < first:
        found = json.loads(json.dumps(last.to_json(model)))
        last = Unfinished.from_json(found, model)
        last.undo(model)
    if kind != "half-life":
        assert state(model) == state(before)
    assert model.examples == start
    both = last.followed_by(LabeledExamples(x[first:end], Y[first:end]))
    model.learn(both.x, both.y)
    assert state(model) == state(whole)


DAMAGE = [
    ("examples", 0),
    ("examples", 64),
    ("examples", None),
    ("n_fields", -1),
    ("slots", None),
    ("slots", ["<u4", [1], "AAAA"]),
    ("labels", ["<f4", [1], "AAAAQA=="]),
    ("labels", ["<f4", [1], "?"]),
    ("experts", ["<f4", [0, 7], ""]),
    ("bins", ["<i8", [1], "//////////8="]),
    ("mixing", ["<f8", [1], "AAAAAAAAAAA="]),
]


@pytest.mark.parametrize(("name", "value"), DAMAGE)
def test_a_damaged_round(name: str, value: object) -> None:
    model = Model(MODELS["auto"])
    model.learn(X[:1_024], Y[:1_024])
    last = Unfinished.before(model, LabeledExamples(X[1_024:1_025], Y[1_024:1_025]))
    model.learn(X[1_024:1_025], Y[1_024:1_025])
    found = last.to_json(model)
    Unfinished.from_json(found, model)
    with pytest.raises((TypeError, ValueError, KeyError, IndexError)):
        Unfinished.from_json({**found, name: value}, model)
    del found[name]
    with pytest.raises((TypeError, ValueError, KeyError)):
        Unfinished.from_json(found, model)
