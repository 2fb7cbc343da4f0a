"""``adagrad demo``: its learners against the formulas in Python, their rates, its picture."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from adagrad import datasets
from checks import need_packages

need_packages("matplotlib", "sklearn")

from adagrad import ctr, demo, metrics, plotting

KINDS = (demo.AdaGrad, demo.ConstantRate, demo.GlobalRate)


def synthetic(examples: int = 600, seed: int = 0, scale: float = 1.0) -> datasets.Log:
    """Ids follow a power law, some come twice in an example, and each has one true weight."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=300)
    ids = np.minimum(rng.zipf(1.3, size=(examples, 5)) - 1, 299)
    values = rng.uniform(0.5, 2, size=ids.shape) * scale
    p = 1 / (1 + np.exp(-(truth[ids] * values / scale).sum(axis=1)))
    labels = (rng.random(examples) < p).astype(np.float32)
    return datasets.Log(
        name="synthetic",
        indptr=np.arange(examples + 1) * 5,
        rows=ids.ravel(),
        values=values.ravel().astype(np.float32),
        labels=labels,
        table_rows=300,
    )


@pytest.fixture(scope="module")
def comparison() -> demo.Comparison:
    return demo.compare(synthetic())


def in_python(log: datasets.Log, kind: type[demo.Learner], lr: float) -> list[float]:
    """Return the predictions of a learner by its formula, in double precision."""
    w: dict[int, float] = {}
    s: dict[int, float] = {}
    predictions = []
    for t in range(len(log)):
        entries = slice(*log.indptr[t : t + 2].tolist())
        features = list(zip(log.rows[entries].tolist(), log.values[entries].tolist(), strict=True))
        p = 1 / (1 + math.exp(-sum(w.get(row, 0.0) * value for row, value in features)))
        predictions.append(p)
        steps = [(row, (p - log.labels[t]) * value) for row, value in features]
        if kind is not demo.AdaGrad:  # AdaGrad takes a step for each occurrence of a row
            summed: dict[int, float] = {}
            for row, g in steps:
                summed[row] = summed.get(row, 0.0) + g
            steps = list(summed.items())
        for row, g in steps:
            s[row] = s.get(row, 0.0) + g * g
            rate = {
                demo.AdaGrad: lr / math.sqrt(s[row] + 1e-6),
                demo.ConstantRate: lr,
                demo.GlobalRate: lr / math.sqrt(t + 1),
            }[kind]
            w[row] = w.get(row, 0.0) - rate * g
    return predictions


@pytest.mark.parametrize("kind", KINDS)
def test_learners_follow_their_formula(kind: type[demo.Learner]) -> None:
    log = synthetic()
    assert any(len(set(row)) < 5 for row in log.rows.reshape(-1, 5).tolist())
    predictions = demo.progressive(log, kind(log.table_rows, 0.1))
    np.testing.assert_allclose(predictions, in_python(log, kind, 0.1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_does_not_depend_on_its_label(kind: type[demo.Learner]) -> None:
    log = synthetic(50)
    flipped = log.labels.copy()
    flipped[-1] = 1 - flipped[-1]
    other = datasets.Log(log.name, log.indptr, log.rows, log.values, flipped, log.table_rows)
    before, after = (demo.progressive(data, kind(300, 0.1)) for data in (log, other))
    assert (before == after).all()


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_is_reported_as_nan(kind: type[demo.Learner]) -> None:
    log = synthetic(200, scale=1e14)  # a value of more than 2**48 would be refused
    predictions = demo.progressive(log, kind(log.table_rows, 1e30))
    quality = metrics.measure(log.labels, predictions)
    assert math.isnan(predictions[-1])
    assert all(math.isnan(number) for number in vars(quality).values())


def test_rates_come_from_the_series() -> None:
    rates = [demo._series(place) for place in range(-5, 5)]
    assert rates == [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]


def test_every_learner_gets_the_best_rate_of_its_sweep(comparison: demo.Comparison) -> None:
    assert comparison.sweep_examples == 300
    for run in comparison.runs:
        rates = sorted(run.tried)
        assert len(rates) >= 5
        assert rates[0] < run.learner.lr < rates[-1]
        assert run.tried[run.learner.lr] == min(run.tried.values())


def test_a_sweep_continues_until_the_best_rate_is_not_at_an_end() -> None:
    adagrad, constant, decaying = demo.compare(synthetic(scale=10_000.0)).runs
    for run in (adagrad, constant, decaying):
        assert min(run.tried) < run.learner.lr < max(run.tried)
        assert len(run.tried) > 5
    assert constant.learner.lr < 0.001
    # A minimum among rates that all diverge must not count.
    for run in (adagrad, constant, decaying):
        assert run.tried[run.learner.lr] <= math.log(2)


def test_a_given_rate_has_no_sweep() -> None:
    adagrad, *others = demo.compare(synthetic(100), lr=0.3).runs
    assert (adagrad.learner.lr, adagrad.tried) == (0.3, {})
    assert all(run.tried for run in others)


def test_the_mixture_needs_no_rate(comparison: demo.Comparison) -> None:
    log = demo._with_bias(synthetic())
    model = ctr.LogisticRegression(fit_intercept=False)
    loss = model.fit(ctr.Examples.from_csr(log.to_csr()), log.labels).progressive_["logloss"]
    assert comparison.mixture.metrics.logloss == pytest.approx(loss, rel=1e-5)
    assert math.isnan(comparison.mixture.learner.lr)
    assert comparison.mixture.metrics.logloss < max(run.metrics.logloss for run in comparison.runs)


def test_the_same_numbers_every_time(comparison: demo.Comparison) -> None:
    again = demo.compare(synthetic())
    for one, two in zip(comparison.runs, again.runs, strict=True):
        assert one.metrics == two.metrics
        assert (one.predictions == two.predictions).all()
    assert (comparison.effective_rates == again.effective_rates).all()


def test_progress_is_complete_and_never_decreases() -> None:
    calls: list[tuple[str, int, int]] = []
    demo.compare(synthetic(), progress=lambda *call: calls.append(call))
    for kind in KINDS:
        done = [call[1] for call in calls if call[0] == kind.title]
        assert done == sorted(done)
        assert done[-1] == [call[2] for call in calls if call[0] == kind.title][-1]


def test_effective_rates(comparison: demo.Comparison) -> None:
    log = comparison.log
    rows, counts = np.unique(log.rows, return_counts=True)
    assert (comparison.counts == counts).all()
    adagrad = comparison.runs[0].learner
    assert isinstance(adagrad, demo.AdaGrad)
    expected = adagrad.lr / np.sqrt(adagrad.s[rows] + np.float64(1e-6))
    np.testing.assert_allclose(comparison.effective_rates, expected)
    positive_rows = set(log.rows.reshape(-1, 5)[log.labels > 0].ravel().tolist())
    assert comparison.met_positive.tolist() == [row in positive_rows for row in rows.tolist()]


def test_the_picture_has_no_overlapping_text(comparison: demo.Comparison, tmp_path: Path) -> None:
    figure = plotting.demo_figure(comparison)
    figure.savefig(tmp_path / "demo.png", dpi=100)
    texts = [text for axes in figure.axes for text in axes.texts]
    shown = " ".join(text.get_text().replace("\n", " ") for text in texts)
    for word in ("AdaGrad", "constant-rate SGD", "global-rate SGD", "global rate"):
        assert word in shown
    boxes = [text.get_window_extent() for text in texts]
    assert figure.get_size_inches()[0] <= 5.6
    boxes += [axes.title.get_window_extent() for axes in figure.axes]
    (legend,) = figure.legends
    boxes.append(legend.get_window_extent())
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert figure.bbox.padded(1).containsx(box.x0)
        assert figure.bbox.padded(1).containsx(box.x1)
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


def test_the_picture_of_a_tiny_log(tmp_path: Path) -> None:
    log = synthetic(4)
    figure = plotting.demo_figure(demo.compare(log, lr=1e38))
    figure.savefig(tmp_path / "tiny.png")


def test_one_point_is_no_learning_curve() -> None:
    labels = np.array([0, 0, 1], np.float32)  # before the third there is no entropy to divide by
    figure = plotting.demo_figure(demo.compare(dataclasses.replace(synthetic(3), labels=labels)))
    top, _ = figure.axes
    assert "too few examples for a curve" in [text.get_text() for text in top.texts]
    assert {len(np.unique(line.get_xdata())) for line in top.lines} == {2}  # the base rate
