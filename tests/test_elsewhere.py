"""docs/elsewhere.md is true: its rules are those of the recordings. tests/keras runs its code."""

from __future__ import annotations

import importlib
import re

import pytest

import adagrad
from adagrad import preset
from checks import ROOT, need_packages
from golden import CASES, load, rule_of, tolerance

TEXT = (ROOT / "docs" / "elsewhere.md").read_text(encoding="utf-8")

# What each row of the table rests on. Recordings with other options than the rate are left out.
RECORDINGS = {
    "torch.optim.Adagrad": ["torch-dense-defaults", "torch-sparse-defaults"],
    "OptimType.EXACT_ADAGRAD": ["fbgemm-sparse-lr"],
    "OptimType.EXACT_ROWWISE_ADAGRAD": ["fbgemm_rowwise-sparse-lr"],
    "RowWiseAdagrad": ["torchrec-sparse-lr"],
    "DeepSpeedCPUAdagrad": ["deepspeed-dense-lr"],
    "build_adagrad": [],
    "keras.optimizers.Adagrad": ["keras-dense-defaults", "keras-dense-lr", "keras-sparse-lr"],
    "tf_keras.optimizers.Adagrad": ["tensorflow-dense-keras2", "tensorflow-sparse-keras2"],
    "tf_keras.optimizers.legacy.Adagrad": ["tensorflow-dense-legacy", "tensorflow-sparse-legacy"],
    "tf.raw_ops.ResourceApplyAdagradV2": ["tensorflow-dense-raw_v2"],
    "tf.train.AdagradOptimizer": ["tensorflow-dense-v1", "tensorflow-sparse-v1"],
    "tf.train.ProximalAdagradOptimizer": ["tensorflow-dense-proximal"],
    "optax.adagrad": ["optax-dense-defaults"],
    "mx.optimizer.AdaGrad": ["mxnet-dense-defaults", "mxnet-dense-lr", "mxnet-sparse-lr"],
    "paddle.optimizer.Adagrad": ["paddle-dense-lr"],
    "chainer.optimizers.AdaGrad": ["chainer-dense-defaults"],
    "river.optim.AdaGrad": ["river-dense-lr"],
    "ffm-train -r 0.05": [],
    "LightFM": ["lightfm-dense-defaults"],
    "glove -eta 0.05": [],
}
OPTIONS = ("weight_decay", "clip", "zero_init", "lr_decay", "maximize", "initial_accumulator")


def rows():
    table = TEXT.split("## The same rule on your own arrays")[1].split("\n## ")[0]
    for line in re.findall(r"^\| (.*) \|$", table, re.MULTILINE)[1:]:
        _, before, rule, agreement = line.split(" | ")
        yield pytest.param(before.strip("`").split("(")[0], rule.strip("`"), agreement, id=before)


ROWS = list(rows())


@pytest.mark.parametrize(("before", "code", "agreement"), ROWS)
def test_a_rule_is_that_of_the_recordings(before, code, agreement):
    rule = eval(code, {"preset": preset})
    assert rule.lr == 0.05
    names = RECORDINGS[before]
    for name in names:
        golden, config = load(name)
        recorded = rule_of(config).replace(lr=0.05)
        if "preset" not in config:  # runs of a preset with other values than its defaults
            recorded = recorded.replace(eps=rule.eps, initial_accumulator=rule.initial_accumulator)
        assert rule == recorded, name
        if "indices" in golden:
            assert len(set(golden["indices"][0])) < 24  # duplicates: the policy is part of the rule
    tolerances = {tolerance(name) for name in names}
    if agreement == "the formula":
        assert not names
    elif agreement == "the same bits":
        assert tolerances == {(0.0, 0.0)}
    else:
        assert tolerances == {(float(agreement), 0.0)}


def test_every_preset_and_recording_has_a_row():
    assert [row.values[0] for row in ROWS] == list(RECORDINGS)
    codes = " ".join(row.values[1] for row in ROWS)
    assert {name for name in adagrad.presets() if f'"{name}"' not in codes} == {"textbook"}
    used = {name for names in RECORDINGS.values() for name in names}
    assert all(any(option in name for option in OPTIONS) for name in set(CASES) - used)


def test_the_learners_that_stand_in():
    need_packages("pyarrow", "scipy", "sklearn")
    learners = importlib.import_module("adagrad.ctr")
    section = TEXT.split("## What has no rule")[1].split("\n## ")[0]
    lines = re.findall(r"`((?:Logistic|Field)\w+\(.*?\))`", section)
    assert len(lines) == 4
    for line in lines:
        assert eval(f"ctr.{line}", {"ctr": learners}).get_params()


@pytest.mark.parametrize(
    ("fields", "step"),
    [
        ({"eps": 0.0}, 1.0),
        ({"eps": 1e-7}, 0.3015),
        ({"eps": 1e-7, "eps_position": "outside"}, 0.999),
    ],
    ids=str,
)
def test_a_first_gradient_of_a_ten_thousandth(fields, step):
    rate = adagrad.Rule(lr=1.0, **fields).rate([1e-8])
    assert rate * 1e-4 == pytest.approx(step, rel=1e-4)
