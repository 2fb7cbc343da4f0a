"""All or nothing: a bad call raises an error that names the argument, and changes no byte."""

from __future__ import annotations

import numpy as np
import pytest

import adagrad
from bad_arrays import BAD_ROWS, readonly, strided, unaligned


def good(n=8, dim=None, dtype="float32"):
    shape = (n,) if dim is None else (n, dim)
    return np.ones(shape, dtype), np.full(shape, 0.5, dtype), np.full(shape, 0.25, dtype)


BAD_ARRAYS = {
    "list": (lambda a: a.tolist(), TypeError, "must be a numpy.ndarray, got list"),
    "scalar": (lambda a: np.float32(1), TypeError, "must be a numpy.ndarray, got float32"),
    "None": (lambda a: None, TypeError, "must be a numpy.ndarray, got NoneType"),
    "int64": (lambda a: a.astype("int64"), TypeError, "dtype int64"),
    "int16": (lambda a: a.astype("int16"), TypeError, "dtype int16"),
    "longdouble": (lambda a: a.astype("longdouble"), TypeError, "dtype float128|dtype longdouble"),
    "complex": (lambda a: a.astype("complex64"), TypeError, "dtype complex64"),
    "object": (lambda a: a.astype(object), TypeError, "dtype object"),
    "byte-swapped": (lambda a: a.astype(a.dtype.newbyteorder()), TypeError, "byte-swapped"),
    "structured": (lambda a: a.view([("x", a.dtype)]), TypeError, "dtype"),
    "masked": (lambda a: np.ma.masked_array(a, a > 9), TypeError, "masked array"),
    "strided": (strided, ValueError, "C-contiguous, got strides"),
    "reversed": (lambda a: a[::-1], ValueError, "C-contiguous, got strides"),
    "zero-stride": (
        lambda a: np.broadcast_to(a.ravel()[:1], a.shape),
        ValueError,
        "C-contiguous|read-only",
    ),
    "unaligned": (unaligned, ValueError, "not aligned"),
    "too short": (lambda a: a[:-1].copy(), ValueError, "shape"),
    "wrong dims": (lambda a: a[None], ValueError, "shape"),
}


@pytest.mark.parametrize("position", [0, 1, 2], ids="wgs")
@pytest.mark.parametrize("kind", BAD_ARRAYS)
@pytest.mark.parametrize("call", ["step", "step_many", "step_rows", "step_rows 2-D"])
def test_bad_array(call, kind, position):
    spoil, error, message = BAD_ARRAYS[kind]
    arrays = list(good(dim=3 if call.endswith("2-D") else None))
    originals = [a.copy() for a in arrays]
    intact = list(arrays)
    arrays[position] = spoil(arrays[position])
    if call == "step_rows" and kind == "too short" and position == 0:
        # A shorter table is a table, whose accumulator is then too long.
        message = r"s has shape \(8,\), but w has \(7,\)"
    with pytest.raises(error, match=message) as caught:
        if call == "step":
            adagrad.step(*arrays)
        elif call == "step_many":
            adagrad.step_many([good(), tuple(arrays)])
        else:
            adagrad.step_rows(*arrays, np.arange(8))
    assert call.split()[0] in str(caught.value)
    for a, original in zip(intact, originals, strict=True):
        np.testing.assert_array_equal(a, original)


@pytest.mark.parametrize(
    ("call", "position"),
    [("step", 0), ("step", 2), ("step_rows", 0), ("step_rows", 2), ("Adagrad", 0)],
)
def test_read_only(call, position):
    arrays = list(good())
    arrays[position] = readonly(arrays[position])
    with pytest.raises(ValueError, match="is read-only"):
        if call == "step":
            adagrad.step(*arrays)
        elif call == "step_rows":
            adagrad.step_rows(*arrays, np.arange(8))
        else:
            adagrad.Adagrad([arrays[0]])


def test_a_read_only_gradient_is_fine():
    w, g, s = good()
    adagrad.step(w, readonly(g), s)
    adagrad.step_rows(w, readonly(g), s, readonly(np.arange(8)))


def test_dtypes_differ():
    w, g, s = good()
    for bad in [(w, g.astype("f8"), s), (w, g, s.astype("f8")), (w.astype("f8"), g, s)]:
        for call in (adagrad.step, lambda *a: adagrad.step_rows(*a, np.arange(8))):
            with pytest.raises(TypeError, match="nothing is cast"):
                call(*bad)


def test_fortran_order():
    w, g, s = (np.asfortranarray(np.ones((3, 4))) for _ in range(3))
    with pytest.raises(ValueError, match="C-contiguous"):
        adagrad.step(w, g, s)


def test_overlap():
    room = np.ones(100, np.float32)
    before = room.copy()
    cases = [
        ((room[:10], room[:10], room[20:30]), "w and g"),
        ((room[:10], room[9:19], room[20:30]), "w and g"),
        ((room[5:15], room[50:60], room[14:24]), "w and s"),
        ((room[5:15], room[20:30], room[25:35]), "g and s"),
    ]
    for arrays, names in cases:
        with pytest.raises(ValueError, match=f"{names} overlap"):
            adagrad.step(*arrays)
        with pytest.raises(ValueError, match="overlap in memory"):
            adagrad.step_rows(*arrays, np.arange(10))
        with pytest.raises(ValueError, match="overlap in memory"):
            adagrad.step_many([arrays])
    np.testing.assert_array_equal(room, before)
    adagrad.step(room[:10], room[10:20], room[20:30])  # neighbors do not overlap


def test_rows_overlapping_the_table():
    raw = np.zeros(16, np.int64)
    w, s = raw.view(np.float64), np.zeros(16)
    with pytest.raises(ValueError, match="w and rows overlap"):
        adagrad.step_rows(w, np.ones(16), s, raw)


def test_step_many_sharing_between_tensors():
    (w, g, s), (_, g2, s2) = good(), good()
    with pytest.raises(ValueError, match=r"w of tensors\[0\] and w of tensors\[1\] overlap"):
        adagrad.step_many([(w, g, s), (w, g2, s2)])
    with pytest.raises(ValueError, match=r"tensors\[1\]"):
        adagrad.step_many([(w, g, s), (good()[0], s, s2)])  # a gradient that is written elsewhere
    np.testing.assert_array_equal(w, good()[0])
    adagrad.step_many([(w, g, s), (good()[0], g, s2)])  # one gradient read twice is fine
    with pytest.raises(TypeError, match=r"tensors\[1\] must be a tuple \(w, g, s\)"):
        adagrad.step_many([(w, g, s), (w, g)])


@pytest.mark.parametrize("policy", ["sum", "sequential", "each", "unique"])
@pytest.mark.parametrize("dim", [None, 3])
@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows(kind, dim, policy):
    rows, error, message = BAD_ROWS[kind]
    w, _, s = good(dim=dim)
    g = np.ones((3, *w.shape[1:]), np.float32)
    with pytest.raises(error, match=message):
        adagrad.step_rows(w, g, s, rows, duplicates=policy)
    np.testing.assert_array_equal(w, good(dim=dim)[0])
    np.testing.assert_array_equal(s, good(dim=dim)[2])


def test_an_empty_table_has_no_rows():
    empty = np.zeros(0, np.float32)
    adagrad.step_rows(empty, empty, empty.copy(), np.zeros(0, np.int64))
    with pytest.raises(IndexError, match="table of 0 rows"):
        adagrad.step_rows(empty, np.ones(1, np.float32), empty.copy(), np.zeros(1, np.int64))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_arrays(shape):
    w, g, s = (np.zeros(shape, np.float32) for _ in range(3))
    adagrad.step(w, g, s)
    adagrad.step_many([(w, g, s)])
    adagrad.step_rows(w, np.zeros((0, *shape[1:]), np.float32), s, np.zeros(0, np.int32))
    unique, summed = adagrad.coalesce(np.zeros(0, np.int32), np.zeros((0, *shape[1:])))
    assert len(unique) == len(summed) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("call", ["step", "step_many", "rows", "rows 2-D"])
def test_raise_on_nonfinite(call, value):
    rule = adagrad.Rule(on_nonfinite="raise")
    w, g, s = good(dim=3 if call == "rows 2-D" else None)
    g.flat[5] = value
    where = r"g\[1, 2\]" if call == "rows 2-D" else r"g.*\[5\]"
    with pytest.raises(ValueError, match=rf"{where} = -?(nan|inf) is not finite"):
        if call == "step":
            adagrad.step(w, g, s, rule=rule)
        elif call == "step_many":
            adagrad.step_many([good(), (w, g, s)], rule)
        else:
            adagrad.step_rows(w, g, s, np.arange(8), rule=rule)
    np.testing.assert_array_equal(w, np.ones_like(w))
    np.testing.assert_array_equal(s, np.full_like(s, 0.25))


@pytest.mark.parametrize("dim", [None, 2])
def test_raise_where_only_the_sum_is_infinite(dim):
    rule = adagrad.Rule(on_nonfinite="raise")
    w, _, s = good(dim=dim)
    g = np.full((4, *w.shape[1:]), 3e38, np.float32)
    with pytest.raises(ValueError, match="sum of the gradients of row 2 is not finite"):
        adagrad.step_rows(w, g, s, np.array([5, 2, 1, 2]), rule=rule)
    np.testing.assert_array_equal(w, np.ones_like(w))


BAD_HYPERPARAMETERS = [
    ({"lr": np.nan}, ValueError, "lr must be finite, got nan"),
    ({"lr": np.inf}, ValueError, "lr must be finite, got inf"),
    ({"lr": -0.1}, ValueError, "lr must not be negative"),
    ({"lr": "0.1"}, TypeError, "lr must be a real number"),
    ({"lr": True}, TypeError, "lr must be a real number"),
    ({"lr": np.ones(2)}, TypeError, "lr must be a real number"),
    ({"eps": np.nan}, ValueError, "eps must be finite, got nan"),
    ({"eps": -1e-9}, ValueError, "eps must not be negative"),
    ({"eps": "x"}, TypeError, "eps must be a real number"),
    ({"lr": 1e300}, ValueError, r"lr=1e\+300 overflows float32"),
    ({"eps": 1e-60}, ValueError, "eps=1e-60 is 0 in float32"),
    ({"rule": adagrad.Rule(), "eps": 0.1}, TypeError, "eps belongs to the rule"),
    ({"rule": adagrad.Rule(), "lr": 0.2}, TypeError, "lr belongs to the rule"),
    ({"rule": adagrad.Rule(lr=0.7), "lr": float("0.1")}, TypeError, "lr belongs to the rule"),
    ({"rule": "torch"}, TypeError, "rule must be an adagrad.Rule, got 'torch'"),
    ({"rule": adagrad.Rule(), "lr": adagrad.Rule()}, TypeError, "rule is given twice"),
    ({"rule": adagrad.Rule(lr_decay=0.1)}, TypeError, "lr_decay needs the step number t"),
    ({"t": 0}, ValueError, "t must be at least 1, got 0"),
    ({"t": 1.5}, TypeError, "t must be an integer"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD_HYPERPARAMETERS)
def test_bad_hyperparameters(given, error, message):
    w, g, s = good()
    for call in (
        lambda: adagrad.step(w, g, s, **given),
        lambda: adagrad.step_many([(w, g, s)], **given),
        lambda: adagrad.step_rows(w, g, s, np.arange(8), **given),
    ):
        with pytest.raises(error, match=message):
            call()
    np.testing.assert_array_equal(w, np.ones_like(w))


def test_values_that_float64_can_hold():
    w, g, s = good(dtype="float64")
    adagrad.step(w, g, s, lr=1e-300, eps=1e-60)


def test_bad_policy():
    w, g, s = good()
    with pytest.raises(ValueError, match="duplicates must be one of 'sum'"):
        adagrad.step_rows(w, g, s, np.arange(8), duplicates="add")
    with pytest.raises(ValueError, match=r"duplicates must be one of 'sum'.*, got 3"):
        adagrad.step_rows(w, g, s, np.arange(8), duplicates=3)
    with pytest.raises(ValueError, match=r"duplicates must be one of 'sum'.*, got 3"):
        adagrad.Adagrad([w]).step_rows(0, np.arange(8), g, duplicates=3)
    with pytest.raises(TypeError, match="tensors must be an iterable"):
        adagrad.step_many(3)


def test_coalesce():
    with pytest.raises(IndexError, match=r"coalesce: rows\[1\] = -3 is out of range"):
        adagrad.coalesce(np.array([1, -3]), np.ones(2))
    with pytest.raises(ValueError, match=r"g has shape \(3,\)"):
        adagrad.coalesce(np.array([1, 2]), np.ones(3))
    with pytest.raises(TypeError, match="int32, int64, uint32 or uint64"):
        adagrad.coalesce(np.array([1.0]), np.ones(1))
    with pytest.raises(TypeError, match="float32 or float64"):
        adagrad.coalesce(np.array([1]), np.ones(1, int))


def test_threads():
    for bad in (0, -1, 2**70):
        with pytest.raises(ValueError, match="n must be from 1 to 1024"):
            adagrad.set_num_threads(bad)
    for bad in (1.5, True, None):
        with pytest.raises(TypeError, match="n must be an integer"):
            adagrad.set_num_threads(bad)
