"""Synthetic clicks: the documented tails and click rate, the true model, reproducible rows."""

import itertools

import numpy as np
import pytest

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa

from adagrad import _synthetic
from adagrad._synthetic import FIELDS, SPARSE_CATEGORIES, SPARSE_INTEGERS
from adagrad.datasets import synthetic_clicks

# Measured on real logs: slope over ranks 10 to 1000, share of the ten most frequent values, share
# of values that occur once.
MEASURED = {
    "ip": (-0.60, 0.034, 0.50),
    "device_ip": (-0.52, 0.04, 0.85),
    "category": (-0.80, 0.20, 0.87),
    "app": (-3.1, 0.82, None),
    "channel": (-2.8, 0.39, None),
    "slot": (-1.7, 0.93, None),
    "domain": (-1.6, 0.96, None),
    "city": (-1.4, 0.32, None),
}


@pytest.fixture(scope="module")
def log() -> pa.Table:
    return synthetic_clicks(100_000, seed=7, probability=True).read_all()


@pytest.fixture
def small_blocks(monkeypatch):
    """Shorten the blocks of rows and the sample behind the constant, which takes most time."""
    monkeypatch.setattr(_synthetic, "BLOCK", 1 << 10)
    monkeypatch.setattr(_synthetic, "CALIBRATION_ROWS", 1 << 10)


def logloss(clicks, chance):
    return -np.mean(np.where(clicks == 1, np.log(chance), np.log1p(-chance)))


@pytest.mark.parametrize("field", range(26))
def test_tails(log, field):
    slope, top, once = MEASURED[FIELDS[field]]
    counts = log.column(f"C{field + 1}").drop_null().value_counts().field("counts").to_numpy()
    counts = np.sort(counts)[::-1]
    last = min(len(counts), 1000)
    ranks = np.arange(10, last + 1)
    assert np.polyfit(np.log(ranks), np.log(counts[9:last]), 1)[0] == pytest.approx(slope, rel=0.08)
    assert counts[:10].sum() / counts.sum() == pytest.approx(top, rel=0.08)
    if once is not None:
        assert np.mean(counts == 1) == pytest.approx(once, abs=0.03)


@pytest.mark.parametrize("rate", [0.002, 0.05, 0.25])
def test_click_rate(rate):
    log = synthetic_clicks(50_000, seed=3, click_rate=rate, probability=True).read_all()
    chance, clicks = log.column("probability").to_numpy(), log.column("click").to_numpy()
    assert chance.mean() == pytest.approx(rate, rel=0.05)
    deviation = np.sqrt(np.sum(chance * (1 - chance)))
    assert abs(clicks.sum() - chance.sum()) < 4 * deviation


def test_the_probability_is_the_best_prediction(log):
    chance, clicks = log.column("probability").to_numpy(), log.column("click").to_numpy()
    best = logloss(clicks, chance)
    assert best < 0.85 * logloss(clicks, np.full_like(chance, clicks.mean()))
    odds = np.log(chance) - np.log1p(-chance)
    for other in (0.8 * odds, 1.2 * odds, odds + 0.2, odds - 0.2):
        assert best < logloss(clicks, 1 / (1 + np.exp(-other)))
    for part in np.array_split(np.argsort(chance), 10):  # calibrated at every level
        deviation = np.sqrt(np.sum(chance[part] * (1 - chance[part])))
        assert abs(clicks[part].sum() - chance[part].sum()) < 4.5 * deviation


def test_pairs_of_fields_act_together(log):
    chance = log.column("probability").to_numpy()
    odds = np.log(chance) - np.log1p(-chance)
    app, channel = (
        log.column(name).combine_chunks().dictionary_encode().indices.to_numpy()
        for name in ("C4", "C5")
    )

    def means(keys):
        return (np.bincount(keys, odds) / np.maximum(np.bincount(keys), 1))[keys]

    by_app, by_channel = means(app), means(channel)
    cell = app * (channel.max() + 1) + channel
    often = np.bincount(cell)[cell] > 300
    together = means(cell) - by_app - by_channel + odds.mean()
    others = np.sqrt(odds.var() / 300)  # what the other fields leave in the mean of a cell
    assert together[often].std() > 1.5 * others


def test_the_same_rows_for_any_batch_size_and_length(small_blocks):
    whole = synthetic_clicks(2500, seed=5, probability=True).read_all()
    for rows, batch_rows in itertools.product((0, 1, 1024, 1025, 2500), (100, 4096)):
        reader = synthetic_clicks(rows, seed=5, probability=True, batch_rows=batch_rows)
        batches = list(reader)
        assert all(batch.num_rows == batch_rows for batch in batches[:-1])
        assert pa.Table.from_batches(batches, reader.schema).equals(whole.slice(0, rows))
    assert (
        not synthetic_clicks(100, seed=6)
        .read_all()
        .equals(whole.slice(0, 100).drop_columns("probability"))
    )


def test_columns_and_dictionaries(log):
    plain = synthetic_clicks(20_000, seed=7)
    names = [f"I{i}" for i in range(1, 14)] + [f"C{i}" for i in range(1, 27)]
    assert plain.schema.names == ["click", *names]
    table = plain.read_all()
    assert table.equals(log.slice(0, 20_000).drop_columns("probability"))
    for i in range(13):
        column = table.column(f"I{i + 1}")
        assert bool(column.null_count) == (i in SPARSE_INTEGERS)
        assert column.drop_null().to_numpy().min() >= 0
    for i in range(26):
        column = table.column(f"C{i + 1}")
        assert bool(column.null_count) == (i in SPARSE_CATEGORIES)
        assert all(
            len(value) == 8 and int(value, 16) >= 0 for value in set(column.to_pylist()) - {None}
        )
    encoded = synthetic_clicks(20_000, seed=7, dictionary=True)
    assert encoded.schema.field("C1").type == pa.dictionary(pa.int32(), pa.string())
    assert encoded.read_all().cast(table.schema).equals(table)


def test_memory_does_not_grow_with_the_log(small_blocks):
    peaks = []
    for rows in (3000, 24_000):
        peak = 0
        for batch in synthetic_clicks(rows, batch_rows=512):
            del batch
            peak = max(peak, pa.total_allocated_bytes())
        peaks.append(peak)
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": -1}, "rows must not be negative, got -1"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"click_rate": 0.0}, r"click_rate must be in \(0, 1\), got 0.0"),
        ({"click_rate": float("nan")}, r"click_rate must be in \(0, 1\), got nan"),
        ({"batch_rows": 0}, "batch_rows must be at least 1, got 0"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        synthetic_clicks(**{"rows": 10} | options)
