"""The actors of a `ShardedTable`: placement, statistics, and what happens when one dies."""

from __future__ import annotations

import doctest
import os
import pickle
import re
import signal
import threading
import time

import numpy as np
import pytest

import adagrad
from checks import ROOT, assert_same_bits, need_packages

need_packages("ray")

import ray

import ray_cluster
from adagrad.distributed import ShardedTable, ShardLostError, _manifest, _table_shard
from adagrad.distributed._slices import load_slice

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("cluster")]

FINE = np.array([0, 9])
ONES = np.ones(2, np.float32)


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


def test_repr_pickle_and_close():
    sharded = ShardedTable(10, 2, shards=2)
    assert len(sharded) == 10
    assert repr(sharded).startswith("ShardedTable(10, dim=2, dtype='float32', state='element', sh")
    with pytest.raises(TypeError, match="one process owns it"):
        pickle.dumps(sharded)
    sharded.close()
    sharded.close()
    assert ", closed, " in repr(sharded)
    with pytest.raises(ValueError, match="closed"):
        sharded.gather(FINE)


def test_a_shard_without_enough_memory():
    with pytest.raises(MemoryError, match="of memory"):
        ShardedTable(2**58, shards=2)


@pytest.mark.parametrize("name", ["GetTimeoutError", "ActorDiedError"])
def test_shards_that_do_not_start(name, monkeypatch):
    def get(*_, **__):
        raise getattr(ray.exceptions, name)

    monkeypatch.setattr(_table_shard.ray, "get", get)
    with pytest.raises(RuntimeError, match=r"within 60 seconds|died before its shards"):
        ShardedTable(3, shards=2)


# Failures


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
    loaded = load_slice(_manifest.read(tmp_path)[0], _manifest.NAME, 0, 10)
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
