"""Kill a process at random moments while it writes: ``python kills.py WHAT FOLDER SEED...``.

tests/fuzz/test_kills.py runs it as a process of its own, since it forks, and pytest has threads.
The victims are forks, so that they need not import anything. WHAT is one of `WORK`; with "-named"
at its end, new files have temporary names, as where no file can be written without one. Prints, as
JSON, how many kills struck a process at work, and how many left a file for the next to remove.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import command
from adagrad.commands.group import adagrad
from adagrad.ctr.training import report, run  # noqa: F401  so that no victim imports
from adagrad.tables import files, header

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
METADATA = dict.fromkeys(header.METADATA[2:], "0" * 20)
SIZES = (4, 1)  # MiB of two tables

Work = Callable[[Path], None]


def save(folder: Path) -> None:
    """Save two tables under one name, in turn."""
    for size in SIZES:
        data = np.full(size << 20, size, np.uint8)
        files.save(folder / "out", METADATA, "U8", (1 << 10, size << 10), data)


def predict(folder: Path) -> None:
    """Predict two logs into one table, in turn."""
    for log in ("one.tsv", "two.tsv"):
        call("predict", folder / "m", folder / log, "-o", folder / "out.csv")


def train(folder: Path) -> None:
    """Train with a checkpoint after each batch, from the last one."""
    with command.small_batches():
        arguments = ("-l", command.LABEL, "--bits", 14, "--lr", 0.1, "--checkpoint-every", 1)
        call("train", folder / "one.tsv", *arguments, "-m", folder / "out", "--resume")


WORK: dict[str, tuple[Work, str]] = {
    "save": (save, "out"),
    "predict": (predict, "out.csv"),
    "train": (train, "out"),
}


def call(*arguments: object) -> None:
    try:
        adagrad([*map(str, arguments)], prog_name="adagrad")
    except SystemExit as error:
        if error.code:
            raise


def in_a_fork(work: Callable[[], None], ready: int | None = None, group: int | None = None) -> int:
    """Start a process that works, quietly, and says when it begins; return its id.

    It may join a process group.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if group is not None:
            os.setpgid(0, group)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        for number in (signal.SIGTERM, signal.SIGHUP):  # ignored under nohup, and inherited
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if ready is not None:
            os.write(ready, b".")
        work()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        code = 2
    finally:
        os._exit(code)
    raise AssertionError


def finished(work: Callable[[], None]) -> None:
    _, status = os.waitpid(in_a_fork(work), 0)
    assert status == 0, status


def record(folder: Path, work: Work, name: str) -> set[bytes]:
    """Return every content that a file has in a run without an interruption."""
    seen = folder / "seen"
    seen.mkdir()
    counter = iter(range(1 << 20))

    def recorded() -> None:
        rename = Path.replace

        def renamed(path: Path, target: Path) -> Path:
            found = rename(path, target)
            (seen / f"{next(counter)}").write_bytes((folder / name).read_bytes())
            return found

        Path.replace = renamed  # type: ignore[method-assign]
        work(folder)

    finished(recorded)
    contents = {path.read_bytes() for path in seen.iterdir()}
    for path in seen.iterdir():
        path.unlink()
    seen.rmdir()
    return contents


def main() -> None:
    what, place, *seeds = sys.argv[1:]
    name, _, named = what.partition("-")
    if named:
        vars(os).pop("O_TMPFILE", None)
    folder = Path(place)
    work, out = WORK[name]
    inputs = prepare(folder) if name != "save" else set()
    began = time.monotonic()
    legal = record(folder, work, out)
    took = time.monotonic() - began
    assert len(legal) >= 2
    whole = (folder / out).read_bytes()
    struck = left = 0
    for seed in map(int, seeds):
        chance = random.Random(seed)
        number = SIGNALS[seed % len(SIGNALS)]
        if name == "train" and (folder / out).exists() and (folder / out).read_bytes() == whole:
            (folder / out).unlink()
        before = {path.name for path in folder.iterdir()}  # with what the last kill left
        ready, begun = os.pipe()
        child = in_a_fork(lambda: again(work, folder, name == "train"), begun)
        os.read(ready, 1)
        time.sleep(chance.uniform(0, took))
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
        os.close(ready)
        os.close(begun)
        _, status = os.waitpid(child, 0)
        struck += status != 0
        if (folder / out).exists() or name != "train":
            assert (folder / out).read_bytes() in legal, (seed, number)
        stray = {path.name for path in folder.iterdir()} - before - {out}
        # A process that is killed outright may leave one: without a name only if it was complete.
        outright = number == signal.SIGKILL or (name == "save" and number != signal.SIGINT)
        assert len(stray) <= outright, (seed, number, stray)
        if not named:
            assert all((folder / other).read_bytes() in legal for other in stray), (seed, stray)
        left += len(stray)
    finished(lambda: work(folder))
    assert (folder / out).read_bytes() == whole
    assert {path.name for path in folder.iterdir()} == inputs | {out}
    print(json.dumps({"struck": struck, "left": left}))


def again(work: Work, folder: Path, once: bool) -> None:
    work(folder)
    while not once:
        work(folder)


def prepare(folder: Path) -> set[str]:
    """Write two logs and a model, and return the names of all files."""

    def model() -> None:
        call("train", folder / "two.tsv", "-l", command.LABEL, "-m", folder / "m", "--bits", 10)

    for number, name in enumerate(("one.tsv", "two.tsv")):
        command.write(folder / name, command.clicks(12_000 - 5_000 * number, seed=number))
    finished(model)
    return {path.name for path in folder.iterdir()}


if __name__ == "__main__":
    main()
