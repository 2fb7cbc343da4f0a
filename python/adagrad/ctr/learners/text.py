"""Weights as text that people read and diff, in the spirit of ``vw --readable_model``.

Like Vowpal Wabbit's, not compatible with it: a header of ``name: value`` lines, an empty line, then
a line for every slot that is not zero, ``slot:weight`` or ``slot:weight accumulator``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["lines", "parse"]

Floats = npt.NDArray[np.float32]

_TITLE = "adagrad.ctr.LogisticRegression 1"


def lines(pairs: Floats, bias: Floats | None, state: bool) -> Iterator[str]:
    """Return the lines of a model.

    Parameters
    ----------
    pairs : ndarray of float32, shape [n_slots, 2]
        Params and accumulators.
    bias : ndarray of float32, shape [2], or None
    state : bool
        Whether accumulators are written, and slots that have only one.
    """
    yield _TITLE
    yield f"slots: {len(pairs)}"
    yield f"state: {'yes' if state else 'no'}"
    if bias is not None:
        yield f"bias: {_pair(bias, state)}"
    yield ""
    used = pairs.view(np.uint32).any(axis=1) if state else pairs[:, 0] != 0
    for slot in np.flatnonzero(used).tolist():
        yield f"{slot}:{_pair(pairs[slot], state)}"


def _pair(pair: Floats, state: bool) -> str:
    return " ".join(str(x) for x in pair[: 2 if state else 1])  # the shortest that comes back


def parse(text: Iterable[str]) -> tuple[Floats, Floats | None, bool]:
    """Return pairs, bias and whether there are accumulators, from `lines`.

    Raises
    ------
    ValueError
        Names the line that is wrong.
    """
    found = iter(enumerate((line.rstrip("\n") for line in text), 1))
    number, line = next(found, (1, ""))
    if line != _TITLE:
        raise ValueError(f"line 1 is {line[:60]!r}, expected {_TITLE!r}")
    head: dict[str, str] = {}
    for number, line in found:  # noqa: B007  the last one is named below
        if not line:
            break
        name, _, value = line.partition(": ")
        head[name] = value
    try:
        state = {"yes": True, "no": False}[head["state"]]
        pairs = np.zeros((int(head["slots"]), 2), np.float32)
        bias = _floats(head["bias"], state) if "bias" in head else None
    except (KeyError, ValueError) as error:
        raise ValueError(f"the header, up to line {number}, is wrong: {error!r}") from error
    for number, line in found:
        slot, _, values = line.partition(":")
        try:
            if not (slot.isascii() and slot.isdecimal() and int(slot) < len(pairs)):
                raise ValueError(f"slot {slot!r} is not below {len(pairs)}")
            pairs[int(slot)] = _floats(values, state)
        except ValueError as error:
            raise ValueError(f"line {number}, {line[:60]!r}: {error}") from error
    return pairs, bias, state


def _floats(text: str, state: bool) -> Floats:
    words = text.split(" ")
    if len(words) != 1 + state:
        raise ValueError(f"expected {1 + state} numbers, got {len(words)}")
    return np.array([*(np.float32(word) for word in words), 0][:2], np.float32)
