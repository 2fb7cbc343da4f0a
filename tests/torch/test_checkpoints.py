"""States of modules with tables: tensors only, which every way to save a model takes."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad import Table
from adagrad.tables import header as file_header
from checks import need_packages

need_packages("torch")

import torch
from torch._subclasses import FakeTensorMode

from adagrad.torch import TableEmbeddingBag
from torch_tables import DIM, ROWS, held, make

STORAGES = [
    {},
    {"state": "row"},
    {"dtype": "float64"},
    {"dtype": "bfloat16"},
    {"dtype": "bfloat16", "state_dtype": "bfloat16"},
    {"dtype": "float16", "state": "row"},
    {"dtype": "float16", "dim": 3},  # accumulators that are not aligned
    {"dtype": "bfloat16", "dim": 3, "state": "row"},
    {"dim": 1},
]


def train(bags, seed=0):
    rng = np.random.default_rng(seed)
    rows = min(t.rows for t in bags.tables)
    input = torch.from_numpy(rng.integers(0, rows, (3 * len(bags.tables), 5)))
    bags(input).square().sum().backward()


class Model(torch.nn.Module):
    """Bags of one table, bags of two and a dense layer."""

    def __init__(self, seed=0, **options):
        super().__init__()
        self.one = TableEmbeddingBag(make(seed=seed, **options))
        self.two = TableEmbeddingBag([make(seed=seed + 1), make(5, 2, seed=seed + 2, state="row")])
        torch.manual_seed(seed)
        self.dense = torch.nn.Linear(3, 1)

    @property
    def tables(self):
        return [*self.one.tables, *self.two.tables]

    def train_once(self, seed=0):
        train(self.one, seed)
        train(self.two, seed)


def trained(**options):
    model = Model(**options)
    for seed in range(3):
        model.train_once(seed)
    model.one.tables[0].rule = model.one.tables[0].rule.replace(lr=0.25)
    return model


def check_same(model, other):
    """Check that a model was loaded into another, and that both train on with the same bits."""
    assert held(*other.tables) == held(*model.tables)
    for name, p in model.named_parameters():
        assert torch.equal(p, other.get_parameter(name))
    for m in (model, other):
        m.train_once(7)
    assert held(*other.tables) == held(*model.tables)


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_round_trip(storage):
    model, other = trained(**storage), Model(seed=9, **storage)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))  # weights_only
    check_same(model, other)


@st.composite
def layouts(draw):
    """Draw the arguments of a table."""
    dtype = draw(st.sampled_from(["float32", "float64", "bfloat16", "float16"]))
    shape = {"rows": draw(st.integers(1, 9)), "dim": draw(st.integers(1, 9))}
    wide = draw(st.booleans()) or dtype in ("float32", "float64")
    state_dtype = ("float32" if dtype != "float64" else dtype) if wide else dtype
    state = draw(st.sampled_from(["element", "row"]))
    return {**shape, "dtype": dtype, "state_dtype": state_dtype, "state": state}


@given(layouts(), st.booleans(), st.integers(0, 2**64 - 1))
@settings(max_examples=50)
def test_round_trips_of_any_layout(layout, is_earlier, seed):
    """A state restores every byte of a table, whatever the layout of its memory."""
    table, other = make(**layout, seed=seed), make(**layout)
    rng = np.random.default_rng(0)
    table._memory[:] = rng.integers(0, 256, table.nbytes)
    for name in file_header.COUNTERS:
        setattr(table, name, int(rng.integers(2**63)))
    bags = TableEmbeddingBag(table)
    state = earlier(bags) if is_earlier else copy.deepcopy(bags.state_dict())
    TableEmbeddingBag(other).load_state_dict(state)
    assert held(other) == held(table)
    assert (other.skipped, other.decays) == (table.skipped, table.decays)


def test_names_shapes_and_dtypes():
    state = trained(dtype="bfloat16", dim=6).state_dict()
    found = {name: (tuple(t.shape), t.dtype) for name, t in state.items() if "header" not in name}
    assert found == {
        "one.weight": ((ROWS, 6), torch.bfloat16),
        "one.accumulator": ((ROWS, 6), torch.float32),
        "two.weight_0": ((ROWS, DIM), torch.float32),
        "two.accumulator_0": ((ROWS, DIM), torch.float32),
        "two.weight_1": ((5, 2), torch.float32),
        "two.accumulator_1": ((5, 1), torch.float32),
        "dense.weight": ((1, 3), torch.float32),
        "dense.bias": ((1,), torch.float32),
    }
    assert all(isinstance(t, torch.Tensor) for t in state.values())
    assert len({(state[k].shape, state[k].dtype) for k in state if "header" in k}) == 1


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_a_state_shares_the_memory(storage):
    """Averages are written into the values of a state; a copy of the state does not change."""
    table = make(**storage)
    bags = TableEmbeddingBag(table)
    state = bags.state_dict()
    snapshot = copy.deepcopy(state)
    before = {name: t.clone() for name, t in state.items()}
    train(bags)
    assert torch.equal(state["weight"], bags.weight)
    if table.dim != 3:
        assert torch.equal(state["accumulator"], bags.accumulator)
        assert not torch.equal(state["accumulator"], before["accumulator"])
    for name, t in snapshot.items():
        assert torch.equal(t, before[name])
        assert t.is_contiguous()
    state["weight"].zero_()
    assert not table.gather(np.arange(ROWS)).any()


def test_a_state_with_variables_has_the_weight_itself():
    bags = TableEmbeddingBag(make())
    assert bags.state_dict(keep_vars=True)["weight"] is bags.weight
    assert not bags.state_dict()["weight"].requires_grad


def test_a_file_has_each_element_once():
    """A view of every other part of the memory is saved without what it skips."""
    model = torch.nn.Sequential(TableEmbeddingBag(make(10_000, 16)))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    assert model[0].tables[0].nbytes < file.tell() < model[0].tables[0].nbytes + 20_000


# --- what is loaded


def test_the_state_of_an_embedding_bag():
    """The params are replaced; accumulators and step count stay, as with a torch optimizer."""
    table = make()
    bags = TableEmbeddingBag(table)
    train(bags)
    accumulators, steps = np.array(table.state), table.steps
    theirs = torch.nn.EmbeddingBag(ROWS, DIM)
    assert bags.load_state_dict(theirs.state_dict()) == ([], [])
    assert torch.equal(bags.weight, theirs.weight)
    assert np.array_equal(table.state, accumulators)
    assert table.steps == steps == 1
    theirs.load_state_dict({"weight": bags.state_dict()["weight"]})


@pytest.mark.parametrize("assign", [False, True])
def test_loaded_values_are_copied_and_cast(assign):
    bags = TableEmbeddingBag(make(dtype="bfloat16"))
    weight = bags.weight
    given = torch.rand(ROWS, DIM)
    bags.load_state_dict({"weight": given}, assign=assign)
    assert bags.weight is weight
    assert torch.equal(weight, given.bfloat16())


def earlier(module):
    """Return the state that an earlier version would have saved."""
    tables = []
    for table in module.tables:
        dtype, shape = table._layout.tensor
        header = file_header.encode(table._metadata(), dtype, shape)[8:].decode().rstrip()
        kinds = {"F32": torch.float32, "F64": torch.float64, "BF16": torch.bfloat16}
        data = torch.from_numpy(table._memory.copy()).view(kinds.get(dtype, torch.uint8))
        tables.append({"header": header, "table": data.view(shape)})
    return {"_extra_state": {"tables": tables}}


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_states_of_earlier_versions(storage):
    model, other = trained(**storage), Model(seed=9, **storage)
    state = {f"one.{k}": v for k, v in earlier(model.one).items()}
    state |= {f"two.{k}": v for k, v in earlier(model.two).items()}
    state |= {f"dense.{k}": v for k, v in model.dense.state_dict().items()}
    other.load_state_dict(state)
    check_same(model, other)


def spoiled(state):
    """Yield bad states, each with a message."""
    for name in state:
        yield f'Missing key.*"{name}"', {k: v for k, v in state.items() if k != name}
    yield 'Unexpected key.*"other"', state | {"other": torch.zeros(1)}
    for name, change, message in (
        ("weight_1", lambda t: t[:-1], r"size mismatch for weight_1: its shape is \(6, 3\)"),
        ("accumulator_1", lambda t: t.repeat(1, 3), r"size mismatch for accumulator_1: .*\(7, 3\)"),
        ("weight_1", lambda t: t.int(), "weight_1 must have a floating dtype, got torch.int32"),
        ("weight_1", lambda t: t.to("meta"), "weight_1 is on device meta"),
        ("weight_1", lambda t: t.to_sparse(), "weight_1 must be a dense tensor"),
        ("weight_1", lambda t: None, "weight_1 must be a dense tensor, got None"),
        (
            "weight_1",
            FakeTensorMode().from_tensor,
            "must be a dense tensor, got FakeTensor",
        ),
        ("header_1", lambda t: t.float(), "header_1 must be bytes, got torch.float32"),
        ("header_1", lambda t: t[:500], "not JSON"),
        ("header_1", lambda t: t[1:], "not JSON"),
        ("header_1", lambda t: state["header_0"], r"header_1 has another layout: .* remove acc"),
    ):
        yield message, state | {name: change(state[name])}


def spoiled_earlier(state):
    tables = state["_extra_state"]["tables"]
    yield "must be that of 2 tables", {}
    yield "must be that of 2 tables", {"tables": tables[:1]}
    yield r"of tables\[1\] must be a dict", {"tables": [tables[0], None]}
    yield "size mismatch", {"tables": tables[::-1]}
    for name, change, message in (
        ("table", lambda t: t[:-1], "shape"),
        ("table", lambda t: t.to(torch.float64), "float64"),
        ("table", lambda t: None, "a tensor as table"),
        ("header", lambda h: h[:-1], "not JSON"),
        ("header", lambda h: h.replace("lr", "rl"), "another version"),
    ):
        last = tables[1]
        yield message, {"tables": [tables[0], last | {name: change(last[name])}]}


def test_bad_states_change_nothing():
    source = TableEmbeddingBag([make(seed=8), make(7, 3, seed=9, state="row")])
    cases = list(spoiled(source.state_dict()))
    cases += [(m, {"_extra_state": s}) for m, s in spoiled_earlier(earlier(source))]
    for message, state in cases:
        bags = TableEmbeddingBag([make(), make(7, 3, seed=5, state="row")])
        before = held(*bags.tables)
        with pytest.raises(RuntimeError, match=f"(?s)TableEmbeddingBag.*{message}"):
            bags.load_state_dict(state)
        if "key" not in message:  # torch loads the other keys first, too
            assert held(*bags.tables) == before


def test_hooks_may_rename_keys():
    bags, source = TableEmbeddingBag(make()), TableEmbeddingBag(make(seed=3))

    def rename(module, state, prefix, *rest):
        state[prefix + "weight"] = state.pop(prefix + "table")

    bags.register_load_state_dict_pre_hook(rename)
    bags.load_state_dict({"table": source.state_dict()["weight"]})
    assert torch.equal(bags.weight, source.weight)


def test_modules_that_have_more_than_tables():
    class Scaled(TableEmbeddingBag):
        def __init__(self, table):
            super().__init__(table)
            self.scale = torch.nn.Parameter(torch.ones(2))
            self.register_buffer("count", torch.zeros(1))
            self.inner = torch.nn.Linear(1, 1)

    bags, other = Scaled(make()), Scaled(make(seed=3))
    with torch.no_grad():
        bags.scale.fill_(3)
    state = bags.state_dict()
    assert {"weight", "accumulator", "header", "scale", "count", "inner.bias"} <= set(state)
    other.load_state_dict(state)
    assert (other.scale == 3).all()
    assert held(*other.tables) == held(*bags.tables)
    with pytest.raises(RuntimeError, match=r'Missing key.*"scale"'):
        other.load_state_dict({k: v for k, v in state.items() if k != "scale"})


def test_tables_that_are_only_read(tmp_path):
    path = tmp_path / "t.safetensors"
    make(path=path).close()
    with Table.open(path, mode="r") as table:
        bags = TableEmbeddingBag(table)
        other = TableEmbeddingBag(make(seed=5))
        other.load_state_dict(bags.state_dict())
        assert other.tables[0]._memory.tobytes() == table._memory.tobytes()
        with pytest.raises(RuntimeError, match="mode='r'"):
            bags.load_state_dict(other.state_dict())
        missing, _ = bags.load_state_dict({}, strict=False)
        assert missing == ["weight", "accumulator", "header"]
    with pytest.raises(ValueError, match="closed"):
        bags.state_dict()


def test_attributes_of_one_table_and_of_several():
    table = make()
    bags = TableEmbeddingBag(table)
    assert (bags.num_embeddings, bags.embedding_dim) == (ROWS, DIM)
    assert torch.equal(bags.accumulator, torch.from_numpy(table.state))
    several = TableEmbeddingBag([make(), make(5, 2)])
    assert several.accumulator_1.shape == (5, 2)
    for name in ("num_embeddings", "embedding_dim", "weight", "accumulator", "header"):
        with pytest.raises(AttributeError, match=f"has 2 tables, and {name} is that of one"):
            getattr(several, name)
    with pytest.raises(AttributeError, match="has no attribute 'headers'"):
        _ = bags.headers


# --- other ways to save a model


def test_safetensors(tmp_path):
    """A table of two modules is saved once; each other tensor is not less than its storage."""
    from safetensors.torch import load_model, save_model

    path = tmp_path / "m.safetensors"
    model, other = trained(dtype="bfloat16"), Model(seed=9, dtype="bfloat16")
    save_model(model, path)
    load_model(other, path)
    check_same(model, other)
    tables = make(1000), make(1000, seed=9)
    shared = [torch.nn.ModuleList([TableEmbeddingBag(t), TableEmbeddingBag(t)]) for t in tables]
    train(shared[0][0])
    save_model(shared[0], path)
    assert path.stat().st_size < tables[0].nbytes + 10_000
    load_model(shared[1], path)
    assert held(tables[0]) == held(tables[1])


def test_storages_of_a_state():
    """accelerate drops a tensor whose storage has the device, address and size of another's."""
    state = Model(dtype="float64", state="row").one.state_dict()
    found = set()
    for value in state.values():
        storage = value.untyped_storage()
        assert storage.data_ptr() == value.data_ptr()
        assert storage.nbytes() == value.numel() * value.element_size()
        found.add((storage.data_ptr(), storage.nbytes()))
    assert len(found) == len(state)
    weight = state["weight"]
    flat = weight.view(-1)
    assert torch.equal(flat, weight.reshape(-1))
    assert torch.equal(flat[2:5], weight.reshape(-1)[2:5])
    assert [flat[i].data_ptr() for i in (0, 5, -1)] == [
        weight[i].data_ptr() for i in ((0, 0), (1, 1), (-1, -1))
    ]
    assert weight.view(6, 8).shape == (6, 8)
    assert state["weight"].view(torch.int64).dtype is torch.int64


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("way", ["state_dict", "get_model_state_dict"])
def test_distributed_checkpoints(way, tmp_path):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

    model, other = trained(dtype="float16"), Model(seed=9, dtype="float16")
    if way == "state_dict":
        dcp.save({"model": model.state_dict()}, checkpoint_id=tmp_path, no_dist=True)
        state = other.state_dict()
        dcp.load({"model": state}, checkpoint_id=tmp_path, no_dist=True)
        other.load_state_dict(state)
        size = sum(path.stat().st_size for path in tmp_path.iterdir())
        assert size < 60_000  # not the memory that views span
    else:
        set_model_state_dict(other, get_model_state_dict(model))
    check_same(model, other)
