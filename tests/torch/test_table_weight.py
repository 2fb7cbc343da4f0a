"""The weights of tables as parameters: they show the tables, and whatever writes to them does."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest

import adagrad
from adagrad import Table
from checks import need_packages

need_packages("torch")

import torch
import torch.nn.utils.parametrize
import torch.nn.utils.prune

from adagrad.torch import TableEmbeddingBag
from torch_tables import DIM, ROWS, held, make

STORAGES = [
    {},
    {"state": "row"},
    {"dtype": "float64"},
    {"dtype": "bfloat16"},
    {"dtype": "float16", "state": "row"},
    {"dtype": "float16", "state_dtype": "float16", "dim": 3},
    {"dtype": "bfloat16", "dim": 1},
    {"dim": 1},
]


def gathered(table):
    """Return the params as the table itself reads them."""
    return torch.from_numpy(table.gather(np.arange(table.rows))).reshape(table.rows, table.dim)


def train(bags, seed=0):
    rng = np.random.default_rng(seed)
    rows = min(t.rows for t in bags.tables)
    input = torch.from_numpy(rng.integers(0, rows, (3 * len(bags.tables), 5)))
    bags(input).square().sum().backward()


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_the_weight_is_the_table(storage):
    table = make(**storage)
    bags = TableEmbeddingBag(table)
    ((name, weight),) = bags.named_parameters()
    assert name == "weight"
    assert weight is bags.weight
    assert weight.shape == (table.rows, table.dim)
    assert str(weight.dtype) == f"torch.{table.dtype}"
    assert isinstance(weight, torch.nn.Parameter)
    assert weight.is_leaf
    train(bags)
    assert torch.equal(weight.to(gathered(table).dtype), gathered(table))
    behind = table.dim * weight.element_size()
    accumulators = table._memory.reshape(ROWS, -1)[:, behind:].copy()
    with torch.no_grad():
        weight.fill_(0.5)
    assert (gathered(table) == 0.5).all()
    assert np.array_equal(table._memory.reshape(ROWS, -1)[:, behind:], accumulators)
    assert weight.grad is None


def test_several_tables_have_a_weight_each():
    tables = [make(), make(5, 2, seed=1)]
    bags = TableEmbeddingBag(tables)
    assert [name for name, _ in bags.named_parameters()] == ["weight_0", "weight_1"]
    for table, weight in zip(tables, bags.parameters(), strict=True):
        assert torch.equal(weight, gathered(table))


def test_a_table_has_one_weight():
    table = make()
    model = torch.nn.ModuleList([TableEmbeddingBag(table), TableEmbeddingBag(table)])
    assert len(list(model.parameters())) == 1


@pytest.mark.parametrize("frozen", [(0,), (1,), (0, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_requires_grad_is_the_freeze_switch(frozen, weighted):
    """The tables that train take the bits that they take alone."""
    tables = [make(), make(9, 2, seed=1), make(7, 3, seed=2, state="row")]
    alone = [t.copy() for t in tables]
    bags = TableEmbeddingBag(tables, "sum")
    for t in frozen:
        bags.get_parameter(f"weight_{t}").requires_grad_(False)
    assert bags.requires_grad == (len(frozen) < 3)
    before = held(*tables)
    rng = np.random.default_rng(0)
    offsets = np.array([0, 2, 2, 5, 9, 10])
    input = rng.integers(0, 7, 11)
    w = torch.from_numpy(rng.standard_normal(11).astype("f4"))
    g = torch.from_numpy(rng.standard_normal((2, 9)).astype("f4"))
    out = bags(
        torch.from_numpy(input), torch.from_numpy(offsets), w.requires_grad_() if weighted else None
    )
    assert out.requires_grad == (weighted or len(frozen) < 3)
    if out.requires_grad:
        out.backward(g)
    columns = 0
    ends = np.r_[offsets, 11]
    for t, table in enumerate(alone):
        own = ends[2 * t : 2 * t + 3]
        part = slice(own[0], own[-1])
        gradient = g[:, columns : columns + table.dim].numpy().copy()
        columns += table.dim
        factors = w.detach().numpy()[part] if weighted else None
        table.step_pooled(input[part], own - own[0], gradient, "sum", factors)
    after = held(*tables)
    for t in range(3):
        assert after[t] == (before[t] if t in frozen else held(alone[t])[0])


def test_an_enclosing_module_freezes():
    table = make()
    model = torch.nn.Sequential(TableEmbeddingBag(table), torch.nn.Linear(DIM, 1))
    before = held(table)
    model.requires_grad_(False)
    assert not model[0].requires_grad
    assert not model(torch.tensor([[1, 2]])).requires_grad
    model[1].requires_grad_()
    model(torch.tensor([[1, 2]])).sum().backward()
    assert held(table) == before
    model.requires_grad_()
    model(torch.tensor([[1, 2]])).sum().backward()
    assert table.steps == 1


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_copies_have_tables_of_their_own(way):
    """Ties within the copy stay: of a weight to its table, and between two modules."""
    table = make()
    model = torch.nn.Module()
    model.bags = TableEmbeddingBag(table).requires_grad_(False)
    model.tied = model.bags.weight
    model.table = table
    if way == "deepcopy":
        other = copy.deepcopy(model)
    elif way == "pickle":
        other = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    assert other.tied is other.bags.weight
    assert other.table is other.bags.tables[0] is other.tied.table
    assert not other.tied.requires_grad
    before = held(table)
    with torch.no_grad():
        other.tied.zero_()
    assert not gathered(other.table).any()
    train(other.bags.requires_grad_())
    assert other.table.steps == 1
    assert held(table) == before
    assert torch.equal(other.tied, gathered(other.table))


def test_tables_can_be_replaced():
    old, new = make(), make(5, 2, seed=1)
    bags = TableEmbeddingBag(old).requires_grad_(False)
    bags.tables = new
    assert torch.equal(bags.weight, gathered(new))
    assert not bags.requires_grad
    with pytest.raises(ValueError, match="must be 1 tables again, got 2"):
        bags.tables = [old, make()]
    with pytest.raises(TypeError, match=r"must be an adagrad\.Table"):
        bags.tables = [None]
    assert bags.tables == (new,)


def test_a_closed_table_leaves_a_weight_that_can_be_read():
    table = make()
    bags = TableEmbeddingBag(table)
    expected = gathered(table)
    table.close()
    assert torch.equal(bags.weight, expected)
    with pytest.raises(ValueError, match="closed"):
        TableEmbeddingBag(table)
    with pytest.raises(ValueError, match="closed"):
        bags.weight.data = expected


# --- mapped tables


def test_a_mapped_table_trains_in_its_file(tmp_path):
    path = tmp_path / "t.safetensors"
    make(path=path).close()
    with Table.open(path) as table:
        bags = TableEmbeddingBag(table)
        with torch.no_grad():
            bags.weight[3] = 7.0
        copied = copy.deepcopy(bags)
    assert (Table.load(path).weights[3] == 7).all()
    assert torch.equal(copied.weight, gathered(copied.tables[0]))


def test_a_table_that_is_mapped_elsewhere_cannot_train(tmp_path):
    path = tmp_path / "t.safetensors"
    make(path=path).close()
    with Table.open(path) as table, Table.open(path, mode="r"):
        with pytest.raises(BlockingIOError, match="mode='r' only reads"):
            TableEmbeddingBag(table)
        table.gather(np.array([1]))


def test_a_table_that_is_only_read(tmp_path):
    """Its weight can be read; changes of it stay out of the file, and are reported."""
    path = tmp_path / "t.safetensors"
    make(path=path).close()
    content = path.read_bytes()
    with Table.open(path, mode="r") as table, Table.open(path, mode="r"):
        bags = TableEmbeddingBag(table)
        expected = gathered(table)
        input = torch.tensor([[1, 2], [3, 3]])
        assert torch.equal(bags.weight, expected)
        with pytest.raises(ValueError, match="mode='r'"):
            bags(input).sum().backward()
        with pytest.raises(ValueError, match="mode='r'"):
            bags.weight.data = torch.zeros(ROWS, DIM)
        copied = copy.deepcopy(bags)
        train(copied)
        assert torch.equal(copied.weight, gathered(copied.tables[0]))
        with torch.no_grad():
            bags.weight.copy_(expected)  # as an average of values that do not change
            out = bags(input)
            bags.weight[0, 0] += 1
            for _ in range(2):
                with pytest.raises(ValueError, match=r"was written, but the table .* mode='r'"):
                    bags(input)
            bags.weight.copy_(expected)
            assert torch.equal(bags(input), out)
            bags.weight.data.mul_(2)
            with pytest.raises(ValueError, match=r"was written, but the table .* mode='r'"):
                bags(input)
    assert path.read_bytes() == content


# --- what would replace the memory


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_data_that_are_assigned_are_copied(dtype):
    table = make()
    weight = TableEmbeddingBag(table).weight
    new = torch.arange(ROWS * DIM, dtype=dtype).reshape(ROWS, DIM)
    weight.data = new
    new.zero_()
    assert torch.equal(gathered(table), torch.arange(ROWS * DIM).float().reshape(ROWS, DIM))
    with pytest.raises(ValueError, match=r"has shape \(12, 4\) .* \(3, 4\)"):
        weight.data = torch.zeros(3, DIM)


@pytest.mark.parametrize("storage", [{}, {"path": "t.safetensors"}], ids=str)
def test_data_that_were_kept_do_not_change_unseen(storage, tmp_path, monkeypatch):
    """As where an average takes the place of the params for a while."""
    monkeypatch.chdir(tmp_path)
    table = make(**storage)
    weight = TableEmbeddingBag(table).weight
    before = held(table)
    kept = weight.data
    with pytest.raises(RuntimeError, match=r"still held: hold weight\.data\.clone\(\) instead"):
        weight.data = torch.zeros(ROWS, DIM)
    weight.data = kept
    weight.data = weight.data.cpu()
    assert held(table) == before
    kept = kept.clone()
    weight.data = torch.zeros(ROWS, DIM)
    weight.data = kept
    assert held(table) == before


def send(weight):
    torch.multiprocessing.SimpleQueue().put(weight.data)


LEAVES = {
    "set_": lambda weight: torch.no_grad()(weight.set_)(torch.zeros(ROWS, DIM)),
    "share_memory_": lambda weight: weight.detach().share_memory_(),
    "storage": lambda weight: weight.untyped_storage().share_memory_(),
    "queue": send,
}


@pytest.mark.parametrize("how", LEAVES)
def test_a_weight_that_leaves_its_table_is_refused(how):
    table = make()
    bags = TableEmbeddingBag(table)
    state = copy.deepcopy(TableEmbeddingBag(make(seed=1)).state_dict())
    before = held(table)
    LEAVES[how](bags.weight)
    message = "has left its memory"
    with pytest.raises(RuntimeError, match=message):
        bags(IDS)
    with pytest.raises(RuntimeError, match=message):
        bags.load_state_dict(state)
    assert held(table) == before
    bags.tables = table
    train(bags)
    assert torch.equal(bags.weight, gathered(table))


def prune(bags):
    torch.nn.utils.prune.random_unstructured(bags, "weight", 0.5)


def parametrize(bags):
    torch.nn.utils.parametrize.register_parametrization(bags, "weight", torch.nn.Identity())


def call_with_other_weights(bags):
    torch.func.functional_call(bags, {"weight": torch.zeros(ROWS, DIM)}, torch.tensor([[1]]))


REPLACEMENTS = {
    "attribute": lambda bags: setattr(bags, "weight", torch.nn.Parameter(torch.zeros(ROWS, DIM))),
    "None": lambda bags: setattr(bags, "weight", None),
    "functional_call": call_with_other_weights,
    "prune": prune,
    "parametrize": parametrize,
}


@pytest.mark.parametrize("how", REPLACEMENTS)
def test_a_weight_that_is_replaced_is_refused(how):
    bags = TableEmbeddingBag(make())

    def use():
        REPLACEMENTS[how](bags)
        bags(torch.tensor([[1, 2]]))

    with pytest.raises(RuntimeError, match=r"weight of .*TableEmbeddingBag is the memory"):
        use()
    assert repr(bags)


CONVERSIONS = {
    "double": lambda m: m.double(),
    "half": lambda m: m.half(),
    "bfloat16": lambda m: m.to(torch.bfloat16),
    "meta": lambda m: m.to("meta"),
}


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("how", CONVERSIONS)
def test_conversions_warn_and_leave_the_table(how, swap):
    table = make()
    model = torch.nn.Sequential(TableEmbeddingBag(table), torch.nn.Linear(DIM, 1))
    model[0].other = torch.nn.Parameter(torch.zeros(2))  # converted, as any other
    weight = model[0].weight
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(swap)
    try:
        with pytest.warns(UserWarning, match=r"weight of .* stays float32 on the CPU"):
            CONVERSIONS[how](model)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
    assert list(model[0]._parameters) == ["weight", "other"]
    assert model[0].weight is weight
    for p in (model[0].other, model[1].weight):
        assert (p.dtype, p.device.type) != (torch.float32, "cpu")
    train(model[0])
    assert torch.equal(weight, gathered(table))


def test_conversions_that_change_nothing_are_silent(recwarn):
    table = make()
    model = torch.nn.Sequential(TableEmbeddingBag(table), torch.nn.Linear(DIM, 1))
    before = held(table)
    model.to("cpu").float().to(torch.float32).cpu().to_empty(device="cpu")
    TableEmbeddingBag(make(dtype="float64")).double()
    assert held(table) == before
    assert not recwarn


def test_tables_are_not_moved_to_shared_memory():
    with pytest.raises(RuntimeError, match="cannot be moved to shared memory"):
        torch.nn.Sequential(TableEmbeddingBag(make())).share_memory()


# --- optimizers


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "AdamW", "ours"])
def test_optimizers_leave_tables_alone(name):
    """A table has no gradient of its own, so that not even weight decay changes it."""
    table = make()
    model = torch.nn.Sequential(TableEmbeddingBag(table), torch.nn.Linear(DIM, 1))
    cls = adagrad.torch.Adagrad if name == "ours" else getattr(torch.optim, name)
    optimizer = cls(model.parameters(), lr=0.1, weight_decay=0.5)
    if name == "ours":
        assert model[0].weight not in optimizer.state
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.tensor([[1, 2], [3, 3]])).sum().backward()
        assert model[0].weight.grad is None
        before, dense = held(table), model[1].weight.clone()
        optimizer.step()
        assert held(table) == before
        assert not torch.equal(dense, model[1].weight)
    assert table.steps == 2


# --- several processes, and graphs


@pytest.fixture
def group(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def small(table):
    return torch.nn.Sequential(TableEmbeddingBag(table), torch.nn.Linear(DIM, 1))


IDS = torch.tensor([[1, 2], [3, 3]])


def test_replicas_are_refused(group, monkeypatch):
    """Nothing synchronizes what each process would train."""
    from torch.nn.parallel import DistributedDataParallel as Replica

    table = make()
    model = Replica(small(table), find_unused_parameters=True)
    before = held(table)
    with pytest.raises(RuntimeError, match=r"does not synchronize 0\.weight, a table"):
        model(IDS)
    with torch.no_grad():
        model(IDS)
    model.module[0].requires_grad_(False)
    model(IDS).sum().backward()
    assert held(table) == before
    accepted = small(table)
    accepted[0].requires_grad_()
    with monkeypatch.context() as patch:  # private: a torch without it is not asked
        patch.delattr(Replica, "_active_ddp_module")
        accepted(IDS).sum().backward()
    Replica._set_params_and_buffers_to_ignore_for_model(accepted, ["0.weight"])
    model = Replica(accepted)
    for _ in range(2):
        model(IDS).sum().backward()
    assert table.steps == 3


def test_shards_are_refused(group):
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import distribute_module, init_device_mesh

    table = make()
    before = held(table)
    with pytest.raises(NotImplementedError, match="non-contiguous parameters"):
        fully_shard(small(table))
    with pytest.raises(RuntimeError, match="cannot be replaced by another tensor, as sharding"):
        distribute_module(small(table), init_device_mesh("cpu", (1,)))
    assert held(table) == before
    model = small(table)
    fully_shard(model, ignored_params=set(model[0].parameters()))
    model(IDS).sum().backward()
    assert table.steps == 1


def test_exports_are_refused():
    table = make()
    message = r"TableEmbeddingBag cannot be exported or traced, .* adagrad\.torch\.from_tables"
    with pytest.raises(NotImplementedError, match=message):
        torch.export.export(small(table), (IDS,))
    converted = adagrad.torch.from_tables(small(table))
    exported = torch.export.export(converted, (IDS,)).module()
    assert torch.equal(exported(IDS), converted(IDS))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_traces_are_refused():
    """They would take results for constants."""
    with pytest.raises(NotImplementedError, match=r"cannot be exported or traced"):
        torch.jit.trace(small(make()).eval(), (IDS,))


def test_a_compiled_model_trains():
    table, same = make(), make()
    torch.manual_seed(0)
    plain, model = small(same), small(table)
    model[1].load_state_dict(plain[1].state_dict())
    compiled = torch.compile(model, backend="eager")
    for _ in range(3):
        for m in (compiled, plain):
            m(IDS).square().sum().backward()
    assert held(table) == held(same)
