"""Expect the failures that `deselected` lists, and notice a test that no longer fails."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

DESELECTED = runpy.run_path(str(Path(__file__).with_name("deselected.py")))["DESELECTED"]
# The tests of each peer whose file was collected.
COLLECTED = pytest.StashKey[dict[str, set[str]]]()


def peer_and_name(node: pytest.Item | pytest.Collector) -> tuple[str, str]:
    return node.path.stem.removeprefix("test_"), node.nodeid.partition("::")[2]


def pytest_configure(config: pytest.Config) -> None:
    for mark in ("requires_trainable_backend: of Keras", "thread_unsafe: of scikit-learn"):
        config.addinivalue_line("markers", mark)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Iterator[None]:
    """Remember all tests of a file, also when only some of them are run."""
    report = yield
    if isinstance(collector, pytest.Module | pytest.Class) and report.passed:
        collected = collector.config.stash.setdefault(COLLECTED, {})
        peer, _ = peer_and_name(collector)
        collected.setdefault(peer, set()).update(peer_and_name(x)[1] for x in report.result)
    return report


def pytest_itemcollected(item: pytest.Item) -> None:
    peer, name = peer_and_name(item)
    reason = DESELECTED.get(peer, {}).get(name)
    if reason is not None:
        item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture
def deselected() -> dict[str, dict[str, str]]:
    return DESELECTED


@pytest.fixture
def collected(request: pytest.FixtureRequest) -> dict[str, set[str]]:
    return request.config.stash[COLLECTED]
