"""The simulation of a cluster obeys laws that are known without it, and is fed with what is so."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys

import numpy as np
import pytest

import benchmark
from adagrad import Rule
from adagrad.datasets import synthetic_clicks
from checks import ROOT, need_packages

need_packages("pyarrow", "sklearn", "ray")

import pyarrow as pa
import pyarrow.parquet

from adagrad.ctr import HashingEncoder, LogisticRegression
from adagrad.distributed._model_shard import edges
from adagrad.distributed._worker import dealt

sys.path.append(str(ROOT))  # bench/ is no part of what is installed

from bench.events import Clock, Resource, start
from bench.ray_dense import DataWorker, ParameterServer
from bench.scale import HASH, OURS, RANGE, Load
from bench.scale_costs import Stages
from bench.scale_model import Call, Cluster, Costs, Training
from bench.scale_sim import simulate

BATCH = 1000
CALL = Call((0.0, 1e5, 1e6), (1e-4, 2e-4, 1e-3), (1e-4, 3e-4, 2e-3))
COSTS = Costs(
    read=1e-6, encode=2e-6, compute=3e-6, gather=1e-7, step=2e-7, track=1e-7, call=CALL, block=100
)
FREE = dataclasses.replace(COSTS, call=Call())  # calls cost nothing


def even(rows: float, shards: int) -> np.ndarray:
    return np.full((1, shards), rows / shards)


def zipf(shards: int) -> np.ndarray:
    """Return uneven loads that differ from batch to batch."""
    random = np.random.default_rng(7)
    shares = random.dirichlet(1 / np.arange(1, shards + 1), size=16)
    return 5000 * shares


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_one_processor_does_one_thing_after_another(mode, staleness):
    cluster = Cluster(processors=1)
    training = Training(mode, staleness, BATCH)
    out = simulate(FREE, cluster, training, even(5000, 1), batches=64)
    assert out.seconds == pytest.approx(64 * BATCH * FREE.example(5.0), rel=1e-9)
    assert out.rate == pytest.approx(1 / FREE.example(5.0), rel=0.05)
    assert out.busy["processors"] == pytest.approx(1.0)
    assert out.bottleneck == "processors"


def test_calls_cost_what_they_cost():
    out = simulate(COSTS, Cluster(processors=1), Training("sync", 0, BATCH), even(5000, 1), 64)
    at_20_kb = 0.2  # of the way from no bytes to 100 kB
    pull_or_push = 1e-4 + at_20_kb * 1e-4 + 1e-4 + at_20_kb * 2e-4
    told = 1e-4 + 0.08 * 2e-4  # the driver, with 8 kB
    calls = 2 * pull_or_push + 4 * 1e-4 + told
    want = 64 * (BATCH * COSTS.example(5.0) + calls)
    assert out.seconds == pytest.approx(want, rel=1e-9)


def test_a_call_beyond_those_measured_costs_by_the_byte():
    assert CALL.sent(0) == 1e-4
    assert CALL.sent(55e4) == pytest.approx(6e-4)
    assert CALL.taken(4e6) == pytest.approx(8e-3)


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("nodes", [1, 2, 5, 16])
@pytest.mark.parametrize("staleness", [0, 3, 15])
def test_no_faster_than_all_workers_at_work(mode, nodes, staleness):
    cluster = Cluster(nodes, workers=nodes, shards=nodes, processors=8)
    out = simulate(COSTS, cluster, Training(mode, staleness, BATCH), zipf(nodes), seed=nodes)
    assert 0 < out.rate <= 1.02 * nodes / (COSTS.encode + COSTS.compute)
    assert all(0.0 <= share <= 1.05 for share in out.busy.values()), out.busy


def test_workers_are_the_bound_where_all_else_is_free():
    costs = Costs(encode=2e-6, compute=3e-6)
    cluster = Cluster(8, 8, 8, processors=8, bandwidth=1e15, latency=0.0)
    out = simulate(costs, cluster, Training("async", 31, BATCH), even(5000, 8))
    assert out.rate == pytest.approx(8 / 5e-6, rel=0.02)
    assert out.bottleneck == "worker"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_shard_with_all_the_load_is_the_bound(mode):
    costs = dataclasses.replace(FREE, gather=1e-6, step=2e-6)
    loads = np.zeros((1, 16))
    loads[0, 3] = 5000.0
    cluster = Cluster(16, 16, 16, processors=8, bandwidth=1e12, latency=0.0)
    hot = simulate(costs, cluster, Training(mode, 31, BATCH), loads)
    bound = BATCH / (5000 * 3e-6)
    assert hot.rate == pytest.approx(bound, rel=0.03)
    assert hot.bottleneck == "shard"
    even_load = simulate(costs, cluster, Training(mode, 31, BATCH), even(5000, 16))
    assert even_load.rate > 8 * hot.rate


def test_a_slow_network_is_the_bound():
    costs, bandwidth = dataclasses.replace(COSTS, block=0), 1e6
    cluster = Cluster(4, 4, 4, processors=8, bandwidth=bandwidth)
    out = simulate(costs, cluster, Training("async", 15, BATCH), even(5000, 4))
    assert out.bottleneck == "network"
    # A node sends a quarter of three quarters of the ids, of the params and of the gradients.
    bound = BATCH / (3 * 4 * 5000 * 3 / 4 / 4 / bandwidth)
    assert 0.5 * bound < out.rate <= bound
    cluster = dataclasses.replace(cluster, bandwidth=1e9)
    fast = simulate(costs, cluster, Training("async", 15, BATCH), even(5000, 4))
    assert fast.rate > 5 * out.rate


@pytest.mark.parametrize("seed", range(3))
def test_more_staleness_is_never_slower(seed):
    cluster = Cluster(8, 8, 8)
    loads = zipf(8)
    rates = [
        simulate(COSTS, cluster, Training("async", staleness, BATCH), loads, 384, seed).rate
        for staleness in (0, 1, 3, 7, 15, 31)
    ]
    # Not to the last per cent: who asks first for a processor depends on everything.
    assert all(b >= 0.92 * a for a, b in itertools.pairwise(rates)), rates
    assert rates[3] > 2 * rates[0]
    # In sync, up to a round that has a batch for each worker: two such rounds keep all busy.
    rates = [
        simulate(COSTS, cluster, Training("sync", length - 1, BATCH), loads, 384, seed).rate
        for length in (1, 2, 4, 8)
    ]
    assert all(b >= 0.98 * a for a, b in itertools.pairwise(rates)), rates


def test_rounds_are_no_faster_than_batches_on_their_own():
    cluster, loads = Cluster(8, 8, 8), zipf(8)
    for staleness in (0, 7, 15):
        sync, free = (
            simulate(COSTS, cluster, Training(mode, staleness, BATCH), loads, 384).rate
            for mode in ("sync", "async")
        )
        assert sync <= 1.01 * free


def test_the_same_seed_gives_the_same_numbers():
    arguments = COSTS, Cluster(4, 4, 4), Training("async", 3, BATCH), zipf(4)
    assert simulate(*arguments, seed=1) == simulate(*arguments, seed=1)
    assert simulate(*arguments, seed=1) != simulate(*arguments, seed=2)


def test_loads_of_other_shards_are_refused():
    with pytest.raises(ValueError, match=r"loads must be \[n, 2\], got \[1, 3\]"):
        simulate(COSTS, Cluster(shards=2), Training(), even(5000, 3))


def test_a_resource_is_given_in_the_order_of_asking():
    clock, log = Clock(), []
    resource = Resource(clock, 2)

    def user(name, seconds):
        yield from resource.use(seconds)
        log.append((name, clock.now))

    for name, seconds in (("a", 3.0), ("b", 1.0), ("c", 1.0), ("d", 5.0)):
        start(user(name, seconds))
    clock.run()
    assert log == [("b", 1.0), ("c", 2.0), ("a", 3.0), ("d", 7.0)]
    assert resource.busy == 10.0


@pytest.fixture(scope="module")
def clicks():
    return pa.Table.from_batches(list(synthetic_clicks(4096, 3)))


def test_loads_are_those_of_the_shards(clicks):
    slots = HashingEncoder(14).fit_transform(clicks.drop_columns(["click"])).slots.reshape(4096, 39)
    load = Load(slots, 1 << 14)
    different = [np.unique(slots[start : start + 1024]) for start in range(0, 4096, 1024)]
    for shards in (1, 3, 4):
        ours = load(1024, OURS, shards)
        for rows, of_shards in zip(different, ours, strict=True):
            parts = dealt(rows, edges(1 << 14, shards), shards)
            want = [sum(p.stop - p.start for p in of_shard) for of_shard in parts]
            assert of_shards.tolist() == want
        for partition in (HASH, RANGE):
            found = load(1024, partition, shards)
            assert found.sum(axis=1).tolist() == [len(rows) for rows in different]
    assert load(1024, HASH, 4).max() < 1.2 * load(1024, HASH, 4).mean()
    assert np.all(load(1024, RANGE, 4).argmax(axis=1) == 0)
    assert load(1024, RANGE, 4)[:, 0].mean() > 1.3 * load(1024, RANGE, 4).mean()


def test_stages_are_those_of_a_training(clicks):
    stages = Stages(clicks, 512)
    for name in ("push", "pull", "encode", "push", "compact", "pull", "compute", "push"):
        variant = next(v for v in stages.variants() if v.name.endswith(name))
        for i in range(3):
            variant.call(variant.prepare(i))
    assert all(shard.steps == stages.number // 2 > 8 for shard in stages.shards)
    assert 5 < stages.rows_per_example < 39


def test_the_dense_server_learns_what_a_learner_does(clicks, tmp_path):
    path, encoder = tmp_path / "clicks.parquet", HashingEncoder(18)
    encoder.fit(clicks.drop_columns(["click"]))
    pyarrow.parquet.write_table(clicks, path)
    rule = Rule(lr=0.1, eps=1.0)
    server, worker = ParameterServer(18, rule), DataWorker([path], "click", encoder, 1)
    losses, rows = 0.0, 0
    while True:
        gradient, loss, count = worker.compute_gradients(server.get_weights())
        if count == 0:
            break
        server.apply_gradients(gradient)
        losses, rows = losses + loss, rows + count
        if rows == 500:
            break
    x = encoder.transform(clicks)[:500]
    model = LogisticRegression(rule=rule).fit(x, clicks["click"].to_numpy()[:500])
    assert losses / rows == pytest.approx(model.progressive_["logloss"], rel=1e-4)
    np.testing.assert_allclose(server.weights[:-1], model.coef_.ravel(), rtol=1e-3, atol=1e-6)


@pytest.mark.xdist_group("ray")
def test_smoke_run(tmp_path):
    out = tmp_path / "results.json"
    options = ("--only", "simulation", "--json", str(out))
    printed = benchmark.smoke("scale", *options, without="numba", RAY_ADDRESS="")
    assert "SIMULATED" in printed
    found = json.loads(out.read_text(encoding="utf-8"))["questions"]["scale"]
    names = {cell["variant"] for cell in found["results"]}
    stages = {"read", "track", "encode", "compact", "pull", "compute", "push", "there and back"}
    assert names == {f"adagrad, {stage}" for stage in stages}
