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
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
CROSS = "aarch64-linux-gnu-"
# By machine: the row of isa.cmake that every such machine can run.
BASELINE = {"x86_64": "x86_64", "aarch64": "neon"}


def unavailable(reason: str) -> None:
    """Skip the test, or fail it where nothing may be skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI is to run every check")
    pytest.skip(reason)


def tool(*names: str) -> str:
    """Path of the first of these programs that is installed."""
    for name in names:
        if path := shutil.which(name):
            return path
    unavailable(f"none of {', '.join(names)} is installed")
    raise AssertionError


def run(*command: str | Path, **options: object) -> str:
    """Standard output of a command that succeeds and says nothing on standard error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def compiler() -> str:
    return tool(os.environ.get("CXX", "c++"), "g++", "clang++")


def host_isa() -> str:
    """Identifier in isa.cmake of the baseline of this machine."""
    if platform.machine() not in BASELINE or os.name != "posix":
        unavailable(f"the tests build no kernels for {platform.machine()} on {os.name}")
    return BASELINE[platform.machine()]


def kernel_flags() -> list[str]:
    """Flags that isa.cmake gives to every row, for g++ and clang."""
    text = (ROOT / "cpp" / "isa" / "isa.cmake").read_text(encoding="utf-8")
    flags = [set_.split() for set_ in re.findall(r"set\(ADAGRAD_KERNEL_FLAGS (-.*)\)", text)]
    assert len(flags) == 1, "isa.cmake sets the flags for g++ and clang once"
    return flags[0]


def kernels(folder: Path, cxx: str, isa: str, *flags: str) -> Path:
    """Object file of kernels.cpp for one ISA; compiled once per folder, as it takes seconds."""
    name = "-".join([Path(cxx).name, isa, *flags])
    path = folder / (re.sub(r"[^\w.+-]", "_", name) + ".o")
    if not path.exists():
        run(
            *(cxx, "-std=c++17", "-fPIC", *kernel_flags(), *WARNINGS, *flags),
            *(f"-DADAGRAD_KERNELS=kernels_{isa}", f'-DADAGRAD_ISA="{isa.replace("_", "-", 1)}"'),
            *("-c", ROOT / "cpp" / "isa" / "kernels.cpp", "-o", path),
        )
    return path
