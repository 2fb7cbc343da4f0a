"""A ShardedTable has the bits of one Table, and says when it has lost a part of them."""

from __future__ import annotations

import doctest
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adagrad
from adagrad import Rule, Table, TableFileError
from checks import ROOT, assert_same_bits, need_packages, wide_range
from rules import RULES, is_coupled
from tables import IDS, POLICIES, STATES, STORAGES

need_packages("ray")

import ray

import ray_cluster
from adagrad.distributed import ShardedTable, ShardLostError, _cluster, _manifest
from adagrad.distributed._slices import load_slice

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("cluster")]

DECAYED = Rule(weight_decay=0.01, weight_decay_mode="decoupled", weight_decay_rows="all")


def real(table):
    return np.float64 if table.dtype == "float64" else np.float32


def saved(sharded, folder):
    """The whole table, out of the files of its shards."""
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


def test_stats_and_hot_shards():
    with ShardedTable(6, 4, shards=3) as sharded:
        assert {shard.load for shard in sharded.stats()} == {1.0}
        sharded.gather(np.array([0, 1, 1, 1, 1, 4]))
        sharded.step(np.array([1, 5]), np.ones((2, 4), np.float32))
        stats = sharded.stats()
    assert [(shard.first, shard.last) for shard in stats] == [(0, 2), (2, 4), (4, 6)]
    assert [shard.asked for shard in stats] == [6, 0, 2]
    assert [shard.steps for shard in stats] == [1, 0, 1]
    assert [shard.load for shard in stats] == [6 / (8 / 3), 0.0, 2 / (8 / 3)]
    assert [shard.is_hot for shard in stats] == [True, False, False]
    assert stats[0].busy > 0.0
    assert {shard.nbytes for shard in stats} == {64}
    assert stats[0].node == stats[2].node != stats[1].node


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


def test_the_documentation(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "sharded-tables.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block, names)
    assert names["hot"] == []
    with ShardedTable.load("model", shards=1) as loaded:
        rows = np.arange(loaded.rows)
        assert_same_bits(loaded.gather(rows), names["one"].gather(rows))
    finder = doctest.DocTestFinder()
    (found,) = finder.find(ShardedTable, globs={"adagrad": adagrad, "np": np}, name="table")[:1]
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0


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
    ((FINE, ONES), {"lr": -1.0}, ValueError, "lr must be finite"),
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
        ({"rows": 3, "shards": 4}, ValueError, "4 shards cannot share 3 rows"),
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
def test_tables_that_cannot_be(options, error, message):
    with pytest.raises(error, match=message):
        ShardedTable(**options)


def test_memory_that_a_shard_has_not():
    with pytest.raises(MemoryError, match="of memory"):
        ShardedTable(2**58, shards=2)


def test_a_closed_table_and_its_text():
    sharded = ShardedTable(10, 2, shards=2)
    assert len(sharded) == 10
    assert repr(sharded).startswith("ShardedTable(10, dim=2, dtype='float32', state='element', sh")
    with pytest.raises(TypeError, match="one owner"):
        pickle.dumps(sharded)
    sharded.close()
    sharded.close()
    assert ", closed, " in repr(sharded)
    with pytest.raises(ValueError, match="closed"):
        sharded.gather(FINE)


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
        monkeypatch.setattr(_manifest._files, "replace", failing)
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


@pytest.mark.parametrize("name", ["GetTimeoutError", "ActorDiedError"])
def test_shards_that_do_not_start(name, monkeypatch):
    def get(*_, **__):
        raise getattr(ray.exceptions, name)

    monkeypatch.setattr(_cluster.ray, "get", get)
    with pytest.raises(RuntimeError, match=r"do not run after 60 seconds|died before its shards"):
        ShardedTable(3, shards=2)


def test_more_shards_than_rows_are_loaded(tmp_path):
    with ShardedTable(3, shards=2) as sharded:
        sharded.save(tmp_path)
    with pytest.raises(ValueError, match="4 shards cannot share 3 rows"):
        ShardedTable.load(tmp_path, shards=4)
    with pytest.raises(TableFileError, match=r"sharded\.json is missing"):
        ShardedTable.load(tmp_path / "other", shards=1)


# Failure


def process_of(sharded, k):
    return ray.get(sharded._actors[k].__ray_call__.remote(lambda _: os.getpid()))


def assert_lost(sharded, call, what):
    start = time.monotonic()
    with pytest.raises(ShardLostError, match=what):
        call()
    assert time.monotonic() - start < 10.0
    for later in (
        sharded.stats,
        lambda: sharded.gather(FINE),
        lambda: sharded.step(FINE, ONES),
        lambda: sharded.decay(0.5),
    ):
        with pytest.raises(ShardLostError, match=what):
            later()
    assert ", lost, " in repr(sharded)


@pytest.mark.parametrize("call", ["gather", "step", "save"])
def test_a_shard_that_dies(call, tmp_path):
    with ShardedTable(10, shards=2) as sharded:
        sharded.step(FINE, ONES)
        sharded.save(tmp_path)
        held = sharded.gather(FINE)
        sharded.step(FINE, ONES)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        os.kill(process_of(sharded, 1), signal.SIGKILL)
        calls = {
            "gather": lambda: sharded.gather(FINE),
            "step": lambda: sharded.step(FINE, ONES),
            "save": lambda: sharded.save(tmp_path),
        }
        advice = f"ShardedTable.load({str(tmp_path)!r}, shards=2)"
        what = rf"shard 1 of 2, with rows 5 to 9, is lost at step .*{re.escape(advice)}"
        assert_lost(sharded, calls[call], what)
        with pytest.raises(ShardLostError, match=what):
            sharded.save(tmp_path)
        after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert {path: after[path] for path in before if path.is_file()} == {
            path: before[path] for path in before if path.is_file()
        }
        assert set(after) == set(before)
    with ShardedTable.load(tmp_path, shards=2) as loaded:
        assert loaded.steps == 1
        assert_same_bits(loaded.gather(FINE), held)


def test_a_process_that_is_killed_within_a_step(tmp_path):
    with ShardedTable(10, shards=2) as sharded:
        process = process_of(sharded, 0)
        sharded._actors[0].__ray_call__.remote(lambda _: time.sleep(60.0))
        kill = threading.Timer(0.3, os.kill, (process, signal.SIGKILL))
        kill.start()
        assert_lost(sharded, lambda: sharded.step(FINE, ONES), "shard 0 .* it was never saved")


def test_a_node_that_dies(cluster):
    node = cluster.add_node(**ray_cluster.NODE)
    try:
        with ShardedTable(6, shards=3) as sharded:
            at = [shard.node for shard in sharded.stats()]
            assert len(set(at)) == 3
            k = at.index(node.node_id)

            def gather_on():
                while True:  # its processes may outlive the node for a moment
                    sharded.gather(np.array([2 * k]))

            cluster.remove_node(node, allow_graceful=False)
            assert_lost(sharded, gather_on, f"shard {k} of 3, with rows {2 * k} to {2 * k + 1}")
    finally:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)
        while sum(found["Alive"] for found in ray.nodes()) > 2:
            time.sleep(0.05)


# The cluster


@pytest.fixture
def unconnected(monkeypatch):
    monkeypatch.setattr(_cluster.ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "192.0.2.1:6379", "auto"])
def test_nobody_listens(address, monkeypatch):
    monkeypatch.setattr(_cluster, "canonicalize_bootstrap_address", lambda _: "127.0.0.1:1")
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"no Ray cluster listens at .*:"):
        _cluster.connect(address)
    assert time.monotonic() - start < 5.0


@pytest.mark.usefixtures("unconnected")
def test_no_cluster_on_this_machine(monkeypatch):
    def none(_):
        raise ConnectionError

    monkeypatch.setattr(_cluster, "canonicalize_bootstrap_address", none)
    with pytest.raises(ConnectionError, match="no Ray cluster runs on this machine"):
        _cluster.connect("auto")


@pytest.mark.usefixtures("unconnected")
def test_the_address_of_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConnectionError, match=r"listens at 127\.0\.0\.1:1"):
        _cluster.connect()


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:x", "host:0", "host:65536"])
def test_addresses_that_are_none(address):
    with pytest.raises(ValueError, match="address must be"):
        _cluster.connect(address)


def test_room(cluster, monkeypatch):
    _cluster.check_room(1000, "shards", cpus=0)
    _cluster.check_room(2, "workers")
    with pytest.raises(RuntimeError, match=r"3 workers need 3 processors, .* 2 live nodes have 2"):
        _cluster.check_room(3, "workers")
    with pytest.raises(RuntimeError, match=r"1 workers need 2 processors, .* have 0"):
        _cluster.check_room(1, "workers", cpus=2)  # on one node
    monkeypatch.setattr(_cluster, "_PATIENCE", 0.2)
    holder = ray.remote(num_cpus=1)(object).remote()
    try:
        ray.get(holder.__ray_ready__.remote())
        with pytest.raises(RuntimeError, match="have 2, of which 1 are free"):
            _cluster.check_room(2, "workers")
    finally:
        ray.kill(holder)
    monkeypatch.setattr(_cluster.ray, "nodes", lambda: [{"Alive": False}])
    with pytest.raises(RuntimeError, match="no live node for 2 shards"):
        _cluster.check_room(2, "shards", cpus=0)


LOCAL = """
import numpy as np
from adagrad.distributed import ShardedTable
with ShardedTable(4, shards=2, init="normal", address="local") as table:
    print(table.gather(np.arange(4)).tolist())
"""


def test_a_local_cluster_is_quiet(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = subprocess.run(
        [sys.executable, "-c", LOCAL], capture_output=True, text=True, timeout=60
    )
    assert found.stderr == ""
    assert found.stdout == f"{Table(4, init='normal').gather(np.arange(4)).tolist()}\n"
