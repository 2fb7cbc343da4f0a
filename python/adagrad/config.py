"""Instruction sets, threads, headers, and a report of all of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

import adagrad._core as _core
from adagrad._arguments import check_integer
from adagrad._cpus import available_cpus


def isas() -> tuple[str, ...]:
    """Return the instruction sets that this machine can run, the best last.

    Returns
    -------
    tuple of str
        ``ADAGRAD_ISA=<name>`` in the environment at import forces one of them.
    """
    return tuple(_core.isas())


def isa() -> str:
    """Return the instruction set in use.

    Returns
    -------
    str
        The last of `isas()`, unless ``ADAGRAD_ISA`` named another when adagrad was imported.
    """
    return _core.isa()


def set_num_threads(n: int) -> None:
    """Set the number of threads that a call may use. Results do not depend on it.

    Parameters
    ----------
    n : int
        From 1 to 1024; 1 at import. A small call uses fewer, and `coalesce` uses one. Pass
        ``threads=`` to set the number for a single call.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer from 1 to 1024.

    Notes
    -----
    A call uses fewer threads, too, while that is faster: beside other programs a thread may wait
    milliseconds for a processor, and the others for that thread. The time that threads save and
    lose is counted, and while they lose more, calls run on one.
    """
    _core.set_num_threads(check_integer("n", n, 1, 1024))


def get_num_threads() -> int:
    """Return the number of threads that a call may use.

    Returns
    -------
    int
    """
    return _core.num_threads()


def get_include() -> str:
    """Return the directory of the C++ headers.

    Returns
    -------
    str
        Add it to the compiler's include path, then ``#include <adagrad/loops.hpp>``. Compile with
        ``-ffp-contract=off`` to get the same bits as in Python.
    """
    # The headers lie beside the compiled module, which an editable install keeps elsewhere.
    return str(Path(_core.__file__).parent / "include")


def show_config() -> None:
    """Print versions, instruction sets and threads, for a bug report."""
    import platform  # here, because it would add 2 ms to `import adagrad`

    print(f"adagrad {_core.__version__}, compiled by {_core.compiler()}")
    print(f"instruction set: {isa()} (of {', '.join(isas())})")
    print(f"threads: {get_num_threads()} of {available_cpus()} available, {os.cpu_count()} CPUs")
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.platform()}")


def apply_environment() -> None:
    """Use the instruction set that the environment variable ``ADAGRAD_ISA`` names, if it is set."""
    name = os.environ.get("ADAGRAD_ISA")
    if name is not None and not _core.use_isa(name):
        raise ImportError(
            f"ADAGRAD_ISA={name}: this machine cannot run that instruction set; choose from"
            f" {', '.join(isas())}"
        )
