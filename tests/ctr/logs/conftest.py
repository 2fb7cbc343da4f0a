"""Fixtures of the tests of logs."""

import threading

import pytest


@pytest.fixture(autouse=True)
def _no_thread_left():
    """Check that the thread that reads ahead has ended."""
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "adagrad-log"]


@pytest.fixture
def small_blocks(monkeypatch):
    """Make a block shorter than the files of the tests, so that lines cross its borders."""
    blocks = pytest.importorskip("adagrad.ctr.logs.blocks")
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 12)
