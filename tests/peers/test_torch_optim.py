"""What PyTorch's own tests of optimizers ask, of `adagrad.torch.Adagrad`.

The configurations, the errors with their texts, and the schedulers are those of the installed
torch: its database of optimizers. torch's tests themselves are not installed with it.
"""

from __future__ import annotations

import copy
import inspect
import io
import itertools
import pickle
import warnings

import pytest

from checks import need_packages

need_packages("torch")

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

import adagrad.torch

# The database takes seconds to import, so only the worker that runs these tests does it.
pytestmark = pytest.mark.xdist_group("torch_optim")
# torch's own optimizer makes sparse tensors without this choice, and warns.
torch.sparse.check_sparse_tensor_invariants.disable()

OURS, THEIRS = adagrad.torch.Adagrad, torch.optim.Adagrad


@pytest.fixture(scope="module")
def database():
    need_packages("expecttest")
    from torch.testing._internal import common_optimizers

    return common_optimizers


@pytest.fixture(scope="module")
def info(database):
    return next(info for info in database.optim_db if info.optim_cls is THEIRS)


@pytest.fixture(scope="module")
def inputs(info):
    """All arguments that torch tests, also with each of the implementations that it has."""
    flags = [{}, *({flag: True} for flag in info.supported_impls if flag != "differentiable")]
    return [{**x.kwargs, **flag} for x in info.optim_inputs_func("cpu") for flag in flags]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(2022)


def linear(dtype=torch.float32, gaps=False):
    """A weight, a bias, and a closure of an optimizer that gives them gradients."""
    shapes = ((10, 5, 2), (10, 2)) if gaps else ((10, 5), (10,))
    params = [torch.randn(shape, dtype=dtype) for shape in shapes]
    return [torch.nn.Parameter(p[..., 0] if gaps else p) for p in params], torch.randn(
        5, dtype=dtype
    )


def twin(params):
    return [torch.nn.Parameter(p.detach().clone()) for p in params]


def closure_of(opt, params, x):
    weight, bias = params

    def closure():
        opt.zero_grad()
        loss = (weight.mv(x) + bias).abs().square().sum()
        loss.backward()
        return loss

    return closure


def assert_takes_the_same_steps(ours, theirs, steps=5, **tolerance):
    for _ in range(steps):
        for p, q in zip(ours[1], theirs[1], strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        ours[0].step()
        theirs[0].step()
        torch.testing.assert_close(ours[1], theirs[1], **tolerance)
        for p, q in zip(ours[1], theirs[1], strict=True):
            for name in ("sum", "step"):
                torch.testing.assert_close(
                    ours[0].state[p][name], theirs[0].state[q][name], check_dtype=False
                )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_inputs(inputs, dtype):
    assert len(inputs) > 15
    for kwargs in inputs:
        params, _ = linear(dtype)
        other = twin(params)
        assert_takes_the_same_steps(
            (OURS(params, **kwargs), params), (THEIRS(other, **kwargs), other)
        )


@pytest.mark.parametrize("gaps", [False, True])
def test_the_right_direction_with_schedulers(gaps, info):
    for kwargs, schedulers in itertools.product(
        [x.kwargs for x in info.optim_inputs_func("cpu")], ([], *info.scheduler_inputs)
    ):
        params, x = linear(gaps=gaps)
        opt = OURS(params, **kwargs)
        running = [make(opt) for make in schedulers]
        closure = closure_of(opt, params, x)
        first = closure().item()
        for _ in range(20):
            loss = opt.step(closure)
            for scheduler in running:
                by_loss = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
                scheduler.step(*[loss.item()] * by_loss)
        last = closure().item()
        assert last > first if kwargs.get("maximize") else last < first


def test_params_with_gaps(info):
    for kwargs in (x.kwargs for x in info.optim_inputs_func("cpu")):
        params, _ = linear(gaps=True)
        other = twin(params)
        assert_takes_the_same_steps(
            (OURS(params, **kwargs), params), (THEIRS(other, **kwargs), other)
        )


def test_sparse_gradients_reach_a_valley_as_dense_ones(info):
    kwargs, schedulers = info.metadata_for_sparse
    for makers in ([], schedulers):
        params = [torch.nn.Parameter(torch.tensor([1.5, 1.5])) for _ in range(2)]
        opts = [OURS([p], **kwargs) for p in params]
        running = [[make(opt) for make in makers] for opt in opts]
        losses = []
        for step in range(24):
            for p, opt, is_sparse in zip(params, opts, (True, False), strict=True):
                opt.zero_grad()
                x, y = p
                loss = (1 - x) ** 2 + 100 * (y - x**2) ** 2
                loss.backward()
                losses.append(loss.item())
                i = step % 2
                # Not coalesced, and one coordinate at a time.
                values = torch.stack([p.grad[i] * 0.25, p.grad[i] * 0.75])
                grad = torch.sparse_coo_tensor([[i, i]], values, (2,))
                p.grad = grad if is_sparse else grad.to_dense()
                opt.step()
            for scheduler in itertools.chain(*running):
                by_loss = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
                scheduler.step(*[loss.item()] * by_loss)
            torch.testing.assert_close(*params)
        assert losses[-1] < losses[0]


def test_errors(database, info):
    seen = 0
    for case in info.optim_error_inputs_func("cpu", torch.float32):
        given = case.optimizer_error_input
        params = [torch.nn.Parameter(torch.ones(1))] if given.params is None else given.params
        assert case.error_on is database.OptimizerErrorEnum.CONSTRUCTION_ERROR
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(case.error_type, match=case.error_regex):
                OURS(params, **given.kwargs)
        seen += 1
    assert seen > 5


@pytest.mark.parametrize("value", [-0.5, float("nan")])
def test_texts_of_errors(value):
    params, _ = linear()
    for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
        texts = []
        for cls in (OURS, THEIRS):
            with pytest.raises(ValueError, match=f"Invalid .*{value}") as error:
                cls(params, **{name: value})
            texts.append(str(error.value))
        assert texts[0] == texts[1]


def test_differentiable(database, info):
    kwargs = {"differentiable": True}
    params, _ = linear()
    other = twin(params)
    assert_takes_the_same_steps((OURS(params, **kwargs), params), (THEIRS(other, **kwargs), other))


def test_complex(inputs):
    for kwargs in inputs:
        if "fused" in kwargs:  # torch refuses it, too
            continue
        p = torch.nn.Parameter(torch.randn(5, 5, dtype=torch.complex64))
        other = twin([p])
        assert_takes_the_same_steps((OURS([p], **kwargs), [p]), (THEIRS(other, **kwargs), other))


def test_complex_as_two_reals(inputs):
    for kwargs in inputs:
        if "fused" in kwargs:
            continue
        a = torch.nn.Parameter(torch.randn(2, dtype=torch.complex64))
        pair = twin([a.real, a.imag])
        opts = [OURS([a], **kwargs), OURS(pair, **kwargs)]
        for _ in range(3):
            for opt in opts:
                opt.zero_grad()
            for u, v in (a, torch.complex(*pair)):
                ((1 - u) ** 2 + 100 * (v - u**2) ** 2).abs().backward()
            for opt in opts:
                opt.step()
            torch.testing.assert_close([a.real, a.imag], pair)


def test_signature_defaults_and_repr():
    theirs, ours = (inspect.signature(cls.__init__).parameters for cls in (THEIRS, OURS))
    assert list(ours)[: len(theirs)] == list(theirs)
    assert all(ours[name].kind is theirs[name].kind for name in theirs)
    params, _ = linear()
    for kwargs in ({}, {"lr": 0.5, "maximize": True, "foreach": True}):
        a, b = OURS(params, **kwargs), THEIRS(params, **kwargs)
        assert a.defaults == b.defaults
        assert list(a.defaults) == list(b.defaults)
        assert repr(a) == repr(b)


def test_is_an_adagrad_of_torch():
    assert isinstance(OURS(linear()[0]), THEIRS)


def test_param_groups():
    for extra in ({"lr": 1e-2}, {"weight_decay": 0.1}, {"maximize": True}, {"lr_decay": 0.5}):
        params, _ = linear()
        other = twin(params)
        opts = [
            cls([{"params": [a]}, {"params": [b], **extra}], lr=1e-3)
            for cls, (a, b) in ((OURS, params), (THEIRS, other))
        ]
        assert_takes_the_same_steps((opts[0], params), (opts[1], other))
        assert opts[0].param_groups[1].keys() == opts[1].param_groups[1].keys()


def test_a_step_without_gradients_does_nothing(inputs):
    for kwargs in inputs:
        for params in ([], [torch.nn.Parameter(torch.zeros(0))], linear()[0]):
            before = copy.deepcopy(params)
            OURS(params, **kwargs).step() if params else OURS([{"params": []}], **kwargs).step()
            assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))


def test_a_step_with_gradients_of_0_does_nothing_without_decay(inputs):
    for kwargs in inputs:
        params, _ = linear()
        before = copy.deepcopy(params)
        for p in params:
            p.grad = torch.zeros_like(p)
        OURS(params, **kwargs).step()
        if not kwargs.get("weight_decay"):
            assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))


def test_sparse_gradients_of_0_rows_do_nothing(inputs):
    for kwargs in inputs:
        p = torch.nn.Parameter(torch.randn(5, 1))
        before = p.detach().clone()
        p.grad = torch.sparse_coo_tensor(
            torch.empty((1, 0), dtype=torch.long), torch.empty(0, 1), (5, 1)
        )
        OURS([p], **kwargs).step()
        assert torch.equal(p, before)


def test_numbers_of_mixed_dtypes():
    dtypes = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    params = [torch.nn.Parameter(torch.randn(2, 3, dtype=dtype)) for dtype in dtypes]
    other = twin(params)
    opts = [OURS(params, lr=0.1), THEIRS(other, lr=0.1)]
    for p, q in zip(params, other, strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.clone()
    for opt in opts:
        opt.step()
    torch.testing.assert_close(params, other)


SCHEDULERS = {
    "StepLR": {"step_size": 2},
    "MultiStepLR": {"milestones": [1, 4]},
    "ConstantLR": {},
    "LinearLR": {},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {"total_iters": 4, "power": 2.0},
    "CosineAnnealingLR": {"T_max": 5},
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 2, "cycle_momentum": False},
    "OneCycleLR": {"max_lr": 0.2, "total_steps": 9, "cycle_momentum": False},
    "LambdaLR": {"lr_lambda": lambda epoch: 1 / (1 + epoch)},
    "MultiplicativeLR": {"lr_lambda": lambda epoch: 0.9},
}


@pytest.mark.parametrize("tensor_lr", [False, True])
def test_schedulers(tensor_lr):
    for name, options in [*SCHEDULERS.items(), ("SWALR", {"swa_lr": 0.05, "anneal_epochs": 4})]:
        module = torch.optim.swa_utils if name == "SWALR" else torch.optim.lr_scheduler
        params, _ = linear()
        other = twin(params)
        lr = [torch.tensor(0.1) if tensor_lr else 0.1 for _ in "ab"]
        pairs = [(OURS(params, lr=lr[0]), params), (THEIRS(other, lr=lr[1]), other)]
        schedulers = [getattr(module, name)(opt, **options) for opt, _ in pairs]
        for _ in range(6):
            assert_takes_the_same_steps(*pairs, steps=1)
            for scheduler in schedulers:
                scheduler.step()
        assert schedulers[0].get_last_lr() == schedulers[1].get_last_lr()


def test_chains_of_schedulers():
    module = torch.optim.lr_scheduler
    params, x = linear()
    opt = OURS(params, lr=0.1)
    parts = [module.ConstantLR(opt, 0.5, 2), module.ExponentialLR(opt, 0.9)]
    chain = module.ChainedScheduler(parts, opt)
    rates = []
    for _ in range(4):
        opt.step(closure_of(opt, params, x))
        rates.append(opt.param_groups[0]["lr"])
        chain.step()
    torch.testing.assert_close(rates, [0.05, 0.045, 0.081, 0.0729])


def test_averaged_models():
    utils = torch.optim.swa_utils
    averages = []
    for cls in (OURS, THEIRS):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 3))
        opt = cls(model.parameters(), lr=0.1)
        ema, swa = utils.get_ema_multi_avg_fn(0.9), utils.get_swa_multi_avg_fn()
        kinds = ((None, False), (None, True), (ema, False), (ema, True), (swa, False))
        averaged = [
            utils.AveragedModel(model, multi_avg_fn=kind, use_buffers=use_buffers)
            for kind, use_buffers in kinds
        ]
        batches = torch.randn(4, 6, 5)
        for x in batches:
            opt.zero_grad()
            model(x).square().mean().backward()
            opt.step()
            for average in averaged:
                average.update_parameters(model)
        utils.update_bn(batches, averaged[0])
        averages.append([average.state_dict() for average in averaged])
    torch.testing.assert_close(*averages)


def test_scaled_gradients(inputs):
    for kwargs in inputs:
        params, x = linear()
        other = twin(params)
        opts = [OURS(params, **kwargs), THEIRS(other, **{**kwargs, "fused": None})]
        scalers = [torch.amp.GradScaler("cpu", init_scale=4.0) for _ in opts]
        for k in range(4):
            for opt, scaler, (weight, bias) in zip(opts, scalers, (params, other), strict=True):
                opt.zero_grad()
                scaler.scale((weight.mv(x) + bias).square().sum()).backward()
                if k == 2:
                    weight.grad[0, 0] = torch.inf
                scaler.step(opt)
                scaler.update()
            torch.testing.assert_close(params, other)
        assert scalers[0].get_scale() == 2.0
        assert opts[0].state[params[0]]["step"] == 3


# --- the state


def trained(cls, kwargs, steps=5):
    params, x = linear()
    opt = cls(params, **kwargs)
    for _ in range(steps):
        opt.step(closure_of(opt, params, x))
    return opt, params, x


def continues_alike(a, b, x, steps=3):
    for _ in range(steps):
        for opt in (a, b):
            params = [p for group in opt.param_groups for p in group["params"]]
            opt.step(closure_of(opt, params, x))
        torch.testing.assert_close(a.state_dict(), b.state_dict())
        for group, other in zip(a.param_groups, b.param_groups, strict=True):
            torch.testing.assert_close(group["params"], other["params"])


def test_a_loaded_state_continues(inputs):
    for kwargs in inputs:
        opt, params, x = trained(OURS, kwargs)
        other = OURS(twin(params), **kwargs)
        state, handed = copy.deepcopy(opt.state_dict()), copy.deepcopy(opt.state_dict())
        other.load_state_dict(handed)
        torch.testing.assert_close(handed, state)
        continues_alike(opt, other, x)


@pytest.mark.parametrize("ours_first", [False, True])
def test_a_file_continues_in_the_other_class(ours_first, inputs):
    first, second = (OURS, THEIRS) if ours_first else (THEIRS, OURS)
    for kwargs in inputs:
        opt, params, _ = trained(first, kwargs)
        file = io.BytesIO()
        torch.save(opt.state_dict(), file)
        file.seek(0)
        other = second(twin(params), **kwargs)
        other.load_state_dict(torch.load(file, weights_only=True))
        new = [p for group in other.param_groups for p in group["params"]]
        pair = ((opt, params), (other, new))
        assert_takes_the_same_steps(*(pair if ours_first else reversed(pair)))


def test_a_state_of_an_older_torch_loads(info, inputs):
    for kwargs in inputs:
        opt, params, x = trained(OURS, kwargs)
        for flag in info.not_og_supported_flags:
            state = copy.deepcopy(opt.state_dict())
            for group in state["param_groups"]:
                group.pop(flag, None)
            other = OURS(params, **kwargs)
            other.load_state_dict(state)
            other.step(closure_of(other, params, x))
        state = copy.deepcopy(opt.state_dict())
        for entries in state["state"].values():
            entries["step"] = entries["step"].item()
        opt.load_state_dict(state)
        opt.step(closure_of(opt, params, x))
        assert all(torch.is_tensor(opt.state[p]["step"]) for p in params)


def test_names_of_params_in_a_state():
    params, _ = linear()
    named = [(f"p{i}", p) for i, p in enumerate(params)]
    for source, target in itertools.product((params, named), repeat=2):
        opts = [cls(source) for cls in (OURS, THEIRS)]
        others = [cls(target) for cls in (OURS, THEIRS)]
        for opt, other in zip(opts, others, strict=True):
            other.load_state_dict(opt.state_dict())
        a, b = (other.state_dict()["param_groups"] for other in others)
        assert a == b


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_have_all_public_attributes(how, inputs):
    for kwargs in inputs:
        opt, _, x = trained(OURS, kwargs)
        other = copy.deepcopy(opt) if how == "deepcopy" else pickle.loads(pickle.dumps(opt))
        assert {k for k in vars(opt) if k[0] != "_"} == {k for k in vars(other) if k[0] != "_"}
        continues_alike(opt, other, x)


# --- hooks


def test_hooks_of_steps():
    params, x = linear()
    opt = OURS(params)
    seen = []
    handles = [
        opt.register_step_pre_hook(lambda *_: seen.append("pre")),
        opt.register_step_post_hook(lambda *_: seen.append("post")),
        register_optimizer_step_pre_hook(lambda *_: seen.append("all pre")),
        register_optimizer_step_post_hook(lambda *_: seen.append("all post")),
    ]
    opt.step(closure_of(opt, params, x))
    for handle in handles:
        handle.remove()
    opt.step(closure_of(opt, params, x))
    assert seen == ["all pre", "pre", "post", "all post"]


def test_a_hook_may_change_the_arguments_of_a_step():
    params, x = linear()
    opt = OURS(params)
    closure = closure_of(opt, params, x)
    handle = opt.register_step_pre_hook(lambda opt, args, kwargs: ((*args, closure), kwargs))
    assert opt.step() is not None
    handle.remove()
    assert opt.step() is None


def test_hooks_of_states():
    opt, params, x = trained(OURS, {})
    seen = []

    def with_tag(opt, state):
        return {**state, "tag": 1}

    handles = [
        opt.register_state_dict_pre_hook(lambda opt: seen.append("pre")),
        opt.register_state_dict_post_hook(with_tag),
        opt.register_load_state_dict_pre_hook(
            lambda opt, state: {**state, "param_groups": [{**state["param_groups"][0], "lr": 0.5}]}
        ),
        opt.register_load_state_dict_post_hook(lambda opt: seen.append("loaded")),
    ]
    state = opt.state_dict()
    assert state["tag"] == 1
    opt.load_state_dict(state)
    assert opt.param_groups[0]["lr"] == 0.5
    assert seen == ["pre", "loaded"]
    for handle in handles:
        handle.remove()
    assert "tag" not in opt.state_dict()
    opt.step(closure_of(opt, params, x))


def test_a_profile_names_the_steps():
    opt, params, x = trained(OURS, {})
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        opt.step(closure_of(opt, params, x))
        opt.zero_grad()
    names = {event.key for event in profile.key_averages()}
    assert {"Optimizer.step#Adagrad.step", "Optimizer.zero_grad#Adagrad.zero_grad"} <= names
