"""What adagrad.torch.Adagrad keeps between steps is compared with the tensors as they are."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import adagrad
from adagrad import _core
from checks import need_packages

need_packages("torch")

import torch

import adagrad.torch
from adagrad.torch import _calls

# torch's own optimizer makes sparse tensors without this choice, and warns.
torch.sparse.check_sparse_tensor_invariants.disable()

SHAPE = (6, 4)


class Plain(torch.Tensor):
    pass


def pair(dtype=torch.float32):
    """Return a param of ours and one of torch's, each with its optimizer, after a step."""
    made = []
    for cls in (adagrad.torch.Adagrad, torch.optim.Adagrad):
        torch.manual_seed(0)
        w = torch.nn.Parameter(torch.rand(SHAPE, dtype=dtype))
        made += [w, cls([w], lr=0.1)]
        w.grad = torch.rand(SHAPE, dtype=dtype)
        made[-1].step()
    return made


def step_both(w, a, v, b, grad):
    w.grad, v.grad = grad(), grad()
    a.step()
    b.step()
    np.testing.assert_allclose(w.detach(), v.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a.state[w]["sum"], b.state[v]["sum"], rtol=1e-5, atol=1e-6)
    assert a.state[w]["step"] == b.state[v]["step"]


GRADIENTS = {
    "plain": lambda: torch.full(SHAPE, 0.3),
    "transposed": lambda: torch.arange(24.0).reshape(4, 6).t(),
    "expanded": lambda: torch.arange(4.0).expand(SHAPE),
    "part of a row": lambda: torch.arange(48.0).reshape(6, 8)[:, ::2],
    "behind other memory": lambda: torch.arange(30.0)[6:].view(SHAPE),
    "negative": lambda: torch._neg_view(torch.full(SHAPE, 0.3)),
    "differentiable": lambda: torch.full(SHAPE, 0.3, requires_grad=True) * 2,
    "subclass": lambda: torch.full(SHAPE, 0.3).as_subclass(Plain),
    "sparse": lambda: torch.full(SHAPE, 0.3).to_sparse(1),
    "lazy clone": lambda: torch._lazy_clone(torch.full(SHAPE, 0.3)),
}


@pytest.mark.parametrize("kind", GRADIENTS)
def test_each_step_looks_at_its_gradient(kind):
    made = pair()
    for grad in (GRADIENTS["plain"], GRADIENTS[kind], GRADIENTS["plain"]):
        step_both(*made, grad)


def test_a_gradient_whose_memory_is_replaced_is_read_anew():
    w, a, v, b = pair()
    for x in range(3):
        for p in (w, v):
            p.grad.data = torch.full(SHAPE, float(x))
        a.step()
        b.step()
        np.testing.assert_allclose(w.detach(), v.detach(), rtol=1e-5, atol=1e-6)


def replace_data(w, opt):
    w.data = w.data.clone()


def replace_sum_data(w, opt):
    opt.state[w]["sum"].data = opt.state[w]["sum"].clone()


def replace_step_data(w, opt):
    opt.state[w]["step"].data = opt.state[w]["step"].clone()


def replace_entries(w, opt):
    opt.state[w] = {name: entry.clone() for name, entry in opt.state[w].items()}


def transpose_in_place(w, opt):
    w.data = w.data.t().contiguous().t()
    opt.state[w]["sum"] = opt.state[w]["sum"].t().contiguous().t()


def widen(w, opt):
    w.data, w.grad = w.data.double(), None
    opt.state[w]["sum"] = opt.state[w]["sum"].double()


def reload(w, opt):
    opt.load_state_dict(opt.state_dict())


def share_lazily(w, opt):
    opt.clones = [torch._lazy_clone(t) for t in (w.data, *opt.state[w].values())]
    opt.wanted = [t.clone() for t in opt.clones]


CHANGES = [
    *(replace_data, replace_sum_data, replace_step_data, replace_entries, transpose_in_place),
    *(widen, reload, share_lazily),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_memory_that_is_replaced_between_steps_is_seen(change):
    w, a, v, b = pair()
    before = [w.data, *a.state[w].values()]
    for _ in range(3):
        change(w, a)
        change(v, b)
        old = [t.clone() for t in before]
        step_both(w, a, v, b, lambda: torch.rand(SHAPE, dtype=w.dtype).fill_(0.5))
        if change is replace_data:  # the memory of before is left alone
            assert torch.equal(before[0], old[0])
        if change is share_lazily:
            assert all(torch.equal(x, y) for x, y in zip(a.clones, a.wanted, strict=True))


def test_a_param_in_another_place_of_its_group_is_seen():
    params = [torch.nn.Parameter(torch.full((3,), float(i))) for i in range(3)]
    opt = adagrad.torch.Adagrad(params, lr=0.5)
    for p in params:
        p.grad = torch.ones(3)
    opt.step()
    opt.param_groups[0]["params"].reverse()
    params[0].grad = None
    opt.step()
    assert [int(opt.state[p]["step"]) for p in params] == [1, 2, 2]
    want = [i - 0.5 * (1 + 0.5**0.5 * (i > 0)) for i in range(3)]
    np.testing.assert_allclose([float(p.detach()[0]) for p in params], want, rtol=1e-5, atol=1e-6)


def test_a_smaller_param_at_the_same_address_is_refused():
    w, a, _, _ = pair()
    whole = w.data
    w.data, w.grad = w.data[:2], None
    w.grad = torch.ones(2, 4)
    before = whole.clone()
    with pytest.raises(ValueError, match="shape"):
        a.step()
    assert torch.equal(whole, before)


def test_a_step_keeps_no_gradient_and_leaves_its_memory_resizable():
    w, a, _, _ = pair()
    w.grad = g = torch.ones(SHAPE)
    references = sys.getrefcount(g)
    a.step()
    assert sys.getrefcount(g) == references
    if _calls._EXCHANGE is not None:
        assert g.untyped_storage().resizable()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_the_exchange_api_bits_are_the_same(dtype, monkeypatch):
    results = []
    for exchange in (_calls._EXCHANGE, None):
        monkeypatch.setattr(_calls, "_EXCHANGE", exchange)
        w, a, _, _ = pair(dtype)
        for _ in range(3):
            w.grad = torch.rand(SHAPE, dtype=dtype)
            a.step()
        results.append((w.detach().clone(), a.state[w]["sum"], a.state[w]["step"]))
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_groups_of_other_rules_take_one_call_and_the_bits_of_many(monkeypatch):
    torch.manual_seed(0)
    values = [torch.rand(5) for _ in range(4)]
    options = [{"lr": 0.1}, {"lr": 0.2, "weight_decay": 0.1}]
    together, apart = ([torch.nn.Parameter(x.clone()) for x in values] for _ in "ab")
    one = adagrad.torch.Adagrad(
        [{"params": together[:2], **options[0]}, {"params": together[2:], **options[1]}]
    )
    many = [adagrad.torch.Adagrad(apart[2 * i : 2 * i + 2], **options[i]) for i in range(2)]
    calls = []
    step_many = _core.step_many
    monkeypatch.setattr(_core, "step_many", lambda *args: (calls.append(args), step_many(*args))[1])
    for _ in range(3):
        for p, q in zip(together, apart, strict=True):
            p.grad = torch.rand(5)
            q.grad = p.grad.clone()
        calls.clear()
        one.step()
        assert len(calls) == 1
        for opt in many:
            opt.step()
    assert all(torch.equal(p, q) for p, q in zip(together, apart, strict=True))


def test_a_rule_is_needed_for_every_tensor():
    w, g, s = (np.ones(3, np.float32) for _ in range(3))
    with pytest.raises(ValueError, match="one rule per tensor"):
        _core.step_many([(w, g, s)], [adagrad.Rule()._compiled] * 2, [0.1])
    assert (w == 1).all()
