"""Kill the script of docs/daily.md at random moments: ``python daily_kills.py FOLDER SEED...``.

A process of its own, since it forks, and pytest has threads. Without seeds, the script only runs.
After each kill, the model in use and the one that is served must be those of a whole day, and the
script is started again. Prints, as JSON, how many kills struck it at work, and how many left a
checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import command
import forked_commands
import kills

PAGE = Path(__file__).parents[2] / "docs" / "daily.md"
MODEL, SERVED = MODELS = ("model.safetensors", "served.score")


def contents(folder: Path) -> dict[str, object]:
    """Return the tensors of the model, the export, and what was measured."""
    found: dict[str, object] = {}
    if (folder / MODEL).exists():
        found[MODEL] = command.tensors(folder / MODEL)
    if (folder / SERVED).exists():
        found[SERVED] = (folder / SERVED).read_bytes()
    for path in sorted((folder / "quality").glob("*.json")):
        found[path.name] = json.loads(path.read_text())
    return found


def prepare(folder: Path) -> tuple[str, list[Path]]:
    """Write the script and the logs of the page; return the script and the logs."""
    page = PAGE.read_text(encoding="utf-8")
    (script,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    (folder / "daily.sh").write_text(script)
    logs = folder / "logs"
    logs.mkdir()
    table = command.clicks(7_503)
    for day in range(3):
        command.write(logs / f"day_{day}.tsv", table.slice(2_501 * day, 2_501))
    return str(folder / "daily.sh"), sorted(logs.iterdir())


def main() -> None:
    folder, *seeds = Path(sys.argv[1]), *map(int, sys.argv[2:])
    script, logs = prepare(folder)
    (checkpoint,) = (
        one for one in command.command.commands["train"].params if one.name == "checkpoint_every"
    )
    checkpoint.default = 1  # after each batch
    struck = resumable = 0
    with command.small_batches(), forked_commands.served(folder) as env:
        whole = folder / "whole"
        whole.mkdir()
        legal, began = [], time.monotonic()
        for number in range(len(logs)):
            finish(script, *logs[: number + 1], env=env, cwd=whole)
            legal.append(contents(whole))
        took = time.monotonic() - began
        assert all(found[MODEL] and found[SERVED] for found in legal)
        assert [*legal[-1]] == [*MODELS, *(f"{log.name}.json" for log in logs)]
        place = new_folder(folder, 0)
        for seed in seeds:
            process = forked_commands.start(script, *logs, env=env, cwd=place)
            time.sleep(random.Random(seed).uniform(0, 0.6 * took))
            number = kills.SIGNALS[seed % len(kills.SIGNALS)]
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            process.communicate()
            wait_for_group(process.pid)
            struck += process.returncode != 0
            resumable += any(place.glob("*.checkpoint")) or (place / "first.safetensors").exists()
            found = contents(place)
            for name in MODELS:
                assert found.get(name) in [None, *(one[name] for one in legal)], (seed, name)
            for name in found.keys() - {*MODELS}:
                assert found[name] == legal[-1][name], (seed, name)
            if process.returncode == 0:
                assert found == legal[-1], seed
                place = new_folder(folder, seed + 1)
        finish(script, *logs, env=env, cwd=place)
        assert contents(place) == legal[-1]
        left = {path.name for path in place.iterdir()}
        assert left == {"done", "quality", *MODELS}, left
    print(json.dumps({"struck": struck, "resumable": resumable}))


def new_folder(folder: Path, number: int) -> Path:
    place = folder / f"place{number}"
    place.mkdir()
    return place


def finish(script: str, *logs: Path, env: dict[str, str], cwd: Path) -> None:
    process = forked_commands.start(script, *logs, env=env, cwd=cwd)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()


def wait_for_group(group: int) -> None:
    """Wait until no process of a group is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while True:
            os.killpg(group, 0)
            time.sleep(0.005)


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    main()
