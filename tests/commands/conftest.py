"""What the tests of the commands share: a log, and small batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TSV log of `command.ROWS` rows."""
    import command

    return command.write(tmp_path_factory.mktemp("logs") / "log.tsv", command.clicks(command.ROWS))


@pytest.fixture
def small_batches() -> Iterator[None]:
    """Let logs have batches of 640 rows."""
    import command

    with command.small_batches():
        yield
