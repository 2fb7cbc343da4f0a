"""The machine that the numbers were measured on, and the peers that are installed."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import os
import platform
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


def describe() -> dict[str, Any]:
    """Return the facts that are needed to judge the numbers."""
    huge = _read("/sys/kernel/mm/transparent_hugepage/enabled")
    versions = {"Python": platform.python_version(), "NumPy": np.__version__}
    for name in ("torch", "numba"):
        module = peer(name)
        if module is not None:
            versions[name] = module.__version__
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # its import takes seconds
        versions["fbgemm"] = importlib.metadata.version("fbgemm-gpu-cpu")
    return {
        "adagrad": adagrad.__version__,
        "compiler": _core.compiler(),
        "isa": adagrad.isa(),
        "isas": list(adagrad.isas()),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "caches": caches(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions,
        "huge_pages": huge.partition("[")[2].partition("]")[0] or "unknown",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "left_out": left_out(),
    }


def header(facts: dict[str, Any]) -> str:
    """Return the facts in five lines."""
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
    if facts["left_out"]:
        lines.append(f"Left out, not installed: {', '.join(facts['left_out'])}")
    return "\n".join(lines)
