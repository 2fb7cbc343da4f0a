"""The encoder caches the hashes of dictionaries, which changes nothing but the time."""

from __future__ import annotations

import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pyarrow as pa

from adagrad.ctr.encoding.encoder import HashingEncoder


def dictionaries(rng, n):
    """Yield columns whose dictionaries repeat, change at the same size, or grow."""
    words = [f"{k:x}" * (k % 4 + 1) for k in range(3 * n)]
    values = [words[:n], words[:n], words[1 : n + 1], words[: 2 * n], words, [*words[:9], None]]
    for texts, kind in itertools.product(values, (pa.string(), pa.large_string())):
        codes = pa.array(rng.integers(0, len(texts), n), pa.int32())
        yield pa.DictionaryArray.from_arrays(codes, pa.array(texts, kind))
    sliced = pa.array([*words[5:9], *words[:n]], pa.string())[4:]
    yield pa.DictionaryArray.from_arrays(pa.array(range(n), pa.int32()), sliced)


def test_cached_dictionaries_do_not_change_slots(rng):
    encoder = HashingEncoder(bits=20)
    for column in dictionaries(rng, 300):
        texts = {"x": column.cast(pa.string()), "y": column.cast(pa.string())}
        expected = HashingEncoder(bits=20).transform(texts).slots
        for _ in range(2):
            got = encoder.transform({"x": column, "y": column}).slots
            np.testing.assert_array_equal(got, expected)


def test_other_parameters_do_not_use_cached_dictionaries():
    column = {"x": pa.array(["a", "b", "a"]).dictionary_encode()}
    encoder = HashingEncoder(bits=20)
    encoder.transform(column)
    for params in ({"seed": 1}, {"bits": 9}, {"fields": {"x": None}}):
        encoder.set_params(**params)
        expected = HashingEncoder(**encoder.get_params()).transform(column).slots
        np.testing.assert_array_equal(encoder.transform(column).slots, expected)
    renamed = {"z": column["x"]}
    encoder.set_params(fields=None)
    expected = HashingEncoder(**encoder.get_params()).transform(renamed).slots
    np.testing.assert_array_equal(encoder.transform(renamed).slots, expected)


def test_threads_share_cached_dictionaries(rng):
    encoder = HashingEncoder(bits=20)
    columns = [{"x": column} for column in dictionaries(rng, 2000)] * 8
    expected = [HashingEncoder(bits=20).transform(column).slots for column in columns]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda column: encoder.transform(column).slots, columns))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_dictionaries_are_not_pickled_or_copied():
    words = pa.array([f"word {k}" for k in range(10_000)]).dictionary_encode()
    encoder = HashingEncoder(bits=20)
    before = pickle.dumps(encoder)
    encoder.transform({"x": words})
    assert pickle.dumps(encoder) == before
    assert vars(deepcopy(encoder)) == vars(pickle.loads(before))
