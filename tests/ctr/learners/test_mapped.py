"""A learner whose arrays joblib maps from a file has memory of its own, and learns on."""

from __future__ import annotations

import copy
import pickle

import joblib
import numpy as np
import pytest

from adagrad.ctr import (
    HashingEncoder,
)
from adagrad.ctr.learners.files import CLASSES as KINDS
from ctr_data import learned


def log(rng, n=300):
    return {f"c{j}": rng.integers(0, 50, n) for j in range(8)}, rng.integers(0, 2, n)


def new(kind, lr=0.1, **penalties):
    encoder = HashingEncoder(bits=10, numeric="categorical")
    return KINDS[kind](lr=lr, encoder=encoder, n_jobs=1, **penalties)


def state(learner):
    model = learner._model
    arrays = list(learned(model).values())
    return [array.tobytes() for array in arrays], model.examples


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("options", [{}, {"lr": "auto"}, {"l1": 0.3, "l2": 1.0}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_learning_goes_on_and_the_file_stays(rng, tmp_path, kind, options, mode):
    x, y = log(rng)
    path = tmp_path / "learner.joblib"
    learner = new(kind, **options).fit(x, y)
    joblib.dump(learner, path)
    written = path.read_bytes()
    mapped = joblib.load(path, mmap_mode=mode)
    for loaded in (mapped, copy.deepcopy(mapped), pickle.loads(pickle.dumps(mapped))):
        assert state(loaded) == state(learner)
        assert np.array_equal(loaded.predict_proba(x), learner.predict_proba(x))
        loaded.partial_fit(x, y)
    learner.partial_fit(x, y)
    assert state(mapped) == state(learner)
    assert path.read_bytes() == written


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_rate_is_chosen(rng, tmp_path, kind):
    x, y = log(rng)
    learner = new(kind, "auto").partial_fit(x, y)
    joblib.dump(learner, tmp_path / "learner.joblib")
    mapped = joblib.load(tmp_path / "learner.joblib", mmap_mode="r")
    for each in (mapped, learner):
        each.partial_fit(x, y)
    assert state(mapped) == state(learner)


def _continued(learner, x, y):
    return state(learner.partial_fit(x, y))


@pytest.mark.unsanitized
def test_workers_of_joblib(rng):
    """Arrays of any size are mapped for a worker."""
    x, y = log(rng)
    learners = [new("lr").fit(x, y) for _ in range(2)]
    found = joblib.Parallel(n_jobs=2, max_nbytes=1)(
        joblib.delayed(_continued)(learner, x, y) for learner in learners
    )
    assert found == [_continued(learner, x, y) for learner in learners]
