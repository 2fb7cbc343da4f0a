"""State moves between systems and back, and training resumes from it with the same bits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import adagrad
from adagrad import convert
from checks import assert_same_bits, need, wide_range
from golden import CASES, load, rule_of

try:
    import torch
except ImportError:
    torch = None

STEPS = 20  # of the 40 that were recorded


def state_of(preset="textbook", steps=(3, 3), **fields):
    params = [np.ones((2, 3), "f4"), np.ones(4)]
    opt = adagrad.Adagrad(params, preset=preset, **fields)
    rng = np.random.default_rng(0)
    for k in range(max(steps)):
        opt.step([rng.standard_normal(w.shape).astype(w.dtype) if k < t else None
                  for w, t in zip(params, steps, strict=True)])  # fmt: skip
    return opt.state_dict()


def assert_same_state(actual, expected):
    assert actual["rule"] == expected["rule"]
    assert actual["steps"].tolist() == expected["steps"].tolist()
    assert actual["steps"].dtype == np.int64
    for a, b in zip(actual["accumulators"], expected["accumulators"], strict=True):
        assert_same_bits(a, b)
        assert not np.shares_memory(a, b)


@pytest.mark.parametrize(
    "fields",
    [
        {"lr": 0.5},
        {"lr_decay": 0.1, "weight_decay": 0.01, "maximize": True, "initial_accumulator": 0.5},
    ],
    ids=str,
)
def test_torch_and_back(fields):
    state = state_of("torch", steps=(3, 2), **fields)
    assert_same_state(convert.from_torch(convert.to_torch(state)), state)


@pytest.mark.parametrize(
    "fields", [{}, {"weight_decay": 0.25, "clip_value": 0.5, "duplicates": "sum"}], ids=str
)
def test_keras_and_back(fields):
    state = state_of("keras", lr=0.125, **fields)
    config, variables = convert.to_keras(state)
    assert config.get("duplicates", "each") == state["rule"]["duplicates"]
    assert_same_state(convert.from_keras(config, variables), state)


@pytest.mark.parametrize(
    "fields", [{}, {"weight_decay": 0.25, "clip_value": 0.5, "scale": 0.5}], ids=str
)
def test_mxnet_and_back(fields):
    state = state_of("mxnet", steps=(3, 1), **fields)
    assert_same_state(convert.from_mxnet(*convert.to_mxnet(state)), state)


def recorded(name):
    """The state of a recording after STEPS, in our form by way of its system's."""
    golden, config = load(name)
    s, system = golden["s"][STEPS - 1], config["framework"]
    given = {**config.get("defaults", {}), **config}
    if system == "torch":
        group = {**given, "params": [0]}
        theirs = {"state": {0: {"step": np.float32(STEPS), "sum": s}}, "param_groups": [group]}
        return golden, config, convert.from_torch(theirs)
    options = {k: v for k, v in given.items() if k not in ("framework", "version")}
    if system == "keras":
        rate = options.get("learning_rate", 0.001)
        return golden, config, convert.from_keras(options, [np.int64(STEPS), rate, s])
    return golden, config, convert.from_mxnet(options, {5: s}, {5: STEPS})


MOVED = [c for c in CASES if c.split("-")[0] in ("torch", "keras", "mxnet") and "clipnorm" not in c]


@pytest.mark.parametrize("name", MOVED)
def test_recordings_go_on(name):
    golden, config, state = recorded(name)
    assert adagrad.Rule(**state["rule"]) == rule_of(config)
    assert state["steps"].tolist() == [STEPS]
    w = golden["w"][STEPS - 1].copy()
    opt = adagrad.Adagrad([w])
    opt.load_state_dict(state)
    exact = config["framework"] == "mxnet" or name in ("keras-dense-lr", "keras-sparse-lr")
    for k in range(STEPS, 40):
        if "indices" in golden:
            opt.step_rows(0, golden["indices"][k], golden["values"][k])
        else:
            opt.step([golden["grads"][k]])
        if exact:
            assert_same_bits(w, golden["w"][k], k)
            assert_same_bits(opt.accumulators[0], golden["s"][k], k)
        else:
            np.testing.assert_allclose(w, golden["w"][k], rtol=3e-6, atol=3e-7)
            np.testing.assert_allclose(opt.accumulators[0], golden["s"][k], rtol=3e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1, "lr_decay": 0.05},
        {"lr": 0.1, "weight_decay": 0.01, "maximize": True, "initial_accumulator_value": 0.1},
    ],
    ids=str,
)
def test_torch_itself_goes_on(options, rng):
    need(torch is not None, "torch")
    shapes = [(5, 3), (7,)]
    w = [rng.standard_normal(shape).astype("f4") for shape in shapes]
    params = [torch.nn.Parameter(torch.from_numpy(x.copy())) for x in w]
    theirs = torch.optim.Adagrad(params, **options)

    def step(optimizer, params, ours=None):
        for _ in range(5):
            grads = [wide_range(rng, shape, "float32") for shape in shapes]
            for param, g in zip(params, grads, strict=True):
                param.grad = torch.from_numpy(g)
            optimizer.step()
            if ours is not None:
                ours.step(grads)

    step(theirs, params)
    for x, param in zip(w, params, strict=True):
        x[...] = param.detach().numpy()
    ours = adagrad.Adagrad(w)
    ours.load_state_dict(convert.from_torch(theirs.state_dict()))
    step(theirs, params, ours)
    back = convert.to_torch(ours.state_dict())
    for entry in back["state"].values():
        entry.update({k: torch.from_numpy(v) for k, v in entry.items()})
    copies = [torch.nn.Parameter(torch.from_numpy(x.copy())) for x in w]
    again = torch.optim.Adagrad(copies)
    again.load_state_dict(back)
    assert {k: again.param_groups[0][k] for k in options} == options
    step(again, copies, ours)
    for x, copy in zip(w, copies, strict=True):
        np.testing.assert_allclose(copy.detach().numpy(), x, rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize(
    "rule",
    [
        adagrad.preset("textbook", lr=0.05),
        adagrad.preset("fbgemm_rowwise", lr=0.05, weight_decay=0.1),
        adagrad.preset("torch", scale=0.5, clip_value=0.25, duplicates="sequential"),
        adagrad.preset("keras", on_nonfinite="skip"),
    ],
    ids=str,
)
def test_the_rule_of_our_optimizer_for_torch_goes_along(rule, rng):
    need(torch is not None, "torch")
    import adagrad.torch

    (param,) = [torch.nn.Parameter(torch.tensor(rng.standard_normal((5, 3)).astype("f4")))]
    theirs = adagrad.torch.Adagrad([param], rule=rule)

    def step(ours=None):
        for _ in range(3):
            g = wide_range(rng, (5, 3), "float32")
            param.grad = torch.from_numpy(g)
            theirs.step()
            if ours is not None:
                ours.step([g])

    step()
    w = param.detach().numpy().copy()
    ours = adagrad.Adagrad([w])
    ours.load_state_dict(convert.from_torch(theirs.state_dict()))
    assert ours.rule == rule
    step(ours)
    assert_same_bits(w, param.detach().numpy())
    assert_same_bits(ours.accumulators[0], theirs.state[param]["sum"].numpy())


def test_no_framework_is_imported():
    names = {"torch", "keras", "mxnet", "jax", "optax"}
    code = f"import sys, adagrad.convert; print({names} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        (np.array([1.0, -0.5]), ValueError, r"\[1\] must be finite and not negative, got .*-0.5"),
        (np.array([[0.0, np.inf]]), ValueError, r"\[0, 1\] must be finite and not negative"),
        (np.array(np.nan), ValueError, r"must be finite and not negative, got .*nan"),
        (np.array([1, 2]), TypeError, "must be float32 or float64, got int64"),
        (np.zeros(2, "f2"), TypeError, "must be float32 or float64, got float16"),
    ],
)
def test_bad_accumulators(bad, error, text):
    theirs = convert.to_torch(state_of("torch"))
    theirs["state"][1]["sum"] = bad
    with pytest.raises(error, match=r"state\[1\]\['sum'\]" + ".*" + text):
        convert.from_torch(theirs)
    config, variables = convert.to_keras(state_of("keras"))
    with pytest.raises(error, match=r"variables\[3\]" + ".*" + text):
        convert.from_keras(config, [*variables[:3], bad])
    config, states, counts = convert.to_mxnet(state_of("mxnet"))
    with pytest.raises(error, match=r"states\[1\]" + ".*" + text):
        convert.from_mxnet(config, {**states, 1: bad}, counts)
    state = state_of("torch")
    state["accumulators"][1] = bad
    with pytest.raises(error, match=r"accumulators\[1\]" + ".*" + text):
        convert.to_torch(state)


@pytest.mark.parametrize("bad", [-1, 2.5, float("nan"), "3", [1, 2]])
def test_bad_steps(bad):
    theirs = convert.to_torch(state_of("torch"))
    theirs["state"][0]["step"] = bad
    with pytest.raises(ValueError, match=r"state\[0\]\['step'\] must be an integer from 0"):
        convert.from_torch(theirs)
    config, variables = convert.to_keras(state_of("keras"))
    with pytest.raises(ValueError, match=r"variables\[0\] must be an integer from 0"):
        convert.from_keras(config, [bad, *variables[1:]])
    config, states, counts = convert.to_mxnet(state_of("mxnet"))
    with pytest.raises(ValueError, match=r"index_update_count\[0\] must be an integer from 0"):
        convert.from_mxnet(config, states, {**counts, 0: bad})


def test_a_group_of_an_older_torch_lacks_options():
    theirs = convert.to_torch(state_of("torch"))
    for name in ("maximize", "initial_accumulator_value"):
        del theirs["param_groups"][0][name]
    assert_same_state(convert.from_torch(theirs), state_of("torch"))


def test_param_groups_that_differ():
    theirs = convert.to_torch(state_of("torch"))
    (group,) = theirs["param_groups"]
    theirs["param_groups"] = [{**group, "params": [0]}, {**group, "params": [1], "lr": 1.0}]
    with pytest.raises(ValueError, match=r"param_groups\[1\] has Rule\(lr=1.0"):
        convert.from_torch(theirs)
    theirs["param_groups"][1]["lr"] = group["lr"]
    assert_same_state(convert.from_torch(theirs), state_of("torch"))
    with pytest.raises(ValueError, match="param_groups is empty"):
        convert.from_torch({"state": {}, "param_groups": []})


@pytest.mark.parametrize(
    "change",
    [
        {"clipnorm": 1.0},
        {"global_clipnorm": 1.0},
        {"use_ema": True},
        {"loss_scale_factor": 8.0},
        {"gradient_accumulation_steps": 2},
        {"learning_rate": {"class_name": "ExponentialDecay"}},
    ],
    ids=str,
)
def test_what_no_rule_has(change):
    config, variables = convert.to_keras(state_of("keras"))
    with pytest.raises(ValueError, match=f"{next(iter(change))}.*which a Rule cannot express"):
        convert.from_keras({**config, **change}, variables)


@pytest.mark.parametrize("key", ["beta_1", "momentum", "rho", "inner_optimizer"])
def test_the_config_of_another_optimizer_of_keras(key):
    config, variables = convert.to_keras(state_of("keras"))
    config |= {"name": "adagrad", "ema_momentum": 0.99, "ema_overwrite_frequency": None}
    assert_same_state(convert.from_keras(config, variables), convert.from_keras({}, variables))
    with pytest.raises(ValueError, match=f"config has '{key}', which Adagrad does not have"):
        convert.from_keras({**config, key: 0.9}, variables)


def test_the_state_of_another_optimizer_of_torch():
    theirs = convert.to_torch(state_of("torch"))
    theirs["state"][1] = {"step": np.float32(3), "exp_avg": np.ones(4)}
    with pytest.raises(
        ValueError, match=r"state\[1\] has no 'sum': it (is of|belongs to) another optimizer"
    ):
        convert.from_torch(theirs)
    (group,) = theirs["param_groups"]
    del group["lr_decay"]
    with pytest.raises(
        ValueError, match=r"param_groups\[0\] has no 'lr_decay': it belongs to another"
    ):
        convert.from_torch(theirs)
    with pytest.raises(TypeError, match="momentum"):
        convert.from_torch({**convert.to_torch(state_of("torch")), "rule": {"momentum": 0.9}})


def test_a_checkpoint_that_has_the_state_among_its_entries():
    saved = {"model": {}, "optimizer": convert.to_torch(state_of("torch"))}
    with pytest.raises(ValueError, match="state_dict has model, optimizer, not state and param_gr"):
        convert.from_torch(saved)
    assert_same_state(convert.from_torch(saved["optimizer"]), state_of("torch"))


def test_other_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match="at least 2 variables, got 1"):
        convert.from_keras({}, [np.int64(3)])
    with pytest.raises(
        TypeError, match="config has 'momentum'; known options are learning_rate, eps"
    ):
        convert.from_mxnet({"momentum": 0.9}, {}, {})
    with pytest.raises(KeyError, match="7"):
        convert.from_mxnet({}, {7: np.zeros(2)}, {})
    with pytest.raises(ValueError, match=r"one count of iterations .* steps are \[3, 2\]"):
        convert.to_keras(state_of("keras", steps=(3, 2)))
    state = state_of("torch")
    with pytest.raises(ValueError, match="version 9"):
        convert.to_torch({**state, "version": 9})
    with pytest.raises(ValueError, match="1 steps but 2 accumulators"):
        convert.to_torch({**state, "steps": state["steps"][:1]})


@pytest.mark.parametrize("to", [convert.to_torch, convert.to_keras, convert.to_mxnet])
def test_a_rule_that_the_system_has_not(to):
    with pytest.raises(ValueError, match=r"cannot express a rule with .*power=0.25"):
        to(state_of(power=0.25))
