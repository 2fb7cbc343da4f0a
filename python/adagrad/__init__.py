"""AdaGrad for CPUs: in place on NumPy arrays, dense and sparse, the same bits on every machine."""

from __future__ import annotations

from adagrad import config as _config
from adagrad._core import __version__
from adagrad.config import (
    get_include,
    get_num_threads,
    isa,
    isas,
    set_num_threads,
    show_config,
)
from adagrad.functional import coalesce, step, step_many, step_rows
from adagrad.optimizer import Adagrad
from adagrad.presets import preset, presets
from adagrad.rule import Rule
from adagrad.tables.header import TableFileError
from adagrad.tables.table import Table

_config.apply_environment()

__all__ = [
    "Adagrad",
    "Rule",
    "Table",
    "TableFileError",
    "__version__",
    "coalesce",
    "get_include",
    "get_num_threads",
    "isa",
    "isas",
    "preset",
    "presets",
    "set_num_threads",
    "show_config",
    "step",
    "step_many",
    "step_rows",
]
