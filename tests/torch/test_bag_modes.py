"""The options of TableEmbeddingBag compared with torch: maxima, norms, frequencies, copies."""

from __future__ import annotations

import inspect
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adagrad
from adagrad import Rule, Table
from checks import assert_same_bits, need_packages

need_packages("torch")

import torch

from adagrad.torch import TableEmbeddingBag
from torch_tables import DIM, ROWS, held, make, theirs


def draw_bags(rng, rows=ROWS, bags=7):
    """Return ids and offsets of bags, of which some are empty."""
    sizes = rng.integers(0, 5, bags)
    ids = torch.from_numpy(rng.integers(0, rows, sizes.sum()))
    return ids, torch.from_numpy(np.cumsum(sizes) - sizes)


def real(table):
    """Return the dtype in which a table computes."""
    return torch.float64 if table.dtype == "float64" else torch.float32


def compare(table, other, optimizer, **tolerance):
    np.testing.assert_allclose(
        table.weights, other.weight.detach().numpy().reshape(table.weights.shape), **tolerance
    )
    sums = optimizer.state[other.weight]["sum"].numpy()
    np.testing.assert_allclose(table.state, sums.reshape(table.state.shape), **tolerance)


# --- maxima


@pytest.mark.parametrize("padding_idx", [None, 7, -1])
@pytest.mark.parametrize("storage", [{}, {"dtype": "float64"}, {"dim": 1}], ids=str)
def test_maxima_train_as_torch(storage, padding_idx, rng):
    """torch's optimizer visits every row; rows without a gradient do not change."""
    table = make(**storage)
    options = {"mode": "max", "padding_idx": padding_idx}
    module = TableEmbeddingBag(table, **options)
    other, optimizer = theirs(table, **options)
    for _ in range(8):
        bags = draw_bags(rng)
        out, expected = module(*bags), other(*bags)
        assert out.dtype == expected.dtype
        torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)
        g = torch.from_numpy(rng.standard_normal(out.shape)).to(out.dtype)
        out.backward(g)
        optimizer.zero_grad()
        expected.backward(g)
        optimizer.step()
    compare(table, other, optimizer, rtol=1e-5, atol=1e-6)
    assert table.steps == 8


@given(seed=st.integers(0, 2**32), values=st.sampled_from([1, 2, 3]))
def test_ties_are_those_of_torch(seed, values):
    """Where rows tie, the first of the bag gets the gradient, element by element; also of NaN."""
    rng = np.random.default_rng(seed)
    table = make(rule=Rule(lr=1.0, power=0.0))  # plain gradient descent: w shows the gradient
    pool = np.array([0.0, -0.0, 1.0, np.nan, -np.inf])[: 2 * values - 1]
    table.weights[:] = rng.choice(pool, table.weights.shape)
    module = TableEmbeddingBag(table, "max")
    other, _ = theirs(table, mode="max")
    bags = draw_bags(rng)
    out, expected = module(*bags), other(*bags)
    assert_same_bits(out.detach().numpy(), expected.detach().numpy())
    g = torch.from_numpy(rng.standard_normal(out.shape).astype("f4"))
    before = np.array(table.weights)
    out.backward(g)
    expected.backward(g)
    with np.errstate(invalid="ignore"):
        assert_same_bits(np.array(table.weights), before - other.weight.grad.numpy())


def gradients_of_ids(table, ids, ends, g):
    """Return the gradient of each id: that of the elements of its bag in which it is the first."""
    rows, each = table.gather(ids).reshape(len(ids), -1), np.zeros((len(ids), g.shape[1]), g.dtype)
    for b, (first, last) in enumerate(itertools.pairwise(ends)):
        if last > first:
            winners = first + rows[first:last].argmax(0)
            each[winners, np.arange(g.shape[1])] = g[b]
    return each if table.dim > 1 else each[:, 0]


@pytest.mark.parametrize("duplicates", ["sum", "sequential", "each"])
@pytest.mark.parametrize("accumulator", ["element", "row"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_maxima_step_by_the_rule(dtype, accumulator, duplicates, rng):
    """The step is that of Table.step with the gradient of each id, in order of appearance."""
    rule = Rule(lr=0.1, duplicates=duplicates, accumulator=accumulator, lr_decay=0.1)
    table = make(dtype=dtype, rule=rule)
    same = table.copy()
    module = TableEmbeddingBag(table, "max")
    for _ in range(3):
        ids, offsets = draw_bags(rng)
        out = module(ids, offsets)
        g = rng.standard_normal(out.shape).astype(out.detach().numpy().dtype)
        ends = np.r_[offsets.numpy(), len(ids)]
        each = gradients_of_ids(same, ids.numpy(), ends, g)
        out.backward(torch.from_numpy(g))
        same.step(ids.numpy(), each)
        assert held(table) == held(same)


@pytest.mark.parametrize("padding_idx", [None, -1, 2])
@pytest.mark.parametrize("mode", ["max", "sum", "mean"])
def test_several_tables(mode, padding_idx, rng):
    """Each table gives what a module with this table alone gives for its part."""
    tables = [make(9, 4), make(20, 1, seed=1), make(5, 8, seed=2, state="row")]
    options = {"padding_idx": padding_idx, "max_norm": 1.5, "norm_type": 1.0}
    options |= {"scale_grad_by_freq": mode != "max"}
    alone = [TableEmbeddingBag(t.copy(), mode, **options) for t in tables]
    module = TableEmbeddingBag(tables, mode, **options)
    for _ in range(3):
        parts = [draw_bags(rng, t.rows) for t in tables]
        before = np.cumsum([0, *(len(ids) for ids, _ in parts)])
        offsets = [part[1] + int(b) for part, b in zip(parts, before, strict=False)]
        out = module(torch.cat([ids for ids, _ in parts]), torch.cat(offsets))
        g = torch.from_numpy(rng.standard_normal((7, 13)).astype("f4"))
        out.backward(g)
        for one, bags, columns in zip(
            alone, parts, (slice(4), slice(4, 5), slice(5, 13)), strict=True
        ):
            expected = one(*bags)
            assert torch.equal(out[:, columns], expected)
            expected.backward(g[:, columns])
        assert held(*tables) == held(*(one.tables[0] for one in alone))


@pytest.mark.parametrize("mode", ["max", "mean"])
def test_one_of_several_tables_is_frozen(mode, rng):
    """It does not change, and the others step as they do alone."""
    tables = [make(seed=t) for t in range(3)]
    options = {"scale_grad_by_freq": mode != "max"}
    alone = {t: TableEmbeddingBag(tables[t].copy(), mode, **options) for t in (0, 2)}
    module = TableEmbeddingBag(tables, mode, **options)
    module.weight_1.requires_grad_(False)
    before = held(tables[1])
    input = torch.from_numpy(rng.integers(0, ROWS, (3, 5, 4)))
    out = module(input.reshape(15, 4))
    g = torch.from_numpy(rng.standard_normal(out.shape).astype("f4"))
    out.backward(g)
    assert held(tables[1]) == before
    for t, one in alone.items():
        one(input[t]).backward(g[:, DIM * t : DIM * (t + 1)])
        assert held(tables[t]) == held(*one.tables)


def test_maxima_without_ids():
    """Empty bags are 0, and every backward pass is a step."""
    table = make()
    before = table.copy()
    module = TableEmbeddingBag(table, "max")
    none = torch.zeros(0, dtype=torch.int64)
    for bags in ((none, torch.zeros(3, dtype=torch.int64)), (none, none), (none.reshape(3, 0),)):
        out = module(*bags)
        assert torch.equal(out, torch.zeros(out.shape))
        out.sum().backward()
    assert table.steps == 3
    assert_same_bits(np.array(table.weights), np.array(before.weights))


def test_maxima_in_eval_mode(rng):
    table = make()
    module = TableEmbeddingBag(table, "max")
    bags, before = draw_bags(rng), held(table)
    expected = module(*bags)
    out = module.eval()(*bags)
    assert not out.requires_grad
    assert torch.equal(out, expected)
    assert held(table) == before


def test_maxima_of_a_step_before(rng):
    """The gradient goes to the rows that were the maxima in the forward pass."""
    table = make(rule=Rule(lr=1.0, power=0.0))
    table.weights[:2] = [[2.0], [1.0]]
    out = TableEmbeddingBag(table, "max")(torch.tensor([[0, 1]]))
    table.weights[:2] = [[1.0], [2.0]]
    out.sum().backward()
    assert table.weights[:2].tolist() == [[0.0] * DIM, [2.0] * DIM]


BIG = 3e38  # twice that is infinite in float32
SPOILED = {
    "nan": ([[1, 1], [1, np.nan]], r"the gradient \[1, {}\] = nan of tables\[{}\] is not finite"),
    "sum": ([[BIG, 1], [BIG, 1]], r"row 3\b"),
}


@pytest.mark.parametrize("tables", [1, 2])
@pytest.mark.parametrize("what", SPOILED)
def test_maxima_are_all_or_nothing(what, tables):
    """All tables are checked before the first one steps."""
    of_last, message = SPOILED[what]
    several = [make(), make(dim=2, seed=1, rule=Rule(on_nonfinite="raise"))][-tables:]
    bags = torch.tensor([[7, 7], [8, 7], [3, 3], [3, 3]])[-2 * tables :]
    out = TableEmbeddingBag(several, "max")(bags)
    g = torch.ones_like(out)
    g[:, -2:] = torch.tensor(of_last)
    before = held(*several)
    with pytest.raises(ValueError, match=message.format(out.shape[1] - 1, tables - 1)):
        out.backward(g)
    assert held(*several) == before


def test_maxima_skip_what_is_not_finite(rng):
    """A coordinate is left alone, and the rest of the bag learns."""
    table = make(rule=Rule(lr=1.0, power=0.0, on_nonfinite="skip"))
    before = np.array(table.weights)
    out = TableEmbeddingBag(table, "max")(torch.tensor([[3], [5]]))
    out.backward(torch.tensor([[np.nan, 1, 1, 1], [1, 1, 1, 1]], dtype=torch.float32))
    change = before - table.weights
    assert table.skipped == 1
    assert np.array_equal(change[3], np.zeros(DIM))  # by rows, as every sparse step
    np.testing.assert_allclose(change[5], 1, rtol=1e-6)


@given(seed=st.integers(0, 2**32), padding_idx=st.integers(-ROWS, ROWS - 1))
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_padded_bags_are_shorter_bags(mode, seed, padding_idx):
    """A matrix with padding gives what offsets give, wherever the padding is, and all of it too."""
    rng = np.random.default_rng(seed)
    table, same = make(), make()
    ids, offsets = draw_bags(rng)
    ends = np.r_[offsets.numpy(), len(ids)]
    matrix = torch.full((len(offsets), 6), padding_idx % ROWS)
    for b, (first, last) in enumerate(itertools.pairwise(ends)):
        places = np.sort(rng.permutation(6)[: last - first])
        matrix[b, places] = ids[first:last]
    out = TableEmbeddingBag(table, mode, padding_idx=padding_idx)(matrix)
    expected = TableEmbeddingBag(same, mode, padding_idx=padding_idx)(ids, offsets)
    assert torch.equal(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    assert held(table) == held(same)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("of_offsets", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("of_ids", [torch.int32, torch.int64], ids=str)
def test_ids_and_offsets_may_differ_in_dtype(of_ids, of_offsets, mode, rng):
    """Empty ids, too, with one bag or two."""
    table = make()
    other, _ = theirs(table, mode=mode)
    ids, offsets = draw_bags(rng)
    none, zeros = torch.zeros(0, dtype=of_ids), torch.zeros(2, dtype=of_offsets)
    for bags in ((ids.to(of_ids), offsets.to(of_offsets)), (none, zeros), (none, zeros[:1])):
        module = TableEmbeddingBag(table, mode, max_norm=9.0, scale_grad_by_freq=mode != "max")
        torch.testing.assert_close(module(*bags), other(*bags))
        module(*bags).sum().backward()


def nested(values, offsets):
    return torch.nested.nested_tensor_from_jagged(values, offsets)


@pytest.mark.parametrize("include_last_offset", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_nested_bags(weighted, include_last_offset, rng):
    """As torch takes them, whatever include_last_offset says."""
    table, same = make(), make()
    ids, offsets = draw_bags(rng)
    ends = torch.cat([offsets, torch.tensor([len(ids)])])
    factors = [None, None, None]
    if weighted:
        w = torch.from_numpy(rng.standard_normal(ids.shape).astype("f4"))
        factors = [w.clone().requires_grad_() for _ in range(3)]
    options = {"mode": "sum", "include_last_offset": include_last_offset}
    bags = nested(ids, ends)
    given = [None if w is None else nested(w, ends) for w in factors[:2]]
    out = TableEmbeddingBag(table, **options)(bags, None, given[0])
    torch.testing.assert_close(out, theirs(table, **options)[0](bags, None, given[1]))
    expected = TableEmbeddingBag(same, "sum")(ids, offsets, factors[2])
    assert torch.equal(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    assert held(table) == held(same)
    assert not weighted or torch.equal(factors[0].grad, factors[2].grad)


def test_bad_nested_bags():
    ids, ends = torch.tensor([1, 2, 3]), torch.tensor([0, 2, 3])
    bags, table = nested(ids, ends), make()
    starts, lengths = torch.tensor([0, 1]), torch.tensor([2, 1])
    gaps = torch.nested.narrow(ids.repeat(2, 1), 1, starts, lengths, layout=torch.jagged)
    for message, *arguments in (
        ("offsets must be None if input is nested", bags, ends),
        ("gaps between its bags: call input.contiguous()", gaps),
        ("layout=torch.jagged and two dimensions", nested(torch.ones(3, 2), ends)),
        ("per_sample_weights must be nested as input is", bags, None, torch.ones(3)),
        ("must be nested as input is", bags, None, nested(torch.ones(3), ends.clone())),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            TableEmbeddingBag(table, "sum")(*arguments)
    with pytest.raises(IndexError, match=r"input\[1\] = 99"):
        TableEmbeddingBag(table, "sum")(nested(torch.tensor([1, 99, 3]), ends))
    assert TableEmbeddingBag(table, "sum")(gaps.contiguous()).shape == (2, DIM)


# --- norms


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 0.5, float("inf")])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("mode", ["sum", "max"])
def test_norms_are_those_of_torch(mode, dtype, norm_type, rng):
    """The same bits; accumulators and the rows that are not used do not change."""
    table = make(dtype=dtype)
    w = torch.from_numpy(table.gather(np.arange(ROWS))).to(getattr(torch, dtype))
    options = {"mode": mode, "max_norm": 1.0, "norm_type": norm_type}
    options |= {"padding_idx": 3, "include_last_offset": True}
    other = torch.nn.EmbeddingBag.from_pretrained(w, **options)
    state = table.state.tobytes()
    bags = torch.tensor([3, 5, 1, 5, 8]), torch.tensor([0, 2, 2, 5])
    module = TableEmbeddingBag(table, **options)
    for change in (module.train, module.eval):  # torch renormalizes in eval mode, too
        change()(*bags)
        other(*bags)
        assert_same_bits(table.gather(np.arange(ROWS)), w.to(real(table)).numpy())
    assert table.state.tobytes() == state
    assert table.steps == 0


def test_norms_of_int32_ids_and_one_column(rng):
    table = make(dim=1)
    w = torch.from_numpy(np.array(table.weights))[:, None]
    module = TableEmbeddingBag(table, "sum", max_norm=0.5)
    input = torch.tensor([[0, 5, 7, 0]], dtype=torch.int32)
    out = module(input)
    expected = torch.nn.functional.embedding_bag(input, w, mode="sum", max_norm=0.5)
    assert torch.equal(out, expected)
    assert_same_bits(np.array(table.weights), w[:, 0].numpy())


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_norms_train_as_torch(mode, rng):
    table = make()
    options = {"mode": mode, "max_norm": 1.0}
    module = TableEmbeddingBag(table, **options)
    other, optimizer = theirs(table, **options)
    for _ in range(8):
        bags = draw_bags(rng)
        out, expected = module(*bags), other(*bags)
        optimizer.zero_grad()
        out.square().sum().backward()
        expected.square().sum().backward()
        optimizer.step()
    compare(table, other, optimizer, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("error", "message", "bags"),
    [
        (IndexError, r"input\[1\] = 12 .* 12 rows of tables\[0\]", ([1, 12, 3, 4], [0, 2])),
        (IndexError, r"input\[3\] = 5 .* 5 rows of tables\[1\]", ([1, 2, 3, 5], [0, 2])),
        (IndexError, r"input\[2\] = -1 .* 5 rows of tables\[1\]", ([1, 2, -1, 4], [0, 2])),
        (ValueError, r"offsets\[1\] = 9", ([1, 2, 3, 4], [0, 9])),
        (ValueError, "cannot be divided evenly", ([1, 2, 3, 4], [0])),
    ],
)
def test_norms_are_all_or_nothing(error, message, bags):
    """No row of any table is renormalized if the call is refused."""
    tables = [make(), make(5, 2, seed=1)]
    before = held(*tables)
    module = TableEmbeddingBag(tables, "sum", max_norm=0.01)
    with pytest.raises(error, match=message):
        module(*map(torch.tensor, bags))
    assert held(*tables) == before


def test_norms_of_tables_that_must_not_change(tmp_path, rng):
    """A table that only reads its file is refused, and those beside it; so is a closed one."""
    path = tmp_path / "t.safetensors"
    other = make()
    make().save(path)
    before = path.read_bytes(), held(other)
    input = torch.tensor([[1, 2], [3, 4]])
    with Table.open(path, "r") as table:
        module = TableEmbeddingBag([other, table], "sum", max_norm=0.01).eval()
        with pytest.raises(ValueError, match=r"opened with mode='r'.*open it with mode='r\+'"):
            module(input)
    with pytest.raises(ValueError, match="closed"):
        module(input)
    assert (path.read_bytes(), held(other)) == before
    with Table.open(path) as table:
        TableEmbeddingBag(table, max_norm=0.01)(input)
        assert np.linalg.norm(table.gather(np.array([1, 2, 3, 4])), axis=1).max() < 0.0101
    assert path.read_bytes() != before[0]


# --- frequencies


@pytest.mark.parametrize("padding_idx", [None, 3])
@pytest.mark.parametrize("mode", ["sum", "mean", "weights"])
def test_frequencies_scale_gradients_as_in_torch(mode, padding_idx, rng):
    """As torch.nn.Embedding does: its EmbeddingBag, on CPUs, divides by counts of other ids."""
    table = make()
    w = torch.from_numpy(np.array(table.weights)).requires_grad_()
    optimizer = torch.optim.Adagrad([w], lr=0.1)
    options = {"mode": mode.replace("weights", "sum"), "padding_idx": padding_idx}
    module = TableEmbeddingBag(table, **options, scale_grad_by_freq=True)
    for _ in range(8):
        ids, offsets = draw_bags(rng)
        bag_of = torch.bucketize(torch.arange(len(ids)), offsets, right=True) - 1
        counts = ids.ne(-1 if padding_idx is None else padding_idx).float()
        if mode == "mean":
            counts /= torch.zeros(len(offsets)).index_add(0, bag_of, counts)[bag_of].clamp(min=1)
        factors = []
        if mode == "weights":
            f = torch.from_numpy(rng.standard_normal(ids.shape).astype("f4"))
            factors = [f.clone().requires_grad_(), f.clone().requires_grad_()]
            counts = counts * factors[1]
        rows = torch.nn.functional.embedding(ids, w, padding_idx, scale_grad_by_freq=True)
        expected = torch.zeros(len(offsets), DIM).index_add(0, bag_of, rows * counts[:, None])
        out = module(ids, offsets, *factors[:1])
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
        g = torch.from_numpy(rng.standard_normal(out.shape).astype("f4"))
        out.backward(g)
        optimizer.zero_grad()
        expected.backward(g)
        optimizer.step()
        if factors:  # the gradients of weights are not scaled
            torch.testing.assert_close(*(f.grad for f in factors), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(table.weights, w.detach().numpy(), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(table.state, optimizer.state[w]["sum"].numpy(), rtol=2e-5, atol=1e-6)


# --- from_pretrained


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_from_pretrained(dtype, rng):
    """It is frozen unless told otherwise, and has a copy of the embeddings."""
    embeddings = torch.from_numpy(rng.standard_normal((5, 3))).to(dtype).requires_grad_()
    frozen = TableEmbeddingBag.from_pretrained(embeddings)
    (table,) = frozen.tables
    assert (table.rows, table.dim, table.dtype) == (5, 3, str(dtype).removeprefix("torch."))
    input = torch.tensor([[0, 1], [4, 4]])
    expected = torch.nn.functional.embedding_bag(input, embeddings.detach().to(real(table)))
    torch.testing.assert_close(frozen(input), expected, rtol=3e-7, atol=3e-7)
    assert not frozen(input).requires_grad
    rule = adagrad.preset("torch", lr=0.5)
    learns = TableEmbeddingBag.from_pretrained(embeddings.T, freeze=False, mode="max", rule=rule)
    assert learns.tables[0].rule == rule
    before = embeddings.detach().clone()
    learns(input[:1]).sum().backward()
    assert learns.tables[0].steps == 1
    assert torch.equal(embeddings, before)


def test_from_pretrained_takes_the_arguments_of_torch():
    """In the same order, and with the same defaults."""
    ours = list(inspect.signature(TableEmbeddingBag.from_pretrained).parameters.values())
    others = inspect.signature(torch.nn.EmbeddingBag.from_pretrained).parameters.values()
    assert [p.name for p in ours] == [*(p.name for p in others), "rule"]
    assert [(p.default, p.kind) for p in ours[:-1]] == [(p.default, p.kind) for p in others]
    options = (False, 2.0, 1.0, True, "sum", True, True, 1)
    module = TableEmbeddingBag.from_pretrained(torch.ones(4, 2), *options)
    names = [p.name for p in ours[2:-1]]
    assert tuple(getattr(module, name) for name in names) == options[1:]
    assert module.requires_grad


@pytest.mark.parametrize(
    ("error", "message", "embeddings", "options"),
    [
        (TypeError, "embeddings must be a torch.Tensor, got ndarray", np.ones((3, 2)), {}),
        (TypeError, "embeddings must have dtype float32", torch.ones(3, 2, dtype=torch.int64), {}),
        (ValueError, "must be a dense tensor on the CPU", torch.ones(3, 2, device="meta"), {}),
        (ValueError, r"two dimensions, got shape \(3,\)", torch.ones(3), {}),
        (ValueError, "rows must be", torch.ones(0, 3), {}),
        (TypeError, "freeze must be a bool", torch.ones(3, 2), {"freeze": None}),
        (TypeError, "rule must be", torch.ones(3, 2), {"rule": 0.1}),
        (ValueError, "mode must be", torch.ones(3, 2), {"mode": "avg"}),
    ],
)
def test_bad_arguments_of_from_pretrained(error, message, embeddings, options):
    with pytest.raises(error, match=message):
        TableEmbeddingBag.from_pretrained(embeddings, **options)


# --- options


def test_repr_begins_as_that_of_torch():
    options = {"max_norm": 2.0, "norm_type": 1.0, "scale_grad_by_freq": True, "padding_idx": 3}
    for chosen in ({}, options, {"mode": "max"}):
        expected = repr(torch.nn.EmbeddingBag(ROWS, DIM, **chosen))
        expected = expected.removeprefix("EmbeddingBag(").removesuffix(")")
        assert repr(TableEmbeddingBag(make(), **chosen)).startswith(
            f"TableEmbeddingBag({expected}, "
        )
    two = repr(TableEmbeddingBag([make(), make(5)], "max")).splitlines()
    assert two[0] == "TableEmbeddingBag("
    assert two[1] == "  mode='max'"
    assert two[2].startswith("  (0): Table(12, ")
    assert two[3].startswith("  (1): Table(5, ")


def test_earlier_pickles_have_fewer_options(rng):
    module, input = TableEmbeddingBag(make()), torch.from_numpy(rng.integers(0, ROWS, (3, 4)))
    expected = module(input)
    state = module.__getstate__()
    for name in ("max_norm", "norm_type", "scale_grad_by_freq", "sparse"):
        del state[name]
    earlier = TableEmbeddingBag.__new__(TableEmbeddingBag)
    earlier.__setstate__(state)
    assert torch.equal(earlier(input), expected)
    assert repr(earlier) == repr(module)


@pytest.mark.parametrize("grad", ["no_grad", "inference_mode"])
def test_options_where_autograd_is_off(grad, rng):
    """Norms are bounded there too, and no table steps."""
    table, bags = make(), draw_bags(rng)
    w = torch.from_numpy(np.array(table.weights))
    with getattr(torch, grad)():
        out = TableEmbeddingBag(table, "max", max_norm=1.0)(*bags)
        expected = torch.nn.functional.embedding_bag(
            *bags[:1], w, bags[1], mode="max", max_norm=1.0
        )
    assert torch.equal(out, expected)
    assert_same_bits(np.array(table.weights), w.numpy())
    TableEmbeddingBag(table, "max", max_norm=1.0)(*bags).sum().backward()
    assert table.steps == 1


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "mode must be 'mean', 'sum' or 'max', got 'min'", {"mode": "min"}),
        (ValueError, "must be False with mode='max'", {"mode": "max", "scale_grad_by_freq": True}),
        (TypeError, "scale_grad_by_freq must be a bool", {"scale_grad_by_freq": 1}),
        (TypeError, "sparse must be a bool", {"sparse": None}),
        (TypeError, "max_norm must be a real number", {"max_norm": "2"}),
        (ValueError, "max_norm must be positive, got 0", {"max_norm": 0}),
        (ValueError, "max_norm must not be negative", {"max_norm": -1.0}),
        (ValueError, "norm_type must be positive, got 0.0", {"norm_type": 0.0}),
        (ValueError, "norm_type must be finite, got nan", {"norm_type": float("nan")}),
    ],
)
def test_bad_options(error, message, options):
    with pytest.raises(error, match=message):
        TableEmbeddingBag(make(), **options)


def test_sizes_instead_of_a_table():
    """The error names the call for someone who types the arguments of torch.nn.EmbeddingBag."""
    with pytest.raises(TypeError, match=r"got 1000: make one with adagrad\.Table\(1000, dim\)"):
        TableEmbeddingBag(1000, 16)


@pytest.mark.parametrize("options", [{}, {"padding_idx": 1}, {"mode": "max"}, {"max_norm": 1.0}])
def test_closed_tables_are_refused(options):
    table = make()
    module = TableEmbeddingBag(table, **options)
    table.close()
    with pytest.raises(ValueError, match="this table is closed"):
        module(torch.tensor([[1, 2]]))


def test_weights_need_sums():
    for mode in ("mean", "max"):
        with pytest.raises(ValueError, match=rf"mode='sum', got mode='{mode}'"):
            TableEmbeddingBag(make(), mode)(torch.tensor([[1]]), None, torch.ones(1, 1))
