"""The hash and the slots of the encoder: a file format, whose values must not change."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adagrad
import hashing_reference as reference
from adagrad import _core
from adagrad.ctr.encoding.encoder import HashingEncoder
from checks import need_packages
from isas import using

# Published by the author of xxHash: no bytes, one byte, and one input for each branch on length.
VECTORS = [
    (b"", 0, 0xEF46DB3751D8E999),
    (b"a", 0, 0xD24EC4F1A98C6E5B),
    (b"abc", 0, 0x44BC2CF5AD770999),
    (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
]


@pytest.mark.parametrize(("data", "seed", "expected"), VECTORS)
def test_published_vectors(data, seed, expected):
    assert _core.xxh64(data, seed) == expected
    assert reference.xxh64(data, seed) == expected


PINNED_MOMENTS = [42578, 53579, 57936, 1836, 12121, 48001, 21581, 40051, 54296]


def test_moments_and_flags_are_pinned():
    """Dates and times have the same slots in every unit."""

    at = np.array(["2026-01-31T12:30:00.5", "2026-01-31", "NaT"], "datetime64[ns]")
    for unit in ("ms", "us", "ns"):
        log = {
            "at": pa.array(at).cast(pa.timestamp(unit)),
            "zoned": pa.array(at).cast(pa.timestamp(unit, "Asia/Tokyo")),
            "flag": [True, False, None],
        }
        found = HashingEncoder(16).transform(log)
        assert found.slots.tolist() == PINNED_MOMENTS


@given(st.binary(max_size=100), st.integers(0, 2**64 - 1))
def test_hash_is_the_reference(data, seed):
    assert _core.xxh64(data, seed) == reference.xxh64(data, seed)


def test_hash_is_xxhash(rng):
    need_packages("xxhash")
    import xxhash

    for length in [*range(100), 1000, 4099]:
        data, seed = rng.bytes(length), int(rng.integers(0, 2**63)) * 2 + 1
        assert _core.xxh64(data, seed) == xxhash.xxh64_intdigest(data, seed=seed)


# Recorded from the first release. Models on disk depend on these numbers.
PINNED = {
    "text": (["a", "", "déjà vu", None], "categorical"),
    "id": ([0, -1, 9223372036854775807, None], "categorical"),
    "flag": ([True, False, True, None], "categorical"),
    "real": ([0.1, 1e-05, 3.0, None], "categorical"),
    "count": ([0, 1, 1000, None], "log2-bins"),
    "price": ([0.0, -0.75, 1e300, None], "log2-bins"),
    "score": ([0.5, -2.0, 0.0, None], "value"),
    "tags": ([["x", "y"], [], ["x", None], None], "categorical"),
}
PINNED_SLOTS = [
    252530,
    467603,
    660341,
    1232154,
    1703310,
    2356294,
    3003048,
    3461044,
    3993493,
    3830228,
    359315,
    64481,
    544596,
    1117149,
    1764836,
    2468619,
    2775959,
    3461044,
    511129,
    78515,
    567009,
    1232154,
    1623975,
    2203415,
    2664722,
    3461044,
    3993493,
    351633,
    403929,
    826983,
    1388390,
    1627095,
    2335019,
    2850137,
    3318831,
    3838494,
]


def test_slots_are_pinned():
    x = HashingEncoder(
        22, {name: kind for name, (_, kind) in PINNED.items()}, crosses=[("text", "id")], seed=7
    ).transform({name: values for name, (values, _) in PINNED.items()})
    assert x.slots.tolist() == PINNED_SLOTS


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (np.array([-128, 0, 127], np.int8), ["-128", "0", "127"]),
        (np.array([0, 2**64 - 1], np.uint64), ["0", "18446744073709551615"]),
        (np.array([-(2**63), 2**63 - 1]), ["-9223372036854775808", "9223372036854775807"]),
        (np.array([True, False]), ["1", "0"]),
        (np.array([1.0, -0.0, 2.0**62, -3e9]), ["1", "0", "4611686018427387904", "-3000000000"]),
        (np.array([0.1, 1e-4, 1e-5, -2.5e-7]), ["0.1", "0.0001", "1e-05", "-2.5e-07"]),
        (np.array([2.0**63, 1e20, np.inf]), ["9.223372036854776e+18", "1e+20", "inf"]),
        (np.array([0.1, 1e-5, 16777216], np.float32), ["0.1", "1e-05", "16777216"]),
        (np.array([0.1, 2], np.float16), ["0.099975586", "2"]),
    ],
)
def test_a_category_hashes_as_its_text(values, texts):
    encoder = HashingEncoder(20, {"x": "categorical"})
    typed, text = encoder.transform({"x": values}), encoder.transform({"x": texts})
    assert typed.slots.tolist() == text.slots.tolist()
    assert len(set(typed.slots.tolist())) == len(texts)


def test_bins_begin_at_powers_of_two_and_half_way():
    def slots(numbers):
        return HashingEncoder(20).transform({"x": numbers}).slots.tolist()

    limits = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 1024.0, 1536.0]
    below_next = [np.nextafter(x, 0) for x in (1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 1536.0, 2048.0)]
    assert slots(limits) == slots(below_next)
    apart = [0.0, *limits, *(-x for x in limits), np.inf, -np.inf, 0.5]
    assert len(set(slots(apart))) == len(apart)
    assert slots([0.0]) == slots([-0.0])


def slots_of(values, kind, *, isa):
    """Return the slots of one field, of the encoder and of the reference."""
    column = pa.table({"x": values})
    with using(isa):
        got = HashingEncoder(bits=20, fields={"x": kind}).transform(column).slots.tolist()
    seed = reference.xxh64(b"x", 0)
    hashes = [
        seed if reference.is_missing(x) else reference.hash_of(x, kind, seed)
        for x in values.to_pylist()
    ]
    return got, [reference.slot_of(h, 0, 1, False, 20) for h in hashes]


texts = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.text("0123456789abcdef", min_size=8, max_size=8),
    st.text(min_size=30, max_size=70),
)


@pytest.mark.parametrize("isa", adagrad.isas())
@given(values=st.lists(texts, max_size=600), first=st.integers(0, 9), is_large=st.booleans())
def test_texts_of_any_length_hash_as_xxh64(values, first, is_large, isa):
    """Texts of 8 bytes are hashed several at a time, all others one by one."""
    column = pa.array(values, pa.large_string() if is_large else pa.string())[first:]
    got, expected = slots_of(column, "categorical", isa=isa)
    assert got == expected


@pytest.mark.parametrize("isa", adagrad.isas())
@given(values=st.lists(st.one_of(st.none(), st.floats(), st.integers(-9, 9)), max_size=600))
def test_bins_hash_as_xxh64(values, isa):
    got, expected = slots_of(pa.array(values, pa.float64()), "log2-bins", isa=isa)
    assert got == expected
