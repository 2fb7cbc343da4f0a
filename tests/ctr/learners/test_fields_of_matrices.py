"""A field-aware machine on matrices: equation 4 of Juan et al. with a field for each column."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad.ctr import (
    Examples,
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    HashingEncoder,
    load,
)
from adagrad.ctr.learners import factorization
from checks import assert_same_bits
from ctr_data import bits, columns_as_fields

N, D, K = 400, 6, 3


def table(rng, n=N, d=D):
    """Numbers, of which some are 0, and a label that only two columns together tell."""
    X = rng.choice([-2.0, -1.0, 0.0, 0.5, 1.0], (n, d))
    return X, (X[:, 0] * X[:, 1] > 0).astype(int)


def pairs(X, v):
    """The sum over all pairs of columns, in float64: X is [n, d], v is [d, d, k]."""
    found = np.zeros(len(X))
    for i, j in itertools.combinations(range(X.shape[1]), 2):
        found += (v[i, j] @ v[j, i]) * X[:, i] * X[:, j]
    return found


class Juan:
    """Algorithm 1 of Juan et al. and a linear part, an example at a time, in float64."""

    def __init__(self, v, lr, *, normalize):
        self.v, self.lr, self.normalize = v.astype(np.float64), lr, normalize
        self.w, self.sums_w = np.zeros((2, len(v) + 1))  # the last is the bias
        self.sums_v = np.zeros_like(self.v)

    def margin(self, x):
        r = 1 / (x @ x) if self.normalize and x.any() else 1.0
        return self.w[:-1] @ x + self.w[-1] + r * pairs(x[None], self.v)[0], r

    def learn(self, x, y):
        margin, r = self.margin(x)
        g = 1 / (1 + np.exp(-margin)) - y
        of_w, of_v = g * np.append(x, 1.0), np.zeros_like(self.v)
        for i, j in itertools.permutations(np.flatnonzero(x), 2):
            of_v[i, j] = g * r * x[i] * x[j] * self.v[j, i]
        for params, sums, of in ((self.w, self.sums_w, of_w), (self.v, self.sums_v, of_v)):
            sums += of**2
            params -= self.lr * of / np.sqrt(1.0 + sums)  # G begins at 1
        return margin


@pytest.mark.parametrize("normalize", [False, True])
def test_margins_and_steps_are_those_of_the_paper(rng, normalize):
    """To the precision of float32. Up to 1,024 examples, each is learned before the next."""
    X, y = table(rng)
    how = {"lr": 0.2, "normalize": normalize, "init_scale": 0.4}
    machine = FieldAwareFactorizationMachine(K, **how)
    machine.partial_fit(X[:1], y[:1], [0, 1], [0.0])  # begins, and learns nothing
    reference = Juan(machine.factors_, 0.2, normalize=normalize)
    expected = [reference.learn(x, label) for x, label in zip(X, y, strict=True)]
    machine.partial_fit(X, y)
    np.testing.assert_allclose(machine.factors_, reference.v, atol=1e-5)
    np.testing.assert_allclose(machine.coef_[0], reference.w[:-1], atol=1e-5)
    np.testing.assert_allclose(machine.intercept_[0], reference.w[-1], atol=1e-5)
    found = [reference.margin(x)[0] for x in X]
    np.testing.assert_allclose(machine.decision_function(X), found, atol=1e-4)
    loss = np.mean(np.logaddexp(0.0, np.where(y, -1, 1) * expected))
    assert machine.progressive_["logloss"] == pytest.approx(loss, rel=1e-5)


def test_the_mixture_and_the_pairs_are_what_predicts(rng):
    """The exported margin: linear params, and the pairs times the weight of the last expert."""
    X, y = table(rng, n=4000)
    machine = FieldAwareFactorizationMachine(K, normalize=False).fit(X, y)
    scale = machine.experts_[-1]["weight"]
    assert scale > 0.0
    linear = X @ machine.coef_[0].astype(np.float64) + machine.intercept_[0]
    expected = linear + scale * pairs(X, machine.factors_.astype(np.float64))
    np.testing.assert_allclose(machine.decision_function(X), expected, rtol=1e-4, atol=1e-4)
    assert machine.score(X, y) > 0.9


@given(
    seed=st.integers(0, 2**32 - 1),
    lr=st.sampled_from([0.1, "auto"]),
    d=st.sampled_from([1, 2, 7, 8, 9, 16, 17, 40, 130]),
    columns=st.integers(0, 20),
    threads=st.integers(1, 3),
)
@settings(max_examples=25)
def test_every_form_of_a_matrix_has_the_bits_of_its_examples(seed, lr, d, columns, threads):
    """Also where the first rows have few columns, which might belong to regions by chance."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-1, 3, (30, d)).astype(np.float32)
    X[:, columns:] = 0.0
    rest = rng.integers(-1, 3, (20, d)).astype(np.float32)
    y = np.arange(50) % 2
    forms = {
        "array": np.array,
        "float64": np.float64,
        "columns first": np.asfortranarray,
        "csr": scipy.sparse.csr_array,
        "csc": scipy.sparse.csc_matrix,
        "coo": scipy.sparse.coo_array,
        "frame": pd.DataFrame,
        "examples": lambda x: columns_as_fields(Examples.from_csr(x)),
    }
    found = {}
    for name, form in forms.items():
        machine = FieldAwareFactorizationMachine(2, lr=lr, n_jobs=threads)
        machine.partial_fit(form(X), y[:30]).partial_fit(form(rest), y[30:])
        found[name] = bits(machine._model), machine.decision_function(form(rest)).tobytes()
        assert machine.n_features_in_ == d
        assert machine.factors_.shape == (d, d, 2)
    expected = found.pop("examples")
    for name, state in found.items():
        assert state == expected, name


def test_predicts_from_matrices_and_examples_alike(rng):
    X, y = table(rng)
    machine = FieldAwareFactorizationMachine(K).fit(X, y)
    x = columns_as_fields(Examples.from_csr(X))
    for call in (machine.predict_proba, machine.predict_log_proba, machine.uncertainty):
        assert_same_bits(call(X), call(x))
        assert_same_bits(call(scipy.sparse.csc_array(X)), call(x))


@pytest.mark.parametrize("lr", [0.1, "auto"])
def test_a_machine_of_a_matrix_goes_on_from_a_file_a_pickle_and_a_copy(rng, lr, tmp_path):
    X, y = table(rng)
    machine = FieldAwareFactorizationMachine(K, lr=lr, warm_start=True).fit(X, y)
    machine.save(tmp_path / "m")
    others = load(tmp_path / "m"), pickle.loads(pickle.dumps(machine)), copy.deepcopy(machine)
    machine.fit(X, 1 - y).partial_fit(X[:50], y[:50])
    for other in others:
        other.fit(X, 1 - y).partial_fit(X[:50], y[:50])
        assert bits(other._model) == bits(machine._model)
        assert other.progressive_ == machine.progressive_
    with pytest.raises(ValueError, match=r"X has 5 features, but Field.* is expecting 6 features"):
        machine.predict(X[:, :5])


def test_factors_of_an_encoder_whose_fields_are_divided(rng):
    """A copy then, in which each vector is where the paper has it."""
    log = {f"f{j}": rng.integers(0, 4, 300) for j in range(9)}
    encoder = HashingEncoder(8, dict.fromkeys(log, "categorical"))
    machine = FieldAwareFactorizationMachine(2, lr=0.2, normalize=False, encoder=encoder)
    machine.fit(log, rng.integers(0, 2, 300))
    assert machine._model.settings.parts == 2
    x, v = encoder.transform(log), machine.factors_
    assert v.shape == (256, 9, 2)
    expected = np.empty(300)
    for i in range(300):
        slots = x.slots[9 * i : 9 * i + 9]
        some = v[slots[:, None], x.fields[None, :]]
        linear = machine.coef_[0, slots].sum() + machine.intercept_[0]
        expected[i] = linear + pairs(np.ones((1, 9)), some)[0]
    np.testing.assert_allclose(machine.decision_function(x), expected, atol=1e-4)


def test_columns_that_cannot_all_be_fields(rng, monkeypatch):
    """More than 4 GiB of vectors are refused before any memory is allocated."""
    wide = scipy.sparse.random(10, 20_000, 0.01, "csr", random_state=0)
    machine, y = FieldAwareFactorizationMachine(), np.arange(10) % 2
    message = (
        r"X has 20,000 columns, each of which would be a field, so that 4 factors for every pair of"
        r" columns take 11.9 GiB. The most are 4 GiB, or 11,585 columns: pass the columns .* and"
        r" encoder=HashingEncoder\(\), pass Examples with fewer fields, or use a Factor"
    )
    for call in (machine.fit, machine.partial_fit):
        with pytest.raises(ValueError, match=message):
            call(wide, y)
    assert not hasattr(machine, "classes_")
    X, y = table(rng)
    monkeypatch.setattr(factorization, "MOST_BYTES", 8 * K * D**2)
    assert FieldAwareFactorizationMachine(K).fit(X, y).factors_.nbytes == 4 * K * D**2
    with pytest.raises(ValueError, match="4 factors for every pair"):
        FieldAwareFactorizationMachine(K + 1).fit(X, y)
    x = columns_as_fields(Examples.from_csr(X))
    FieldAwareFactorizationMachine(K + 1).fit(x, y)  # who gives fields has chosen them


@pytest.mark.parametrize("lr", [0.1, "auto"])
def test_a_matrix_for_a_model_of_other_fields(rng, lr):
    """Refused also while the mixture predicts alone, which does not look at fields."""
    log = {f"f{j}": rng.integers(0, 3, 200).astype(str) for j in range(4)}
    x, y = HashingEncoder(8).fit_transform(log), rng.integers(0, 2, 200)
    machine = FieldAwareFactorizationMachine(lr=lr).fit(x, y)
    before, X = bits(machine._model), np.ones((2, 256))
    message = "X is a matrix of 256 columns, each a field of its own, but the model has 4 fields: "
    for call in (lambda: machine.partial_fit(X, [0, 1]), lambda: machine.predict(X)):
        with pytest.raises(ValueError, match=message):
            call()
    plain = Examples.from_csr(X)
    for call in (lambda: machine.partial_fit(plain, [0, 1]), lambda: machine.predict(plain)):
        with pytest.raises(ValueError, match=r"X has no fields.*pass a matrix, whose columns are"):
            call()
    assert bits(machine._model) == before
    other = FieldAwareFactorizationMachine(lr=lr)
    with pytest.raises(ValueError, match="X has no fields"):
        other.fit(np.ones((2, 256)), [0, 1], validation=(plain, [0, 1]))
    assert not hasattr(other, "classes_")


def test_integers_of_a_frame_are_amounts_and_a_warning_says_so(rng):
    frame = pd.DataFrame({"user": rng.integers(0, 90, 100), "ad": rng.integers(0, 9, 100)})
    y = rng.integers(0, 2, 100)
    with pytest.warns(UserWarning, match=r"only columns of integers \('user', 'ad'\)"):
        machine = FieldAwareFactorizationMachine().fit(frame, y)
    assert machine.feature_names_in_.tolist() == ["user", "ad"]
    with pytest.raises(ValueError, match="The feature names should match those"):
        machine.predict(frame[["ad", "user"]])


def test_it_learns_what_a_plain_machine_cannot(rng):
    """Columns agree with one partner and disagree with the other: one vector each is too few."""
    X = rng.choice([-1.0, 1.0], (6000, 4))
    y = (X[:, 0] * X[:, 1] - X[:, 0] * X[:, 2] + X[:, 1] * X[:, 3] > 0).astype(int)
    aware = FieldAwareFactorizationMachine(1, lr=0.3).fit(X, y)
    plain = FactorizationMachine(1, lr=0.3).fit(X, y)
    assert aware.score(X, y) > 0.95 > plain.score(X, y) + 0.05
