"""Kill a process that saves over and over, 200 times: `python kill_saves.py FOLDER`.

Run by test_files.py as a process of its own, since it forks, and pytest has threads. Prints how
many of the kills hit a save midway.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from adagrad.tables import files as _files
from adagrad.tables import header as _header

METADATA = dict.fromkeys(_header.METADATA[2:], "0" * 20)
DATA = [np.full(mib << 20, mib, np.uint8) for mib in (4, 1)]


def save(path: Path, version: int) -> None:
    _files.save(path, METADATA, "U8", (1 << 16, len(DATA[version]) >> 16), DATA[version])


def main() -> None:
    path = Path(sys.argv[1]) / "table"
    versions = []
    for version in (0, 1):
        save(path, version)
        versions.append(path.read_bytes())
    random.seed(1)
    midway = 0
    for _ in range(200):
        child = os.fork()
        if not child:
            while True:
                save(path, 0)
                save(path, 1)
        time.sleep(random.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert path.read_bytes() in versions
        left = [name for name in path.parent.iterdir() if name != path]
        assert len(left) <= 1, left
        midway += len(left)
    save(path, 0)
    assert list(path.parent.iterdir()) == [path]
    print(midway)


if __name__ == "__main__":
    main()
