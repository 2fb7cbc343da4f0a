"""The order in which shards answer and step, without Ray, for random interleavings."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad.distributed._order import Async, Sync, window


def play(kind, staleness, batches, workers, seed):
    """Simulate a shard and workers; return what each batch had seen stepped, and the steps."""
    rng = random.Random(seed)
    order = kind(staleness)
    waiting, reading, pushed, steps = list(range(batches)), [], [], []
    seen = {}
    order.end(batches)
    in_flight = []
    while len(seen) < batches or pushed or reading:
        if (
            waiting
            and len(in_flight) < workers
            and (not in_flight or waiting[0] - min(in_flight) < window(staleness))
        ):
            in_flight.append(waiting.pop(0))
        moves = [b for b in in_flight if b not in seen and order.may_pull(b)]
        moves += [-1 - b for b in reading]
        assert moves, "deadlock"
        move = rng.choice(moves)
        if move >= 0:
            seen[move] = [b for step in steps for b in step]
            reading.append(move)
            continue
        reading.remove(-1 - move)
        pushed.append(-1 - move)
        while ready := order.ready(pushed):
            order.step(ready)
            steps.append(ready)
            for batch in ready:
                assert order.has(batch)
                pushed.remove(batch)
        in_flight = [b for b in in_flight if b not in seen or b in reading]
    return seen, steps


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 5), st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32))
def test_sync_reads_and_steps_in_rounds(staleness, batches, workers, seed):
    seen, steps = play(Sync, staleness, batches, workers, seed)
    length = staleness + 1
    expected = [list(range(a, min(a + length, batches))) for a in range(0, batches, length)]
    assert steps == expected
    for batch, known in seen.items():
        assert known == list(range(batch - batch % length))


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 5), st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32))
def test_async_bounds_the_staleness(staleness, batches, workers, seed):
    seen, steps = play(Async, staleness, batches, workers, seed)
    assert sorted(b for step in steps for b in step) == list(range(batches))
    assert all(len(step) == 1 for step in steps)
    for batch, known in seen.items():
        assert set(range(batch - staleness)) <= set(known)


@pytest.mark.parametrize("kind", [Sync, Async])
def test_a_pass_begins_where_the_last_one_ended(kind):
    order = kind(3, 7, 7)
    assert order.applied == 7
    assert order.has(6)
    assert all(order.may_pull(batch) for batch in range(7, 11))
    assert not order.may_pull(11)
