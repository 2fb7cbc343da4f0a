"""Adagrad: the stateful optimizer."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import adagrad
import reference
from adagrad import Adagrad, Rule
from checks import assert_same_bits


def test_step_equals_the_reference(rng):
    params = [rng.standard_normal((4, 3)).astype("f4"), rng.standard_normal(5)]
    mine = [w.copy() for w in params]
    states = [np.full_like(w, 0.1) for w in params]
    opt = Adagrad(params, preset="keras", lr=0.5, lr_decay=0.1)
    for t in (1, 2, 3):
        grads = [rng.standard_normal(w.shape).astype(w.dtype) for w in params]
        opt.step(grads)
        for k, g in enumerate(grads):
            mine[k], states[k] = reference.step(opt.rule, mine[k], g, states[k], t)
    for k in range(2):
        assert_same_bits(params[k], mine[k])
        assert_same_bits(opt.accumulators[k], states[k])
    assert opt.steps == [3, 3]


def test_params_are_never_copied():
    w = np.ones(3)
    opt = Adagrad([w])
    assert opt.params[0] is w
    assert Adagrad(w).params[0] is w
    assert Adagrad(iter([w])).params[0] is w
    assert Adagrad(w[1:]).params[0].base is w


def test_none_leaves_param_and_count_alone():
    a, b = np.ones(2), np.ones(2)
    opt = Adagrad([a, b])
    opt.step([None, np.ones(2)])
    assert a.tolist() == [1.0, 1.0]
    assert opt.steps == [0, 1]
    opt.step([None, None])
    assert opt.steps == [0, 1]


def test_step_rows_counts_for_its_param(rng):
    w, v = np.zeros((10, 2)), np.zeros(4)
    opt = Adagrad([w, v], rule=Rule(lr=1.0, lr_decay=1.0))
    rows = np.array([3, 3, 7])
    for t in (1, 2):
        g = rng.standard_normal((3, 2))
        expected = reference.step_rows(opt.rule, w, g, opt.accumulators[0], rows, t)
        opt.step_rows(0, rows, g)
        assert_same_bits(w, expected[0])
    assert opt.steps == [2, 0]
    opt.step_rows(1, np.array([0, 0]), np.ones(2), duplicates="sequential")
    assert opt.accumulators[1][0] == 2.0


def test_rows_have_one_accumulator_where_the_rule_says_so():
    params = [np.zeros((5, 3)), np.zeros(5), np.zeros((2, 2, 2))]
    opt = Adagrad(params, preset="torchrec_rowwise")
    assert [s.shape for s in opt.accumulators] == [(5,), (5,), (2, 2, 2)]


def test_skipped_is_counted():
    opt = Adagrad([np.ones(3), np.ones((3, 2))], on_nonfinite="skip")
    opt.step([np.array([1.0, np.nan, np.inf]), np.ones((3, 2))])
    opt.step_rows(1, np.array([0, 1]), np.full((2, 2), np.nan))
    assert opt.skipped == 4


def test_nothing_changes_on_a_bad_call():
    a, b = np.ones(2), np.ones(3)
    opt = Adagrad([a, b])
    for bad, error, message in [
        ([np.ones(2), np.ones(2)], ValueError, r"Adagrad.step: g of params\[1\] has shape \(2,\)"),
        ([np.ones(2)], ValueError, "1 entries for 2 params"),
        ([np.ones(2), np.ones(3, "f4")], TypeError, "nothing is cast"),
        ([np.ones(2), a], ValueError, "shape|overlap"),
        ([None, np.ones(4)], ValueError, r"g of params\[1\] has shape \(4,\)"),
        (None, TypeError, "grads must be an array or a sequence of arrays, got None"),
    ]:
        with pytest.raises(error, match=message):
            opt.step(bad)
    with pytest.raises(IndexError, match="there is no param 2"):
        opt.step_rows(2, np.zeros(1, int), np.zeros(1))
    with pytest.raises(IndexError, match=r"rows\[0\] = 9"):
        opt.step_rows(0, np.array([9]), np.zeros(1))
    assert opt.steps == [0, 0]
    assert a.tolist() == [1.0, 1.0]
    assert not opt.accumulators[0].any()


def test_bad_construction():
    w = np.ones(4)
    for args, given, error, message in [
        (([w, w],), {}, ValueError, r"params\[0\] and params\[1\] overlap"),
        (([w, w[2:]],), {}, ValueError, "overlap in memory"),
        (([1.0],), {}, TypeError, r"params\[0\] must be a numpy.ndarray, got float"),
        (([w.astype(int)],), {}, TypeError, r"params\[0\] has dtype int64"),
        (([w[::2]],), {}, ValueError, r"params\[0\] must be C-contiguous"),
        ((None,), {}, TypeError, "params must be an array or an iterable"),
        (([w],), {"rule": Rule(), "lr": 0.1}, TypeError, "cannot be combined with lr"),
        (([w],), {"rule": Rule(), "preset": "torch"}, TypeError, "cannot be combined with preset"),
        (([w],), {"rule": 0.1}, TypeError, "rule must be an adagrad.Rule"),
        (([w],), {"preset": "sgd"}, ValueError, "there is no preset 'sgd'"),
        (([w],), {"learning_rate": 0.1}, TypeError, "Rule has no field 'learning_rate'"),
    ]:
        with pytest.raises(error, match=message):
            Adagrad(*args, **given)


def test_state_dict_round_trip():
    w = np.ones((3, 2))
    opt = Adagrad([w], preset="torch", lr=0.5, lr_decay=0.1)
    opt.step([np.full((3, 2), 2.0)])
    state = opt.state_dict()
    assert state["steps"].dtype == np.int64
    assert sorted(state) == ["accumulators", "rule", "skipped", "steps", "version"]
    state["accumulators"][0][:] = 7.0  # the state's arrays are its own
    assert (opt.accumulators[0] == 4.0).all()
    other = Adagrad([np.ones((3, 2))])
    other.load_state_dict(opt.state_dict())
    assert other.rule == opt.rule
    assert other.steps == [1]
    assert_same_bits(other.accumulators[0], opt.accumulators[0])
    via = pickle.loads(pickle.dumps(opt.state_dict()))
    other.load_state_dict(via)


def test_bad_states_change_nothing():
    opt = Adagrad([np.ones(3), np.ones((2, 2))])
    opt.step([np.ones(3), np.ones((2, 2))])
    good = opt.state_dict()
    for change, error, message in [
        ({"version": 99}, ValueError, "state has version 99, but this adagrad reads 1"),
        ({"rule": {"lr": "x"}}, TypeError, "lr must be a real number"),
        ({"rule": {"rate": 1.0}}, TypeError, "rate"),
        ({"steps": np.array([1])}, ValueError, "steps must be 2 integers"),
        ({"steps": np.array([1.0, 2.0])}, ValueError, "steps must be 2 integers"),
        ({"steps": np.array([1, -2])}, ValueError, "steps must be 2 integers"),
        ({"skipped": "x"}, ValueError, "skipped must be an integer from 0"),
        ({"skipped": -1}, ValueError, "skipped must be an integer from 0"),
        ({"accumulators": good["accumulators"][:1]}, ValueError, "1 accumulators for 2"),
        ({"accumulators": [np.ones(3), np.ones(3)]}, ValueError, r"accumulators\[1\] has shape"),
        ({"accumulators": [np.ones(3, "f4"), np.ones((2, 2))]}, TypeError, r"accumulators\[0\]"),
        ({"accumulators": [[1, 2, 3], np.ones((2, 2))]}, TypeError, "must be an ndarray"),
    ]:
        with pytest.raises(error, match=message):
            opt.load_state_dict({**good, **change})
    for name in good:
        missing = {**good, "rule": {"lr": 0.7}}
        del missing[name]
        with pytest.raises(KeyError, match=name):
            opt.load_state_dict(missing)
    assert opt.steps == [1, 1]
    assert (opt.accumulators[0] == 1.0).all()
    assert opt.rule == Rule()


def test_loading_an_accumulator_of_rows_or_elements():
    w = np.ones((4, 2))
    rowwise = Adagrad([w.copy()], preset="torchrec_rowwise")
    element = Adagrad([w.copy()])
    element.load_state_dict(rowwise.state_dict())
    assert element.accumulators[0].shape == (4,)
    assert element.rule.accumulator == "row"


def test_copy_shares_nothing():
    opt = Adagrad([np.ones(2)])
    twin = copy.deepcopy(opt)
    twin.step([np.ones(2)])
    assert opt.steps == [0]
    assert opt.params[0].tolist() == [1.0, 1.0]


def test_repr():
    text = repr(Adagrad([np.ones((3, 2))], lr=0.5))
    assert text.startswith("Adagrad([(3, 2)], Rule(lr=0.5")


def test_single_array():
    w = np.ones(2)
    opt = Adagrad(w, lr=0.5, eps=0.0)
    opt.step(np.array([1.0, -1.0]))
    assert w.tolist() == [0.5, 1.5]
    assert adagrad.Adagrad([]).steps == []
