"""Killed at any moment: every file is the old or the new one, and nothing else is left.

Each run kills a few processes; ``ADAGRAD_FUZZ=200`` asks for more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import fuzz
import toolchain
from checks import TESTS, need_packages

need_packages("click", "rich", "matplotlib", "sklearn", "pyarrow", "safetensors")

pytestmark = [
    pytest.mark.unsanitized,
    pytest.mark.skipif(sys.platform == "win32", reason="forks, and sends POSIX signals"),
]


@pytest.mark.parametrize("what", ["save", "save-named", "predict", "predict-named", "train"])
def test_killed_at_any_moment(what: str, tmp_path: Path) -> None:
    """KILL, TERM, HUP and INT in turn; a training ends with the bits of a whole one."""
    seeds = fuzz.seeds(8)
    script = TESTS / "helpers" / "kills.py"
    counts = json.loads(toolchain.run(sys.executable, script, what, tmp_path, *seeds))
    assert counts["struck"] > 0, "some of them must be at work"
    print(what, counts)
