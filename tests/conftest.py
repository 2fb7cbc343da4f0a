"""Fixtures shared by the tests."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

# Before NumPy and torch load it, here and in what the tests start: threads of BLAS in every worker
# of pytest-xdist wait for each other, for ten times as long as they compute. torch takes the number
# of MKL's threads for its own. OMP_NUM_THREADS would also leave pyarrow one.
for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import hypothesis
import numpy as np
import pytest

import adagrad
from adagrad import _core

hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.load_profile("default")
# For sanitizers, which slow every example down: `pytest --hypothesis-profile brief`.
hypothesis.settings.register_profile("brief", deadline=None, derandomize=True, max_examples=20)

# What the extras of pyproject.toml install, by the names of their modules.
OPTIONAL = {"click", "matplotlib", "pyarrow", "rich", "safetensors", "scipy", "sklearn"}
OPTIONAL |= {"duckdb", "jupytext", "keras", "pandas", "polars", "ray", "selenium", "torch"}
OPTIONAL |= {"httptools", "msgspec", "prometheus_client"}

# Under nohup, and in the background of a script, signals are ignored, also by the commands that
# tests start and send them to.
for _name, _handler in (("SIGHUP", "SIG_DFL"), ("SIGINT", "default_int_handler")):
    _number = getattr(signal, _name, None)
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, getattr(signal, _handler))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Skip a file that imports what an extra would install; in CI, where all is, report it."""
    report = yield
    missing = re.search(r"ModuleNotFoundError: No module named '(\w+)", str(report.longrepr))
    if report.failed and missing and missing[1] in OPTIONAL and os.environ.get("CI") != "true":
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: {missing[1]} is missing")
    return report


@pytest.fixture(params=adagrad.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once on each instruction set that this machine has."""
    before = adagrad.isa()
    assert _core.use_isa(request.param)
    yield request.param
    assert _core.use_isa(before)


@pytest.fixture(scope="session", autouse=True)
def shared_work() -> None:
    """Let calls use the threads that they are given, whether that saves time here or not."""
    _core.set_sharing("always")


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore the number of threads after the test."""
    before = adagrad.get_num_threads()
    yield
    adagrad.set_num_threads(before)


@pytest.fixture
def fine_grain() -> Iterator[None]:
    """Let sparse calls take the threads that they are given, however small they are."""
    before = _core.set_sparse_grain(1)
    yield
    _core.set_sparse_grain(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20110701)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes, one for all tests of a process, which is connected to it."""
    import ray_cluster

    with ray_cluster.two_nodes() as nodes:
        yield nodes
