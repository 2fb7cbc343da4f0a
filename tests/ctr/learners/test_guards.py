"""Learners read and write nothing past the end of examples, matrices and tables."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from adagrad import Rule
from adagrad.ctr import Examples, HashingEncoder
from adagrad.ctr.encoding.examples import region_size
from adagrad.ctr.encoding.matrix_rows import MatrixRows
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from checks import assert_same_bits
from ctr_data import batch, labels, learned
from encoded import many
from guarded import guarded, guarded_examples, guarded_rows

SLOTS = 8 * region_size(1)  # so few that entries are often those of the last slot


def models(kind, n_slots=SLOTS, **options):
    """Return a model that learns where memory ends, and one that does not."""
    rule = None if options.pop("mixed", False) else Rule(lr=0.1)
    usual = Model(Settings(kind, n_slots, rule, **options))
    usual.examples = 1 << 12  # rounds are long
    found = usual.copy()
    for table in found.tables.values():
        table._take(guarded(table._memory))
    if found.mixture is not None:
        found.mixture.rows = guarded(found.mixture.rows)
        found.mixture._connect()
    found._connect()
    return found, usual


def learn_both(found, usual, x, y, context):
    expected = usual.learn(x, y, threads=1)
    given, labeled = guarded_examples(x), guarded(y)
    assert_same_bits(found.learn(given, labeled, threads=context[-1]), expected, context)
    after, wanted = learned(found), learned(usual)
    for name, array in wanted.items():
        assert_same_bits(after[name], array, (*context, name))
    predicted = usual.margins(x, threads=1)
    assert_same_bits(found.margins(given, threads=context[-1]), predicted, context)


def ends(rng, values):
    """Examples of which the last one is empty, short, long, or longer than a block."""
    for most, last in [(3, 0), (3, 1), (9, 40), (3, 1500), (0, 0)]:
        some = batch(rng, 70, SLOTS, values=values, most=most)
        bounds = np.linspace(0, last, 9).astype(int)
        region = np.repeat(np.arange(8), np.diff(bounds))
        slots = np.append(some.slots, region * (SLOTS // 8) + SLOTS // 8 - 1)
        more = np.append(some.values, np.full(last, 0.5)) if values else None
        yield Examples(
            slots.astype(np.uint32),
            np.append(some.bounds, some.bounds[-1] + bounds[1:]).astype(np.uint32),
            SLOTS,
            values=None if more is None else more.astype(np.float32),
        )


@pytest.mark.parametrize("values", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lr", {}),
        ("lr", {"l1": 0.01, "l2": 0.01}),
        ("lr", {"mixed": True}),
        ("fm", {"factors": 4}),
        ("fm", {"factors": 3, "mixed": True}),
    ],
    ids=["lr", "penalties", "mixture", "fm", "fm beside a mixture"],
)
def test_examples(isa, rng, kind, options, values):
    for threads in (1, 3):
        found, usual = models(kind, **options)
        for k, x in enumerate(ends(rng, values)):
            learn_both(found, usual, x, labels(rng, x), (kind, k, threads))
        x = batch(rng, 131, SLOTS, values=values, fixed=True, most=5)
        learn_both(found, usual, x, labels(rng, x), (kind, "fixed", threads))


@pytest.mark.parametrize("factors", [4, 8, 3])
def test_fields(isa, rng, factors):
    x = HashingEncoder(8).transform(many(100, columns=11))
    for threads in (1, 3):
        found, usual = models("ffm", x.n_slots, factors=factors, n_fields=x.n_fields)
        learn_both(found, usual, x, labels(rng, x), (factors, threads))


@pytest.mark.parametrize("lr", [True, False], ids=["lr", "mixture"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("index", ["int32", "int64"])
def test_matrices(isa, rng, index, dtype, lr):
    found, usual = models("lr", mixed=not lr)
    for density in (0.0, 0.1, 0.9):
        matrix = scipy.sparse.random_array((77, SLOTS), density=density, rng=rng).tocsr()
        for ones in (False, True):
            data = (np.ones_like(matrix.data) if ones else matrix.data).astype(dtype)
            rows = MatrixRows(
                matrix.indptr.astype(np.uint32),
                rng.permutation(matrix.indices).astype(index),
                None if ones else data,
                SLOTS,
                2,
            )
            given, y = guarded_rows(rows), labels(rng, rows.examples())
            for part in (slice(None), slice(5, 5), slice(70, 77)):
                assert_same_bits(found.margins(given[part]), usual.margins(rows[part]))
                expected = usual.learn(rows[part].examples(copy=True), y[part])
                assert_same_bits(found.learn(given[part], y[part]), expected)
            order = rng.permutation(77)[:60]
            assert_same_bits(given.take(order).slots, rows.take(order).slots)


@pytest.mark.parametrize("values", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize("kind", ["lr", "fm"])
def test_tables_are_aligned_as_a_float(isa, rng, kind, values):
    """UndefinedBehaviorSanitizer finds loads that need more."""
    options = {} if kind == "lr" else {"factors": 4}
    found, usual = models(kind, **options)
    for table in found.tables.values():
        memory = np.zeros(table._memory.nbytes + 68, np.uint8)
        start = -memory.ctypes.data % 64 + 4
        memory = memory[start : start + table._memory.nbytes]
        memory[:] = table._memory
        table._take(memory)
    found._connect()
    x = batch(rng, 131, SLOTS, values=values)
    learn_both(found, usual, x, labels(rng, x), (kind, 1))
