"""A model in service: weights alone in a file, and what answers from them.

`export` writes the file, `delta` what changed from one to the next, and `scorer` maps a file and
predicts. Nothing here learns.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adagrad.serving.export import write_export
    from adagrad.serving.scorer import Scorer

__all__ = ["Scorer", "write_export"]

_HOMES = {"Scorer": "scorer", "write_export": "export"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
