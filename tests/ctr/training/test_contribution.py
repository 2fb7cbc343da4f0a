"""What a column contributes: the rise in logloss when a sample is learned without it."""

from __future__ import annotations

import numpy as np
import pytest

from checks import need_packages

need_packages("sklearn", "pyarrow")

from adagrad.ctr import HashingEncoder
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from adagrad.ctr.training import contribution
from adagrad.ctr.training.contribution import contributions

N = 3_000


def log(rng, n=N):
    """Clicks that depend on `site`, and on whether `ad` and `hour` are equal."""
    columns = {
        "site": rng.integers(0, 20, n),
        "ad": rng.integers(0, 2, n),
        "hour": rng.integers(0, 2, n),
        "noise": rng.integers(0, 3, n),
        "tags": [rng.integers(0, 9, rng.integers(0, 3)).tolist() for _ in range(n)],
    }
    margin = np.where(columns["site"] < 10, -2, 1) + 2 * (columns["ad"] == columns["hour"])
    y = (rng.random(n) < 1 / (1 + np.exp(-margin.astype(float)))).astype(np.float32)
    return columns, y


def encoder_of(columns, **params):
    return HashingEncoder(22, numeric="categorical", **params).fit(columns)


def found_in(columns, y, **params):
    encoder = encoder_of(columns, **params)
    x = encoder.transform(columns)
    return contributions(encoder, x, y, np.ones(x.n_slots, np.float32))


def losses(columns, y, **params):
    """Progressive losses of logistic regression with its defaults."""
    x = encoder_of(columns, **params).transform(columns)
    margins = Model(Settings("lr", x.n_slots, None)).learn(x, y).astype(float)
    return np.logaddexp(0, np.where(y > 0, -margins, margins))


@pytest.mark.parametrize("crosses", [(), (("ad", "hour"), ("site", "noise", "tags"))])
def test_the_rise_is_that_of_a_log_without_the_column(crosses, rng):
    columns, y = log(rng)
    found = found_in(columns, y, crosses=crosses)
    whole = losses(columns, y, crosses=crosses)
    assert found.rows == N
    assert found.logloss == pytest.approx(whole.mean(), rel=1e-5)
    assert {one.column for one in found.columns} == set(columns)
    for name, rise, error in found.columns:
        rest = {other: values for other, values in columns.items() if other != name}
        kept = [cross for cross in crosses if name not in cross]
        differences = losses(rest, y, crosses=kept) - whole
        assert rise == pytest.approx(differences.mean(), abs=1e-6)
        assert error == pytest.approx(differences.std(ddof=1) / np.sqrt(N), rel=1e-3)
    assert found.columns == sorted(found.columns, key=lambda one: -one.rise)


def test_a_moment_is_one_column(rng):
    """Its fields, and the crosses of them, are left out together."""
    n = 2_000
    hours = rng.integers(0, 24 * 28, n)
    columns = {"at": 1_700_000_000 + 3600 * hours, "site": rng.integers(0, 5, n)}
    y = (rng.random(n) < np.where(hours % 24 < 12, 0.1, 0.6)).astype(np.float32)
    encoder = HashingEncoder(
        18, ["at", "site"], calendar=["at"], crosses=[("at.hour", "site")]
    ).fit(columns)
    x = encoder.transform(columns)
    found = contributions(encoder, x, y, np.ones(x.n_slots, np.float32))
    rises = {one.column: one.rise for one in found.columns}
    assert set(rises) == {"at", "site"}
    assert rises["at"] > 0.05 > rises["site"]


def test_what_matters_contributes(rng):
    columns, y = log(rng)
    rises = {one.column: one for one in found_in(columns, y, crosses=[("ad", "hour")]).columns}
    for name in ("site", "ad", "hour"):
        assert rises[name].rise > 5 * rises[name].error
    for name in ("noise", "tags"):
        assert rises[name].rise < 3 * rises[name].error
    # Two columns that say the same add little to each other.
    twice = {one.column: one for one in found_in({**columns, "copy": columns["site"]}, y).columns}
    assert max(twice["site"].rise, twice["copy"].rise) < rises["site"].rise / 3


def test_values_are_kept(rng):
    size = rng.normal(size=N)
    columns = {"size": size, "other": rng.normal(size=N)}
    y = (rng.random(N) < 1 / (1 + np.exp(-2 * size))).astype(np.float32)
    encoder = HashingEncoder(10, numeric="value").fit(columns)
    found = contributions(encoder, encoder.transform(columns), y, np.ones(1024, np.float32))
    assert [one.column for one in found.columns] == ["size", "other"]
    assert found.columns[0].rise > 0.05


def test_of_many_columns_the_strongest_are_tried(rng, monkeypatch):
    monkeypatch.setattr(contribution, "MAX_COLUMNS", 2)
    columns, y = log(rng)
    encoder = encoder_of(columns, crosses=[("ad", "hour")])
    x = encoder.transform(columns)
    weights = np.zeros(x.n_slots, np.float32)
    weights[
        [slot for slot, ((field, _), *_) in encoder.inverse(columns).items() if "*" in field]
    ] = 1
    found = contributions(encoder, x, y, weights)
    assert {one.column for one in found.columns} == {"ad", "hour"}  # both with their cross
    assert found.left_out == 3
    assert "of the 2 columns that move the predictions most" in found.text()


def test_a_long_or_wide_sample_is_cut(rng, monkeypatch):
    columns, y = log(rng)
    entries = len(encoder_of(columns).transform(columns).slots) / N
    monkeypatch.setattr(contribution, "MAX_ENTRIES", int(6 * entries * 1_000))
    assert found_in(columns, y).rows in (999, 1_000)
    monkeypatch.setattr(contribution, "MAX_ENTRIES", int(6 * entries * 199))
    assert found_in(columns, y) is None


def test_samples_that_say_nothing(rng):
    columns, y = log(rng)
    assert found_in(columns, np.zeros_like(y)) is None
    assert found_in(columns, np.ones_like(y)) is None
    assert found_in({"site": columns["site"]}, y) is None
    assert found_in(*log(rng, 199)) is None
