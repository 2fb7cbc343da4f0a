from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__version__: str

# The metaclass that pybind11 gives its classes; it has no name to import.
class _PybindType(type): ...

class Hyperparameters(metaclass=_PybindType):
    def __init__(self, **fields: float | bool | str | None) -> None: ...

def isas() -> list[str]: ...
def isa() -> str: ...
def use_isa(name: str) -> bool: ...
def num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def compiler() -> str: ...
def check_params(params: Sequence[Any]) -> None: ...
def step(
    w: object, g: object, s: object, rule: Hyperparameters, lr: float, limit: bool = False
) -> int: ...
def step_many(
    tensors: Sequence[Any],
    rule: Hyperparameters,
    lrs: Sequence[float],
    numbers: Sequence[int] = [],
) -> int: ...
def step_rows(
    w: object,
    g: object,
    s: object,
    rows: object,
    rule: Hyperparameters,
    lr: float,
    duplicates: str | None = None,
    check_unique: bool = False,
    limit: bool = False,
) -> int: ...
def coalesce(
    rows: npt.NDArray[np.integer[Any]], g: npt.NDArray[np.floating[Any]]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]: ...
