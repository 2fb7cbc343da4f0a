"""The seed of a learner, by our name and by scikit-learn's."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from adagrad._arguments import check_integer

if TYPE_CHECKING:
    from typing_extensions import TypeIs

__all__ = ["RandomState", "drawn_seed", "draws", "fixed_seed"]

RandomState: TypeAlias = int | np.random.RandomState | np.random.Generator | None
"""What a learner takes as `random_state`."""

_MOST = 2**64 - 2  # the second table of a field-aware machine has the next seed
_DRAWN = 2**31  # RandomState draws no larger integers by default on every system


def draws(random_state: Any) -> TypeIs[np.random.RandomState | np.random.Generator]:
    """Return whether every new model draws its seed."""
    return isinstance(random_state, (np.random.RandomState, np.random.Generator))


def fixed_seed(seed: Any, random_state: Any) -> int:
    """Return the seed that both arguments mean together, unless it is drawn.

    Raises
    ------
    TypeError, ValueError
        One of them is no integer, or out of range.
    """
    number = check_integer("seed", seed, 0, _MOST)
    if random_state is None or draws(random_state):
        return number
    if not isinstance(random_state, numbers.Integral):
        raise TypeError(
            "random_state must be None, an integer, a np.random.RandomState or a"
            f" np.random.Generator, got {random_state!r}"
        )
    return check_integer("random_state", random_state, 0, _MOST)


def drawn_seed(random_state: np.random.RandomState | np.random.Generator) -> int:
    """Draw a seed."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(_DRAWN))
    return int(random_state.randint(_DRAWN))
