"""One instruction set after another, for tests whose reference takes longer than what it checks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import adagrad
from adagrad import _core


@contextlib.contextmanager
def using(isa: str) -> Iterator[None]:
    """Run a block on one of `adagrad.isas()`."""
    before = adagrad.isa()
    assert _core.use_isa(isa)
    try:
        yield
    finally:
        assert _core.use_isa(before)
