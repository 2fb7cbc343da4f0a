"""Compilers and binary tools for the tests that need them, and the kernels built with them.

A tool that is missing skips a test where a user runs it, and fails it in CI (CI=true): there
every check is to run. The C++ sources are the ones beside the tests, with the flags of isa.cmake.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from checks import ROOT, need

WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
CROSS = "aarch64-linux-gnu-"
# By machine: the row of isa.cmake that every such machine can run.
BASELINE = {"x86_64": "x86_64", "aarch64": "neon"}


def tool(*names: str) -> str:
    """Path of the first of these programs that is installed."""
    paths = [path for name in names if (path := shutil.which(name))]
    need(bool(paths), " or ".join(names))
    return paths[0]


def optional_tool(name: str) -> str:
    """Path of a program that CI lacks, too."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is missing")
    return path


def run(*command: str | Path, **options: object) -> str:
    """Standard output of a command, which has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def compiler() -> str:
    need(sys.platform != "win32", "a compiler with the flags of g++ on a POSIX system")
    return tool(os.environ.get("CXX", "c++"), "g++", "clang++")


def host_isa() -> str:
    """Identifier in isa.cmake of the baseline of this machine."""
    machine = platform.machine()
    need(machine in BASELINE and sys.platform == "linux", "Linux on x86-64 or aarch64")
    return BASELINE[machine]


def kernel_flags() -> list[str]:
    """Flags that isa.cmake gives to every row, for g++ and clang."""
    text = (ROOT / "cpp" / "isa" / "isa.cmake").read_text(encoding="utf-8")
    flags = [set_.split() for set_ in re.findall(r"set\(ADAGRAD_KERNEL_FLAGS (-.*)\)", text)]
    assert len(flags) == 1, "isa.cmake sets the flags for g++ and clang once"
    return flags[0]


def kernels(folder: Path, cxx: str, isa: str, *flags: str) -> Path:
    """Object file of the kernels of one ISA; compiled once per folder, as it takes seconds."""
    name = re.sub(r"[^\w+-]", "_", "-".join([Path(cxx).name, isa, *flags]))
    path = folder / (name + ".o")
    if path.exists():
        return path
    parts = []
    for source in ("kernels", "ctr_kernels"):
        parts.append(folder / f"{name}.{source}.o")
        run(
            *(cxx, "-std=c++17", "-fPIC", *kernel_flags(), *WARNINGS, *flags),
            f"-DADAGRAD_KERNELS=kernels_{isa}",
            f"-DADAGRAD_CTR_KERNELS=ctr_kernels_{isa}",
            f'-DADAGRAD_ISA="{isa.replace("_", "-")}"',
            *("-c", ROOT / "cpp" / "isa" / f"{source}.cpp", "-o", parts[-1]),
        )
    run(cxx, "-r", "-nostdlib", *parts, "-o", path)
    return path


def broken_kernels(folder: Path) -> tuple[str, Path]:
    """Kernels without anything that the tests look for: scalar, fused, without a prefetch."""
    flags = ["-O2", "-fno-tree-vectorize", "-fno-tree-slp-vectorize", "-ffp-contract=fast"]
    flags += ["-D__builtin_prefetch(...)=static_cast<void>((__VA_ARGS__))"]
    isa = host_isa()
    if isa == "x86_64":  # the baseline has no instruction that fuses
        isa, flags = "x86_64_v3", ["-march=x86-64-v3", *flags]
    return isa, kernels(folder, compiler(), isa, *flags)
