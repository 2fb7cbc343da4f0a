"""Trajectories recorded from the frameworks themselves (tests/data/golden) replay."""

from __future__ import annotations

import numpy as np
import pytest

import adagrad
from checks import assert_same_bits
from golden import CASES, load, rule_of, tolerance


def test_there_are_recordings():
    assert len(CASES) == 36


@pytest.mark.parametrize("name", CASES)
def test_replay(name, isa):
    golden, config = load(name)
    rule = rule_of(config)
    w = golden["w0"].copy()
    opt = adagrad.Adagrad([w], rule=rule)
    for k in range(40):
        if "indices" in golden:
            opt.step_rows(0, golden["indices"][k], golden["values"][k])
        else:
            g = golden["grads"][k]
            if "clipnorm" in config:
                norm = np.sqrt(np.sum(np.square(g)))
                g = g * np.float32(config["clipnorm"]) / max(norm, np.float32(config["clipnorm"]))
            opt.step([g])
        check(name, w, golden["w"][k], (name, k, "w"))
        check(name, opt.accumulators[0], golden["s"][k], (name, k, "s"))


def check(name, actual, expected, context):
    absolute, relative = tolerance(name)
    if absolute == relative == 0.0:
        assert_same_bits(actual, expected, context)
    elif context[-1] == "s" and relative == 0.0:
        # The absolute tolerances are of params; an accumulator of 1e6 has coarser units.
        np.testing.assert_allclose(actual, expected, rtol=3e-7, atol=absolute, err_msg=str(context))
    else:
        np.testing.assert_allclose(
            actual, expected, rtol=relative, atol=absolute, err_msg=str(context)
        )
