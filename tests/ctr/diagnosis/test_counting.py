"""Counts of features, exact and estimated, and the sample of rows."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from checks import need_packages

need_packages("sklearn")

from adagrad.ctr.diagnosis import diagnosis
from adagrad.ctr.diagnosis.counting import FeatureTable, RowSample
from adagrad.ctr.diagnosis.occupancy import Occupancy, expected_sharing
from adagrad.ctr.encoding.examples import Examples
from diagnoses import diagnosed, sparse


@pytest.mark.parametrize("batch", [300, 10_000])
def test_counts_are_exact_in_a_large_table(batch):
    matrix, _ = sparse(2_000, 20_000, 6, 1.4)
    found = diagnosed(matrix, batch=batch)
    entries = matrix.copy()
    entries.eliminate_zeros()
    counts = np.bincount(entries.indices, minlength=20_000)
    counts = counts[counts > 0]
    assert found.entries == entries.nnz
    assert found.features == (len(counts), 0.0)
    assert found.seen_once == ((counts == 1).mean(), 0.0)
    assert found.rare == ((counts <= 10).mean(), 0.0)
    assert found.rare_entries == (counts[counts <= 10].sum() / entries.nnz, 0.0)
    assert sorted(counts)[-1] == found.counts[0]
    gradients = entries.toarray() / 2
    rms = np.sqrt((gradients[:, gradients.any(axis=0)] ** 2).mean(axis=0))
    np.testing.assert_allclose(found.scales, np.quantile(rms, [0.01, 0.5, 0.99]), rtol=1e-12)
    assert found.ranks[0] == 1
    assert found.ranks[-1] == len(counts)


def test_the_gradient_scale_is_that_of_the_logloss_at_zero():
    matrix, y = sparse(500, 200, 5, 1.3)
    found = diagnosed(matrix, y)
    x = matrix.toarray()
    gradient = (1 / (1 + np.exp(-x @ np.zeros(200))) - y)[:, None] * x
    rms = np.sqrt((gradient**2).mean(axis=0))
    assert found.scales[2] == pytest.approx(np.quantile(rms[rms > 0], 0.99))


def test_zipf_slope():
    counts = np.array([round(1e6 * rank**-0.8) for rank in range(1, 3001)])
    assert diagnosis._zipf_slope(counts) == pytest.approx(-0.8, abs=1e-3)
    assert diagnosis._zipf_slope(counts[:19]) is None
    steeper = np.where(np.arange(3000) < 1000, counts, 1)  # beyond the last rank of the fit
    assert diagnosis._zipf_slope(steeper) == diagnosis._zipf_slope(counts)


@pytest.mark.parametrize("load", [0.6, 1.5, 2.5])
def test_estimates_of_a_full_table_are_within_their_errors(load):
    rng = np.random.default_rng(1)
    for _ in range(10):
        table = FeatureTable(12)
        n = int(load * table.size)
        counts = np.minimum(rng.zipf(1.7, n), 500)
        ids = rng.choice(1 << 32, n, replace=False).astype(np.uint32)
        entries = rng.permutation(np.repeat(ids, counts))
        for part in np.array_split(entries, 7):
            table.add(part, None)
        assert not table.is_exact
        assert table.counts.sum() == counts.sum()
        for estimate, truth in (
            (table.features(), n),
            (table.share(1), (counts == 1).mean()),
            (table.share(10), (counts <= 10).mean()),
            (table.occurrences(10), counts[counts <= 10].sum()),
        ):
            assert estimate.error > 0
            assert abs(estimate.value - truth) < 4 * estimate.error


def test_consecutive_ids_hash_like_random_ones():
    table = FeatureTable(14)
    table.add(np.arange(20_000, dtype=np.uint32), None)
    features = table.features()
    assert not table.is_exact
    assert abs(features.value - 20_000) < 4 * features.error
    assert features.error < 200


def test_squares_move_with_their_features():
    rng = np.random.default_rng(2)
    table = FeatureTable(10)
    ids = np.arange(900, dtype=np.uint32)
    values = rng.normal(size=900).astype(np.float32)
    table.add(ids[:400], None)
    table.add(ids[400:450], values[400:450])
    assert table.is_exact
    assert table.squares[table.places(ids[:400])].tolist() == [1.0] * 400
    table.add(ids[450:], values[450:])
    assert not table.is_exact
    expected = np.where(ids < 400, 1.0, values.astype(np.float64) ** 2)
    places = table.places(ids)
    np.testing.assert_allclose(
        table.squares, np.bincount(places, expected, minlength=1024), rtol=1e-12
    )
    assert table.counts.tolist() == np.bincount(places, minlength=1024).tolist()


def test_standard_errors_are_the_spread_over_hashes():
    rng = np.random.default_rng(3)
    size, n = 1 << 10, 1500
    counts = np.minimum(rng.zipf(1.6, n), 1000)
    found = []
    for _ in range(400):
        slots = np.bincount(rng.integers(0, size, n), counts, size).astype(np.int64)
        occupancy = Occupancy(np.bincount(np.minimum(slots, 11), minlength=12)[:11], size)
        estimates = occupancy.features(), occupancy.share(1), occupancy.share(10)
        found.append([*np.ravel(estimates), *occupancy.occurrences(10)])
    values, errors = np.array(found)[:, ::2], np.array(found)[:, 1::2]
    truth = [n, (counts == 1).mean(), (counts <= 10).mean(), counts[counts <= 10].sum()]
    assert (abs(values.mean(axis=0) - truth) < 4 * values.std(axis=0) / 20).all()
    np.testing.assert_allclose(errors.mean(axis=0), values.std(axis=0), rtol=0.15)


def test_expected_sharing():
    for n, m in ((1, 8), (5, 8), (1000, 4096)):
        assert expected_sharing(n, m) == pytest.approx(1 - (1 - 1 / m) ** (n - 1))
    slots = np.random.default_rng(4).integers(0, 1 << 14, 10_000)
    shared = (np.bincount(slots)[slots] > 1).mean()
    assert shared == pytest.approx(expected_sharing(10_000, 1 << 14), abs=0.02)


@pytest.mark.parametrize("batch", [17, 64, 1000])
def test_the_sample_has_rows_at_equal_distances(batch):
    x = Examples.from_csr(scipy.sparse.csr_matrix(np.arange(1, 1001)[:, None]))
    sample = RowSample(rows=50, entries=10_000)
    for start in range(0, 1000, batch):
        sample.add(x[start : start + batch])
    assert sample.stride == 16
    assert sample.examples().values.tolist() == list(range(1, 1001, 16))
    few = RowSample(rows=50, entries=10)
    few.add(x)
    assert len(few.examples()) == 8
