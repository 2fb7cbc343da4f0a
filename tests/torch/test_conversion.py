"""Models whose embedding bags become tables, and back: the same predictions, the same training."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

import adagrad
from adagrad import Rule, Table
from checks import need_packages

need_packages("torch")

import torch
from torch import nn

from adagrad.torch import TableEmbeddingBag, from_tables, to_tables

# torch's own optimizer makes sparse tensors without this choice, and warns.
torch.sparse.check_sparse_tensor_invariants.disable()

OPTIMIZERS = [torch.optim.Adagrad, adagrad.torch.Adagrad]
# The model of the Criteo Kaggle data in the public repository of DLRM, with at most 500 rows.
ROWS = [
    min(rows, 500)
    for rows in (
        1460,
        583,
        10131227,
        2202608,
        305,
        24,
        12517,
        633,
        3,
        93145,
        5683,
        8351593,
        3194,
        27,
        14992,
        5461306,
        10,
        5652,
        2173,
        4,
        7046547,
        18,
        15,
        286181,
        105,
        142572,
    )
]
DIM, BOTTOM, TOP = 16, (13, 512, 256, 64, 16), (512, 256, 1)


def mlp(sizes, last):
    layers = []
    for n, m in itertools.pairwise(sizes):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1], last)


class DLRM(nn.Module):
    """One EmbeddingBag per feature, an MLP below the products of pairs, and one above."""

    def __init__(self, rows=ROWS, bottom=BOTTOM, top=TOP, sparse=True):
        super().__init__()
        self.emb_l = nn.ModuleList(nn.EmbeddingBag(n, DIM, mode="sum", sparse=sparse) for n in rows)
        for n, bag in zip(rows, self.emb_l, strict=True):
            nn.init.uniform_(bag.weight, -(n**-0.5), n**-0.5)
        self.bot_l = mlp(bottom, nn.ReLU())
        pairs = len(rows) * (len(rows) + 1) // 2
        self.top_l = mlp((DIM + pairs, *top), nn.Sigmoid())

    def forward(self, dense, offsets, ids):
        x = self.bot_l(dense)
        features = [bag(i, o) for bag, i, o in zip(self.emb_l, ids, offsets, strict=True)]
        t = torch.stack([x, *features], 1)
        i, j = torch.tril_indices(t.shape[1], t.shape[1], -1)
        return self.top_l(torch.cat([x, (t @ t.mT)[:, i, j]], 1)).squeeze(1)


def batches(n, rows, size=16, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        lengths = rng.integers(0, 4, (len(rows), size))
        ids = [
            torch.from_numpy(rng.integers(0, m, k))
            for m, k in zip(rows, lengths.sum(1), strict=True)
        ]
        offsets = torch.from_numpy(np.cumsum(lengths, 1) - lengths)
        dense = torch.from_numpy(rng.standard_normal((size, BOTTOM[0])).astype("f4"))
        yield (dense, offsets, ids), torch.from_numpy(rng.integers(0, 2, size).astype("f4"))


def train(model, optimizer, given):
    """Return the predictions of each batch, before it is learned."""
    out = []
    for inputs, labels in given:
        p = model(*inputs)
        out.append(p.detach())
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy(p, labels).backward()
        optimizer.step()
    return torch.stack(out)


def held(model, optimizer):
    """Return names, bits of params, and bits of the state, in the order of the groups."""
    params = {
        name: (type(p), p.detach().clone(), p.requires_grad) for name, p in model.named_parameters()
    }
    places = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    names = {id(p): name for name, p in model.named_parameters()}
    state = copy.deepcopy(optimizer.state_dict())
    return params, [[names[i] for i in group] for group in places], state


def assert_same(given, expected):
    (params, places, state), (of_params, of_places, of_state) = given, expected
    assert params.keys() == of_params.keys()
    for name in params:
        assert params[name][::2] == of_params[name][::2], name
        assert torch.equal(params[name][1], of_params[name][1]), name
    assert places == of_places
    assert state["param_groups"] == of_state["param_groups"]
    assert state["state"].keys() == of_state["state"].keys()
    for key, entries in state["state"].items():
        assert entries.keys() == of_state["state"][key].keys()
        for name, value in entries.items():
            assert torch.equal(value, of_state["state"][key][name])
            assert value.dtype == of_state["state"][key][name].dtype


SMALL = {"rows": [50, 3, 20], "bottom": (13, 16), "top": (8, 1)}


def two_groups(kind, model, **options):
    mlps = [*model.bot_l.parameters(), *model.top_l.parameters()]
    groups = [{"params": model.emb_l.parameters(), "lr": 0.05, "lr_decay": 0.01}, {"params": mlps}]
    return kind(groups, lr=0.02, **options)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [(torch.optim.Adagrad, {"rows": ROWS, "sparse": True})]
    + [(kind, {**SMALL, "sparse": sparse}) for kind in OPTIMIZERS for sparse in (True, False)],
)
def test_dlrm_becomes_tables_and_back(kind, sizes):
    """Predictions are the same to the last bit, and training continues as if nothing had been."""
    torch.manual_seed(0)
    model = DLRM(**sizes)
    optimizer = two_groups(kind, model, initial_accumulator_value=0.01)
    first, second, third = (list(batches(2, sizes["rows"], seed=seed)) for seed in range(3))
    train(model, optimizer, first)
    optimizer.zero_grad()
    other, of_other = copy.deepcopy((model, optimizer))
    inputs, _ = first[0]
    expected = model(*inputs)

    assert to_tables(model, optimizer) is model
    assert all(type(bag) is TableEmbeddingBag for bag in model.emb_l)
    assert all(bag.tables[0].steps == 2 for bag in model.emb_l)
    assert torch.equal(model(*inputs), expected)
    tolerance = {"rtol": 1e-4, "atol": 1e-6}
    theirs = train(other, of_other, second)
    torch.testing.assert_close(train(model, optimizer, second), theirs, **tolerance)

    optimizer.zero_grad()
    expected = model(*inputs)
    assert from_tables(model, optimizer) is model
    assert all(type(bag) is nn.EmbeddingBag for bag in model.emb_l)
    assert torch.equal(model(*inputs), expected)
    for name, p in other.named_parameters():
        ours = model.get_parameter(name)
        torch.testing.assert_close(ours, p, **tolerance)
        torch.testing.assert_close(optimizer.state[ours], of_other.state[p], **tolerance)
    theirs = train(other, of_other, third)
    torch.testing.assert_close(train(model, optimizer, third), theirs, **tolerance)

    fresh = DLRM(**sizes)
    fresh.load_state_dict(model.state_dict())
    of_fresh = two_groups(kind, fresh)
    of_fresh.load_state_dict(optimizer.state_dict())
    assert_same(held(fresh, of_fresh), held(model, optimizer))


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_checkpoints_of_a_converted_model(kind, tmp_path):
    """They load into another one that was converted, and training continues with the same bits."""
    torch.manual_seed(0)
    found = []
    given = list(batches(2, SMALL["rows"]))
    for _ in range(2):
        model = DLRM(**SMALL)
        optimizer = two_groups(kind, model)
        to_tables(model, optimizer)
        found.append((model, optimizer))
    (model, optimizer), (other, of_other) = found
    train(model, optimizer, given)
    path = tmp_path / "model.pt"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    saved = torch.load(path)
    other.load_state_dict(saved["model"])
    of_other.load_state_dict(saved["optimizer"])
    assert torch.equal(train(model, optimizer, given), train(other, of_other, given))
    optimizer.zero_grad()
    of_other.zero_grad()
    from_tables(model, optimizer)
    from_tables(other, of_other)
    assert_same(held(model, optimizer), held(other, of_other))


class Collection(nn.Module):
    """As in torchrec: a dict of EmbeddingBags, and ids whose offsets end with their number."""

    def __init__(self, rows):
        super().__init__()
        self.embedding_bags = nn.ModuleDict(
            {f"t{n}": nn.EmbeddingBag(n, 4, mode="mean", include_last_offset=True) for n in rows}
        )

    def forward(self, features):
        bags = self.embedding_bags
        return torch.cat([bags[name](*features[name]) for name in features], 1)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_collection_becomes_tables_and_back(kind):
    torch.manual_seed(0)
    rows = (9, 5, 30)
    model = nn.Sequential(Collection(rows), nn.Linear(12, 1))
    optimizer = kind(model.parameters(), lr=0.1)
    other, of_other = copy.deepcopy((model, optimizer))
    for convert in (lambda *_: None, to_tables, from_tables):
        convert(model, optimizer)
        for _ in range(3):
            ends = torch.tensor([0, 2, 2, 5, 6])
            batch = {f"t{n}": (torch.randint(0, n, (6,)), ends) for n in rows}
            out, expected = model(batch), other(batch)
            torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
            for loss, its in ((out, optimizer), (expected, of_other)):
                its.zero_grad()
                loss.square().sum().backward()
                its.step()
        optimizer.zero_grad()
    for (name, p), (_, q) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6, msg=name)
        torch.testing.assert_close(optimizer.state[p], of_other.state[q], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_nothing_is_lost(kind, dtype):
    """Params, state and options come back to the last bit, and each in its place."""
    torch.manual_seed(0)
    options = {"max_norm": 1.0, "norm_type": 1.0, "scale_grad_by_freq": True, "mode": "sum"}
    options |= {"include_last_offset": True, "padding_idx": 1}
    model = nn.ModuleDict(
        {
            "plain": nn.EmbeddingBag(7, 3, sparse=True),
            "all options": nn.EmbeddingBag(6, 4, **options),
            "column": nn.EmbeddingBag(5, 1, mode="max"),
            "row": nn.EmbeddingBag(1, 2),
            "between": nn.Linear(2, 2),
            "frozen": nn.EmbeddingBag(4, 2).requires_grad_(False).eval(),
        }
    ).to(dtype)
    optimizer = kind([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for p in model.parameters():
        p.grad = torch.randn_like(p) if p.requires_grad else None
    optimizer.step()
    optimizer.zero_grad()
    before = held(model, optimizer)
    shown = {name: vars(module).copy() for name, module in model.items()}
    to_tables(model, optimizer)
    tables = {name: module for name, module in model.items() if name != "between"}
    for name, module in tables.items():
        assert module.tables[0].dtype == str(dtype).removeprefix("torch.")
        assert module.tables[0].steps == (0 if name == "frozen" else 1)
        assert [module.training, module.requires_grad] == [name != "frozen"] * 2
        assert {k: getattr(module, k) for k in options} == {k: shown[name][k] for k in options}
    from_tables(model, optimizer)
    assert_same(held(model, optimizer), before)
    for name, module in model.items():
        attributes = {k: v for k, v in vars(module).items() if not isinstance(v, dict)}
        assert attributes == {k: v for k, v in shown[name].items() if not isinstance(v, dict)}


def test_params_alone():
    """Without an optimizer, tables take the given rule and the state of new tables."""
    rule = Rule(lr=0.5)
    bag = nn.EmbeddingBag(5, 2, mode="sum")
    weight = bag.weight.detach().clone()
    bags = to_tables(bag, rule=rule)
    assert bags.tables[0].rule == rule
    assert to_tables(nn.EmbeddingBag(5, 2)).tables[0].rule == Rule()
    bags(torch.tensor([[1, 2]])).sum().backward()
    back = from_tables(bags)
    assert type(back) is nn.EmbeddingBag
    assert torch.equal(back.weight[[0, 3, 4]], weight[[0, 3, 4]])
    assert back.weight.data_ptr() != bags.weight.data_ptr()


def test_modules_that_are_used_twice_and_others():
    """A shared module gets one replacement; subclasses and single embeddings stay."""

    class Own(nn.EmbeddingBag):
        pass

    shared = nn.EmbeddingBag(5, 2)
    model = nn.ModuleList([shared, nn.Sequential(shared), Own(5, 2), nn.Embedding(5, 2), shared])
    to_tables(model)
    assert type(model[0]) is TableEmbeddingBag
    assert model[0] is model[1][0] is model[4]
    assert (type(model[2]), type(model[3])) == (Own, nn.Embedding)
    from_tables(model)
    assert type(model[0]) is nn.EmbeddingBag
    assert model[0] is model[1][0] is model[4]


def test_a_rule_of_ones_own():
    """adagrad.torch.Adagrad has any rule, and so has its table."""
    model = nn.Sequential(nn.EmbeddingBag(5, 2, mode="sum", sparse=True), nn.Linear(2, 1))
    rule = Rule(lr=0.1, accumulator="row", weight_decay=0.1, initial_accumulator=0.5)
    optimizer = adagrad.torch.Adagrad(model.parameters(), rule=rule)
    other, of_other = copy.deepcopy((model, optimizer))
    to_tables(model, optimizer)
    assert model[0].tables[0].rule == rule
    for _ in range(3):
        for m, o in ((model, optimizer), (other, of_other)):
            o.zero_grad()
            m(torch.tensor([[0, 1, 1], [3, 0, 3]])).square().sum().backward()
            o.step()
    from_tables(model, optimizer)
    assert_same(held(model, optimizer), held(other, of_other))


def test_a_model_without_bags_is_told_of():
    model = nn.Sequential(nn.Embedding(5, 2))
    with pytest.warns(UserWarning, match=r"has no torch\.nn\.EmbeddingBag"):
        assert to_tables(model) is model
    assert type(model[0]) is nn.Embedding
    assert from_tables(model) is model


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_scheduler_is_told_of(kind):
    """It does not reach tables; on the way back, rates must agree again."""
    model = nn.Sequential(nn.EmbeddingBag(5, 2), nn.EmbeddingBag(4, 2))
    optimizer = kind(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    with pytest.warns(
        UserWarning, match=r"not those of tables: .* table\.rule\.replace\(lr=\.\.\.\)"
    ):
        to_tables(model, optimizer)
    optimizer.step()
    scheduler.step()
    with pytest.raises(ValueError, match=r"the table of 0 has .* make them equal"):
        from_tables(model, optimizer)
    for bags in model:
        (table,) = bags.tables
        assert table.rule.lr == 0.1
        table.rule = table.rule.replace(lr=scheduler.get_last_lr()[0])
    from_tables(model, optimizer)


def hooked(model):
    model[0].register_forward_hook(lambda *_: None)


def with_gradient(model):
    model[0].weight.grad = torch.zeros_like(model[0].weight)


def with_a_shared_weight(model):
    model.append(nn.EmbeddingBag(5, 2))
    model[2].weight = model[0].weight


REFUSED = {
    "hooks": (hooked, {}, "1? or its weight has hooks"),
    "post": (
        lambda model: model[0].weight.register_post_accumulate_grad_hook(lambda _: None),
        {},
        "0 or its weight has hooks",
    ),
    "gradient": (with_gradient, {}, r"the weight of 0 has a gradient, .* zero_grad\(\)"),
    "shared": (with_a_shared_weight, {}, "the weight of 0 is also that of another module"),
    "stranger": (
        lambda model: model.append(nn.EmbeddingBag(5, 2)),
        {},
        "the weight of 2 trains, but is not a param of the optimizer",
    ),
    "decay": (lambda _: None, {"weight_decay": 0.1}, r"weight_decay=0\.1 reaches every row"),
    "device": (lambda model: model[1].to("meta"), {}, "the weight of 1 is on meta"),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("case", REFUSED)
def test_nothing_changes_if_one_module_is_refused(case, kind):
    spoil, options, message = REFUSED[case]
    model = nn.Sequential(nn.EmbeddingBag(5, 2), nn.EmbeddingBag(4, 2))
    optimizer = kind(model.parameters(), **options)
    spoil(model)
    before = dict(model.named_modules()), [list(g["params"]) for g in optimizer.param_groups]
    with pytest.raises(ValueError, match=message):
        to_tables(model, optimizer)
    assert dict(model.named_modules()) == before[0]
    for group, params in zip(optimizer.param_groups, before[1], strict=True):
        assert all(p is q for p, q in zip(group["params"], params, strict=True))
        assert all(optimizer.state[p] for p in params)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_tables_that_do_not_fit_the_optimizer(kind):
    model = nn.Sequential(nn.EmbeddingBag(5, 2), nn.EmbeddingBag(4, 2))
    optimizer = kind(model.parameters())
    to_tables(model, optimizer)
    modules = dict(model.named_modules())
    table = model[1].tables[0]
    table.rule = table.rule.replace(lr=0.5)
    with pytest.raises(ValueError, match=r"table of 1 has Rule\(lr=0\.5, .* make them equal"):
        from_tables(model, optimizer)
    optimizer.param_groups[0]["lr"] = 0.5
    with pytest.raises(ValueError, match=r"table of 0 has .* param group of its weight has Rule"):
        from_tables(model, optimizer)
    assert dict(model.named_modules()) == modules
    model[0].tables[0].rule = table.rule
    model.append(TableEmbeddingBag(Table(3, 2)))
    with pytest.raises(ValueError, match="the weight of 2 trains, but is not a param"):
        from_tables(model, optimizer)
    model[2].requires_grad_(False)
    from_tables(model, optimizer)
    assert all(type(bag) is nn.EmbeddingBag for bag in model)


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got list"):
        to_tables([nn.EmbeddingBag(3, 2)])
    bag = nn.EmbeddingBag(3, 2)
    sgd = torch.optim.SGD(bag.parameters(), lr=0.1)
    for convert in (to_tables, from_tables):
        with pytest.raises(TypeError, match=r"must be a torch\.optim\.Adagrad .* got SGD; without"):
            convert(bag, sgd)
    with pytest.raises(TypeError, match="rule and optimizer cannot both be given"):
        to_tables(bag, torch.optim.Adagrad(bag.parameters()), rule=Rule())
    with pytest.raises(ValueError, match=r"the model has 2 tables, .* give each table a module"):
        from_tables(TableEmbeddingBag([Table(3, 2), Table(3, 2)]))
