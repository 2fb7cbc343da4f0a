"""The configurations of a search, the scores that rank them, and the race."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checks import need_packages

need_packages("sklearn", "pyarrow", "safetensors", "hypothesis")

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

import command
from adagrad.ctr.logs import open_log
from adagrad.ctr.training import processes, space, tuning
from adagrad.ctr.training.options import Options
from adagrad.ctr.training.run import Training
from adagrad.ctr.training.space import Space
from adagrad.ctr.training.tuning import Rows, Score, Tuning, gain, rungs

ROWS, LEARNED = 3_000, 2_700
DEFAULT = Options(command.LABEL, bits=14)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    folder = tmp_path_factory.mktemp("tuning")
    log = command.write(folder / "log.tsv", command.clicks(ROWS))
    with open_log(log, label=command.LABEL, rows=640) as opened:
        count = tuning.store(opened, folder / "log.arrows", lambda batches: next(batches, None))
    return Rows(str(folder / "log.arrows"), count, LEARNED)


def a_space(**changes: Any) -> Space:
    pairs = (("a", "b"), ("a", "c"), ("b", "c"), ("c", "d"))
    found = Space(
        Options("y"), ("lr", "fm", "ffm"), (18, 24), (4, 8), (None, 1000.0), pairs, 10**7, 39
    )
    return dataclasses.replace(found, **changes)


@given(trials=st.integers(2, 60), seed=st.integers(0, 3))
def test_a_field_has_the_default_and_each_single_change(trials: int, seed: int) -> None:
    field = a_space().field(trials, seed)
    assert field[0] == Options("y")
    assert len(field) == len(set(field)) == trials
    assert field == a_space().field(trials, seed)
    if trials >= 20:
        for change in ({"model_type": "fm"}, {"half_life": 1000.0}, {"cross": (("a", "b"),)}):
            assert dataclasses.replace(Options("y"), **change) in field
    for options in field:
        assert len(set(options.cross)) == len(options.cross) <= space.MOST_CROSSES
        assert options.factors is None or options.model_type != "lr"
        if options.model_type == "ffm":
            width = (options.factors or 4) * (39 + len(options.cross))
            assert (64 + 8 * width) << options.bits <= space.MEMORY or options.bits == 16


def test_slots_that_no_feature_fills_are_not_searched() -> None:
    assert {x.bits for x in a_space(model_types=("lr",)).field(40, 0)} == {18, 22, 24}
    assert {x.bits for x in a_space(model_types=("lr",), features=1000).field(40, 0)} == {22}


def test_a_small_space_is_searched_as_a_whole() -> None:
    small = a_space(model_types=("lr",), bits=(), half_lives=(None,), crosses=(("a", "b"),))
    crossed = dataclasses.replace(Options("y"), cross=(("a", "b"),))
    assert small.field(30, 0) == [Options("y"), crossed]


def test_two_configurations_in_one() -> None:
    default = Options("y")
    one = dataclasses.replace(default, cross=(("a", "b"),), bits=18)
    other = Options("y", model_type="fm", factors=16, bits=24, cross=(("b", "c"), ("a", "b")))
    both = space.merged(default, one, other)
    assert both == Options(
        "y", model_type="fm", factors=16, bits=18, cross=(("a", "b"), ("b", "c"))
    )
    assert space.merged(default, other, default) == other
    assert space.merged(default, default, other) == other
    ffm = Options("y", model_type="ffm")
    assert space.merged(default, ffm, other).factors is None


def test_options_as_they_are_typed() -> None:
    default = Options("y")
    changed = Options("y", model_type="fm", half_life=1.2e6, cross=(("a", "b c"),), factors=4)
    assert space.changed_options(changed, default) == (
        "--model-type fm --half-life 1.2e+06 --factors 4 --cross 'a*b c'"
    )
    assert float("1.2e+06") == changed.half_life
    assert space.changed_options(default, default) == ""


def test_rungs() -> None:
    assert rungs(2_000) == [2_000]
    assert rungs(100_000) == [11_111, 33_333, 100_000]
    assert rungs(27_000_000) == [1_000_000, 3_000_000, 9_000_000, 27_000_000]


@pytest.mark.parametrize("count", [100, tuning.BLOCKS * 7 + 5])
def test_the_error_is_that_of_paired_differences(count: int) -> None:
    random = np.random.default_rng(0)
    one, other = random.random((2, count))
    scores = [tuning._score(DEFAULT, 2 * count, [x[:30], x[30:]], []) for x in (one, other)]
    difference, error = gain(*scores)
    assert difference == pytest.approx((one - other).mean())
    assert error == pytest.approx((one - other).std(ddof=1) / math.sqrt(count), rel=0.05)
    assert scores[0].logloss == pytest.approx(one.mean())


def test_the_stored_log_is_the_log(rows: Rows) -> None:
    assert rows.rows == ROWS
    expected = command.clicks(ROWS).column("depth").to_pylist()
    for begin, end in itertools.pairwise((0, 5, 640, 700, 2_999, ROWS)):
        found = pa.Table.from_batches([*rows.between(begin, end)])
        assert found.column("depth").to_pylist() == expected[begin:end]
    assert rows.first(100).column("depth").to_pylist() == expected[:100]


@pytest.mark.parametrize("options", [DEFAULT, dataclasses.replace(DEFAULT, model_type="fm")])
def test_a_score_is_that_of_predictions_before_learning(
    rows: Rows, options: Options, tmp_path: Path
) -> None:
    found = tuning.score(options, rows, LEARNED)
    assert (found.rows, found.scored) == (LEARNED, LEARNED // 2)
    losses = []
    for end in (LEARNED - LEARNED // 2, LEARNED):
        with open_log(rows.path, label=command.LABEL, format="arrow") as log:
            log.limit(0, end)
            training = Training(log, options, tmp_path / "m")
            training.run()
        assert training.progressive is not None
        losses.append(float(training.progressive.sums[2]))
    assert found.losses.sum() == pytest.approx(losses[1] - losses[0], rel=1e-6)


def in_order(tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Score a configuration by its number of bits: the fewer, the better."""
    for function, options, of, *count in tasks:
        scored = count[0] // 2 if count else of.rows - of.learned
        noise = np.random.default_rng(0).random(100)
        if function is tuning.held_out:  # the other way round
            noise *= options.bits > FAIR
        yield Score(
            options, count[0] if count else of.learned, scored, scored, noise + options.bits
        )


FAIR = 99


def test_the_better_third_and_the_default_go_on() -> None:
    default = Options("y", bits=30)
    field = [default, *(Options("y", bits=bits) for bits in range(10, 22))]
    race = Tuning(field, Rows("", 1_000_000, 900_000), in_order)
    seen: list[tuple[int, int]] = []
    race.race(lambda one, number, total: seen.append((one.rows, one.options.bits)))
    by_rung = {size: sorted(bits for rows, bits in seen if rows == size) for size in rungs(900_000)}
    assert list(map(len, by_rung.values())) == [13, 6, 3, 3 + 2]  # the last with the final
    assert all(30 in bits for bits in by_rung.values())
    assert race.winner == Options("y", bits=10)
    assert [one.options for one in race.final] == [default, race.winner]
    assert race.ranked()[0].options == race.winner
    assert race.against_default(race.ranked()[0])[0] < 0


def test_what_is_worse_on_the_held_out_rows_does_not_win() -> None:
    def worse_there(tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        for function, options, of, *_count in tasks:
            sign = -1 if function is tuning.held_out else 1
            yield Score(options, of.learned, 100, 100, sign * (options.bits + np.arange(100.0)))

    default = Options("y", bits=30)
    race = Tuning([default, Options("y", bits=10)], Rows("", 2_000, 1_800), worse_there)
    race.race(lambda *_: None)
    assert len(race.final) == 2
    assert race.winner == default


def test_a_difference_within_two_errors_does_not_win() -> None:
    def noisy(tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        for _, options, of, *_count in tasks:
            losses = np.random.default_rng(options.bits).random(100) + options.bits / 1000
            yield Score(options, of.learned, 100, 100, losses)

    default = Options("y", bits=30)
    race = Tuning([default, Options("y", bits=10)], Rows("", 2_000, 1_800), noisy)
    race.race(lambda *_: None)
    assert [one.options for one in race.final] == [race.winner] == [default]


def test_a_process_that_the_system_kills_ends_the_search() -> None:
    with (
        pytest.raises(MemoryError, match="a process has died: give fewer --jobs"),
        processes.workers(2) as run,
    ):
        list(run([(os._exit, 1)]))
