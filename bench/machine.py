"""The machine that the numbers were measured on, and the peers that are installed."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import os
import platform
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import adagrad
from adagrad import _core

_absent: set[str] = set()


@functools.cache
def peer(name: str) -> ModuleType | None:
    """Import an optional package to compare with, limited to one thread, or return None."""
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError):  # OSError: compiled for another torch
        _absent.add(name)
        return None
    if name == "torch":
        module.set_num_threads(1)
        module.sparse.check_sparse_tensor_invariants.disable()  # the default, without its warning
    return module


@contextlib.contextmanager
def one_processor() -> Iterator[None]:
    """Keep every thread of this process on one processor."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def leave_out(name: str) -> None:
    """Note something else that this machine lacks."""
    _absent.add(name)


def left_out() -> list[str]:
    """Return what was asked for and is not installed."""
    return sorted(_absent)


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def cpu() -> str:
    """Return the CPU's name, and its family and model if /proc/cpuinfo has them."""
    facts = {}
    for line in _read("/proc/cpuinfo").partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    name = facts.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return name


@functools.cache
def caches() -> dict[str, int]:
    """Return the size in bytes of each data cache of the first core, nearest first."""
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        size = _read(folder / "size")
        if _read(folder / "type") != "Instruction" and size.endswith("K"):
            sizes["L" + _read(folder / "level")] = int(size[:-1]) * 1024
    return sizes


def home(size: int) -> str:
    """Return the name of the nearest cache that holds `size` bytes, or DRAM."""
    known = caches()
    return next((name for name, room in known.items() if size <= room), "DRAM" if known else "?")


def binary(size: int) -> str:
    """Return a number of bytes as text."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"


# Distributions of peers, and of what click learners read logs with. Importing some takes seconds.
PEERS = {
    "scipy": "SciPy",
    "scikit-learn": "scikit-learn",
    "torch": "torch",
    "numba": "numba",
    "fbgemm-gpu-cpu": "fbgemm",
    "keras": "Keras",
    "tensorflow": "TensorFlow",
    "tensorflow-cpu": "TensorFlow",
    "vowpalwabbit": "Vowpal Wabbit",
    "river": "river",
    "pyarrow": "pyarrow",
    "ray": "Ray",
    "uvicorn": "uvicorn",
    "fastapi": "FastAPI",
}


def versions() -> dict[str, str]:
    """Return the versions of Python, NumPy and the peers that are installed."""
    found = {"Python": platform.python_version(), "NumPy": np.__version__}
    for name, shown in PEERS.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[shown] = importlib.metadata.version(name)
    return found


def kind() -> str:
    """Return a name of this kind of machine: ratios of another kind are not comparable."""
    text = f"{cpu()} {os.cpu_count()} cores {adagrad.isa()}".lower()
    return re.sub("[^a-z0-9]+", "-", text).strip("-")


def describe() -> dict[str, Any]:
    """Return the facts that are needed to judge the numbers."""
    huge = _read("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "kind": kind(),
        "adagrad": adagrad.__version__,
        "compiler": _core.compiler(),
        "isa": adagrad.isa(),
        "isas": list(adagrad.isas()),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "caches": caches(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions(),
        "huge_pages": huge.partition("[")[2].partition("]")[0] or "unknown",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def header(facts: dict[str, Any]) -> str:
    """Return the facts in a few lines."""
    sizes = ", ".join(f"{name} {binary(size)}" for name, size in facts["caches"].items())
    lines = [
        f"CPU: {facts['cpu']}, {facts['cores']} cores; {sizes or 'caches unknown'}",
        f"adagrad {facts['adagrad']} by compiler {facts['compiler']}, instruction set "
        f"{facts['isa']} of {', '.join(facts['isas'])}",
        ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        + f", {facts['system']}",
        f"Transparent huge pages: {facts['huge_pages']} (NumPy asks for them for arrays of 4 MiB "
        f"or more); load before the run {facts['load']}",
    ]
    return "\n".join(textwrap.fill(line, 100, subsequent_indent="  ") for line in lines)
