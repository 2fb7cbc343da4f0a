"""The seed of a learner by either of its names, and what scikit-learn's tools do with it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import safetensors
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV

from adagrad.ctr import (
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    LogisticRegression,
    load,
)
from ctr_data import bits

LEARNERS = [LogisticRegression, FactorizationMachine, FieldAwareFactorizationMachine]
GENERATORS = [np.random.RandomState, np.random.default_rng]


@pytest.fixture
def data(rng):
    return rng.standard_normal((150, 4)), rng.integers(0, 2, 150)


def fitted(learner, data):
    """Two passes in an order that the seed makes."""
    return bits(learner.set_params(lr=0.1, shuffle=True, passes=2).fit(*data)._model)


@pytest.mark.parametrize("kind", LEARNERS)
def test_both_names_mean_the_same_seed(kind, data):
    """Unless it is None, `random_state` is the seed."""
    expected = fitted(kind(seed=7), data)
    assert fitted(kind(random_state=7), data) == expected
    assert fitted(kind(random_state=np.int64(7), seed=3), data) == expected
    assert fitted(kind().set_params(random_state=7), data) == expected
    assert fitted(clone(kind(random_state=7)), data) == expected
    assert fitted(pickle.loads(pickle.dumps(kind(random_state=7))), data) == expected
    assert fitted(kind(seed=7).set_params(random_state=8), data) != expected
    assert fitted(kind(random_state=0), data) == fitted(kind(), data)
    assert kind(random_state=7).fit(*data).seed_ == kind(seed=7).fit(*data).seed_ == 7
    largest = 2**64 - 2
    assert fitted(kind(random_state=largest), data) == fitted(kind(seed=largest), data)


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("generator", GENERATORS)
def test_a_generator_draws_a_seed_for_each_model(kind, generator, data):
    learner, again = kind(random_state=generator(5)), kind(random_state=generator(5))
    first, second = fitted(learner, data), fitted(learner, data)
    assert first != second
    assert [fitted(again, data), fitted(again, data)] == [first, second]
    assert fitted(kind(seed=learner.seed_), data) == second
    assert fitted(clone(learner), data) == fitted(clone(learner), data)  # a copy of its state


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("generator", GENERATORS)
def test_a_model_that_goes_on_keeps_its_seed(kind, generator, data, tmp_path):
    """In `partial_fit`, a warm start, a pickle and a file; what fails keeps it, too."""
    X, y = data
    how = {"lr": 0.1, "shuffle": True, "warm_start": True}
    learner = kind(random_state=generator(5), **how).partial_fit(X, y)
    learner.save(tmp_path / "m")
    others = [kind(seed=learner.seed_, **how).partial_fit(X, y), load(tmp_path / "m")]
    others.append(pickle.loads(pickle.dumps(learner)))
    with pytest.raises(ValueError, match="NaN"):
        learner.fit(np.full_like(X, np.nan), y)
    for one in (learner, *others):
        one.fit(X, y).partial_fit(X, y).fit(X, y)
    assert {one.seed_ for one in others} == {learner.seed_}
    assert all(bits(one._model) == bits(learner._model) for one in others)


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_pickle_of_an_earlier_version_has_a_seed_only(kind, data):
    learner = kind(seed=3).fit(*data)
    del vars(learner)["random_state"]
    found = pickle.loads(pickle.dumps(learner)).partial_fit(*data)
    assert found.get_params()["random_state"] is None
    assert found.seed_ == 3


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_file_holds_the_seed_in_use(kind, data, tmp_path):
    """By its first name, so that earlier versions read it."""
    for learner in (kind(), kind(random_state=9), kind(random_state=np.random.RandomState(1))):
        learner.fit(*data).save(tmp_path / "m")
        with safetensors.safe_open(tmp_path / "m", "np") as file:
            assert "random_state" not in "".join(file.metadata().values())
        found = load(tmp_path / "m")
        assert (found.seed, found.random_state) == (learner.seed_, None)
        assert found.set_params(random_state=4).fit(*data).seed_ == 4


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("0", TypeError, r"random_state must be None, an integer, a np\.random\.RandomState or a"),
        (1.0, TypeError, r"RandomState or a np\.random\.Generator, got 1\.0"),
        (True, TypeError, "random_state must be an integer, got True"),
        (-1, ValueError, "random_state must be from 0 to 18446744073709551614, got -1"),
        (np.random, TypeError, "random_state must be None"),
    ],
)
def test_what_is_no_random_state(kind, given, error, message, data):
    learner = kind().fit(*data)
    before = bits(learner._model)
    learner.random_state = given
    for call in (learner.fit, learner.partial_fit):
        with pytest.raises(error, match=message):
            call(*data)
    assert bits(learner._model) == before
    learner.random_state, learner.seed = None, -1
    with pytest.raises(ValueError, match="seed must be from 0"):
        learner.fit(*data)


@pytest.mark.parametrize("machine", LEARNERS[1:])
def test_a_model_keeps_the_seed_of_its_vectors(machine, data):
    learner = machine(random_state=1).partial_fit(*data)
    for other in (2, np.random.RandomState(0)):
        with pytest.raises(ValueError, match="seed was 1 when the model began and cannot become"):
            learner.set_params(random_state=other).partial_fit(*data)
    assert learner.set_params(random_state=None, seed=1).partial_fit(*data).seed_ == 1


@pytest.mark.parametrize("kind", LEARNERS)
def test_tools_set_it_on_learners_that_have_a_seed(kind, data):
    """As on any estimator with this parameter: the members of a bag differ, and it repeats."""
    bags = [BaggingClassifier(kind(lr=0.1, seed=5), 3, random_state=1).fit(*data) for _ in "ab"]
    seeds = [[member.seed_ for member in bag.estimators_] for bag in bags]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3
    search = GridSearchCV(kind(lr=0.1, shuffle=True), {"random_state": [1, 2]}, cv=2).fit(*data)
    assert search.best_estimator_.seed_ == search.best_params_["random_state"]
