"""A `ShardedTable` has the bits of one `Table`: steps, bad input, files.

Starting an actor takes longer than most of these tests, so their tables share actors. Tests of the
actors themselves are in test_table_shards.py.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad import Rule, Table, TableFileError
from checks import assert_same_bits, need_packages, wide_range
from rules import RULES, is_coupled
from tables import IDS, POLICIES, STATES, STORAGES

need_packages("ray")

import ray

from adagrad.distributed import ShardedTable, _manifest
from adagrad.distributed._slices import load_slice
from adagrad.distributed._table_shard import start_shards

pytestmark = pytest.mark.xdist_group("ray")

DECAYED = Rule(weight_decay=0.01, weight_decay_mode="decoupled", weight_decay_rows="all")


@pytest.fixture(scope="module", autouse=True)
def shared_actors(cluster):
    """Give tables the actors of closed tables."""
    idle = []

    def start(count):
        idle.extend(start_shards(count - len(idle)) if count > len(idle) else [])
        taken, idle[:] = idle[:count], idle[count:]
        return taken

    def close(sharded):
        actors, sharded._actors = sharded._actors, []
        idle.extend(actors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adagrad.distributed.table.start_shards", start)
        patch.setattr(ShardedTable, "close", close)
        yield
    for actor in idle:
        ray.kill(actor)


def real(table):
    return np.float64 if table.dtype == "float64" else np.float32


def saved(sharded, folder):
    """Save a table, and return the whole of it from the files of its shards."""
    sharded.save(folder)
    return load_slice(_manifest.read(folder)[0], _manifest.NAME, 0, sharded.rows)


def assert_same_tables(sharded, whole, folder):
    assert_same_bits(sharded.gather(np.arange(whole.rows)), whole.gather(np.arange(whole.rows)))
    found = saved(sharded, folder)
    assert_same_bits(found.state, whole.state)
    for name in ("rule", "seed", "steps", "skipped", "decays", "dtype", "state_dtype", "dim"):
        assert getattr(sharded, name) == getattr(whole, name) == getattr(found, name), name


@pytest.mark.parametrize("storage", STORAGES)
@settings(max_examples=2)
@given(data=st.data())
def test_bits_are_those_of_one_table(storage, tmp_path_factory, data):
    name = data.draw(st.sampled_from([*sorted(RULES), "all rows decay", "lr_decay"]))
    rule = {"all rows decay": DECAYED, "lr_decay": Rule(lr_decay=0.1)}.get(name) or RULES[name]
    rows = data.draw(st.integers(4, 60))
    options = {
        "dim": data.draw(st.sampled_from([1, 2, 7, 16])),
        "rule": rule,
        "state": data.draw(st.sampled_from(STATES)),
        "init": data.draw(st.sampled_from(["zeros", "normal", "uniform"])),
        "seed": data.draw(st.integers(0, 2**64 - 1)),
        **STORAGES[storage],
    }
    whole = Table(rows, **options)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    folder = tmp_path_factory.mktemp("table")
    with ShardedTable(rows, **options, shards=data.draw(st.integers(1, 3))) as sharded:
        for policy in [*POLICIES, None] * 3:
            if policy == "each" and is_coupled(rule):
                continue
            n = int(rng.integers(0, rows))
            ids = rng.choice(rows, n, replace=policy != "unique")
            ids = ids.astype(rng.choice(IDS))
            g = wide_range(rng, (n,) if whole.dim == 1 else (n, whole.dim), real(whole))
            if rule.on_nonfinite != "raise" and n:
                g[rng.integers(n)] = np.inf
            lr = None if rng.random() < 0.8 else 0.25
            assert sharded.step(ids, g, policy, lr=lr) == whole.step(ids, g, policy, lr=lr)
            assert_same_bits(sharded.gather(ids), whole.gather(ids))
            if rng.random() < 0.2:
                sharded.decay(0.9, 1e-3)
                whole.decay(0.9, 1e-3)
        assert_same_tables(sharded, whole, folder)


def test_a_shard_without_rows_counts_the_steps_of_others(tmp_path):
    options = {"rule": Rule(lr=0.5, lr_decay=0.5), "dtype": "bfloat16", "init": "normal"}
    whole = Table(10, **options)
    with ShardedTable(10, **options, shards=2) as sharded:
        for row in (0, 1, 1, 9, 0, 9):
            ids, g = np.array([row]), np.array([0.3], np.float32)
            sharded.step(ids, g)
            whole.step(ids, g)
        assert [shard.steps for shard in sharded.stats()] == [4, 2]
        assert_same_tables(sharded, whole, tmp_path)


def test_large_arrays_go_through_the_object_store(rng):
    whole = Table(1 << 16, 8, init="uniform")
    with ShardedTable(1 << 16, 8, init="uniform", shards=2) as sharded:
        rows = rng.integers(0, 1 << 16, 100_000)
        g = wide_range(rng, (100_000, 8), np.float32)
        kept = g.copy()
        sharded.step(rows, g)
        whole.step(rows, g)
        assert_same_bits(g, kept)
        found = sharded.gather(rows)
        assert_same_bits(found, whole.gather(rows))
        found[:] = 0.0  # is the caller's
        assert_same_bits(sharded.gather(rows), whole.gather(rows))


def test_threads_of_one_process_may_share_a_table():
    with ShardedTable(4, shards=2) as sharded:

        def train(row):
            for _ in range(20):
                sharded.step(np.array([row]), np.ones(1, np.float32))

        threads = [threading.Thread(target=train, args=(row,)) for row in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one = Table(4)
        for _ in range(20):
            one.step(np.arange(4), np.ones(4, np.float32))
        assert sharded.steps == 80
        assert_same_bits(sharded.gather(np.arange(4)), one.gather(np.arange(4)))


# Bad input

ONES = np.ones(2, np.float32)
FINE = np.array([0, 9])
HUGE = np.full(2, 3e38, np.float32)
BAD_STEPS = [
    ((np.array([0, 10]), ONES), {}, IndexError, r"rows\[1\] = 10 is out of range"),
    ((np.array([-1, 0]), ONES), {}, IndexError, r"rows\[0\] = -1 is out of range"),
    ((np.array([0.0, 1.0]), ONES), {}, TypeError, "rows has dtype"),
    (([0, 1], ONES), {}, TypeError, "rows must be a numpy.ndarray"),
    ((FINE, ONES.astype("f8")), {}, TypeError, "g has dtype float64"),
    ((FINE, ONES[:1]), {}, ValueError, r"g has shape \(1,\)"),
    ((FINE, np.ones((2, 2), "f4")), {}, ValueError, r"g has shape \(2, 2\)"),
    ((FINE, np.ones(4, "f4")[::2]), {}, ValueError, "g must be C-contiguous"),
    ((FINE, np.array([0.0, np.nan], "f4")), {}, ValueError, r"g\[1\] = nan is not finite"),
    ((np.array([9, 9]), HUGE), {}, ValueError, "sum of the gradients of row 9 is not finite"),
    ((FINE, ONES, "most"), {}, ValueError, "duplicates must be one of"),
    ((FINE, ONES), {"lr": -1.0}, ValueError, "lr must not be negative"),
    ((FINE, ONES), {"lr": "1"}, TypeError, "lr must be a real number"),
]


def test_bad_steps_reach_no_shard():
    rule = Rule(on_nonfinite="raise")
    one = Table(10, rule=rule)
    with ShardedTable(10, rule=rule, shards=2) as sharded:
        for given_, options, error, message in BAD_STEPS:
            for table in (one, sharded):
                with pytest.raises(error, match=message):
                    table.step(*given_, **options)
        for bad in (np.array([10]), [0], np.array([[0]])):
            with pytest.raises((IndexError, TypeError, ValueError), match="rows"):
                sharded.gather(bad)
        for bad in ((1.5,), (0.5, -1.0), ("1",)):
            with pytest.raises((TypeError, ValueError), match=r"gamma|floor"):
                sharded.decay(*bad)
        assert [shard.asked for shard in sharded.stats()] == [0, 0]
        assert (sharded.steps, sharded.decays) == (0, 0)
    coupled = Rule(weight_decay=0.1)
    with ShardedTable(10, rule=coupled, shards=1) as sharded:
        with pytest.raises(ValueError, match="each"):
            sharded.step(FINE, ONES, "each")
        assert sharded.stats()[0].asked == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"rows": 3, "shards": 4},
            ValueError,
            "shards must be at most .*, got 4",
        ),
        ({"rows": 3, "shards": 0}, ValueError, "shards must be from 1"),
        ({"rows": 0, "shards": 1}, ValueError, "rows must be from 1"),
        ({"rows": 3, "shards": 1, "dim": 0}, ValueError, "dim must be from 1"),
        ({"rows": 3, "shards": 1, "dtype": "int8"}, ValueError, "dtype must be one of"),
        ({"rows": 3, "shards": 1, "init": "ones"}, ValueError, "init must be one of"),
        ({"rows": 3, "shards": 1, "rule": 0.1}, TypeError, "rule must be an adagrad.Rule"),
        ({"rows": 3, "shards": 1, "address": 1}, TypeError, "address must be a string"),
        ({"rows": 2**62, "shards": 2}, ValueError, r"exceeds 2\*\*63 - 1 bytes"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        ShardedTable(**options)


# Files


@pytest.mark.parametrize("shards", [1, 3])
def test_loading_goes_on_with_the_same_bits(shards, tmp_path, rng):
    options = {"dim": 3, "dtype": "float16", "init": "normal", "seed": 4}
    whole = Table(20, rule=Rule(on_nonfinite="skip", lr_decay=0.1), **options)

    def train(*tables):
        for _ in range(4):
            rows, g = rng.integers(0, 20, 9), wide_range(rng, (9, 3), np.float32)
            g[0] = np.nan
            for table in tables:
                table.step(rows, g, "each")
                table.decay(0.99)

    with ShardedTable(20, rule=whole.rule, shards=2, **options) as sharded:
        train(sharded, whole)
        sharded.save(tmp_path)
        before = set(tmp_path.iterdir())
        sharded.save(tmp_path)
        assert len(before & set(tmp_path.iterdir())) == 1  # the manifest; the slices are new
        assert len(list(tmp_path.iterdir())) == 2
    with ShardedTable.load(tmp_path, shards=shards) as loaded:
        assert loaded.shards == shards
        train(loaded, whole)
        assert_same_tables(loaded, whole, tmp_path)


def test_a_save_that_fails_leaves_the_old_table(tmp_path, monkeypatch):
    with ShardedTable(10, shards=2) as sharded:
        sharded.save(tmp_path)
        before = sorted(tmp_path.rglob("*"))
        sharded.step(FINE, ONES)
        monkeypatch.setattr(_manifest.files, "replace", failing)
        with pytest.raises(OSError, match="disk full"):
            sharded.save(tmp_path)
        monkeypatch.undo()
        assert sorted(tmp_path.rglob("*")) == before
        monkeypatch.setattr(_manifest, "find_slices", failing)  # what shards on other machines do
        with pytest.raises(OSError, match="disk full"):
            sharded.save(tmp_path)
        monkeypatch.undo()
        assert sorted(tmp_path.rglob("*")) == before
        with pytest.raises(FileExistsError):
            sharded.save(tmp_path / "sharded.json")
        with ShardedTable.load(tmp_path, shards=1) as loaded:
            assert loaded.steps == 0
        sharded.save(tmp_path)
    with ShardedTable.load(tmp_path, shards=1) as loaded:
        assert loaded.steps == 1


def failing(*_):
    raise OSError(28, "disk full")


def test_more_shards_than_rows_are_loaded(tmp_path):
    with ShardedTable(3, shards=2) as sharded:
        sharded.save(tmp_path)
    with pytest.raises(ValueError, match=r"shards must be at most .*, got 4"):
        ShardedTable.load(tmp_path, shards=4)
    with pytest.raises(TableFileError, match=r"sharded\.json does not exist"):
        ShardedTable.load(tmp_path / "other", shards=1)
