"""Factorization machines: what the estimators add to the kernels, and their files."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from adagrad import Rule, datasets, preset
from adagrad.ctr import (
    Examples,
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    HashingEncoder,
    LogisticRegression,
    load,
)
from adagrad.ctr.learners import file_format
from checks import assert_same_bits
from ctr_data import batch, labels, learned
from ctr_reference import rate, sums

MACHINES = [FactorizationMachine, FieldAwareFactorizationMachine]


def columns(rng, n, n_fields=10):
    """Fields of a few values, and a click if the first two agree, which no single field shows."""
    values = rng.integers(0, 3, (n, n_fields))
    log = {f"f{j}": values[:, j].astype(str) for j in range(n_fields)}
    return log, (values[:, 0] == values[:, 1]).astype(int)


def assert_same_model(a, b):
    assert a.n_examples_ == b.n_examples_
    found, expected = learned(a._model), learned(b._model)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert_same_bits(array, expected[name], name)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("penalties", [{}, {"l1": 0.5}, {"l2": 2.0}, {"l1": 0.1, "l2": 1.0}])
def test_without_factors_it_is_logistic_regression(rng, machine, penalties):
    x, y = columns(rng, 1500)
    x = HashingEncoder(10).transform(x)
    of_pairs = machine(lr=0.1, init_scale=0.0, **penalties)
    if machine is FieldAwareFactorizationMachine:
        # After 1,024 examples its rounds have 8 examples, those of logistic regression 64.
        x, y = x[:1024], y[:1024]
    linear = LogisticRegression(lr=0.1, **penalties).fit(x, y)
    of_pairs.fit(x, y)
    assert_same_bits(of_pairs.coef_.copy(), linear.coef_.copy())
    assert_same_bits(of_pairs.intercept_, linear.intercept_)
    assert of_pairs.progressive_ == linear.progressive_
    if "l1" in penalties:
        assert not of_pairs.coef_.all()


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("rule", [Rule(lr=0.2, lr_decay=0.01), preset("optax", lr=0.1)])
def test_uncertainty_is_that_of_the_linear_params(rng, machine, rule):
    encoder = HashingEncoder(10, {"f0": "value", **dict.fromkeys(f"f{j}" for j in range(1, 10))})
    log, y = columns(rng, 1500)
    log["f0"] = rng.standard_normal(1500)
    x = encoder.transform(log)
    model = machine(rule=rule, init_scale=0.3, n_jobs=2).fit(x, y)
    rates = rate(rule, model._model.tables["linear"].state[x.slots], 1501)
    expected = sums(rates * x.values * x.values, x.indptr[:-1], x.indptr[1:])
    assert_same_bits(model.uncertainty(x), expected)
    never = encoder.transform({name: ["new"] for name in log} | {"f0": [0.0]})
    assert model.uncertainty(never)[0] > model.uncertainty(x).max()


@pytest.mark.parametrize("machine", MACHINES)
def test_pairs_are_learned(rng, machine):
    log, y = columns(rng, 6000)
    encoder = HashingEncoder(12)
    linear = LogisticRegression(encoder=encoder).fit(log, y).progressive_["auc"]
    model = machine(encoder=encoder, init_scale=0.1, passes=3, shuffle=True)
    model.fit(log, y)
    assert model.score(log, y) > 0.95
    assert linear < 0.55


@pytest.mark.parametrize("machine", MACHINES)
def test_a_planted_interaction_is_learned_by_default(rng, machine):
    log, y = columns(rng, 6000)
    model = machine(encoder=HashingEncoder(12)).fit(log, y)
    assert model.score(log, y) > 0.99
    assert model.progressive_["logloss"] < 0.1
    linear = LogisticRegression(encoder=HashingEncoder(12)).fit(log, y)
    assert linear.progressive_["logloss"] > 0.6
    pairs = model.experts_[-1]
    assert pairs["name"] == "pairs"
    assert pairs["share"] > 0.99
    assert [expert["name"] for expert in model.experts_[:-1]] == [
        expert["name"] for expert in linear.experts_
    ]


@pytest.mark.parametrize("machine", MACHINES)
def test_exclusive_or_is_learned_by_default(machine):
    log = {"a": ["0", "0", "1", "1"] * 50, "b": ["0", "1", "0", "1"] * 50}
    y = [0, 1, 1, 0] * 50
    model = machine(encoder=HashingEncoder(10)).fit(log, y)
    np.testing.assert_array_equal(model.predict(log), y)


def nats(model, n):
    return model.progressive_["logloss"] * n


def test_pairs_never_cost_more_than_log_2_on_the_shipped_log():
    log = datasets.click_log()
    shape = len(log), 1 << 16
    rows = (log.rows % shape[1]).astype(np.int32)
    x = scipy.sparse.csr_matrix((log.values, rows, log.indptr), shape=shape)
    linear = LogisticRegression().fit(x, log.labels)
    model = FactorizationMachine().fit(x, log.labels)
    assert nats(model, len(log)) < nats(linear, len(log)) + np.log(2)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("click_rate", [0.01, 0.3])
def test_pairs_never_cost_more_than_log_2_on_a_synthetic_log(machine, click_rate):
    log = datasets.synthetic_clicks(4000, seed=3, click_rate=click_rate).read_all()
    y = log.column("click").to_numpy()
    x = HashingEncoder(12).fit_transform(log.drop_columns(["click"]))
    linear, model = LogisticRegression().fit(x, y), machine().fit(x, y)
    assert nats(model, len(y)) < nats(linear, len(y)) + np.log(2) + 1e-3


def test_a_machine_of_version_0_1_is_not_normalized(rng, tmp_path):
    """Its file has no such parameter."""
    x = batch(rng, 200, 300)
    model = FactorizationMachine(2, lr=0.1, normalize=False).fit(x, labels(rng, x))
    saved = model._saved()
    del saved.params["normalize"]
    file_format.write(tmp_path / "m", saved)
    again = load(tmp_path / "m")
    assert again.normalize is False
    assert_same_bits(again.decision_function(x), model.decision_function(x))
    again.partial_fit(x, labels(rng, x))
    normalized = FactorizationMachine(2, lr=0.1).fit(x, labels(rng, x))
    assert not np.array_equal(normalized.decision_function(x), model.decision_function(x))


@pytest.mark.parametrize("machine", MACHINES)
def test_normalized_pairs_do_not_depend_on_the_scale_of_an_example(rng, machine):
    log, y = columns(rng, 500)
    x = HashingEncoder(10).fit_transform(log)
    model = machine(lr=0.1, init_scale=0.5).fit(x, y)
    values = np.full(len(x.slots), 8.0, np.float32)  # a power of two: the same bits
    scaled = Examples(
        x.slots, x.bounds, x.n_slots, len(x), values=values, fields=x.fields, n_fields=10
    )
    weights, _ = model._model.linear()
    weights[:] = 0.0
    assert_same_bits(model.decision_function(scaled), model.decision_function(x))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("lr", [0.1, "auto"])
def test_threads_and_streams_give_the_same_bits(rng, machine, lr):
    log, y = columns(rng, 1500, n_fields=17)
    x = HashingEncoder(12).transform(log)
    one, three, stream = (machine(lr=lr, n_jobs=n) for n in (1, 3, 2))
    one.fit(x, y)
    three.fit(x, y)
    for start in range(0, len(x), 640):
        part = slice(start, start + 640)
        stream.partial_fit(x[part], y[part], classes=[0, 1])
    assert_same_model(one, three)
    assert_same_model(one, stream)
    assert one.progressive_ == three.progressive_ == stream.progressive_


@pytest.mark.parametrize("machine", MACHINES)
def test_a_loaded_machine_continues_with_the_same_bits(rng, machine, tmp_path):
    log, y = columns(rng, 1200)
    half = {name: column[:640] for name, column in log.items()}
    rest = {name: column[640:] for name, column in log.items()}
    model = machine(encoder=HashingEncoder(12), seed=5).fit(half, y[:640])
    model.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert type(again) is machine
    assert again.encoder.to_dict() == model.encoder_.to_dict()
    assert_same_model(model, again)
    for learner in (model, again):
        learner.partial_fit(rest, y[640:])
    assert_same_model(model, again)
    np.testing.assert_array_equal(model.predict_proba(log), again.predict_proba(log))


@pytest.mark.parametrize(("n_fields", "parts"), [(1, 1), (7, 1), (8, 2), (20, 2)])
def test_fields_are_shared_by_threads_where_each_keeps_to_a_region(rng, n_fields, parts):
    log, y = columns(rng, 300, n_fields + 1)
    del log[f"f{n_fields}"]
    model = FieldAwareFactorizationMachine(encoder=HashingEncoder(12), n_jobs=2).fit(log, y)
    assert model._model.settings.parts == parts
    one = FieldAwareFactorizationMachine(encoder=HashingEncoder(12), n_jobs=1).fit(log, y)
    assert_same_model(model, one)


def test_a_wide_field_of_a_field_aware_machine(rng):
    log, y = columns(rng, 300)
    encoder = HashingEncoder(12, wide=["f3"])
    model = FieldAwareFactorizationMachine(encoder=encoder).fit(log, y)
    assert model._model.settings.parts == 1


def test_bad_input_of_machines(rng):
    x = batch(rng, 100, 200)
    with pytest.raises(ValueError, match="X has no fields"):
        FieldAwareFactorizationMachine().fit(x, labels(rng, x))
    with pytest.raises(ValueError, match="factors must be from 1"):
        FactorizationMachine(0).fit(x, labels(rng, x))
    with pytest.raises(ValueError, match="init_scale"):
        FactorizationMachine(init_scale=-1.0).fit(x, labels(rng, x))


@pytest.mark.parametrize("saved", [False, True])
def test_columns_go_by_name(rng, tmp_path, saved):
    """Later batches may have the columns of the first in any order."""
    log, y = columns(rng, 400)
    model = LogisticRegression(encoder=HashingEncoder(12)).fit(log, y)
    if saved:
        model.save(tmp_path / "m.safetensors")
        model = load(tmp_path / "m.safetensors")
    other = {"more": np.arange(400), **dict(reversed(log.items()))}
    np.testing.assert_array_equal(model.predict_proba(log), model.predict_proba(other))
    del other["f3"]
    with pytest.raises(ValueError, match="X has no column 'f3'"):
        model.predict_proba(other)
    with pytest.raises(ValueError, match="X has no column 'f0'"):
        model.partial_fit({"foo": [1], "bar": [2]}, [1])


def test_an_encoder_that_has_seen_no_columns(rng):
    log, y = columns(rng, 100)
    model = LogisticRegression(encoder=HashingEncoder(12))
    model.fit(HashingEncoder(12).transform(log), y)
    with pytest.raises(ValueError, match="its encoder has seen no columns"):
        model.predict_proba(log)


def test_examples_cannot_be_changed_after_their_checks(rng):
    x = batch(rng, 20, 300, values=True)
    for part in (x, x[3:7], x.take(np.arange(5))):
        for array in (part.slots, part.bounds, part.values):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


def test_a_matrix_with_a_bad_indptr():
    matrix = scipy.sparse.csr_matrix((np.ones(4), [3, 1, 1, 4], [0, 2, 4]), shape=(2, 5))
    matrix.indptr[1] = 400_000
    with pytest.raises(ValueError, match=r"indptr|index pointer|Last value"):
        LogisticRegression().fit(matrix, [0, 1])
