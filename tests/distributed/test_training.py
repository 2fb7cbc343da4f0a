"""Training on a Ray cluster of two nodes: the bits of one process, whichever process dies."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import signal
import threading
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import adagrad
from adagrad.ctr import (
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    HashingEncoder,
    LogisticRegression,
)
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.learners.settings import Settings
from adagrad.datasets import synthetic_clicks
from checks import ROOT, need_packages

need_packages("ray")

import ray.data

import command
import ctr_data
import distributed_reference as oracle
from adagrad.distributed import Cluster, Lost, Mismatch, _driver, _model_shards, fitting

pytestmark = pytest.mark.xdist_group("ray")

ROWS, FIRST, BATCH = 9_000, 2_048, 256
KINDS = {
    "lr": LogisticRegression,
    "fm": FactorizationMachine,
    "ffm": FieldAwareFactorizationMachine,
}


@pytest.fixture(scope="module")
def clicks() -> pa.Table:
    table = pa.Table.from_batches(list(synthetic_clicks(ROWS, 5)))
    return table.select(table.column_names[:16])


@pytest.fixture(autouse=True)
def few_first_rows(monkeypatch):
    monkeypatch.setattr(fitting, "FIRST_ROWS", FIRST)


def dataset(clicks: pa.Table, blocks: int = 3) -> Any:
    cuts = np.linspace(0, len(clicks), blocks + 1).astype(int)
    return ray.data.from_arrow([clicks.slice(a, b - a) for a, b in itertools.pairwise(cuts)])


def estimator(kind: str = "lr", **options: Any) -> Any:
    return KINDS[kind](lr=options.pop("lr", 0.1), encoder=HashingEncoder(12), **options)


def fit(model: Any, data: Any, *, label: str, **how: Any) -> Any:
    return fitting.fit(model, data, label, Cluster(**how))


def bits(model: Any) -> dict[str, bytes]:
    return {**ctr_data.bits(model), "examples": bytes(str(model.examples), "ascii")}


@pytest.fixture(scope="module")
def undisturbed(clicks, cluster) -> dict[str, bytes]:
    """The logistic regression that the oracle trains on the clicks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "FIRST_ROWS", FIRST)
        how = Cluster(batch_size=BATCH, workers=1, shards=1)
        plan = fitting.plan_of(estimator(), dataset(clicks), "click", how)
    return bits(oracle.trained(plan, clicks, clicks["click"].to_numpy()))


# -- the same bits ------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "shards"), [(1, 1), (2, 3), (3, 2)])
def test_workers_and_shards_change_no_bit(workers, shards, clicks, undisturbed):
    model = fit(
        estimator(),
        dataset(clicks, workers),
        label="click",
        workers=workers,
        shards=shards,
        batch_size=BATCH,
    )
    assert bits(model._model) == undisturbed
    assert model.n_examples_ == ROWS


@pytest.mark.parametrize(
    ("kind", "options", "staleness"),
    [
        ("ffm", {}, 3),
        ("lr", {"fit_intercept": False}, 2),
        ("lr", {"l1": 0.5, "l2": 1.0}, 2),
        ("fm", {"l1": 0.5, "l2": 1e-3}, 0),
        ("lr", {"lr": "auto"}, 1),
    ],
)
def test_every_learner_equals_one_process(kind, options, staleness, clicks, cluster):
    how = Cluster(batch_size=BATCH, staleness=staleness, workers=2, shards=2)
    model = estimator(kind, **options)
    plan = fitting.plan_of(model, dataset(clicks), "click", how)
    fitting.fit(model, dataset(clicks), "click", how)
    expected = oracle.trained(plan, clicks, clicks["click"].to_numpy())
    assert bits(model._model) == bits(expected)
    if "l1" in options:
        touched = np.count_nonzero(model._model.tables["linear"].state)
        assert 50 < np.count_nonzero(model.coef_) < 0.7 * touched


def test_the_best_expert_goes_on_alone(clicks):
    x = HashingEncoder(12).fit_transform(clicks.drop_columns(["click"]))
    y = clicks["click"].to_numpy().astype(np.float32)
    whole = LogisticRegression().fit(x, y)
    rule, margins = fitting._best_expert(Settings("lr", x.n_slots, None), x, y)
    board = Progressive()
    board.add(margins, y, None)
    assert board.metrics() == whole.progressive_
    best = min(whole.experts_[:3], key=lambda expert: expert["logloss"])
    rate = best["rate"] * np.sqrt(ROWS / (ROWS + len(x.to_csr().data)))
    assert rule == adagrad.Rule(lr=rule.lr, eps=0.0, initial_accumulator=best["start"])
    assert rule.lr == pytest.approx(rate, rel=1e-6)


def test_passes_and_a_file_that_predicts(clicks, cluster, tmp_path):
    how = {"label": "click", "batch_size": BATCH, "workers": 2, "shards": 2}
    model = fit(estimator(passes=2), dataset(clicks), **how)
    assert model.n_examples_ == 2 * ROWS
    assert model.n_passes_ == 2
    assert model.progressive_["logloss"] < 0.3
    model.save(tmp_path / "model")
    features = clicks.drop_columns(["click"])
    found = adagrad.ctr.load(tmp_path / "model").predict_proba(features)
    assert np.array_equal(found, model.predict_proba(features))


def test_async_learns_every_example_once(clicks, undisturbed):
    model = fit(
        estimator(),
        dataset(clicks),
        label="click",
        mode="async",
        staleness=4,
        batch_size=64,
        workers=2,
        shards=2,
    )
    assert model.n_examples_ == ROWS
    weight, positive, loss, _ = model._model.progressive.sums
    of_sync = np.frombuffer(undisturbed["progressive.sums"])
    assert (weight, positive) == (of_sync[0], of_sync[1])
    assert abs(loss / of_sync[2] - 1) < 0.02


# -- failures -----------------------------------------------------------------------------------


class Killer:
    """A `show` that kills an actor or a node once a number of examples are learned."""

    def __init__(self, moments: dict[int, str], victims: Any = None) -> None:
        self.moments, self.victims, self.killed = dict(moments), victims, []

    def __call__(self, driver: Any) -> None:
        for moment in [m for m in self.moments if driver.at.examples >= m]:
            what = self.moments.pop(moment)
            if what == "worker":
                ray.kill(driver.workers[len(self.killed) % len(driver.workers)], no_restart=False)
            elif what == "shard":
                ray.kill(driver.shards.actors[-1 - len(self.killed) % 2], no_restart=False)
            else:
                self.victims.remove_node(self.victims.list_all_nodes()[-1], allow_graceful=False)
            self.killed.append(what)


@pytest.mark.parametrize(
    ("mode", "moments"),
    [
        ("sync", {3_000: "worker", 6_000: "shard", 6_500: "worker"}),
        ("async", {3_500: "shard", 7_000: "worker"}),
    ],
)
def test_processes_die(mode, moments, clicks, undisturbed, tmp_path):
    killer = Killer(moments)
    how = Cluster(
        batch_size=BATCH,
        mode=mode,
        workers=2,
        shards=2,
        checkpoint=tmp_path,
        checkpoint_every=2_500,
    )
    model = fitting.fit(estimator(), dataset(clicks), "click", how, killer)
    assert len(killer.killed) == len(moments)
    assert model.n_examples_ == ROWS
    if mode == "sync":
        assert bits(model._model) == undisturbed
    else:
        sums = model._model.progressive.sums
        assert sums[0] == ROWS
        assert sums[1] == clicks["click"].to_numpy().sum()


def test_training_starts_over_without_a_checkpoint(clicks, undisturbed):
    killer = Killer({4_000: "shard"})
    how = Cluster(batch_size=BATCH, workers=2, shards=2)
    model = fitting.fit(estimator(), dataset(clicks), "click", how, killer)
    assert killer.killed == ["shard"]
    assert bits(model._model) == undisturbed


def test_a_node_dies(clicks, undisturbed, cluster, tmp_path):
    node = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)

    class Victim:
        def list_all_nodes(self) -> list[Any]:
            return [node]

        remove_node = staticmethod(cluster.remove_node)

    killer = Killer({5_000: "node"}, Victim())
    how = Cluster(
        batch_size=BATCH, workers=3, shards=3, checkpoint=tmp_path, checkpoint_every=3_000
    )
    model = fitting.fit(estimator(), dataset(clicks, 7), "click", how, killer)
    assert killer.killed == ["node"]
    assert bits(model._model) == undisturbed


def test_processes_die_at_random(clicks, undisturbed, tmp_path):
    rng = np.random.default_rng(3)
    done = threading.Event()
    drivers: list[Any] = []

    def kill() -> None:
        while not done.wait(rng.uniform(0.1, 0.4)):
            if drivers:
                actors = [*drivers[-1].workers, *drivers[-1].shards.actors]
                ray.kill(actors[rng.integers(len(actors))], no_restart=False)
                killed.append(time.monotonic())
                if len(killed) == 3:
                    return

    killed: list[float] = []
    how = Cluster(
        batch_size=BATCH, workers=2, shards=2, checkpoint=tmp_path, checkpoint_every=2_000
    )
    thread = threading.Thread(target=kill)
    thread.start()
    try:
        model = fitting.fit(estimator(), dataset(clicks), "click", how, drivers.append)
    finally:
        done.set()
        thread.join()
    assert killed
    assert bits(model._model) == undisturbed


def test_training_resumes_with_other_workers_and_shards(clicks, undisturbed, tmp_path):
    from adagrad.ctr.training.stop import Interrupted, Stop

    stop = Stop()

    def interrupt(driver: Any) -> None:
        if driver.at.examples >= 5_000:
            stop.signal = signal.SIGINT

    how = Cluster(batch_size=BATCH, workers=2, shards=3, checkpoint=tmp_path)
    with pytest.raises(Interrupted):
        fitting.fit(estimator(), dataset(clicks), "click", how, interrupt, stop)
    manifest = json.loads((tmp_path / "training.json").read_text())
    assert 5_000 <= manifest["examples"] < ROWS
    seen: list[int] = []
    model = fitting.fit(
        estimator(),
        dataset(clicks),
        "click",
        dataclasses.replace(how, workers=1, shards=2, resume=True),
        lambda driver: seen.append(driver.at.examples),
    )
    assert min(seen) > manifest["examples"]
    assert bits(model._model) == undisturbed


# -- mistakes -----------------------------------------------------------------------------------


def test_a_checkpoint_of_another_training(clicks, cluster, tmp_path):
    how = Cluster(
        batch_size=BATCH, workers=1, shards=1, checkpoint=tmp_path, checkpoint_every=2_000
    )
    fitting.fit(estimator(), dataset(clicks), "click", how)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert before
    others = [estimator(lr=0.2), estimator(rule=adagrad.Rule(lr=0.1)), estimator(kind="fm")]
    others += [estimator(l1=0.1), estimator(l2=1.0)]
    for other in [*others, LogisticRegression(lr=0.1, encoder=HashingEncoder(12, seed=1))]:
        with pytest.raises(Mismatch, match=r"another (settings\.\S+|encoder\.\S+|penalties): "):
            fitting.fit(other, dataset(clicks), "click", dataclasses.replace(how, resume=True))
        assert not hasattr(other, "classes_")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_an_earlier_version_with_l1(clicks, cluster, tmp_path):
    """Its slots keep weights where today's keep the sums of FTRL-proximal."""
    how = Cluster(
        batch_size=BATCH, workers=1, shards=1, checkpoint=tmp_path, checkpoint_every=2_000
    )
    fitting.fit(estimator(l1=0.1), dataset(clicks), "click", how)
    (path,) = tmp_path.rglob("training.json")
    manifest = json.loads(path.read_text())
    del manifest["plan"]["penalties"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(Mismatch, match=r"another penalties: None, not \[0\.1, 0\.0\]"):
        fitting.fit(
            estimator(l1=0.1), dataset(clicks), "click", dataclasses.replace(how, resume=True)
        )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"label": "clck"}, "no column 'clck'"),
        ({"label": "C1"}, "labels must be 0/1"),
        ({"shards": 4_000}, "at most 512"),
        ({"mode": "downpour"}, "mode must be"),
        ({"staleness": -1}, "staleness"),
        ({"batch_size": 0}, "batch_size"),
        ({"resume": True}, "resume=True needs checkpoint"),
    ],
)
def test_mistakes(change, match, clicks, cluster):
    model = estimator()
    how = {"label": "click", "workers": 1, "shards": 1, **change}
    with pytest.raises((ValueError, TypeError), match=match):
        fit(model, dataset(clicks), **how)
    assert not hasattr(model, "classes_")


def test_a_missing_label_is_named(clicks, cluster):
    labels = clicks["click"].to_pylist()
    labels[7] = None
    missing = clicks.set_column(0, "click", pa.array(labels))
    with pytest.raises(ValueError, match="column 'click' is null in row 7"):
        fit(estimator(), dataset(missing), label="click", workers=1, shards=1)


def test_unsupported_options(clicks, cluster):
    for model, match in [
        (estimator(shuffle=True), "shuffle the dataset"),
        (estimator(warm_start=True), "warm_start"),
        (estimator(class_weight={1: 2.0}), "class_weight"),
        (estimator(random_state=np.random.RandomState(0)), "give random_state an integer"),
        (estimator(lr="auto", half_life=100.0), "half_life"),
        (LogisticRegression(), "has no encoder for the columns"),
        (LogisticRegression(encoder=HashingEncoder(output="csr")), "must have output='examples'"),
    ]:
        with pytest.raises(ValueError, match=match):
            fit(model, dataset(clicks), label="click")


def test_a_bad_label_ends_the_training(clicks, cluster):
    labels = clicks["click"].to_numpy().copy()
    labels[7_000] = 7
    wrong = clicks.set_column(0, "click", pa.array(labels))
    with pytest.raises(ValueError, match=r"column 'click' is 7.0 in row"):
        fit(estimator(), dataset(wrong), label="click", workers=1, shards=1, batch_size=BATCH)


def test_a_cluster_that_does_not_recover(clicks, cluster, monkeypatch):
    monkeypatch.setattr(_driver, "PATIENCE", 2.0)
    monkeypatch.setattr(_model_shards, "PATIENCE", 2.0)

    def kill(driver: Any) -> None:
        if driver.at.examples >= 4_000:
            ray.kill(driver.shards.actors[0], no_restart=True)

    start = time.monotonic()
    with pytest.raises(Lost, match="no batch was learned for 2 s"):
        how = Cluster(batch_size=BATCH, workers=2, shards=2)
        fitting.fit(estimator(), dataset(clicks), "click", how, kill)
    assert time.monotonic() - start < 60


def test_the_page_in_the_documentation(cluster, monkeypatch):
    monkeypatch.undo()  # with the usual number of first rows
    page = ROOT / "docs" / "distributed-training.md"
    (program,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(program, str(page), "exec"), found)
    assert found["model"].n_examples_ == len(found["log"])


# -- the command --------------------------------------------------------------------------------


def test_command_line(clicks, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("adagrad.ctr.training.stop._SIGNALS", ())
    for part in range(3):
        pq.write_table(clicks.slice(part * 1_500, 1_500), tmp_path / f"log-{part}.parquet")

    def train(model: str, *options: str) -> str:
        what = [f"{tmp_path}/log-*.parquet", "-l", "click", "-b", 16, "-m", tmp_path / model]
        code, _, text = command.invoke(
            "train", *what, "--ray", "auto", "--batch-size", BATCH, *options
        )
        assert code == 0, text
        return text

    text = train("a", "--workers", "1", "--shards", "1")
    assert "in flight" in text
    assert "1 shard" in text
    report = str(tmp_path / "r.html")
    validate = str(tmp_path / "log-2.parquet")
    train("b", "--workers", "2", "--shards", "2", "--report", report)
    assert (tmp_path / "a").stat().st_size < 12 << 16, "the shards send the rows that were touched"
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "Learning curves" in (tmp_path / "r.html").read_text()
    assert not list(tmp_path.glob("*.checkpoint"))
    text = train("c", "--validate", validate, "--passes", "2", "--workers", "1", "--shards", "1")
    assert "validation, pass 2" in text
    assert "complete" in train("a", "--resume", "--workers", "1", "--shards", "1")
    assert command.invoke("evaluate", tmp_path / "a", validate)[0] == 0


def test_a_broken_row_is_an_error_of_one_line(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("adagrad.ctr.training.stop._SIGNALS", ())
    path = tmp_path / "log.csv"
    path.write_text("click,site\n" + "0,a\n1,b\n" * 4_000 + "2,c\n" + "0,d\n" * 9)
    what = ["train", path, "-l", "click", "-b", 12, "-m", tmp_path / "m", "--ray", "auto"]
    what += ["--workers", "1", "--shards", "1"]
    code, _, text = command.invoke(*what)
    assert code == 1
    last = text.strip().splitlines()[-1]
    assert (
        last == f"Error: {path}, line 8002: the label is '2', not 0 or 1, -1 or +1, false or true"
    )
    assert not (tmp_path / "m").exists()
    code, _, text = command.invoke(*what, "--skip-bad")
    assert code == 0
    assert "1 broken row skipped: bad label 1" in text


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--workers", "2"], "--workers needs --ray"),
        (["--ray", "127.0.0.1:1"], "no Ray cluster listens at 127.0.0.1:1"),
        (["--ray", "local", "--passes", "2", "--early-stop", "1"], "--early-stop"),
        (["--ray", "local", "--half-life", "1000"], "--half-life does not work with --ray"),
    ],
)
def test_mistakes_of_the_command(options, match, clicks, tmp_path, monkeypatch):
    monkeypatch.setattr("adagrad.ctr.training.stop._SIGNALS", ())
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    pq.write_table(clicks.slice(0, 100), tmp_path / "log.parquet")
    start = time.monotonic()
    what = (tmp_path / "log.parquet", "-l", "click", "-m", tmp_path / "m")
    code, _, text = command.invoke("train", *what, *options)
    assert code == 1
    assert match in text
    assert time.monotonic() - start < 10
    assert not (tmp_path / "m").exists()
