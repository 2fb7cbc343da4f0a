"""What the tests of the kernels share: those that they compile."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled kernels lie; tests that use them are in one group of xdist, to share them."""
    return tmp_path_factory.mktemp("kernels")
