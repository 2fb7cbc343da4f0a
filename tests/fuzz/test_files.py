"""Damaged files of tables, learners and checkpoints are read or refused, and do nothing else.

Each is read in a process whose memory is limited to twice the file and 64 MiB more. That holds the
models of the files that list their slots, which are larger than these, and none that damage makes
larger. What is refused is a `TableFileError` of one line, within a second; what is read then
predicts and learns.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import damaged_files
import fuzz
from checks import TESTS, need_packages

pytest.importorskip("fcntl", reason="tables are mapped for writing on POSIX systems only")

pytestmark = [
    pytest.mark.unsanitized,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc"),
]

PACKAGES = {
    "table": (),
    "model": ("sklearn", "scipy", "pyarrow"),
    "checkpoint": ("sklearn", "scipy", "pyarrow"),
}
KNOWN: dict[str, list[int]] = {"table": [], "model": [], "checkpoint": []}


@pytest.mark.parametrize("kind", damaged_files.KINDS)
def test_damaged_files(tmp_path, kind):
    need_packages(*PACKAGES[kind])
    folder = tmp_path / "files"
    folder.mkdir()
    damaged_files.WRITE[kind](folder)
    script = TESTS / "helpers" / "damaged_files.py"
    seeds = fuzz.seeds(300, KNOWN[kind])
    done = subprocess.run(
        [sys.executable, script, kind, folder],
        input=json.dumps(seeds),
        capture_output=True,
        text=True,
        check=False,
    )
    last = (tmp_path / "files.seed").read_text(encoding="ascii")
    assert done.returncode == 0, f"seed {last}: exit code {done.returncode}\n{done.stderr[-2000:]}"
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["inputs"] == len(seeds)
    assert 0 < found["refused"] < len(seeds)
