"""The runs that have trained a model: which logs, how many examples, and how well it predicted.

A model file has an entry for each run but the last one, which the file itself describes. An entry
is made when the next run begins; its date is that of the file then. So two equal trainings write
equal files.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import adagrad._core as _core
from adagrad._text import metric_texts
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.training.curve import PLAIN, metrics_at
from adagrad.ctr.training.options import as_typed

if TYPE_CHECKING:
    from adagrad.ctr.learners.estimator import ClickLearner

__all__ = [
    "HEADS",
    "check_history",
    "hash_of_log",
    "is_scores",
    "run_as_json",
    "run_texts",
    "scores_between",
    "with_last_run",
]

MOST = 1_000
"""Entries of a history. Of more, the first two become one."""

Entry = dict[str, Any]

NAMES = 3
"""Names of files in an entry."""

HEADS = ("run", "learned", "examples", "logloss", "NE", "AUC", "calibration")
"""Headings of `run_texts`."""


def date_of(path: str | os.PathLike[str]) -> str:
    """Return when a file was last written, as ``2026-01-31T08:15:00Z``."""
    moment = datetime.datetime.fromtimestamp(int(Path(path).stat().st_mtime), datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def hash_of_log(identity: list[list[Any]]) -> str:
    """Return a hash of what `log_identity` says of a log."""
    return f"{_core.xxh64(json.dumps(identity).encode()):016x}"


def scores_between(before: Progressive | None, after: Progressive) -> list[float]:
    """Return the scores of the predictions that were counted between two states.

    Returns
    -------
    list of float
        Examples, positives, summed loss, summed predictions, AUC: a point of a learning curve.
    """
    if before is None:
        return [*after.sums.tolist(), after.metrics()["auc"]]
    since = Progressive()
    since.sums, since.bins = after.sums - before.sums, after.bins - before.bins
    return [*since.sums.tolist(), since.metrics()["auc"]]


def with_last_run(path: str | os.PathLike[str], estimator: ClickLearner, extra: Any) -> list[Entry]:
    """Return the history of a model with an entry for its last run, if that has learned anything.

    Parameters
    ----------
    path : str or PathLike
        The model file.
    estimator : ClickLearner
        The model in it.
    extra : object
        As checked by `adagrad.ctr.training.state.saved_training`.

    Returns
    -------
    list of dict
        ``when`` (UTC), ``by`` ("train" or "python"), ``examples`` (in all passes), ``passes``,
        ``scores`` (as `scores_between` returns them; AUC may be NaN), ``log`` (None from Python;
        else ``names``, ``files``, ``bytes`` and ``hash``), ``options`` (those that the run has
        changed), ``runs`` (how many the entry stands for).
    """
    extra = extra if isinstance(extra, dict) else {}
    state = extra.get("training")
    if state is None:
        history = extra.get("history", [])
        return _limited([*history, *_of_python(path, estimator, history)])
    init = state.get("init", {})
    log, sizes = state["log"], [size for _, size, _ in state["log"]]
    entry = {
        "when": date_of(path),
        "by": "train",
        "examples": estimator._model.examples - init.get("examples", 0),
        "passes": state["pass"],
        "scores": init.get("scores") or scores_between(None, estimator._model.progressive),
        "log": {
            "names": [name for name, *_ in log[:NAMES]],
            "files": len(log),
            "bytes": None if None in sizes else sum(sizes),
            "hash": hash_of_log(log),
        },
        "options": init.get("changed", {}),
        "runs": 1,
    }
    return _limited([*init.get("history", []), entry])


def run_texts(number: int, entry: Entry) -> list[str]:
    """Return the numbers of a run as text, under `HEADS`.

    Parameters
    ----------
    number : int
        Of the run, from 1; of several in one entry, the last one.
    entry : dict
        From `with_last_run`.
    """
    first = number - entry["runs"] + 1
    log, by = entry["log"], "from Python" if entry["by"] == "python" else ""
    if log is not None:
        more = log["files"] - len(log["names"])
        by = ", ".join(log["names"]) + (f" and {more:,} more" if more else "")
    changed = [as_typed(name, value) for name, value in entry["options"].items()]
    if entry["passes"] > 1:
        changed.append(f"{entry['passes']} passes")
    which = f"{number}" if first == number else f"{first} to {number}"
    return [
        f"{which}  {'; '.join([by or 'several logs', *changed])}",
        f"{entry['when'][:10]} {entry['when'][11:16]}",
        f"{entry['examples']:,}",
        *metric_texts(metrics_at(entry["scores"])),
    ]


def run_as_json(entry: Entry) -> dict[str, Any]:
    """Return a run as `adagrad inspect --json` prints it: with its metrics by name."""
    shown = {name: value for name, value in entry.items() if name != "scores"}
    return {**shown, "progressive": metrics_at(entry["scores"])}


def check_history(history: Any) -> None:
    """Raise a TypeError if this is not a history."""
    if not isinstance(history, list) or not all(map(_is_entry, history)):
        raise TypeError(f"history is {reprlib.repr(history)}")


def _of_python(path: Any, estimator: ClickLearner, history: Sequence[Entry]) -> list[Entry]:
    """Return an entry for what was learned in Python, if anything was."""
    examples = estimator._model.examples - sum(entry["examples"] for entry in history)
    if examples <= 0:
        return []
    scores = estimator._model.progressive.sums.tolist()
    for entry in history:
        scores = [one - other for one, other in zip(scores, entry["scores"], strict=False)]
    auc = math.nan if history else estimator._model.progressive.metrics()["auc"]
    passes = 1 if history else getattr(estimator, "n_passes_", 1)
    entry = {"when": date_of(path), "by": "python", "examples": examples, "passes": passes}
    return [{**entry, "scores": [*scores, auc], "log": None, "options": {}, "runs": 1}]


def _limited(history: list[Entry]) -> list[Entry]:
    while len(history) > MOST:
        one, other, *later = history
        sums = [a + b for a, b in zip(one["scores"], other["scores"], strict=True)]
        joined = {
            **other,
            "examples": one["examples"] + other["examples"],
            "scores": [*sums[: PLAIN - 1], math.nan],
            "log": None,
            "options": {},
            "runs": one["runs"] + other["runs"],
        }
        history = [joined, *later]
    return history


def _is_entry(value: Any) -> bool:
    counts = ("examples", "passes", "runs")
    return (
        isinstance(value, dict)
        and value.keys() == {"when", "by", "scores", "log", "options", *counts}
        and all(type(value[name]) is int and 0 <= value[name] < 2**63 for name in counts)
        and isinstance(value["when"], str)
        and value["by"] in ("train", "python")
        and is_scores(value["scores"])
        and isinstance(value["options"], dict)
        and (value["log"] is None or _is_log(value["log"]))
    )


def is_scores(value: Any) -> bool:
    """Return whether this is what `scores_between` returns."""
    return isinstance(value, list) and len(value) == PLAIN and {float} >= set(map(type, value))


def _is_log(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"names", "files", "bytes", "hash"}
        and isinstance(value["names"], list)
        and all(isinstance(name, str) for name in value["names"])
        and type(value["files"]) is int
        and (value["bytes"] is None or type(value["bytes"]) is int)
        and isinstance(value["hash"], str)
    )
