"""adagrad.torch.Adagrad compared with torch.optim.Adagrad: steps, state, groups and errors."""

from __future__ import annotations

import copy
import io
import pickle
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import adagrad
from adagrad import _core
from checks import ROOT, need, need_packages, wide_range

need_packages("torch")

import torch

import adagrad.torch
from torch_steps import assert_close, assert_unchanged, copies, params, set_grads, snapshot

# torch's own optimizer makes sparse tensors without this choice, and warns.
torch.sparse.check_sparse_tensor_invariants.disable()

# torch fuses multiply-adds in dense steps; a rule without them differs in the last bits.
TOLERANCE = {"float32": 5e-7, "float64": 1e-15}
CASES = [
    {},
    {"lr": 0.1, "lr_decay": 0.05},
    {"lr": 0.1, "weight_decay": 0.01},
    {"lr": 0.1, "weight_decay": 0.01, "maximize": True},
    {"lr": 0.05, "initial_accumulator_value": 0.1, "eps": 1e-6},
    {"lr": 0.05, "foreach": True},
    {"lr": 0.05, "fused": True},
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_dense(options, dtype, rng):
    ours = params(rng, dtype)
    theirs = copies(ours)
    a, b = adagrad.torch.Adagrad(ours, **options), torch.optim.Adagrad(theirs, **options)
    for _ in range(20):
        set_grads(rng, ours, theirs)
        a.step()
        b.step()
        assert_close(ours, theirs, TOLERANCE[dtype])


def test_dense_has_the_bits_of_the_core(rng):
    (w,) = params(rng, shapes=((300,),))
    array, s = w.detach().numpy().copy(), np.zeros(300, "f4")
    opt = adagrad.torch.Adagrad([w], lr=0.1)
    for _ in range(5):
        set_grads(rng, [w])
        opt.step()
        adagrad.step(array, w.grad.numpy(), s, adagrad.preset("torch", lr=0.1))
    assert np.array_equal(w.detach().numpy(), array)


def test_an_expanded_gradient_spans_what_it_is_copied_to(rng):
    memory = torch.tensor(rng.standard_normal(64).astype("f4"))
    twin = memory.clone()

    def build(cls, memory):
        ps = [torch.nn.Parameter(memory[8:24]), torch.nn.Parameter(memory[24:40])]
        ps[0].grad, ps[1].grad = memory[:1].expand(16), memory[1:2].expand(16)
        return cls([{"params": ps[:1]}, {"params": ps[1:], "weight_decay": 0.1}], lr=0.1)

    build(adagrad.torch.Adagrad, memory).step()
    build(torch.optim.Adagrad, twin).step()
    assert_close([memory], [twin])


def test_a_negative_view_is_a_gradient(rng):
    ours = params(rng, shapes=((3,), (2, 2)))
    theirs = copies(ours)
    for p, q in zip(ours, theirs, strict=True):
        p.grad = q.grad = torch._neg_view(torch.tensor(rng.standard_normal(p.shape).astype("f4")))
    a, b = adagrad.torch.Adagrad(ours), torch.optim.Adagrad(theirs)
    a.step()
    b.step()
    values = torch._neg_view(torch.ones(1, 2))
    for opt, p in ((a, ours[1]), (b, theirs[1])):
        p.grad = torch.sparse_coo_tensor([[1]], values, (2, 2))
        opt.step()
    assert_close(ours, theirs)


@pytest.mark.parametrize("shape", [(3, 2, 2), (0, 2, 3), (4, 0, 3), (4, 0), (0,)])
def test_a_sparse_gradient_without_elements(shape):
    w = torch.nn.Parameter(torch.ones(shape))
    opt = adagrad.torch.Adagrad([w])
    values = torch.zeros(0, *shape[1:])
    w.grad = torch.sparse_coo_tensor(torch.zeros(1, 0, dtype=torch.int64), values, shape)
    opt.step()
    assert torch.equal(w.detach(), torch.ones(shape))
    assert opt.state[w]["step"] == 1


@pytest.mark.parametrize("options", [CASES[0], CASES[1], CASES[4]], ids=str)
@pytest.mark.parametrize("shape", [(40,), (40, 4), (40, 2, 3)])
def test_sparse_with_duplicates(shape, options, rng):
    (ours,) = params(rng, shapes=(shape,))
    (theirs,) = copies([ours])
    a, b = adagrad.torch.Adagrad([ours], **options), torch.optim.Adagrad([theirs], **options)
    for k in range(10):
        rows = torch.tensor(rng.integers(0, 40, 60))
        g = torch.tensor(wide_range(rng, (60, *shape[1:]), "float32"))
        grad = torch.sparse_coo_tensor(rows[None], g, shape, check_invariants=True)
        ours.grad = theirs.grad = grad.coalesce() if k % 2 else grad
        a.step()
        b.step()
        assert_close([ours], [theirs])


@pytest.mark.parametrize("coalesced", [False, True])
def test_duplicates_are_looked_for_unless_a_gradient_is_coalesced(coalesced, rng, monkeypatch):
    policies = []
    step_rows = _core.step_rows

    def spy(*args):
        policies.append(args[6])
        return step_rows(*args)

    monkeypatch.setattr(_core, "step_rows", spy)
    ours = params(rng, shapes=((6, 2),))
    theirs = copies(ours)
    values = torch.tensor(wide_range(rng, (3, 2), "float32"))
    grad = torch.sparse_coo_tensor(torch.tensor([[0, 2, 5]]), values, (6, 2))
    other = grad.coalesce()
    assert [grad.is_coalesced(), other.is_coalesced()] == [False, True]
    ours[0].grad, theirs[0].grad = (other, grad) if coalesced else (grad, other)
    adagrad.torch.Adagrad(ours).step()
    assert policies == ["unique" if coalesced else None]
    adagrad.torch.Adagrad(theirs).step()
    assert torch.equal(ours[0], theirs[0])


def test_torch_lets_a_param_have_no_other_sparse_gradient():
    w = torch.nn.Parameter(torch.ones(3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls these layouts beta
        others = [w.detach().to_sparse_csr(), w.detach().to_sparse_csc()]
    for g in others:
        with pytest.raises(RuntimeError, match="different type"):
            w.grad = g


def test_embedding_uncoalesced_beside_dense(rng):
    def model():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Embedding(50, 4, sparse=True), torch.nn.Linear(4, 1))

    models = [model(), model()]
    opts = [
        adagrad.torch.Adagrad(models[0].parameters()),
        torch.optim.Adagrad(models[1].parameters()),
    ]
    for _ in range(5):
        ids = torch.tensor(rng.integers(0, 50, 70))
        for m, opt in zip(models, opts, strict=True):
            opt.zero_grad()
            m(ids).square().sum().backward()
            opt.step()
        assert not models[0][0].weight.grad.is_coalesced()
    assert_close(*(list(m.parameters()) for m in models), 1e-5)  # gradients differ a little


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
@pytest.mark.parametrize("wide_gradient", [False, True])
def test_16_bits_have_wide_accumulators_and_the_bits_of_the_core(half, wide_gradient, rng):
    from halves import HALVES

    dtype = getattr(torch, half)
    x = rng.standard_normal((9, 5)).astype("f4")
    w = torch.nn.Parameter(torch.tensor(x).to(dtype))
    array = w.detach().view(torch.int16).numpy().copy().view(HALVES[half])
    s = np.zeros((9, 5), "f4")
    opt = adagrad.torch.Adagrad([w], lr=0.1)
    for _ in range(5):
        g = torch.tensor(wide_range(rng, (9, 5), "f4")).to(dtype)
        if wide_gradient:
            w.grad = None
            w.grad_dtype = torch.float32
            w.grad = g.float()
            view = w.grad.numpy()
        else:
            w.grad = g
            view = g.view(torch.int16).numpy().view(HALVES[half])
        opt.step()
        adagrad.step(array, view, s, adagrad.preset("torch", lr=0.1))
    assert opt.state[w]["sum"].dtype is torch.float32
    assert w.detach().view(torch.int16).numpy().tobytes() == array.tobytes()
    assert np.array_equal(opt.state[w]["sum"].numpy(), s)


@pytest.mark.parametrize("name", [n for n in adagrad.presets() if n not in ("optax", "tf1")])
def test_presets_have_the_bits_of_the_core(name, rng):
    (w,) = params(rng, shapes=((6, 4),))
    array = w.detach().numpy().copy()
    core = adagrad.Adagrad([array], preset=name, lr=0.03)
    opt = adagrad.torch.Adagrad([w], preset=name, lr=0.03)
    for _ in range(4):
        set_grads(rng, [w])
        opt.step()
        core.step([w.grad.numpy()])
        rows, g = rng.integers(0, 6, 9), wide_range(rng, (9, 4), "float32")
        w.grad = torch.sparse_coo_tensor(torch.tensor(rows)[None], torch.tensor(g), (6, 4))
        opt.step()
        core.step_rows(0, rows, g)
    assert np.array_equal(w.detach().numpy(), array)
    state = opt.state_dict()
    assert ("rule" in state) == (name not in ("torch", "fbgemm"))
    assert all(group.get("rule") == state.get("rule") for group in state["param_groups"])
    if "rule" in state and name != "caffe2":  # which differs only in its policy for duplicates
        with pytest.raises(ValueError, match="another rule"):
            adagrad.torch.Adagrad([w]).load_state_dict(state)
    state.pop("rule", None)  # torch.distributed.checkpoint drops it
    other = adagrad.torch.Adagrad([w], preset=name)
    other.load_state_dict(state)
    assert other.param_groups[0].keys() == opt.param_groups[0].keys()


@pytest.mark.parametrize("kind", ["transposed", "channels_last", "gradient"])
def test_strides(kind, rng):
    if kind == "channels_last":
        x = torch.tensor(rng.standard_normal((2, 3, 4, 5)).astype("f4"))
        x = x.contiguous(memory_format=torch.channels_last)
    else:
        x = torch.tensor(rng.standard_normal((5, 4)).astype("f4"))
        x = x.t() if kind == "transposed" else x
    w, v = torch.nn.Parameter(x.clone()), torch.nn.Parameter(x.clone())
    assert w.stride() == x.stride()
    a, b = adagrad.torch.Adagrad([w], lr=0.1), torch.optim.Adagrad([v], lr=0.1)
    at = w.data_ptr()
    for _ in range(3):
        g = torch.tensor(wide_range(rng, tuple(x.shape), "f4"))
        w.grad, v.grad = (g if kind == "gradient" else torch.empty_like(x).copy_(g) for _ in "ab")
        if kind == "gradient":
            w.grad = v.grad = g.t().contiguous().t()
        a.step()
        b.step()
    assert w.data_ptr() == at
    assert a.state[w]["sum"].stride() == x.stride()
    assert_close([w], [v])


def test_replaced_memory_is_seen(rng):
    (w,) = params(rng, shapes=((4, 4),))
    (v,) = copies([w])
    a, b = adagrad.torch.Adagrad([w]), torch.optim.Adagrad([v])

    def step():
        set_grads(rng, [w], [v])
        a.step()
        b.step()
        assert_close([w], [v])

    step()
    w.data = w.data.clone()
    step()
    a.state[w]["sum"] = a.state[w]["sum"] + 1
    b.state[v]["sum"] += 1
    step()
    a.state[w]["step"].share_memory_()  # changes only the address of the step
    step()
    assert a.state[w]["step"] == 4
    a.share_memory()
    w.data.share_memory_()
    step()
    for p in (w, v):
        p.data = p.data.t()  # the same address
    for opt, p in ((a, w), (b, v)):
        opt.state[p]["sum"] = torch.empty_like(p.data).copy_(opt.state[p]["sum"])
    step()
    a.state.clear()
    b.state[v]["sum"].zero_()
    step()
    assert a.state[w]["step"] == 1


def test_groups_schedulers_closures_and_none(rng):
    def build(cls, ps):
        opt = cls([{"params": ps[:1], "lr": 0.2}, {"params": ps[1:2], "weight_decay": 0.1}], lr=0.1)
        opt.add_param_group({"params": ps[2:], "lr_decay": 0.1})
        return opt, torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)

    ours = params(rng, shapes=((3, 2), (4,), (0, 3), (2,)))
    theirs = copies(ours)
    pairs = [
        build(adagrad.torch.Adagrad, ours),
        build(torch.optim.Adagrad, theirs),
    ]
    for k in range(6):
        set_grads(rng, ours, theirs)
        if k == 2:
            ours[0].grad = theirs[0].grad = None
        for opt, scheduler in pairs:
            assert opt.step(lambda k=k: k if torch.is_grad_enabled() else None) == k
            scheduler.step()
        assert_close(ours, theirs)
    assert [int(pairs[0][0].state[p]["step"]) for p in ours] == [5, 6, 6, 6]
    pairs[0][0].zero_grad()
    before = snapshot(pairs[0][0])
    pairs[0][0].step()  # without gradients
    assert_unchanged(pairs[0][0], before)


def test_tensor_lr(rng):
    ours = params(rng)
    theirs = copies(ours)
    lr = torch.tensor(0.1)
    a, b = adagrad.torch.Adagrad(ours, lr=lr), torch.optim.Adagrad(theirs, lr=0.1)
    for _ in range(3):
        set_grads(rng, ours, theirs)
        a.step()
        b.step()
        lr *= 0.5
        b.param_groups[0]["lr"] *= 0.5
    assert_close(ours, theirs)
    with pytest.raises(ValueError, match="Tensor lr must be 1-element"):
        adagrad.torch.Adagrad(ours, lr=torch.ones(2))


NUMBERS = ("lr_decay", "weight_decay", "eps", "initial_accumulator_value")


@pytest.mark.parametrize("where", ["default", "group"])
def test_tensors_for_numbers(where, rng):
    ours = params(rng)
    theirs = copies(ours)
    numbers = {name: torch.tensor([0.25], dtype=torch.float64) for name in NUMBERS}
    group = {"params": ours, **(numbers if where == "group" else {})}
    a = adagrad.torch.Adagrad([group], **(numbers if where == "default" else {}))
    b = torch.optim.Adagrad(theirs, **dict.fromkeys(NUMBERS, 0.25))
    for _ in range(3):
        set_grads(rng, ours, theirs)
        a.step()
        b.step()
    assert_close(ours, theirs)
    for name in NUMBERS:
        with pytest.raises(ValueError, match=r"must be 1-element, got shape \(2,\)"):
            adagrad.torch.Adagrad(ours, **{name: torch.ones(2)})


@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16", "sparse"])
def test_a_schedule_goes_on_where_its_rate_rounds_to_0(kind):
    dtype = torch.float32 if kind == "sparse" else getattr(torch, kind)
    w = torch.nn.Parameter(torch.zeros(3, 2, dtype=dtype))
    w.grad = torch.ones_like(w).to_sparse(1) if kind == "sparse" else torch.ones_like(w)
    opt = adagrad.torch.Adagrad([w], lr=1e-60)
    for step, lr in enumerate((1e-50, 2.0**-150, np.nextafter(2.0**-150, 1.0)), 1):
        assert (w == 0).all() or dtype is torch.float64
        opt.param_groups[0]["lr"] = float(lr)
        opt.step()
        assert opt.state[w]["step"] == step
        assert opt.param_groups[0]["lr"] == lr
    if dtype is torch.float64:
        assert (w < 0).all()


def test_a_model_may_change_its_dtype(rng):
    (ours,) = params(rng, shapes=((5, 4),))
    (theirs,) = copies([ours])
    a, b = adagrad.torch.Adagrad([ours]), torch.optim.Adagrad([theirs])
    for dtype, sums in (
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ):
        for p in (ours, theirs):
            p.grad = None
            p.data = p.data.to(dtype)
        g = torch.tensor(rng.standard_normal((5, 4))).to(dtype)
        ours.grad, theirs.grad = g, g.clone()
        a.step()
        b.step()
        assert a.state[ours]["sum"].dtype is sums
        assert_close([ours], [theirs], 1e-2 if dtype is torch.bfloat16 else 5e-7)
    ours.data, ours.grad = ours.data.double(), None
    ours.grad = torch.full((5, 4), 1e30, dtype=torch.float64)
    a.step()
    ours.data, ours.grad = ours.data.float(), None
    ours.grad = torch.ones(5, 4)
    before = snapshot(a)
    with pytest.raises(ValueError, match=r"params\[0\] .* inf at \[0, 0\] in torch.float32"):
        a.step()
    assert_unchanged(a, before)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("options", [{"lr": 0.1, "lr_decay": 0.1}, {"fused": True}], ids=str)
def test_checkpoints_both_ways(reverse, options, rng):
    ours = params(rng)
    theirs = copies(ours)
    classes = [adagrad.torch.Adagrad, torch.optim.Adagrad]
    first, second = reversed(classes) if reverse else classes
    a, b = first(ours, **options), torch.optim.Adagrad(theirs, **options)
    for k in range(6):
        if k == 3:
            file = io.BytesIO()
            torch.save(a.state_dict(), file)
            file.seek(0)
            a = second(ours)
            a.load_state_dict(torch.load(file, weights_only=True))
            assert a.param_groups[0]["lr"] == b.param_groups[0]["lr"]
        set_grads(rng, ours, theirs)
        a.step()
        b.step()
        assert_close(ours, theirs)


def test_a_loaded_state_has_memory_of_its_own_and_the_dtype_of_its_param(rng):
    (w,) = params(rng)[:1]
    set_grads(rng, [w])
    a = adagrad.torch.Adagrad([w])
    a.step()
    state = a.state_dict()
    other = torch.nn.Parameter(w.detach().bfloat16())
    for p, dtype in ((w, torch.float32), (w.detach().double().requires_grad_(), torch.float64)):
        b = adagrad.torch.Adagrad([p])
        b.load_state_dict(state)
        assert b.state[p]["sum"].dtype is dtype
        assert b.state[p]["sum"].data_ptr() != a.state[w]["sum"].data_ptr()
        p.grad = torch.ones_like(p)
        b.step()
        assert a.state[w]["step"] == 1
        assert b.state[p]["step"] == 2
    b = adagrad.torch.Adagrad([other])
    b.load_state_dict(state)
    assert torch.equal(b.state[other]["sum"], a.state[w]["sum"])  # not rounded to 16 bits


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_continue(how, rng):
    ours = params(rng)
    a = adagrad.torch.Adagrad(ours, preset="textbook", lr=0.1)
    set_grads(rng, ours)
    a.step()
    b = copy.deepcopy(a) if how == "deepcopy" else pickle.loads(pickle.dumps(a))
    theirs = b.param_groups[0]["params"]
    assert b.rule == a.rule
    set_grads(rng, ours, theirs)
    a.step()
    b.step()
    assert_close(ours, theirs, 0)
    assert all(b.state[p]["step"] == 2 for p in theirs)


def test_a_copy_needs_no_state_of_every_param(rng):
    ours = params(rng)
    a = adagrad.torch.Adagrad(ours)
    del a.state[ours[0]]
    ours[0].data = ours[0].data[:1].expand(7, 3)
    ours[0].grad = torch.ones(7, 3)
    with pytest.raises(ValueError, match=r"params\[0\] has strides .* share memory"):
        a.step()
    assert ours[0] not in a.state
    b = copy.deepcopy(a)
    assert len(b.state) == 2


def test_autograd_knows_that_params_have_changed():
    w = torch.nn.Parameter(torch.ones(2))
    loss = (w * w).sum()
    w.grad = torch.ones(2)
    adagrad.torch.Adagrad([w]).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def bad_param(kind):
    if kind == "meta":
        return torch.nn.Parameter(torch.ones(2, device="meta"))
    if kind == "negative view":
        return torch.nn.Parameter(torch._neg_view(torch.ones(2)))
    if kind == "inference mode":
        with torch.inference_mode():
            return torch.nn.Parameter(torch.ones(2))
    if kind == "conjugate view":
        return torch.nn.Parameter(torch.ones(2, dtype=torch.complex64).conj())
    if kind == "int8":
        return torch.ones(2, dtype=torch.int8)
    if kind == "share memory":
        return torch.nn.Parameter(torch.ones(1).expand(2))
    if kind == "TwoTensor":
        from torch.testing._internal.two_tensor import TwoTensor

        return torch.nn.Parameter(TwoTensor(torch.ones(2), torch.ones(2)))
    return torch.ones(2, requires_grad=True) * 2


@pytest.mark.parametrize(
    "kind",
    [
        *("meta", "int8", "negative view", "conjugate view", "share memory", "TwoTensor"),
        *("inference mode", "non-leaf"),
    ],
)
def test_bad_params(kind):
    good, bad = torch.nn.Parameter(torch.ones(2)), bad_param(kind)
    match = "non-leaf" if kind == "non-leaf" else rf"params\[1\] \(bad\) .*{kind}"
    with pytest.raises((TypeError, ValueError), match=match):
        adagrad.torch.Adagrad([("good", good), ("bad", bad)])
    opt = adagrad.torch.Adagrad([("good", good)])
    with pytest.raises((TypeError, ValueError), match=match):
        opt.add_param_group({"params": [("bad", bad)]})
    assert len(opt.param_groups) == 1
    assert list(opt.state) == [good]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"eps": float("inf")}, "eps must be finite"),
        ({"foreach": True, "fused": True}, "cannot be `True` together"),
        ({"differentiable": True}, "differentiable must be False"),
        ({"preset": "nobody"}, "nobody"),
        ({"rule": adagrad.Rule(), "lr": 0.1}, "rule and lr cannot both be given"),
        ({"rule": "torch"}, "rule must be an adagrad.Rule"),
    ],
    ids=str,
)
def test_bad_arguments(options, match):
    with pytest.raises((RuntimeError, TypeError, ValueError), match=match):
        adagrad.torch.Adagrad([torch.nn.Parameter(torch.ones(2))], **options)


@pytest.mark.parametrize("maximize", [1, np.bool_(True)])
def test_maximize_may_be_anything_true(maximize):
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = adagrad.torch.Adagrad([p], lr=0.5, maximize=maximize)
    p.sum().backward()
    optimizer.step()
    assert p.tolist() == [1.5, 1.5]


@pytest.mark.parametrize("option", [{"preset": "tf1"}, {"rule": adagrad.Rule()}])
def test_a_group_cannot_have_another_rule(option):
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))]} for _ in range(2)]
    optimizer = adagrad.torch.Adagrad(groups[:1], preset="keras")
    with pytest.raises(TypeError, match="make one optimizer for each"):
        optimizer.add_param_group({**groups[1], **option})
    assert len(optimizer.param_groups) == 1
    again = adagrad.torch.Adagrad(optimizer.param_groups, preset="keras")
    again.state_dict()["param_groups"][0]["rule"].clear()
    assert again.param_groups[0]["rule"] == again.state_dict()["rule"] != {}


def bad_sparse(shape, ids, dim):
    ids = torch.tensor([ids] * dim)
    values = torch.ones(ids.shape[1], *shape[dim:])
    return torch.sparse_coo_tensor(ids, values, shape, check_invariants=False)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    ("kind", "error", "match"),
    [
        ("ids", IndexError, r"rows\[1\] = 9"),
        ("two sparse dimensions", ValueError, "2 sparse dimensions"),
        ("shape", ValueError, r"g .*shape \(2, 4\)"),
        ("overlap", ValueError, "overlap"),
        ("lr", ValueError, r"lr=1e\+60"),
        ("raise", ValueError, "not finite"),
    ],
)
def test_bad_input_changes_nothing(kind, error, match, alone, rng):
    w, v, u = params(rng, shapes=((4, 2), (4, 2), (3,)))
    rule = adagrad.preset("torch", on_nonfinite="raise")
    groups = [{"params": [v, u], "weight_decay": 0.1}, {"params": [w]}]
    opt = adagrad.torch.Adagrad(groups, rule=rule)
    set_grads(rng, [v, u, w])
    opt.step()
    if alone:
        v.grad = u.grad = None
    if kind == "shape":
        w.grad.data = torch.ones(2, 4)
    elif kind == "lr":
        opt.param_groups[1]["lr"] = 1e60
    elif kind == "overlap":
        w.grad = opt.state[w]["sum"]
    elif kind == "raise":
        w.grad[1, 1] = np.inf
    else:
        w.grad = bad_sparse((4, 2), *(((1, 9), 1) if kind == "ids" else ((0, 1), 2)))
    before = snapshot(opt)
    with pytest.raises(error, match=match):
        opt.step()
    assert_unchanged(opt, before)


@pytest.mark.parametrize("pair", ["bfloat16 float16", "float16 bfloat16", "float32 float64"])
def test_gradients_that_would_be_rounded(pair):
    dtype, other = (getattr(torch, name) for name in pair.split())
    w = torch.nn.Parameter(torch.ones(2, dtype=dtype))
    w.grad_dtype = other
    w.grad = torch.ones(2, dtype=other)
    opt = adagrad.torch.Adagrad([("w", w)])
    before = snapshot(opt)
    wide = "torch.float32 or torch.bfloat16 or torch.float16"
    wanted = wide if dtype is torch.float32 else f"{dtype} or torch.float32"
    match = rf"params\[0\] \(w\) has dtype {dtype}, so its gradient must have {wanted}, got {other}"
    with pytest.raises(TypeError, match=match):
        opt.step()
    assert_unchanged(opt, before)


FAULTS = {
    "shape": r"params\[2\] needs an accumulator of shape \(\), but .* has one of shape \(2,\)",
    "negative step": r"params\[2\] has step number -1.0 in the state",
    "half a step": r"params\[2\] has step number 0.5 in the state",
    "two steps": r"step of params\[2\] must be 1-element, got shape \(2,\)",
    "a word": r"params\[2\] has step number 'two' in the state",
    "complex": r"params\[1\] needs an accumulator .* has torch.complex64",
    "sparse": r"params\[1\] needs an accumulator .* torch.sparse_coo",
    "array": r"params\[1\] needs an accumulator .* has ndarray",
    "negative": r"params\[0\] has an accumulator that is -1.0 at \[6, 1\]",
    "nan": r"params\[0\] has an accumulator that is nan at \[6, 1\]",
    "overflow": r"params\[0\] has an accumulator that is inf at \[6, 1\] in torch.float32",
    "lr": "lr must not be negative",
    "differentiable": "differentiable must be False",
    "groups": "parameter groups",
    "list": r"params\[1\] has .* in the state instead of 'step' and 'sum'",
    "rule": "rule of the state must be a dict, got 'torch'",
    "field": "another rule, with momentum=0.9; this optimizer has",
    "no field": "another rule, with power='missing'; this optimizer has",
}


def spoil(state, fault):
    entries, group = state["state"], state["param_groups"][0]
    if fault == "shape":
        entries[2]["sum"] = torch.ones(2)
    elif fault in ("negative step", "half a step"):
        entries[2]["step"] = torch.tensor(-1.0 if fault == "negative step" else 0.5)
    elif fault in ("two steps", "a word"):
        entries[2]["step"] = torch.ones(2) if fault == "two steps" else "two"
    elif fault == "complex":
        entries[1]["sum"] = entries[1]["sum"].to(torch.complex64)
    elif fault in ("sparse", "array"):
        s = entries[1]["sum"]
        entries[1]["sum"] = s.to_sparse() if fault == "sparse" else s.numpy()
    elif fault in ("negative", "nan", "overflow"):
        entries[0]["sum"] = entries[0]["sum"].double()
        entries[0]["sum"][6, 1] = {"negative": -1.0, "nan": np.nan, "overflow": 1e39}[fault]
    elif fault == "lr":
        group["lr"] = -1.0
    elif fault == "differentiable":
        group["differentiable"] = True
    elif fault == "groups":
        state["param_groups"] *= 2
    elif fault == "list":
        entries[1] = list(entries[1].values())
    elif fault == "rule":
        state["rule"] = "torch"
    else:
        rule = adagrad.preset("torch", clip_value=1.0)
        state["rule"] = adagrad.torch.Adagrad([torch.ones(1)], rule=rule).state_dict()["rule"]
        if fault == "field":
            state["rule"]["momentum"] = 0.9
        else:
            del state["rule"]["power"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_checkpoint_changes_nothing(fault, rng):
    ours = params(rng)
    set_grads(rng, ours)
    opt = adagrad.torch.Adagrad(ours)
    opt.step()
    state = copy.deepcopy(opt.state_dict())
    spoil(state, fault)
    before = snapshot(opt)
    with pytest.raises((TypeError, ValueError), match=FAULTS[fault]):
        opt.load_state_dict(state)
    assert_unchanged(opt, before)
    assert opt.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize("step", [3, np.float32(3), torch and torch.tensor([3])], ids=repr)
def test_step_numbers_of_a_checkpoint(step, rng):
    ours = params(rng)
    opt = adagrad.torch.Adagrad(ours)
    state = opt.state_dict()
    state["state"][1]["step"] = step
    opt.load_state_dict(state)
    assert [float(opt.state[p]["step"]) for p in ours] == [0.0, 3.0, 0.0]


@pytest.mark.parametrize("other", ["Adam", "SGD", "RMSprop", "Adadelta", "ASGD"])
def test_the_state_of_another_optimizer_is_refused(other, rng):
    ours = params(rng)
    set_grads(rng, ours)
    theirs = getattr(torch.optim, other)(copies(ours), lr=0.1)
    opt = adagrad.torch.Adagrad(ours)
    before = snapshot(opt)
    with pytest.raises(ValueError, match=r"param_groups\[0\] of the state has no '\w+'"):
        opt.load_state_dict(theirs.state_dict())
    state = opt.state_dict()
    state["state"][1] = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(5)}
    with pytest.raises(ValueError, match=r"params\[1\] has 'step', 'exp_avg' in the state"):
        opt.load_state_dict(state)
    assert_unchanged(opt, before)
    assert opt.param_groups[0]["lr"] == 0.01


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_model(rng):
    model = torch.nn.Linear(3, 1)
    twin = copy.deepcopy(model)
    a = adagrad.torch.Adagrad(model.parameters(), lr=0.1)
    b = torch.optim.Adagrad(twin.parameters(), lr=0.1)
    compiled = torch.compile(model, backend="aot_eager")
    for _ in range(3):
        x = torch.tensor(rng.standard_normal((8, 3)).astype("f4"))
        for m, opt in ((compiled, a), (twin, b)):
            opt.zero_grad()
            m(x).square().mean().backward()
            opt.step()
    assert_close(list(model.parameters()), list(twin.parameters()), 1e-6)


class Squares(torch.utils.data.Dataset if torch is not None else object):
    def __len__(self):
        return 16

    def __getitem__(self, i):
        return torch.tensor([float(i % 4)])


def test_data_loader_with_forked_workers():
    w = torch.nn.Parameter(torch.zeros(1))
    opt = adagrad.torch.Adagrad([w], lr=0.5)
    loader = torch.utils.data.DataLoader(
        Squares(), batch_size=4, num_workers=2, multiprocessing_context="fork"
    )
    for x in loader:
        opt.zero_grad()
        (w - x).square().mean().backward()
        opt.step()
    assert opt.state[w]["step"] == 4
    assert 0.5 < w.item() < 1.5


def test_importing_the_package_does_not_import_torch():
    code = "import sys, adagrad; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the example


def test_lenet_learns_as_torch(capsys):
    folder = Path("/usr/share/datasets/fashion-mnist")
    need(folder.is_dir(), "Debian's dataset-fashion-mnist")
    path = ROOT / "examples" / "lenet.py"
    losses = runpy.run_path(str(path))["main"](["--quick", "--data", str(folder)])
    ours, theirs = losses["adagrad.torch"], losses["torch.optim"]
    assert len(ours) == 8
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert capsys.readouterr().out.count("adagrad.torch") == 1
