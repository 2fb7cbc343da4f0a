"""`_core.compact`: distinct slots, sorted, and the position of each slot among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adagrad import _core


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.uint32, st.integers(0, 300), elements=st.integers(0, 2**32 - 1)),
    st.integers(0, 31),
)
def test_places_are_those_of_the_sorted_different_slots(slots, shift):
    slots >>= np.uint32(shift)
    unique, places = _core.compact(slots)
    expected, inverse = np.unique(slots, return_inverse=True)
    assert unique.dtype == places.dtype == np.uint32
    assert np.array_equal(unique, expected)
    assert np.array_equal(places, inverse)


@pytest.mark.parametrize("bits", [6, 16, 22, 23, 29, 32])
def test_places_of_many_slots(bits):
    rng = np.random.default_rng(bits)
    slots = (rng.random(200_000) ** 3 * 2.0**bits).astype(np.uint32)
    unique, places = _core.compact(slots)
    expected, inverse = np.unique(slots, return_inverse=True)
    assert np.array_equal(unique, expected)
    assert np.array_equal(places, inverse)


def test_slots_must_be_uint32():
    with pytest.raises(TypeError, match="compact: slots"):
        _core.compact(np.arange(3))
