"""The JSON file of a run: where and when it was measured, and what each question found."""

from __future__ import annotations

import datetime
import json
import math
import subprocess
from pathlib import Path
from typing import Any

from bench import machine

FORMAT = 1
ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).parent / "results"  # one file for each kind of machine


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None  # not a clone
    return done.stdout.strip()


def begin(how: str) -> dict[str, Any]:
    """Return a record without questions.

    Parameters
    ----------
    how : {"long", "quick", "smoke"}
        Which form of the questions is measured.
    """
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "format": FORMAT,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
        "how": how,
        "machine": machine.describe(),
        "questions": {},
    }


def short(x: float) -> float | None:
    """Return four digits of a number, None if it is not finite, which JSON has no name for."""
    return float(f"{x:.4g}") if math.isfinite(x) else None


def _lay_out(value: Any, depth: int) -> str:
    """Return JSON with a line for each element of a list of objects."""
    space = " " * (depth + 1)
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()):
        lines = [f"{space}{json.dumps(k)}: {_lay_out(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{space[1:]}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        lines = [f"{space}{json.dumps(v, ensure_ascii=False)}" for v in value]
        return "[\n" + ",\n".join(lines) + f"\n{space[1:]}]"
    return json.dumps(value, ensure_ascii=False)


def write(record: dict[str, Any], path: Path) -> None:
    """Write a record as a whole: whoever stops a long run keeps what it has measured so far."""
    scratch = path.with_name(path.name + ".part")
    scratch.write_text(_lay_out(record, 0) + "\n", encoding="utf-8")
    scratch.replace(path)


def read(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises
    ------
    ValueError
        If the file is not a record of this format.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{path} is not a result of `python -m bench`, format {FORMAT}")
    return record


def source(record: dict[str, Any]) -> str:
    """Return date, commit and form of a run as text."""
    commit = (record["commit"] or "")[:12] or "an unknown commit"
    state = {True: " with changes", False: "", None: ""}[record["dirty"]]
    return f"{record['date'][:10]}, {commit}{state}, {record['how']} run"
