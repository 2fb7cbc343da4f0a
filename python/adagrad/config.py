"""What the library runs on: instruction sets, threads, headers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from adagrad import _core
from adagrad._arguments import check_integer


def isas() -> tuple[str, ...]:
    """Return the instruction sets that this machine can run, the best one last.

    Returns
    -------
    tuple of str
        Any of them may be forced with ``ADAGRAD_ISA=<name>`` in the environment at import.
    """
    return tuple(_core.isas())


def isa() -> str:
    """Return the instruction set in use.

    Returns
    -------
    str
        The best of `isas()`, unless ``ADAGRAD_ISA`` named another when adagrad was imported.
    """
    return _core.isa()


def set_num_threads(n: int) -> None:
    """Set how many threads a call may use. The results do not depend on it.

    Parameters
    ----------
    n : int
        From 1, which is also the number at import, to 1024. Small calls take fewer than they may,
        and `coalesce` takes one. The functions take ``threads=`` for a single call.

    Raises
    ------
    TypeError, ValueError
        Where `n` is not an integer from 1 to 1024.
    """
    _core.set_num_threads(check_integer("n", n, 1, 1024))


def get_num_threads() -> int:
    """Return how many threads a call may use.

    Returns
    -------
    int
    """
    return _core.num_threads()


def get_include() -> str:
    """Return the folder of the C++ headers.

    Returns
    -------
    str
        Put it on the compiler's include path; ``#include <adagrad/loops.hpp>`` then works.
        Compile with ``-ffp-contract=off`` to get the bits that Python gets.
    """
    # Beside the compiled module: an editable install keeps the Python files elsewhere.
    return str(Path(_core.__file__).parent / "include")


def show_config() -> None:
    """Print versions, instruction sets and threads, for a bug report."""
    import platform  # 2 ms, which an import of adagrad need not take

    print(f"adagrad {_core.__version__}, compiled by {_core.compiler()}")
    print(f"instruction set: {isa()} (of {', '.join(isas())})")
    print(f"threads: {get_num_threads()} of {os.cpu_count()}")
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.platform()}")


def apply_environment() -> None:
    """Use the instruction set that ``ADAGRAD_ISA`` names, if it is set."""
    name = os.environ.get("ADAGRAD_ISA")
    if name is not None and not _core.use_isa(name):
        raise ImportError(f"ADAGRAD_ISA={name} cannot run here: choose from {', '.join(isas())}")
