"""Arrays whose memory is damaged: an error that names the column, before anything reads it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adagrad import _core
from adagrad._arrow import damage
from adagrad.ctr.encoding.encoder import HashingEncoder

LONG = b"a text that does not fit into a view"


def of_buffers(kind, length, *buffers, **options):
    buffers = [None if x is None else pa.py_buffer(np.ascontiguousarray(x)) for x in buffers]
    return pa.Array.from_buffers(kind, length, buffers, **options)


def texts(*offsets, kind=None):
    kind = kind or pa.string()
    wide = kind in (pa.large_string(), pa.large_binary())
    offsets = np.array(offsets, np.int64 if wide else np.int32)
    return of_buffers(kind, len(offsets) - 1, None, offsets, np.frombuffer(LONG, np.uint8))


def lists(*offsets, items, kind=pa.list_):
    offsets = np.array(offsets, np.int32 if kind is pa.list_ else np.int64)
    return of_buffers(kind(items.type), len(offsets) - 1, None, offsets, children=[items])


def views(*parts):
    return of_buffers(
        pa.string_view(), 1, None, np.array(parts, np.int32), np.frombuffer(LONG, np.uint8)
    )


def coded(values, *indices):
    index = pa.array(indices, pa.int8())
    return pa.DictionaryArray.from_arrays(index, values, safe=False)


NUMBERS = pa.array([1, 2, 3])
DAMAGED = {
    "descending": texts(0, 9, 3, 9),
    "descending in a large array": texts(0, 9, 3, 9, kind=pa.large_string()),
    "beyond the bytes": texts(0, 10**6, 9),
    "far beyond the bytes": texts(0, 2**40, 9, kind=pa.large_binary()),
    "negative": texts(0, -9, 9),
    "a list that descends": lists(0, 3, 1, 3, items=NUMBERS),
    "a large list": lists(0, 2**50, 3, items=NUMBERS, kind=pa.large_list),
    "texts in a list": lists(0, 1, 2, items=texts(0, 9, 3, 9)),
    "beyond a list": lists(0, 9, 3, items=pa.array(["a", "b", "c"])),
    "an index": coded(pa.array(["a"]), 0, 5),
    "a negative index": coded(pa.array([1.5]), 0, -1),
    "an index in a list": lists(0, 2, items=coded(pa.array(["a"]), 0, 1)),
    "the texts of a dictionary": coded(texts(0, 9, 3, 9), 0, 1, 2),
    "the dates of a dictionary": coded(pa.array([1], pa.date32()), 7),
    "the length of a view": views(-1, 0, 0, 0),
    "the buffer of a view": views(36, 0, 7, 0),
    "the place of a view": views(36, 0, 0, 2**30),
    "the size of a view": views(2**30, 0, 0, 0),
    "a view in a dictionary": coded(views(36, 0, 0, 9), 0),
    "the missing values of a list": lists(0, 9, 3, items=pa.nulls(3)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_the_error_names_the_column(name):
    table = pa.table({"good": ["a"] * len(DAMAGED[name]), "bad": DAMAGED[name]})
    encoder = HashingEncoder(20)
    uses = (encoder.transform, encoder.fit_transform, encoder.inverse, encoder.collisions)
    for use in uses:
        for x in (table, table.to_batches()[0], table.to_reader(), {"bad": DAMAGED[name]}):
            with pytest.raises(ValueError, match=r"^X\['bad'\] has .*[^\n]*$"):
                use(x)


@pytest.mark.parametrize("kind", ["log2-bins", "value"])
def test_texts_of_numbers(kind):
    with pytest.raises(ValueError, match=r"X\['bad'\] has damaged memory"):
        HashingEncoder(20, {"bad": kind}).transform({"bad": texts(0, 9, 3, 9)})


@pytest.mark.parametrize("name", [name for name in DAMAGED if "dates" not in name])
def test_the_compiled_part_checks_too(name):
    hasher = _core.Hasher([("bad", "categorical", False)], [], 20, 0, False, False)
    with pytest.raises(ValueError, match=r"X\['bad'\] has"):
        hasher.encode([pa.record_batch({"bad": DAMAGED[name]})])


def test_text_that_is_not_utf8_is_hashed_as_bytes_but_has_no_inverse():
    raw = pa.array([b"a", b"\xff"])
    text = {"x": raw.view(pa.string())}
    encoder = HashingEncoder(20)
    slots = encoder.transform(text).slots.tolist()
    assert slots == encoder.transform({"x": raw}).slots.tolist()
    with pytest.raises(ValueError, match=r"X\['x'\] has damaged memory: .*Invalid UTF8"):
        encoder.inverse(text)


@pytest.mark.parametrize("kind", [pa.int64(), pa.float32(), pa.string(), pa.string_view()])
def test_memory_need_not_be_aligned(kind):
    array = pa.array([1, None, 300]).cast(pa.string()).cast(kind)
    moved = [
        None if x is None else pa.py_buffer(b"x" + x.to_pybytes()).slice(1) for x in array.buffers()
    ]
    unaligned = pa.Array.from_buffers(kind, len(array), moved)
    encoder = HashingEncoder(20)
    expected = encoder.transform({"x": array}).slots.tolist()
    assert encoder.transform({"x": unaligned}).slots.tolist() == expected


def test_numbers_of_numpy_need_not_be_aligned():
    numbers = np.arange(4)
    moved = np.frombuffer(b"x" + numbers.tobytes(), np.int64, offset=1)
    encoder = HashingEncoder(20)
    expected = encoder.transform({"x": numbers}).slots.tolist()
    assert encoder.transform({"x": moved}).slots.tolist() == expected


def is_valid(array):
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


@given(
    st.lists(st.integers(-1, 7), min_size=2, max_size=6),
    st.sampled_from([b"abcdef", b"ab\xc3\xa4ef", b"abc\xffef"]),
    st.sampled_from([pa.string(), pa.large_string()]),
    st.lists(st.integers(-1, 5), min_size=1, max_size=4),
    st.sampled_from([pa.int8(), pa.int64()]),
    st.integers(0, 1),
)
def test_the_fast_check_agrees_with_that_of_pyarrow(offsets, text, kind, indices, index, start):
    wide = np.array(offsets, np.int32 if kind == pa.string() else np.int64)
    try:
        array = of_buffers(kind, len(offsets) - 1, None, wide, np.frombuffer(text, np.uint8))
    except pa.ArrowInvalid:  # an offset at the end is outside
        return
    coded = pa.DictionaryArray.from_arrays(pa.array(indices, index), array, safe=False)
    for each in (array[start:], coded[start:]):
        assert (damage(each) is None) == is_valid(each)
