"""Params that are not plain arrays: with gaps, complex, or with narrower gradients."""

from __future__ import annotations

import copy
import itertools
import weakref

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import adagrad
from checks import need_packages, wide_range

need_packages("torch")

import torch

import adagrad.torch
from adagrad.torch import _slots
from torch_steps import assert_close, assert_unchanged, set_grads, snapshot

# torch's own optimizer makes sparse tensors without this choice, and warns.
torch.sparse.check_sparse_tensor_invariants.disable()


def with_gaps(kind):
    """Params that skip memory, and those that share the memory they skip."""
    table = torch.arange(60.0).reshape(5, 12).div_(60)
    if kind == "columns":
        return table, [table[:, :3], table[:, 3:8], table[:, 8:]]
    if kind == "every other":
        return table, [table[:, ::2], table[:, 1::2]]
    if kind == "transposed":
        return table, [table[:, 2:6].t(), table[1:3, 6:].t()]
    if kind == "one row":
        return table, [table[:1, 1:4], table[1:, 2]]
    return table, [table.reshape(5, 3, 4)[:, 1:, ::3]]


GAPS = ["columns", "every other", "transposed", "one row", "three dimensions"]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", GAPS)
def test_params_with_gaps(kind, sparse, rng):
    memory, ours = with_gaps(kind)
    other, theirs = with_gaps(kind)
    ours, theirs = ([torch.nn.Parameter(p) for p in ps] for ps in (ours, theirs))
    untouched = torch.ones(60, dtype=torch.bool)
    for p in ours:
        at = torch.empty(0, dtype=torch.int64).set_(torch.arange(60).untyped_storage())
        untouched[at.as_strided(p.shape, p.stride(), p.storage_offset()).reshape(-1)] = False
    start = memory.clone().reshape(-1)
    a, b = (
        cls(ps, lr=0.1)
        for cls, ps in ((adagrad.torch.Adagrad, ours), (torch.optim.Adagrad, theirs))
    )
    for _ in range(3):
        set_grads(rng, ours, theirs)
        if sparse and kind != "transposed":
            for p, q in zip(ours, theirs, strict=True):
                p.grad = q.grad = q.grad.to_sparse(1)
        a.step()
        b.step()
    assert_close([memory], [other])
    assert torch.equal(memory.reshape(-1)[untouched], start[untouched])
    assert all(
        a.state[p]["sum"].stride() == b.state[q]["sum"].stride()
        for p, q in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("preset", ["fbgemm_rowwise", "textbook"])
def test_params_with_gaps_have_the_bits_of_clones(preset, rng):
    table = torch.tensor(rng.standard_normal((6, 7)).astype("f4"))
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        memory = table.to(dtype)
        p, clone = torch.nn.Parameter(memory[:, 2:5]), torch.nn.Parameter(memory[:, 2:5].clone())
        opts = [adagrad.torch.Adagrad([x], preset=preset) for x in (p, clone)]
        for _ in range(3):
            p.grad = torch.tensor(rng.standard_normal((6, 3))).to(dtype)
            clone.grad = p.grad.clone()
            for opt in opts:
                opt.step()
        assert torch.equal(p, clone)
        assert torch.equal(opts[0].state[p]["sum"], opts[1].state[clone]["sum"])


@pytest.mark.parametrize(
    "fault", ["two params", "dense param", "dtype", "nonfinite", "accumulator"]
)
def test_a_refused_step_of_params_with_gaps_changes_nothing(fault):
    table = torch.ones(4, 6)
    ps = [torch.nn.Parameter(p) for p in (table[:, :3], table[:, 3:], torch.ones(2))]
    if fault == "two params":
        ps[1] = torch.nn.Parameter(table[:, 2:])
    elif fault == "dense param":
        ps[2] = torch.nn.Parameter(table[1:2, :2].reshape(2))
    opt = adagrad.torch.Adagrad(ps, rule=adagrad.preset("torch", on_nonfinite="raise"))
    if fault == "accumulator":
        opt.state[ps[2]]["sum"] = table[3, 4:]
    for p in ps:
        p.grad = torch.ones_like(p)
    if fault == "dtype":
        ps[2].grad_dtype = ps[2].grad = None
        ps[2].grad = torch.ones(2, dtype=torch.float64)
    elif fault == "nonfinite":
        ps[2].grad[1] = torch.nan
    before = table.clone(), snapshot(opt)
    for _ in range(2):
        with pytest.raises((TypeError, ValueError), match=r"params\[[012]\]"):
            opt.step()
        assert torch.equal(table, before[0])
        assert_unchanged(opt, before[1])


def test_memory_that_becomes_shared_is_seen():
    table = torch.ones(4, 6)
    ps = [torch.nn.Parameter(p) for p in (table[:, :3], table[:, 3:])]
    opt = adagrad.torch.Adagrad(ps)
    for p in ps:
        p.grad = torch.ones_like(p)
    opt.step()
    opt.step()
    ps[1].data = table[:, 2:5]
    with pytest.raises(ValueError, match=r"memory of params\[1\].* overlaps"):
        opt.step()


@hypothesis.given(data=st.data(), dim=st.integers(1, 4))
def test_any_part_of_a_tensor_takes_the_steps_of_its_clone(data, dim):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=dim, max_size=dim))
    whole = torch.arange(float(np.prod(shape))).reshape(shape).cos()
    steps = [data.draw(st.integers(1, 3)) for _ in shape]
    begins = [data.draw(st.integers(0, n - 1)) for n in shape]
    index = tuple(slice(b, None, k) for b, k in zip(begins, steps, strict=True))
    order = data.draw(st.permutations(range(dim)))
    want = whole.clone()
    param = torch.nn.Parameter(whole[index].permute(order))
    clone = torch.nn.Parameter(param.detach().clone())
    for p in (param, clone):
        p.grad = torch.arange(float(p.numel())).reshape(p.shape).sin()
        adagrad.torch.Adagrad([p], lr=0.1).step()
    want[index].permute(order).copy_(clone.detach())
    assert torch.equal(whole, want)


@hypothesis.given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), max_size=4))
def test_gaps_and_shared_memory_are_found(dims):
    shape, strides = ([pair[k] for pair in dims] for k in (0, 1))
    tensor = torch.zeros(200).as_strided(shape, strides)
    at = sorted(torch.arange(200).as_strided(shape, strides).reshape(-1).tolist())
    try:
        found = _slots.has_gaps(tensor)
    except ValueError:  # which may also mean that dimensions mesh with each other
        nested = sorted(
            (stride, size) for stride, size in zip(strides, shape, strict=True) if size > 1
        )
        fits = [stride >= n * inner for (inner, n), (stride, _) in itertools.pairwise(nested)]
        assert len(set(at)) < len(at) or not all(fits)
    else:
        assert len(set(at)) == len(at)
        assert found == (at != list(range(len(at))))


def test_elements_that_share_memory_are_refused():
    memory = torch.ones(8)
    for p in (memory[:1].expand(3), memory.as_strided((3, 2), (1, 1)), memory.unfold(0, 4, 2)):
        with pytest.raises(ValueError, match=r"params\[0\] has strides .* share memory"):
            adagrad.torch.Adagrad([torch.nn.Parameter(p)])


def test_a_param_that_has_left_its_group_is_not_kept():
    gaps, kept = (torch.nn.Parameter(torch.ones(3, 4)[:, ::k]) for k in (2, 1))
    opt = adagrad.torch.Adagrad([gaps, kept])
    gaps.grad, kept.grad = torch.ones(3, 2), torch.ones(3, 4)
    opt.step()
    left = weakref.ref(gaps)
    del opt.param_groups[0]["params"][0], opt.state[gaps], gaps
    opt.step()
    assert left() is None


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex(dtype, rng):
    def draw(*shape):
        parts = [torch.tensor(rng.standard_normal(shape)) for _ in range(2)]
        return torch.complex(*parts).to(getattr(torch, dtype))

    ours = [torch.nn.Parameter(x) for x in (draw(3, 4), draw(4, 3).t(), draw(3, 6)[:, ::2], draw())]
    theirs = [torch.nn.Parameter(torch.empty_like(p).copy_(p.detach())) for p in ours]
    options = {"lr": 0.1, "initial_accumulator_value": 0.25, "weight_decay": 0.1}
    a = adagrad.torch.Adagrad(ours, **options)
    b = torch.optim.Adagrad(theirs, **options)
    for k in range(4):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = q.grad = draw(*p.shape).conj()
        if k == 2:
            states = [copy.deepcopy(opt.state_dict()) for opt in (b, a)]
            for opt, state in zip((a, b), states, strict=True):
                opt.load_state_dict(state)
        a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q)
        torch.testing.assert_close(a.state[p]["sum"], b.state[q]["sum"])
        assert a.state[p]["sum"].dtype is p.dtype


def test_what_complex_params_cannot_have():
    p = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))
    with pytest.raises(TypeError, match="accumulators per row need a real one"):
        adagrad.torch.Adagrad([p], preset="fbgemm_rowwise")
    opt = adagrad.torch.Adagrad([p])
    p.grad = torch.ones(2, 2, dtype=torch.complex64).to_sparse(1)
    with pytest.raises(TypeError, match="with a sparse gradient it must be float32 or float64"):
        opt.step()
    p.grad_dtype = None
    p.grad = torch.ones(2, 2, dtype=torch.complex128)
    dtypes = "must have torch.complex64 or torch.complex32, got torch.complex128"
    with pytest.raises(TypeError, match=dtypes):
        opt.step()
    real = adagrad.torch.Adagrad([torch.nn.Parameter(torch.ones(2, 2))]).state_dict()
    with pytest.raises(TypeError, match="of a complex dtype, but the state has"):
        opt.load_state_dict(real)


def test_a_sparse_gradient_that_would_be_rounded_is_refused():
    p = torch.nn.Parameter(torch.ones(3, 2))
    p.grad_dtype = torch.float64
    p.grad = torch.ones(3, 2, dtype=torch.float64).to_sparse(1)
    opt = adagrad.torch.Adagrad([("p", p)])
    with pytest.raises(TypeError, match=r"params\[0\] \(p\) has dtype torch.float32, so its grad"):
        opt.step()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "pair", ["float32 bfloat16", "float32 float16", "float64 float32", "float64 bfloat16"]
)
def test_narrower_gradients_are_widened(pair, sparse, rng):
    dtype, narrow = (getattr(torch, name) for name in pair.split())
    ps = [torch.nn.Parameter(torch.ones(5, 2, dtype=dtype)) for _ in range(2)]
    opts = [adagrad.torch.Adagrad([p]) for p in ps]
    for _ in range(2):
        g = torch.tensor(wide_range(rng, (5, 2), "f4")).to(narrow)
        g = g.to_sparse(1) if sparse else g
        ps[0].grad = ps[1].grad = None
        ps[0].grad_dtype = narrow
        ps[0].grad, ps[1].grad = g, g.to(dtype)
        for opt in opts:
            opt.step()
    assert torch.equal(*ps)
