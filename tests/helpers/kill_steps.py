"""Kill a process that trains a mapped table, over and over: `python kill_steps.py FOLDER`.

test_table_files.py runs it in a separate process, because it forks and pytest has threads. Each
gradient is 1, so that a row after k updates has s = k and exactly one legal w. Each step updates
all rows once. Prints the number of kills that interrupted a step.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from adagrad import Rule, Table

ROWS = 200_000
# The textbook, and a rule of the general form, which divides by the accumulator from before.
RULES = [Rule(lr=0.5, eps=0.0), Rule(lr=0.5, eps=1.0, lagged=True)]
POLICIES = ["sum", "sequential", "unique"]


def train(table: Table, seed: int, ready: int) -> None:
    """Step after step, with a flush now and then, until this process is killed."""
    rng = np.random.default_rng(seed)
    ids, g = rng.permutation(ROWS), np.ones(ROWS, table.dtype)
    os.write(ready, b".")
    while True:
        table.step(ids, g, POLICIES[seed % 3], threads=1 + seed % 2)
        if rng.random() < 0.1:
            table.flush()


def params(table: Table) -> Iterator[float]:
    """The w of a row after 0, 1, 2... updates, by a table of one row in memory."""
    alone = Table(1, rule=table.rule, dtype=table.dtype)
    g = np.ones(1, table.dtype)
    while True:
        yield alone.weights[0]
        alone.step(np.array([0]), g)


def main() -> None:
    random.seed(1)
    interrupted = 0
    for k, (rule, dtype) in enumerate((rule, dtype) for rule in RULES for dtype in ("f4", "f8")):
        path = Path(sys.argv[1]) / f"table{k}"
        Table(ROWS, rule=rule, dtype=np.dtype(dtype).name, path=path).close()
        of_count = params(Table.load(path))
        legal = np.zeros(0)
        for kill in range(8):
            ready, begun = os.pipe()
            child = os.fork()
            if not child:
                train(Table.open(path), kill, begun)
            os.read(ready, 1)
            time.sleep(random.uniform(0.001, 0.03))
            os.kill(child, signal.SIGKILL)
            os.close(ready)
            os.close(begun)
            os.waitpid(child, 0)
            table = Table.open(path)
            w, s = table.weights, table.state
            least, most = int(s.min()), int(s.max())
            legal = np.append(legal, [next(of_count) for _ in range(len(legal), most + 1)])
            assert table.steps <= least <= most <= least + 1, (table.steps, least, most)
            assert (w == legal[s.astype(int)]).all(), "a param without its accumulator"
            interrupted += least != most
            behind = np.flatnonzero(s == least) if least != most else np.zeros(0, int)
            table.step(behind, np.ones(len(behind), dtype))
            assert (w == legal[most]).all()
            table.steps = most
            table.close()
    print(interrupted)


if __name__ == "__main__":
    main()
