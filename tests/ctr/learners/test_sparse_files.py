"""Files that list their slots hold every bit of a model, and are read whole or refused."""

from __future__ import annotations

import tracemalloc
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from adagrad import Rule, TableFileError
from adagrad.ctr import (
    Examples,
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    LogisticRegression,
    load,
)
from adagrad.ctr.learners import file_format, files
from adagrad.ctr.learners.file_format import SavedLearner
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from adagrad.ctr.learners.stored_rows import read_slots
from checks import DATA, assert_same_bits
from ctr_data import batch, labels

pytestmark = pytest.mark.unsanitized

N_SLOTS = 4096


def examples(rng, n, kind, *, values=True):
    x = batch(rng, n, N_SLOTS, values=values)
    if kind != "ffm":
        return x
    fields = (x.slots * 7 // N_SLOTS).astype(np.uint16)
    return Examples(x.slots, x.bounds, N_SLOTS, n, values=x.values, fields=fields, n_fields=7)


LEARNERS = {
    "lr": LogisticRegression(lr=0.2),
    "lr-l1": LogisticRegression(lr=0.2, l1=0.01, fit_intercept=False),
    "lr-l2": LogisticRegression(lr=0.2, l2=0.1),
    "fm-l1": FactorizationMachine(2, lr=0.1, l1=0.1, l2=0.01),
    "lr-start": LogisticRegression(rule=Rule(lr=0.2, initial_accumulator=0.1, weight_decay=0.01)),
    "fm": FactorizationMachine(3, lr=0.1, seed=5),
    "ffm": FieldAwareFactorizationMachine(2, lr=0.1, seed=2**63),
}


def state(model):
    tensors = model.row_tensors() | model.tensors()
    return {name: array.tobytes() for name, array in tensors.items()}


def memory(learner):
    return state(learner._model)


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize(("n", "is_listed"), [(1, True), (20, True), (2000, False)])
def test_a_loaded_learner_has_the_same_bits_and_learns_on(tmp_path, rng, kind, n, is_listed):
    x, more = (examples(rng, count, kind) for count in (n, 640))
    y, later = labels(rng, x), labels(rng, more)
    learner = clone(LEARNERS[kind]).partial_fit(x, y, classes=[0, 1])
    learner.save(tmp_path / "model")
    tensors = safetensors.numpy.load_file(tmp_path / "model")
    assert ("slots" in tensors) == is_listed
    loaded = load(tmp_path / "model")
    assert memory(loaded) == memory(learner)
    for each in (loaded, learner):
        each.partial_fit(more, later)
    assert memory(loaded) == memory(learner)
    assert loaded.progressive_ == learner.progressive_
    assert_same_bits(loaded.decision_function(x), learner.decision_function(x))


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("n", [20, 2000])
def test_tables_that_are_streamed_make_the_same_file(tmp_path, rng, kind, n):
    x = examples(rng, n, kind)
    learner = clone(LEARNERS[kind]).partial_fit(x, labels(rng, x), classes=[0, 1])
    learner.save(tmp_path / "model")
    tables = {name: table.copy() for name, table in learner._model.tables.items()}

    def rows(name, slots):
        pairs = tables[name]._memory.view(np.float32).reshape(N_SLOTS, -1)
        for part in np.array_split(np.arange(N_SLOTS) if slots is None else slots, 3):
            some = pairs[part]
            some.flags.writeable = False  # as Ray's arrays are
            yield some

    streamed = file_format.Tables(learner._model.touched(), rows)
    learner._model.tables.clear()
    files.write(tmp_path / "streamed", learner, tables=streamed)
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "model").read_bytes()


def test_a_file_lists_the_slots_that_were_touched(tmp_path, rng):
    x = batch(rng, 50, N_SLOTS)
    learner = LogisticRegression(lr=0.2).fit(x, labels(rng, x))
    learner.save(tmp_path / "model")
    tensors = safetensors.numpy.load_file(tmp_path / "model")
    assert tensors["slots"].dtype == np.uint32
    np.testing.assert_array_equal(tensors["slots"], np.unique(x.slots))
    np.testing.assert_array_equal(tensors["linear"][:, 0], learner.coef_[0, np.unique(x.slots)])
    with safetensors.safe_open(tmp_path / "model", "np") as file:
        assert file.metadata()["n_slots"] == str(N_SLOTS)


def test_the_smaller_form_is_written(tmp_path):
    """A row has 8 bytes, and 4 more if its slot is listed."""
    for n_slots in (2, 3, 300, 301, 302):
        for touched in (1, 2 * n_slots // 3 - 1, 2 * n_slots // 3, 2 * n_slots // 3 + 1):
            x = scipy.sparse.csr_matrix(np.eye(max(touched, 1), n_slots, dtype=np.float32))
            learner = LogisticRegression(lr=0.1).partial_fit(x, np.ones(x.shape[0]), classes=[0, 1])
            learner.save(tmp_path / "model")
            tensors = safetensors.numpy.load_file(tmp_path / "model")
            assert ("slots" in tensors) == (12 * x.shape[0] < 8 * n_slots)
            assert memory(load(tmp_path / "model")) == memory(learner)


@pytest.mark.parametrize("lr", [0.1, "auto"])
def test_a_model_without_a_touched_slot(tmp_path, lr):
    x = scipy.sparse.csr_matrix((4, N_SLOTS), dtype=np.float32)
    learner = LogisticRegression(lr).fit(x, [0, 1, 1, 1])
    learner.save(tmp_path / "model")
    assert safetensors.numpy.load_file(tmp_path / "model")["slots"].shape == (0,)
    assert_same_bits(load(tmp_path / "model").intercept_, learner.intercept_)


KINDS = [
    Settings("lr", 70_000, None),
    Settings("fm", 70_000, None, factors=2, init_scale=0.1),
    Settings("lr", 70_000, Rule()),
    Settings("lr", 70_000, Rule(initial_accumulator=0.1)),
    Settings("fm", 70_000, Rule(initial_accumulator=1.0), factors=2, init_scale=0.1, seed=3),
    Settings("ffm", 3000, Rule(), factors=2, n_fields=9, parts=2, init_scale=0.1, seed=2**64 - 2),
]


@pytest.mark.parametrize(
    "settings", KINDS, ids=lambda s: f"{s.kind}-{s.rule and s.rule.initial_accumulator}"
)
def test_no_slot_of_a_new_model_is_touched(settings):
    assert Model(settings).touched().tolist() == []


@given(st.data())
def test_a_slot_is_touched_if_any_bit_of_its_state_differs(data):
    settings = data.draw(st.sampled_from([kind for kind in KINDS if kind.rule is not None]))
    model = Model(settings)
    changed = data.draw(st.sets(st.integers(0, settings.n_slots - 1), max_size=20))
    rows = model.row_tensors()
    for slot in changed:
        array = rows[data.draw(st.sampled_from(sorted(rows)))]
        column, bit = data.draw(st.integers(0, array.shape[1] - 1)), data.draw(st.integers(0, 31))
        array.view(np.uint32)[slot, column] ^= np.uint32(1 << bit)
    assert model.touched().tolist() == sorted(changed)


def written(path, model):
    """The file of a model that no learner has."""
    file_format.write(path, SavedLearner("LogisticRegression", {}, np.array([0, 1]), {}, model))
    return safetensors.numpy.load_file(path)


MIXTURES = {
    "lr": {},
    "fm": {"factors": 3, "init_scale": 0.1, "seed": 5, "normalize": True},
    "ffm": {"factors": 2, "init_scale": 0.1, "n_fields": 7, "normalize": True},
}


@pytest.mark.parametrize("kind", MIXTURES)
@pytest.mark.parametrize(("values", "intercept"), [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize(("n", "is_listed"), [(1, True), (20, True), (2000, False)])
def test_a_mixture_that_is_read_has_the_same_bits_and_learns_on(
    tmp_path, rng, n, is_listed, kind, values, intercept
):
    x, more = (examples(rng, count, kind, values=values) for count in (n, 640))
    y, later = labels(rng, x), labels(rng, more)
    given = {"intercept": intercept, "half_life": 500.0, **MIXTURES[kind]}
    model = Model(Settings(kind, N_SLOTS, None, **given))
    model.learn(x, y)
    tensors = written(tmp_path / "model", model)
    assert ("slots" in tensors) == is_listed
    found = file_format.read(tmp_path / "model").model
    slots = tensors.get("slots", slice(None))
    weights, bias = found.linear()
    np.testing.assert_array_equal(tensors["linear"][:, 0], weights[slots])
    assert tensors.get("bias", 0.0) == np.float32(bias)
    for _ in range(2):
        assert found.settings == model.settings
        assert state(found) == state(model)
        assert found.mixture.scaled == values
        assert_same_bits(found.learn(more, later), model.learn(more, later))


def test_a_slot_of_a_mixture_is_touched_if_it_occurred(rng):
    """The number of its values says so: without one, all of its state is zero."""
    x = batch(rng, 200, N_SLOTS, values=True)
    values = x.values * np.float32([0.0, 1.0, 1e-45])[np.arange(len(x.slots)) % 3]
    x = Examples(x.slots, x.bounds, N_SLOTS, 200, values=values)
    model = Model(Settings("lr", N_SLOTS, None))
    model.learn(x, labels(rng, x))
    of_values = np.unique(x.slots[values != 0.0])
    assert len(of_values) < len(np.unique(x.slots))
    np.testing.assert_array_equal(model.touched(), of_values)
    bits = model.mixture.rows.view(np.uint32)
    np.testing.assert_array_equal(np.flatnonzero(bits.any(axis=1)), of_values)
    assert not bits[:, [7, 13, 14, 15]].any(), "a file does not hold them"


@pytest.mark.parametrize(
    ("name", "at", "value", "message"),
    [
        ("mixing", -1, np.inf, "the scale of its mixing is inf"),
        ("mixing", -1, np.nan, "the scale of its mixing is nan"),
        ("mixing", -1, 0.5, "the scale of its mixing is 0.5"),
        ("mixing", -2, -1.0, "the entries of its mixing is -1.0"),
        ("mixing", -3, 0.5, "the largest_weight of its mixing is 0.5"),
        ("mixing", -4, np.inf, "the weight of its mixing is inf"),
        ("mixing", -1, 2.5, "the scale of its mixing is 2.5"),
        ("mixing", 0, np.nan, "the theta of its mixing is nan"),
        ("mixing", 8, 0.0, "the precision of its mixing has 0.0 in its diagonal"),
        ("mixing", 17, -1.0, "the precision of its mixing has -1.0 in its diagonal"),
        ("mixing", 9, np.nan, "the precision of its mixing is nan"),
        ("mixing", 56, -np.inf, "the evidence of its mixing is -inf"),
        ("mixing", 64, np.inf, "the losses of its mixing is inf"),
        ("experts.bias", 3, np.nan, "experts.bias has a number that is not finite"),
        ("experts", (3, 2), np.nan, "the state of a slot is not finite"),
        ("experts.accumulators", (0, 4), np.inf, "the state of a slot is not finite"),
        ("mixing.pairs", 1, np.nan, "the theta of the mixing of its pairs is nan"),
        ("mixing.pairs", 3, np.inf, "the covariance of the mixing of its pairs is inf"),
        ("mixing.pairs", 12, -1.0, "the evidence of the mixing of its pairs is -1.0"),
        ("experts.scaled", 0, 0.5, "experts.scaled is 0.5, expected 0 or 1"),
        ("mixing.pairs", -1, 0.5, "the largest_weight of the mixing of its pairs is 0.5"),
        ("mixing.pairs", -2, np.nan, "the weight of the mixing of its pairs is nan"),
    ],
    ids=str,
)
def test_a_mixture_that_cannot_be(tmp_path, rng, name, at, value, message):
    kind = "fm" if name == "mixing.pairs" else "lr"
    model = Model(Settings(kind, N_SLOTS, None, **MIXTURES[kind]))
    x = batch(rng, 20, N_SLOTS)
    model.learn(x, labels(rng, x))
    path = tmp_path / "model"
    tensors = written(path, model)
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    tensors[name][at] = value
    safetensors.numpy.save_file(tensors, path, metadata)
    with pytest.raises(TableFileError, match=message):
        file_format.read(path)


@pytest.mark.parametrize("kind", ["fm", "ffm"])
def test_new_factors_are_those_of_version_0_1(tmp_path, kind):
    """A file without the rows of untouched slots stays readable only if the draw stays."""
    import earlier_files

    earlier_files.unpack(DATA / "written_by_0.1" / f"model-{kind}", tmp_path)
    learned = load(tmp_path / "model.safetensors")._model
    new, touched = Model(learned.settings), learned.touched()
    assert 0 < len(touched) < learned.settings.n_slots
    untouched = np.setdiff1d(np.arange(learned.settings.n_slots), touched)
    state = learned.row_tensors()["linear"][:, 1]
    np.testing.assert_array_equal(state[untouched], 0.0)
    assert (state[touched] > 0.0).all()
    for name, rows in new.row_tensors().items():
        assert_same_bits(learned.row_tensors()[name][untouched], rows[untouched], name)


@pytest.fixture
def path(tmp_path):
    x = scipy.sparse.csr_matrix(np.eye(64, dtype=np.float32)[[3, 5, 9]])
    LogisticRegression(lr=0.2).fit(x, [0, 1, 0]).save(tmp_path / "model")
    return tmp_path / "model"


def rewritten(path, slots=None, rows=None, **changes):
    """Rewrite the file with other slots, rows or metadata."""
    with safetensors.safe_open(path, "np") as file:
        metadata = {**file.metadata(), **changes}
    tensors = safetensors.numpy.load_file(path)
    if slots is not None:
        tensors["slots"] = slots
    if rows is not None:
        tensors["linear"] = rows
    safetensors.numpy.save_file(tensors, path, metadata)


WRONG = [
    ([5, 3, 9], "its slots must ascend, but slot 5 comes before 3"),
    ([3, 9, 9], "its slots must ascend, but slot 9 comes before 9"),
    ([3, 5, 64], "its last slot is 64, expected one below 64"),
    ([3, 5, 2**32 - 1], "its last slot is 4294967295, expected one below 64"),
    ([3, 5], r"'linear' is F32 of shape \(3, 2\), expected F32 of shape \(2, 2\)"),
    ([[3, 5, 9]], r"'slots' is U32 of shape \(1, 3\), expected U32 of shape \(3,\)"),
    ([], r"'linear' is F32 of shape \(3, 2\), expected F32 of shape \(0, 2\)"),
]


@pytest.mark.parametrize(("slots", "message"), WRONG, ids=str)
def test_slots_that_are_wrong(path, slots, message):
    rewritten(path, np.array(slots, np.uint32))
    with pytest.raises(TableFileError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path} is corrupted: ")


@given(st.lists(st.integers(0, 12) | st.integers(0, 2**32 - 1), max_size=8))
def test_a_list_of_slots_is_read_if_it_ascends_to_the_last_slot(tmp_path_factory, slots):
    path = tmp_path_factory.getbasetemp() / "slots"
    path.write_bytes(np.array(slots, np.uint32).tobytes())
    is_right = slots == sorted(set(slots)) and max(slots, default=0) < 10 and len(slots) < 10
    with FileIO(path) as file:
        if is_right:
            assert read_slots(path, file, len(slots), 10).tolist() == slots
        else:
            with pytest.raises(TableFileError, match=r"its (last slot|slots)"):
                read_slots(path, file, len(slots), 10)


def test_slots_of_another_dtype_or_of_all_rows(path):
    rewritten(path, np.array([3, 5, 9], np.float32))
    with pytest.raises(TableFileError, match="'slots' is F32 of shape"):
        load(path)
    rewritten(path, np.arange(64, dtype=np.uint32), np.zeros((64, 2), np.float32))
    with pytest.raises(TableFileError, match="it lists 64 slots, expected fewer than 64"):
        load(path)


@pytest.mark.parametrize("value", ["65", "", "64 ", "+64", "x" * 9999])
def test_the_number_of_slots_is_that_of_the_settings(path, value):
    rewritten(path, n_slots=value)
    with pytest.raises(TableFileError, match=r"corrupted: its metadata: n_slots is '.*have 64"):
        load(path)


def test_version_1_has_neither_slots_nor_their_number(path):
    rewritten(path, format_version="1")
    with pytest.raises(TableFileError, match=r"its tensors are .*'slots'"):
        load(path)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's limits")
def test_a_model_that_is_larger_than_its_file_and_than_memory(path):
    """The system refuses to reserve the memory, before any of it is taken."""
    resource = pytest.importorskip("resource")
    with safetensors.safe_open(path, "np") as file:
        settings = file.metadata()["settings"]
    many = settings.replace('"n_slots": 64', f'"n_slots": {2**32}')
    rewritten(path, n_slots=str(2**32), settings=many)
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held * resource.getpagesize() + (30 << 30), limits[1]))
    try:
        with pytest.raises(TableFileError, match="its model has 4294967296 slots: a table needs"):
            load(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_saving_and_loading_take_little_memory_besides_the_model(tmp_path):
    n_slots = 1 << 21
    slots = np.arange(0, n_slots, 3)
    x = scipy.sparse.csr_matrix((np.ones(len(slots)), slots, [0, len(slots)]), (1, n_slots))
    learner = LogisticRegression(lr=0.1).partial_fit(x, [1], classes=[0, 1])
    tracemalloc.start()
    learner.save(tmp_path / "model")
    saving = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    loaded = load(tmp_path / "model")
    loading = tracemalloc.get_traced_memory()[1] - saving
    tracemalloc.stop()
    listed = 4 * len(slots)
    assert saving < 2 * listed + (5 << 20)
    assert loading < 2 * listed + (5 << 20)
    assert memory(loaded) == memory(learner)
