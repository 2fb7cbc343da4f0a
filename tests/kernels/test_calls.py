"""The arguments of a call: what the core reads by itself means what Python makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adagrad
from adagrad import Rule, Table
from checks import assert_same_bits

RATES = st.floats(0.0, 10.0, width=32)
REALS = st.sampled_from([float, np.float64, np.float32, np.float16])
IDS = {np.dtype(name): np.iinfo(name) for name in ("i4", "i8", "u4", "u8")}


def stepped(step, *arguments, **named):
    """Return w and s after a step from the same start."""
    w, g, s = np.linspace(-1, 1, 9), np.linspace(3, 0.1, 9), np.linspace(0.5, 2, 9)
    rows = [np.array([4, 0, 4, 8, 1, 1, 2, 3, 4])] if step is adagrad.step_rows else []
    step(w, g, s, *rows, *arguments, **named)
    return np.array([w, s])


@pytest.mark.parametrize("step", [adagrad.step, adagrad.step_rows])
@given(RATES, RATES, REALS)
def test_a_rate_in_any_type_is_that_of_a_rule(step, lr, eps, real):
    lr, eps = float(real(lr)), float(real(eps))
    expected = stepped(step, Rule(lr=lr, eps=eps))
    assert_same_bits(stepped(step, lr, eps=eps), expected)
    assert_same_bits(stepped(step, lr=real(lr), eps=real(eps)), expected)
    assert_same_bits(stepped(step, rule=Rule(lr=lr, eps=eps)), expected)
    assert_same_bits(stepped(step, Rule(lr=lr, eps=eps), t=7, threads=2), expected)
    assert_same_bits(stepped(step, rule=Rule(lr=lr, eps=eps), threads=np.int8(1)), expected)


@pytest.mark.parametrize("step", [adagrad.step, adagrad.step_rows])
def test_defaults_and_the_step_number(step):
    assert_same_bits(stepped(step), stepped(step, Rule()))
    assert_same_bits(stepped(step, 1), stepped(step, 1.0))
    assert_same_bits(stepped(step, eps=0.5), stepped(step, Rule(eps=0.5)))
    decayed = Rule(lr=0.3, lr_decay=0.5)
    assert_same_bits(stepped(step, decayed, t=3), stepped(step, decayed.lr_at(3)))
    assert_same_bits(stepped(step, Rule(lr=0.3), t=3), stepped(step, 0.3))


@pytest.mark.parametrize("step", [adagrad.step, adagrad.step_rows])
@pytest.mark.parametrize(
    ("named", "error", "message"),
    [
        ({"lr": np.nan}, ValueError, "lr must be finite"),
        ({"lr": -1.0}, ValueError, "lr must not be negative"),
        ({"lr": True}, TypeError, "lr must be a real number"),
        ({"lr": "fast"}, TypeError, "lr must be a real number or a Rule, got 'fast'"),
        ({"eps": np.inf}, ValueError, "eps must be finite"),
        ({"lr": 0.1, "rule": Rule()}, TypeError, "lr belongs to the rule"),
        ({"lr": Rule(), "rule": Rule()}, TypeError, "rule is given twice"),
        ({"rule": Rule(), "eps": 1.0}, TypeError, "eps belongs to the rule"),
        ({"rule": 0.1}, TypeError, "rule must be an adagrad.Rule, got 0.1"),
        ({"rule": Rule(lr_decay=0.1)}, TypeError, "needs the step number t"),
        ({"rule": Rule(), "t": 0}, ValueError, "t must be at least 1"),
        ({"threads": 0}, ValueError, "threads must be from 1 to 1024"),
        ({"threads": 1.0}, TypeError, "threads must be an integer"),
    ],
)
def test_bad_arguments(step, named, error, message):
    w = np.ones(3)
    rows = [np.arange(3)] if step is adagrad.step_rows else []
    with pytest.raises(error, match=message):
        step(w, np.ones(3), np.ones(3), *rows, **named)
    assert (w == 1).all()


@given(st.data())
def test_ids_in_and_out_of_range(data):
    rows = data.draw(st.sampled_from([1, 7, 64]))
    dtype = data.draw(st.sampled_from(list(IDS)))
    edges = st.sampled_from([IDS[dtype].min, IDS[dtype].max, rows, rows - 1, 0])
    any_id = st.integers(int(IDS[dtype].min), int(IDS[dtype].max))
    inside = st.integers(0, rows - 1)
    ids = data.draw(st.lists(st.one_of(inside, inside, inside, edges, any_id), max_size=20))
    bad = [i for i, id in enumerate(ids) if not 0 <= id < rows]
    table = Table(rows)
    given_ids = np.array(ids, dtype)
    calls = [
        lambda: table.gather(given_ids),
        lambda: table.step(given_ids, np.ones(len(ids), "f4")),
    ]
    for call in calls:
        if not bad:
            call()
            continue
        named = rf"rows\[{bad[0]}\] = {ids[bad[0]]} is out of range for a table of {rows} rows"
        with pytest.raises(IndexError, match=named):
            call()
        assert table.steps == 0
        assert not table.state.any()
