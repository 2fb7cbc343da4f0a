"""TableEmbeddingBag compared with torch.nn.EmbeddingBag and torch.optim.Adagrad."""

from __future__ import annotations

import copy
import io
import pickle
import re
import runpy

import numpy as np
import pytest

import adagrad
from adagrad import Rule, Table
from checks import ROOT, need_packages

need_packages("torch")

import torch

import torch_tables
from adagrad.torch import TableEmbeddingBag
from torch_tables import held

# torch's own optimizer makes sparse tensors without this choice, and warns.
torch.sparse.check_sparse_tensor_invariants.disable()

ROWS, DIM = 30, 4  # few rows: most ids of a batch repeat


def make(rows=ROWS, dim=DIM, seed=0, **options):
    return torch_tables.make(rows, dim, seed, **options)


def theirs(table, **options):
    return torch_tables.theirs(table, sparse=True, **options)


def ids(rng, *shape, dtype=np.int64):
    return torch.from_numpy(rng.integers(0, ROWS, shape).astype(dtype))


def values(module):
    return [np.array(table.weights) for table in module.tables]


LAYOUTS = {
    "matrix": lambda rng: (ids(rng, 6, 5), None),
    "offsets": lambda rng: (ids(rng, 40), torch.tensor([0, 3, 3, 17, 40])),
    "int32": lambda rng: (ids(rng, 9, dtype=np.int32), torch.tensor([0, 5], dtype=torch.int32)),
    "strided": lambda rng: (ids(rng, 5, 6).T, None),
    "no id": lambda rng: (ids(rng, 0), torch.tensor([0, 0, 0])),
    "no bag": lambda rng: (ids(rng, 0), ids(rng, 0)),
    "bags of none": lambda rng: (ids(rng, 3, 0), None),
}


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "bags of none"])
@pytest.mark.parametrize("padding_idx", [None, 7, -1])
@pytest.mark.parametrize("mode", ["sum", "mean", "weights"])
def test_trains_as_torch(layout, mode, padding_idx, rng):
    options = {"mode": mode.replace("weights", "sum"), "padding_idx": padding_idx}
    table = make()
    module = TableEmbeddingBag(table, **options)
    other, optimizer = theirs(table, **options)
    for _ in range(8):
        bags = LAYOUTS[layout](rng)
        factors = []
        if mode == "weights":
            w = torch.from_numpy(rng.standard_normal(bags[0].shape).astype("f4"))
            factors = [w.clone().requires_grad_(), w.clone().requires_grad_()]
        out = module(*bags, *factors[:1])
        expected = other(*bags, *factors[1:])
        # torch adds products without rounding them, and multiplies by one over the size.
        tolerance = 3e-7 * (10 if mode == "weights" else 1)
        torch.testing.assert_close(out, expected, rtol=tolerance, atol=tolerance)
        g = torch.from_numpy(rng.standard_normal(out.shape).astype("f4"))
        out.backward(g)
        optimizer.zero_grad()
        expected.backward(g)
        optimizer.step()
        if factors:
            ours, others = (w.grad for w in factors)
            torch.testing.assert_close(ours, others, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(table.weights, other.weight.detach().numpy(), rtol=1e-5, atol=1e-6)
    sums = optimizer.state[other.weight]["sum"].numpy()
    np.testing.assert_allclose(table.state, sums, rtol=1e-5, atol=1e-6)
    assert table.steps == 8


def test_sums_equal_torch(rng):
    """Without weights, the order of additions is the same, and nothing else is rounded."""
    table = make()
    bags = LAYOUTS["offsets"](rng)
    other, _ = theirs(table, mode="sum")
    assert torch.equal(TableEmbeddingBag(table, "sum")(*bags), other(*bags))


def test_include_last_offset(rng):
    input = ids(rng, 12)
    offsets = torch.tensor([0, 4, 4, 9])
    ends = torch.cat((offsets, torch.tensor([12])))
    tables = [make(), make()]
    outs = [
        TableEmbeddingBag(tables[0])(input, offsets),
        TableEmbeddingBag(tables[1], include_last_offset=True)(input, ends),
    ]
    other, _ = theirs(tables[0], mode="mean", include_last_offset=True)
    assert torch.equal(outs[0], outs[1])
    torch.testing.assert_close(outs[1], other(input, ends), rtol=3e-7, atol=3e-7)
    for out in outs:
        out.sum().backward()  # the gradient is one expanded number
    assert held(tables[0]) == held(tables[1])


def test_bags_without_ids():
    out = TableEmbeddingBag(make())(*LAYOUTS["bags of none"](np.random.default_rng(0)))
    assert torch.equal(out, torch.zeros(3, DIM))


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize(
    "storage",
    [
        {"dtype": "float64"},
        {"dtype": "float32", "state": "row"},
        {"dtype": "bfloat16"},
        {"dtype": "float16", "state_dtype": "float16"},
        {"dim": 1},
    ],
    ids=str,
)
def test_is_pool_and_step_pooled(storage, mode, rng):
    table = make(**storage)
    same = table.copy()
    module = TableEmbeddingBag(table, mode)
    input, offsets = LAYOUTS["offsets"](rng)
    ends = np.r_[offsets.numpy(), len(input)]
    for _ in range(3):
        out = module(input, offsets)
        expected = same.pool(input.numpy(), ends, mode)
        assert out.shape == (len(offsets), table.dim)
        assert out.dtype == (torch.float64 if table.dtype == "float64" else torch.float32)
        assert np.array_equal(out.detach().numpy(), expected.reshape(out.shape))
        g = torch.from_numpy(rng.standard_normal(out.shape)).to(out.dtype)
        out.backward(g)
        same.step_pooled(input.numpy(), ends, g.numpy().reshape(expected.shape), mode)
        assert held(table) == held(same)


@pytest.mark.parametrize("padding_idx", [None, -1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_several_tables(padding_idx, weighted, rng):
    """Each table gives what a module with this table alone gives for its part."""
    tables = [make(9, 4), make(20, 1, seed=1), make(5, 8, seed=2, state="row")]
    alone = [TableEmbeddingBag(t.copy(), "sum", padding_idx=padding_idx) for t in tables]
    module = TableEmbeddingBag(tables, "sum", padding_idx=padding_idx)
    for _ in range(3):
        sizes = rng.integers(0, 5, 3 * 7)
        sizes[7:10] = 0
        lengths = sizes.reshape(3, 7).sum(1)
        parts = [
            torch.from_numpy(rng.integers(0, t.rows, n))
            for t, n in zip(tables, lengths, strict=True)
        ]
        offsets = torch.from_numpy(np.cumsum(sizes) - sizes)
        w = None
        if weighted:
            w = torch.from_numpy(rng.standard_normal(sizes.sum()).astype("f4")).requires_grad_()
        out = module(torch.cat(parts), offsets, w)
        assert out.shape == (7, 13)
        g = torch.from_numpy(rng.standard_normal((7, 13)).astype("f4"))
        out.backward(g)
        columns, first = 0, 0
        for t, one in enumerate(alone):
            part = slice(first, first + int(lengths[t]))
            first = part.stop
            own = offsets[7 * t : 7 * t + 7] - part.start
            factors = w.detach()[part].clone().requires_grad_() if weighted else None
            expected = one(parts[t], own, factors)
            width = slice(columns, columns + tables[t].dim)
            columns = width.stop
            assert torch.equal(out[:, width], expected)
            expected.backward(g[:, width])
            assert held(tables[t]) == held(one.tables[0])
            if weighted:
                assert torch.equal(w.grad[part], factors.grad)


def test_matrix_of_several_tables(rng):
    """With one id per feature, the transposed matrix has the bags table by table."""
    tables = [make(), make(seed=1)]
    features = ids(rng, 6, 2)
    out = TableEmbeddingBag(tables, "sum")(features.T.reshape(-1, 1))
    found = [t.gather(features[:, k].numpy().copy()) for k, t in enumerate(tables)]
    assert np.array_equal(out.detach().numpy(), np.concatenate(found, 1))


@pytest.mark.parametrize("grad", ["no_grad", "inference_mode", "eval", "frozen"])
def test_nothing_is_updated(grad, rng):
    table = make()
    module = TableEmbeddingBag(table, "sum")
    before = held(table)
    input = ids(rng, 3, 4)
    if grad == "eval":
        out = module.eval()(input)
    elif grad == "frozen":
        assert module.requires_grad_(False) is module
        out = module(input)
    else:
        with getattr(torch, grad)():
            out = module(input)
    assert not out.requires_grad
    assert held(table) == before
    again = module.train().requires_grad_()(input)
    assert torch.equal(out, again)
    again.sum().backward()
    assert table.steps == 1


def test_frozen_beside_what_trains(rng):
    """Frozen tables do not change, while weights and another module learn."""
    frozen, trains = make(), make(seed=1)
    w = torch.ones(3, 4, requires_grad=True)
    before = held(frozen)
    module = TableEmbeddingBag(frozen, "sum").requires_grad_(False)
    copied = pickle.loads(pickle.dumps(module))
    assert "mode='sum', requires_grad=False, " in repr(copied)
    for bags in (module, copied):
        (bags(ids(rng, 3, 4), None, w) + TableEmbeddingBag(trains)(ids(rng, 3, 4))).sum().backward()
        assert held(*bags.tables) == before
    assert trains.steps == 2
    assert w.grad.abs().min() > 0


def test_weights_learn_from_a_table_in_eval_mode(rng):
    table = make()
    before = held(table)
    w = torch.ones(3, 4, requires_grad=True)
    input = ids(rng, 3, 4)
    TableEmbeddingBag(table, "sum").eval()(input, per_sample_weights=w).sum().backward()
    rows = table.gather(input.numpy().ravel()).sum(1).reshape(3, 4)
    torch.testing.assert_close(w.grad, torch.from_numpy(rows))
    assert held(table) == before


@pytest.mark.parametrize("between", ["another call", "retain_graph", "edit"])
def test_weights_learn_from_the_rows_of_the_forward_pass(between, rng):
    """The gradient of weights does not depend on later changes of the tables."""
    tables = [make(), make(dim=1, seed=1)]
    module = TableEmbeddingBag(tables, "sum")
    parts = [rng.integers(0, ROWS, 6) for _ in tables]
    rows = [t.gather(part).reshape(6, -1) for t, part in zip(tables, parts, strict=True)]
    expected = torch.from_numpy(np.concatenate([r.sum(1) for r in rows]))
    input = torch.from_numpy(np.concatenate(parts)).reshape(4, 3)
    w = torch.ones(4, 3, requires_grad=True)
    loss = module(input, per_sample_weights=w).sum()
    factor = 1
    if between == "another call":
        loss, factor = loss + module(input, per_sample_weights=w).sum(), 2
    elif between == "retain_graph":
        loss.backward(retain_graph=True)
        factor = 2
    else:
        for table in tables:
            table.weights[:] = 7.0
    loss.backward()
    torch.testing.assert_close(w.grad.reshape(-1), factor * expected)


def test_no_rows_are_kept_where_autograd_is_off(rng, monkeypatch):
    w = torch.ones(3, 4, requires_grad=True)
    monkeypatch.setattr(Table, "gather", None)
    with torch.no_grad():
        TableEmbeddingBag(make(), "sum")(ids(rng, 3, 4), per_sample_weights=w)


def test_backward_passes_are_steps(rng):
    table = make()
    module = TableEmbeddingBag(table)
    loss = module(ids(rng, 2, 3)).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert table.steps == 2
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    (module(ids(rng, 2, 3)) + module(ids(rng, 2, 3))).sum().backward()
    assert table.steps == 4


def test_steps_of_chosen_gradients(rng):
    """A step needs a backward pass that reaches all leaves, or the weights of the same call."""
    table, w = make(), torch.ones(2, 3, requires_grad=True)
    module, linear = TableEmbeddingBag(table, "sum"), torch.nn.Linear(DIM, 1)
    for given, leaf, steps in ((None, linear.weight, 0), (w, linear.weight, 0), (w, w, 1)):
        before = table.steps
        torch.autograd.grad(linear(module(ids(rng, 2, 3), None, given)).sum(), leaf)
        linear(module(ids(rng, 2, 3), None, given)).sum().backward(inputs=[leaf])
        assert table.steps - before == 2 * steps


def test_not_differentiable_twice(rng):
    w = torch.ones(2, 3, requires_grad=True)
    x = torch.ones(2, DIM, requires_grad=True)
    out = TableEmbeddingBag(make(), "sum")(ids(rng, 2, 3), per_sample_weights=w)
    (g,) = torch.autograd.grad((out * x).sum(), w, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        g.sum().backward()


def test_ids_that_change_before_the_backward_pass(rng):
    table = make()
    input = ids(rng, 2, 3)
    out = TableEmbeddingBag(table)(input)
    before = held(table)
    input[0, 0] = ROWS + 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
    assert held(table) == before


def test_a_rule_may_change_between_steps(rng):
    table, same = make(), make()
    module = TableEmbeddingBag(table)
    for lr in (0.5, 0.25):
        input = ids(rng, 2, 3)
        table.rule = table.rule.replace(lr=lr)
        module(input).sum().backward()
        g = np.ones((2, DIM), "f4")
        same.step_pooled(input.numpy().ravel(), np.array([0, 3, 6]), g, "mean", lr=lr)
    assert np.array_equal(table.weights, same.weights)


@pytest.mark.parametrize("how", ["checkpoint", "compile"])
def test_checkpointed_or_compiled(how, rng):
    """Neither recomputing nor tracing a forward pass takes a step."""
    from torch.utils.checkpoint import checkpoint

    table, same = make(), make()
    module, plain = TableEmbeddingBag(table), TableEmbeddingBag(same)
    input = ids(rng, 3, 5)
    if how == "checkpoint":
        out = checkpoint(module, input, use_reentrant=False)
    else:
        out = torch.compile(module, backend="eager")(input)
    assert torch.equal(out, plain(input))
    out.sum().backward()
    plain(input).sum().backward()
    assert held(table) == held(same)


def test_default_device_is_another(rng):
    """Tensors that the module creates are on the CPU, where the table is."""
    table, same = make(), make()
    input = ids(rng, 3, 5)
    expected = TableEmbeddingBag(same, padding_idx=3)(input)
    expected.sum().backward()
    g = torch.ones(3, DIM)
    with torch.device("meta"):
        out = TableEmbeddingBag(table, padding_idx=3)(input)
        out.backward(g)
    assert torch.equal(out, expected)
    assert held(table) == held(same)


def test_two_threads_give_the_same_bits(rng, threads, fine_grain):
    found = []
    for n in (1, 2):
        adagrad.set_num_threads(n)
        table = make()
        module = TableEmbeddingBag(table)
        for seed in range(3):
            module(ids(np.random.default_rng(seed), 50, 9)).square().sum().backward()
        found.append(held(table))
    assert found[0] == found[1]


# --- state


def trained(rng, **options):
    tables = [make(**options), make(7, 3, seed=5, state="row")]
    module = TableEmbeddingBag(tables, "sum", include_last_offset=True)
    one = torch.ones(4, 10, dtype=torch.int64)
    for _ in range(3):
        module.eval().train()(one[:, 0], torch.arange(5)).sum().backward()
    return module


@pytest.mark.parametrize("storage", [{}, {"dtype": "bfloat16"}, {"dtype": "float16"}], ids=str)
@pytest.mark.parametrize("way", ["state_dict", "pickle", "deepcopy", "torch.save"])
def test_state_round_trip(storage, way, rng):
    module = trained(rng, **storage)
    before = held(*module.tables)
    if way == "state_dict":
        file = io.BytesIO()
        torch.save(torch.nn.Sequential(module).state_dict(), file)
        file.seek(0)
        other = TableEmbeddingBag(
            [Table(ROWS, DIM, **storage), Table(7, 3, state="row")], "sum", True
        )
        torch.nn.Sequential(other).load_state_dict(torch.load(file))  # weights_only
    elif way == "pickle":
        other = pickle.loads(pickle.dumps(module))
    elif way == "deepcopy":
        other = copy.deepcopy(module)
    else:
        file = io.BytesIO()
        torch.save(module, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    assert held(*other.tables) == before
    assert [t.seed for t in other.tables] == [0, 5]
    for m in (module, other):
        m(torch.tensor([3, 5, 3, 1]), torch.tensor([0, 2, 4])).sum().backward()
    assert held(*other.tables) == held(*module.tables) != before


def test_mapped_tables(tmp_path, rng):
    path = tmp_path / "t.safetensors"
    with Table(ROWS, DIM, path=path) as table:
        module = TableEmbeddingBag(table)
        module(ids(rng, 2, 3)).sum().backward()
        after = held(table)[0][:2]
        with pytest.raises(TypeError, match="mapped"):
            pickle.dumps(module)
    assert held(Table.load(path))[0][:2] == after
    with pytest.raises(ValueError, match="closed"):
        module(ids(rng, 2, 3))


def test_repr():
    text = repr(TableEmbeddingBag(make(), padding_idx=3))
    assert text.startswith("TableEmbeddingBag(30, 4, mode='mean', padding_idx=3, Table(30, dim=4,")
    text = repr(TableEmbeddingBag([make(), make()], "sum", True))
    assert text.startswith(
        "TableEmbeddingBag(\n  mode='sum', include_last_offset=True\n  (0): Table("
    )


# --- bad input

INPUT, OFFSETS = torch.tensor([1, 2, 3]), torch.tensor([0, 1])
BAD_CALLS = [
    (IndexError, r"input\[1\] = 30 .* 30 rows of the table", torch.tensor([0, 30, -1]), OFFSETS),
    (IndexError, r"input\[2\] = -1 ", torch.tensor([0, 7, -1]), OFFSETS),
    (IndexError, r"input\[1, 0\] = 99 ", torch.tensor([[1, 7], [99, 3]])),
    (ValueError, r"offsets\[1\] = 9, .* 0 to 3", INPUT, torch.tensor([0, 9])),
    (ValueError, r"offsets\[0\] = 1, ", INPUT, torch.tensor([1, 2])),
    (ValueError, r"offsets\[2\] = 1, ", INPUT, torch.tensor([0, 2, 1])),
    (ValueError, r"offsets\[1\] = -1, ", INPUT, torch.tensor([0, -1])),
    (ValueError, "offsets is empty, but input has 3 ids", INPUT, OFFSETS[:0]),
    (ValueError, "offsets is required", INPUT),
    (ValueError, "offsets must be None", INPUT[None], OFFSETS),
    (ValueError, "offsets must have one dimension", INPUT, OFFSETS[None]),
    (ValueError, "1 or 2 dimensions", INPUT[None, None]),
    (ValueError, "1 or 2 dimensions", torch.tensor(1)),
    (TypeError, "input must be a torch.Tensor, got ndarray", INPUT.numpy()),
    (TypeError, "offsets must be a torch.Tensor, got list", INPUT, [0]),
    (TypeError, "input must have dtype int64 or int32, got torch.float32", INPUT.float()),
    (TypeError, "offsets must have dtype", INPUT, OFFSETS.short()),
    (ValueError, "on meta", INPUT.to("meta"), OFFSETS),
    (ValueError, "offsets .*on meta", INPUT, OFFSETS.to("meta")),
    (ValueError, "sparse", INPUT.to_sparse(), OFFSETS),
    (ValueError, r"shape \(2,\), but input has \(3,\)", INPUT, OFFSETS, torch.ones(2)),
    (TypeError, "per_sample_weights must have dtype float32", INPUT, OFFSETS, torch.ones(3).half()),
]


@pytest.mark.parametrize("padding_idx", [None, 7])
@pytest.mark.parametrize("options", [{}, {"mode": "max"}, {"max_norm": 0.01}], ids=str)
@pytest.mark.parametrize("case", BAD_CALLS, ids=lambda case: case[1])
def test_bad_input(case, options, padding_idx):
    error, message, *arguments = case
    if len(arguments) == 3 and "mode" in options:
        error, message = ValueError, "per_sample_weights needs mode='sum'"
    table = make()
    before = held(table)
    module = TableEmbeddingBag(table, **{"mode": "sum", **options}, padding_idx=padding_idx)
    with pytest.raises(error, match=message):
        module(*arguments)
    assert held(table) == before


def test_bad_input_of_some_options():
    with pytest.raises(ValueError, match=r"mode='sum', got mode='mean'"):
        TableEmbeddingBag(make())(INPUT, OFFSETS, torch.ones(3))
    with pytest.raises(ValueError, match=r"offsets\[1\] = 2, .* 0 to 3"):
        TableEmbeddingBag(make(), include_last_offset=True)(INPUT, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="offsets is empty"):
        TableEmbeddingBag(make(), include_last_offset=True)(INPUT, INPUT[:0])
    two = TableEmbeddingBag([make(), make(5)])
    with pytest.raises(ValueError, match="1 bags cannot be divided evenly among 2 tables"):
        two(INPUT, torch.tensor([0]))
    with pytest.raises(IndexError, match=r"input\[2\] = 5 .* 5 rows of tables\[1\]"):
        two(torch.tensor([29, 4, 5]), torch.tensor([0, 1]))


RAISES = Rule(on_nonfinite="raise")
BIG = 3e38  # twice that is infinite in float32
SPOILED = {
    "nan": (RAISES, [[1, 1], [1, np.nan]], None, r"gradient \[1, 5\] = nan of tables\[1\]"),
    "sum": (RAISES, [[BIG, 1], [BIG, 1]], None, r"sum of the gradients of row 3 of tables\[1\]"),
    "product": (RAISES, [[BIG, 1], [1, 1]], 4.0, r"row 3 of tables\[1\] times its weight 4\.0"),
    "weight": (RAISES, [[0, 0], [0, 0]], np.inf, r"row 3 of tables\[1\] times its weight inf"),
    "rate": (Rule(lr=1e-60), [[1, 1], [1, 1]], None, r"tables\[1\]: lr=1e-60 is 0 in float32"),
    "decay": (Rule(lr_decay=1e60), [[1, 1]] * 2, None, r"tables\[1\]: lr=1e-61 is 0 in float32"),
}


@pytest.mark.parametrize("dim", [2, 1])
@pytest.mark.parametrize("what", SPOILED)
def test_a_step_of_several_tables_is_all_or_nothing(what, dim):
    """All tables are checked before the first one steps."""
    rule, of_second, weight, message = SPOILED[what]
    of_second = np.array(of_second, "f4")[:, 2 - dim if what == "nan" else 0 :][:, :dim]
    message = message.replace("5", "4") if dim == 1 else message
    tables = [make(), make(dim=dim, seed=1, rule=rule)]
    if what == "decay":
        tables[1].steps = 1
    w = None if weight is None else torch.tensor([[1.0], [1.0], [weight], [weight]])
    out = TableEmbeddingBag(tables, "sum")(torch.tensor([[7], [8], [3], [3]]), None, w)
    before = held(*tables)
    g = torch.ones_like(out)
    g[:, DIM:] = torch.from_numpy(of_second)
    with pytest.raises(ValueError, match=message):
        out.backward(g)
    assert held(*tables) == before


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("storage", [{}, {"dtype": "float64"}, {"dtype": "bfloat16"}], ids=str)
def test_what_is_finite_is_not_refused(storage, mode, rng):
    """Means are computed before sums, and only the "sum" policy checks a sum."""
    for duplicates in ("sum", "sequential"):
        rule = Rule(on_nonfinite="raise", duplicates=duplicates)
        tables = [make(rule=rule, **storage), make(rule=rule, dim=1, **storage)]
        same = [t.copy() for t in tables]
        out = TableEmbeddingBag(tables, mode)(torch.tensor([[3, 3], [5, 7]]).repeat(2, 1))
        g = torch.full_like(out, BIG if mode == "mean" or duplicates != "sum" else BIG / 4)
        out.backward(g)
        ends = np.array([0, 2, 4])
        for table, part in zip(same, (g[:, :DIM].numpy(), g[:, DIM].numpy()), strict=True):
            table.step_pooled(np.array([3, 3, 5, 7]), ends, part.copy(), mode)
        assert held(*tables) == held(*same)


def test_no_table_is_stepped_beside_a_closed_one(rng):
    tables = [make(), make()]
    out = TableEmbeddingBag(tables, "sum")(ids(rng, 4, 2))
    before = held(*tables)
    tables[1].close()
    with pytest.raises(ValueError, match="closed"):
        out.backward(torch.ones_like(out))
    assert held(tables[0]) == before[:1]


def test_a_gradient_may_be_the_memory_of_a_table(rng):
    """With one bag, the columns of a table would be a view of the gradient."""
    tables = [make(), make(seed=1)]
    same = [t.copy() for t in tables]
    input = ids(rng, 2, 3)
    g = np.array(tables[1]._memory.view("f4")[: 2 * DIM]).reshape(1, 2, DIM)
    out = TableEmbeddingBag(tables, "sum")(input)
    out.backward(torch.from_numpy(tables[1]._memory.view("f4")[: 2 * DIM]).reshape(1, -1))
    for t, table in enumerate(same):
        table.step_pooled(input[t].numpy(), np.array([0, 3]), g[:, t].copy())
    assert held(*tables) == held(*same)


@pytest.mark.parametrize(
    ("error", "message", "tables", "options"),
    [
        (TypeError, "adagrad.Table or a sequence", None, {}),
        (TypeError, "adagrad.Table or a sequence", [None], {}),
        (TypeError, "adagrad.Table or a sequence", 10, {}),
        (TypeError, "adagrad.Table or a sequence", torch.nn.EmbeddingBag(30, DIM), {}),
        (
            TypeError,
            "(?s)Parameter.*: use from_pretrained",
            torch.nn.Embedding(3, 2).weight,
            {},
        ),
        (ValueError, "must not be empty", [], {}),
        (ValueError, r"tables\[1\] is given twice", [make()] * 2, {}),
        (ValueError, r"tables\[1\] has dtype float64", [make(), make(dtype="float64")], {}),
        (TypeError, "include_last_offset must be", make(), {"include_last_offset": 1}),
        (TypeError, "padding_idx must be", make(), {"padding_idx": 1.0}),
        (IndexError, "padding_idx=30 is out of range for 30 rows", make(), {"padding_idx": 30}),
        (IndexError, "padding_idx=-6 .* 5 rows", [make(), make(5)], {"padding_idx": -6}),
    ],
)
def test_bad_options(error, message, tables, options):
    with pytest.raises(error, match=message):
        TableEmbeddingBag(tables, **options)


# --- the example


def test_dlrm_learns_as_torch(threads, capsys):
    need_packages("sklearn", "pyarrow")
    before = torch.get_num_threads()
    logs = runpy.run_path(str(ROOT / "examples" / "dlrm.py"))["main"](["--quick"])
    torch.set_num_threads(before)
    for (ours, theirs), (examples, rate) in zip(logs, [(4096, 0.05), (10000, 0.0435)], strict=True):
        assert ours.shape == (examples,)
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
        # It has learned the base rate, and some features.
        last = ours[-examples // 4 :]
        assert last.mean() == pytest.approx(rate, abs=0.02)
        assert last.std() > 0.01
    out = capsys.readouterr().out
    assert out.count("TableEmbeddingBag") == 2
    assert len(re.findall(r"^torch takes \d+\.\d\d times as long", out, re.MULTILINE)) == 2
