"""The thread that reads a log imports nothing: Ctrl-C may strike while the main thread imports."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from adagrad.ctr import HashingEncoder
from adagrad.ctr.logs import open_log
from adagrad.ctr.training.pipeline import encoded

encoder = HashingEncoder(bits=10)
log = open_log(sys.argv[1], label="click")
before = set(sys.modules)
assert sum(len(part.x) for part in encoded(log, encoder)) == 2
print(sorted(name for name in set(sys.modules) - before if name.startswith("adagrad")))
"""


def test_nothing_is_imported_while_a_log_is_read(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("click,site,price\n1,a,2.5\n0,b,1.5\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
