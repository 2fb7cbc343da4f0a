"""Averages of models with tables, compared with those of torch.nn.EmbeddingBag."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

import adagrad
from adagrad import Table
from checks import need_packages

need_packages("torch")

import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import swa_utils

from adagrad.torch import TableEmbeddingBag
from torch_tables import DIM, ROWS, make

# torch's own optimizer makes sparse tensors without this choice, and warns.
torch.sparse.check_sparse_tensor_invariants.disable()


class Model(torch.nn.Module):
    """Bags of three tables, by modules of ours or of torch's, and layers with buffers."""

    def __init__(self, *, ours):
        super().__init__()
        tables = [make(), make(9, 3, seed=1), make(5, 2, seed=2)]
        if ours:
            self.one = TableEmbeddingBag(tables[0], "sum")
            self.rest = TableEmbeddingBag(tables[1:], "sum")
        else:
            weights = [torch.from_numpy(t.weights.copy()) for t in tables]
            made = [torch.nn.EmbeddingBag.from_pretrained(w, False, mode="sum") for w in weights]
            self.one, self.rest = made[0], torch.nn.ModuleList(made[1:])
        self.tables = tables if ours else None
        self.norm = torch.nn.BatchNorm1d(DIM + 5)
        torch.manual_seed(0)
        self.dense = torch.nn.Linear(DIM + 5, 1)

    def forward(self, ids):
        rest = (
            [self.rest(torch.cat([ids % 9, ids % 5]))]
            if self.tables
            else [bags(ids % n) for bags, n in zip(self.rest, (9, 5), strict=True)]
        )
        return self.dense(self.norm(torch.cat([self.one(ids), *rest], 1)))


def batch(seed):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, ROWS, (6, 3)))


@pytest.fixture
def pair():
    """Return a model of ours, one of torch's, and a function that takes one step of both."""
    models = [Model(ours=True), Model(ours=False)]
    optimizers = [torch.optim.Adagrad(m.parameters(), lr=0.1) for m in models]

    def step(seed):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            model(batch(seed)).square().sum().backward()
            optimizer.step()

    return *models, step


def check_close(ours, theirs):
    """Check params, buffers and predictions: that what is averaged is what predicts."""
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
    for p, q in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        predictions = [copy.deepcopy(m).eval()(batch(99)) for m in (ours, theirs)]
    torch.testing.assert_close(*predictions, rtol=1e-4, atol=1e-5)


AVERAGES = {
    "swa": {},
    "ema": {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.7)},
    "avg_fn": {"avg_fn": swa_utils.get_ema_avg_fn(0.7)},
    "own": {"multi_avg_fn": lambda ours, new, n: torch._foreach_copy_(ours, new)},
}


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("average", AVERAGES)
def test_averaged_model(average, use_buffers, pair):
    ours, theirs, step = pair
    averaged = [
        swa_utils.AveragedModel(m, use_buffers=use_buffers, **AVERAGES[average])
        for m in (ours, theirs)
    ]
    for seed in range(4):
        step(seed)
        for model, source in zip(averaged, (ours, theirs), strict=True):
            model.update_parameters(source)
    check_close(ours, theirs)
    check_close(*(m.module for m in averaged))
    assert not torch.equal(averaged[0].module.one.weight, ours.one.weight) or average == "own"
    for model in averaged:
        swa_utils.update_bn([batch(seed) for seed in range(3)], model)
    check_close(*(m.module for m in averaged))
    # The average is a model of its own: it is saved, and trains.
    other = swa_utils.AveragedModel(Model(ours=True))
    other.load_state_dict(averaged[0].state_dict())
    check_close(other.module, averaged[1].module)
    before = ours.one.weight.clone()
    averaged[0].train()(batch(5)).sum().backward()
    assert torch.equal(ours.one.weight, before)
    assert ours.tables[0].steps == 4
    assert averaged[0].module.tables[0].steps == 1


@pytest.mark.parametrize(
    "storage",
    [
        {"dtype": "float64"},
        {"dtype": "bfloat16"},
        {"dtype": "float16", "state": "row", "dim": 3},
        {"state": "row", "dim": 1},
    ],
    ids=str,
)
def test_averages_of_each_dtype(storage, tmp_path):
    """Averages are those of a parameter of this dtype, whatever the table's memory is."""
    path = tmp_path / "t.safetensors"
    with make(path=path, **storage) as table:
        bags = TableEmbeddingBag(table)
        plain = torch.nn.ParameterList([torch.nn.Parameter(bags.weight.detach().clone())])
        averaged = [swa_utils.AveragedModel(m, **AVERAGES["ema"]) for m in (bags, plain)]
        for _ in range(3):
            bags(batch(0)).sum().backward()
            with torch.no_grad():
                plain[0].copy_(bags.weight)
            for model, source in zip(averaged, (bags, plain), strict=True):
                model.update_parameters(source)
        assert torch.equal(averaged[0].module.weight, averaged[1].module[0])
        assert not torch.equal(averaged[0].module.weight, bags.weight)


@pytest.mark.parametrize("mode", ["r", "frozen"])
def test_tables_that_do_not_change_are_their_average(mode, tmp_path):
    path = tmp_path / "t.safetensors"
    make(path=path).close()
    with Table.open(path, mode="r" if mode == "r" else "r+") as table:
        frozen = TableEmbeddingBag(table).requires_grad_(False)
        model = torch.nn.ModuleList([frozen, TableEmbeddingBag(make(seed=1))])
        averaged = swa_utils.AveragedModel(model)
        before = frozen.weight.clone()
        for _ in range(3):
            (frozen(batch(0)) + model[1](batch(1))).sum().backward()
            averaged.update_parameters(model)
        assert torch.equal(averaged.module[0].weight, before)
        assert not torch.equal(averaged.module[1].weight, model[1].weight)
        swap(averaged.module, model)
        with torch.no_grad():
            frozen(batch(0))


def test_a_shared_table_is_averaged_once():
    table = make()
    model = torch.nn.ModuleList([TableEmbeddingBag(table), TableEmbeddingBag(table, "sum")])
    averaged = swa_utils.AveragedModel(model, **AVERAGES["ema"])
    first = averaged.module[0].weight.clone()
    for _ in range(2):
        model[0](batch(0)).sum().backward()
        averaged.update_parameters(model)
    assert averaged.module[0].weight is averaged.module[1].weight
    assert not torch.equal(averaged.module[0].weight, first)
    once = TableEmbeddingBag(make())
    alone = swa_utils.AveragedModel(once, **AVERAGES["ema"])
    for _ in range(2):
        once(batch(0)).sum().backward()
        alone.update_parameters(once)
    assert torch.equal(averaged.module[0].weight, alone.module.weight)


# --- other ways to average


@pytest.mark.parametrize("foreach", [False, True])
def test_averages_of_state_dicts(foreach, pair):
    """As timm's: the values of one state are written in place, whatever they are."""
    ours, theirs, step = pair
    averaged = [copy.deepcopy(m) for m in (ours, theirs)]
    for seed in range(4):
        step(seed)
        for average, source in zip(averaged, (ours, theirs), strict=True):
            pairs = list(
                zip(average.state_dict().values(), source.state_dict().values(), strict=True)
            )
            with torch.no_grad():
                if foreach:
                    reals = [p for p in pairs if p[0].is_floating_point()]
                    torch._foreach_lerp_(*map(list, zip(*reals, strict=True)), weight=0.3)
                    for a, b in pairs:
                        if not a.is_floating_point():
                            a.copy_(b)
                else:
                    for a, b in pairs:
                        a.copy_(0.7 * a + 0.3 * b)
    check_close(*averaged)
    assert averaged[0].tables[0].steps == 0
    assert ours.tables[0].steps == 4


def swap(average, model):
    """Exchange the values of two models, as Lightning does around a validation."""
    for a, b in zip(
        itertools.chain(average.parameters(), average.buffers()),
        itertools.chain(model.parameters(), model.buffers()),
        strict=True,
    ):
        kept = a.data.clone()
        a.data.copy_(b.data)
        b.data.copy_(kept)


def test_values_are_exchanged(pair):
    ours, theirs, step = pair
    averaged = [swa_utils.AveragedModel(m, use_buffers=True) for m in (ours, theirs)]
    for seed in range(3):
        step(seed)
        for model, source in zip(averaged, (ours, theirs), strict=True):
            model.update_parameters(source)
            swap(model.module, source)
        check_close(ours, theirs)
        for model, source in zip(averaged, (ours, theirs), strict=True):
            swap(model.module, source)
        check_close(ours, theirs)


def test_vectors_of_parameters(pair):
    ours, theirs, step = pair
    step(0)
    vectors = [parameters_to_vector(m.parameters()) for m in (ours, theirs)]
    torch.testing.assert_close(*vectors, rtol=1e-4, atol=1e-5)
    new = torch.linspace(-1, 1, vectors[0].numel())
    for model in (ours, theirs):
        vector_to_parameters(new.clone(), model.parameters())
    check_close(ours, theirs)
    assert torch.equal(parameters_to_vector(ours.parameters()), new)
    step(1)
    check_close(ours, theirs)


# --- a loss that has a weight itself


@pytest.mark.parametrize("cls", [torch.optim.Adagrad, adagrad.torch.Adagrad])
@pytest.mark.parametrize(
    "storage", [{}, {"state": "row"}, {"dtype": "float64"}, {"dtype": "bfloat16"}], ids=str
)
def test_a_regularizer(storage, cls):
    """Its gradient is that of a parameter, and an optimizer uses it beside the table's steps."""
    table = make(**storage)
    bags = TableEmbeddingBag(table)
    optimizer = cls(bags.parameters(), lr=0.1)
    for seed in range(2):
        before = bags.weight.detach().clone()
        optimizer.zero_grad()
        (bags(batch(seed)).sum() + bags.weight.float().square().sum()).backward()
        torch.testing.assert_close(bags.weight.grad, 2 * before)
        plain = torch.nn.Parameter(bags.weight.detach().clone())
        assert not torch.equal(plain, before)
        plain.grad = bags.weight.grad.clone()
        same = cls([plain], lr=0.1)
        same.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        optimizer.step()
        same.step()
        assert torch.equal(bags.weight, plain)
    read = torch.from_numpy(table.gather(np.arange(ROWS)))
    assert torch.equal(bags.weight.to(read.dtype), read)
    assert table.steps == 2


def test_a_gradient_that_needs_the_weight_before_the_step():
    """Autograd sees that a step changed what it has saved."""
    bags = TableEmbeddingBag(make())
    penalty = bags.weight.square().sum()
    loss = bags(batch(0)).sum() + penalty
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
