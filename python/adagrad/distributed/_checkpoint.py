"""Checkpoints of a distributed training: a folder of slices, and the manifest that names it.

The driver writes and reads them. The slices themselves are written by the shards; see `_slices`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad.ctr.learners.progressive import Progressive
from adagrad.tables import files
from adagrad.tables.header import TableFileError

__all__ = ["Checkpoint", "Mismatch", "plan_in", "prepare", "read", "remove", "write"]

MANIFEST = "training.json"
_FORMAT, _VERSION = "adagrad.distributed", 1
_PROGRESS = "progress.npz"


class Mismatch(ValueError):
    """The checkpoint to resume from belongs to another training."""


@dataclasses.dataclass
class Checkpoint:
    """The progress of a training.

    Attributes
    ----------
    folder : str or None
        Folder of the slices; None if none are written yet.
    start, first : int
        The first batch of the pass, and the first batch that is not learned.
    pass_number, rows : int
        The pass, from 0, and the number of its rows that are learned.
    examples : int
        Examples learned, in all passes.
    progressive : Progressive
        Scores of the first pass.
    curve : list of list of float
        Learning curve; see `adagrad.ctr.training.run.Training`.
    """

    folder: str | None = None
    start: int = 0
    first: int = 0
    pass_number: int = 0
    rows: int = 0
    examples: int = 0
    progressive: Progressive = dataclasses.field(default_factory=Progressive)
    curve: list[list[float]] = dataclasses.field(default_factory=list)

    def copy(self) -> Checkpoint:
        """Return a copy that shares nothing that changes."""
        board = Progressive.restore(self.progressive.state())
        return dataclasses.replace(self, progressive=board, curve=list(self.curve))


_NUMBERS = ("start", "first", "pass_number", "rows", "examples")


def prepare(directory: Path, first: int) -> Path:
    """Return a new, empty folder for the slices of a checkpoint before batch `first`."""
    folder = directory / f"batch-{first:020}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write(directory: Path, checkpoint: Checkpoint, plan: dict[str, Any]) -> None:
    """Make a checkpoint the one to resume from, and remove the previous one.

    Parameters
    ----------
    directory : Path
    checkpoint : Checkpoint
        Its slices must be written already.
    plan : dict
        What must agree for the checkpoint to be resumed; JSON.
    """
    assert checkpoint.folder is not None
    folder = Path(checkpoint.folder)
    arrays: dict[str, npt.NDArray[Any]] = checkpoint.progressive.state()
    progress = io.BytesIO()
    np.savez(progress, **arrays)  # type: ignore[arg-type]
    files.replace(folder / _PROGRESS, [progress.getbuffer()], progress.getbuffer().nbytes)
    manifest = {
        "format": _FORMAT,
        "version": _VERSION,
        "folder": folder.name,
        "plan": plan,
        "curve": checkpoint.curve,
        **{name: getattr(checkpoint, name) for name in _NUMBERS},
    }
    text = json.dumps(manifest, indent=1).encode()
    files.replace(directory / MANIFEST, [memoryview(text)], len(text))
    for other in directory.glob("batch-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def plan_in(directory: Path) -> dict[str, Any] | None:
    """Return the plan of the checkpoint in a directory, or None without a checkpoint."""
    manifest = _manifest(directory)
    return None if manifest is None else manifest["plan"]


def remove(directory: Path) -> None:
    """Remove the checkpoint of a completed training."""
    (directory / MANIFEST).unlink(missing_ok=True)
    for folder in directory.glob("batch-*"):
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # other files are left alone
        directory.rmdir()


def _manifest(directory: Path) -> dict[str, Any] | None:
    path = directory / MANIFEST
    if not path.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        found = manifest["format"], manifest["version"]
        if found != (_FORMAT, _VERSION):
            raise TableFileError(
                f"{path} has format {found[0]!r}, version {found[1]!r}; this adagrad reads"
                f" {_FORMAT!r}, version {_VERSION}"
            )
        for name in ("plan", "folder", "curve", *_NUMBERS):
            manifest[name]
    except (KeyError, TypeError, ValueError) as error:
        raise TableFileError(f"{path} is damaged: {error!r}") from error
    return manifest


def read(directory: Path, plan: dict[str, Any]) -> Checkpoint | None:
    """Return the checkpoint in a directory, or None without one.

    Raises
    ------
    Mismatch
        The plan of the checkpoint differs from this one. The error names the first difference.
    adagrad.TableFileError
        The manifest is damaged, or has another format or version.
    """
    manifest = _manifest(directory)
    if manifest is None:
        return None
    numbers = {name: int(manifest[name]) for name in _NUMBERS}
    folder, of_checkpoint = directory / manifest["folder"], manifest["plan"]
    # Through JSON, which turns tuples into lists.
    different = _difference(of_checkpoint, json.loads(json.dumps(plan)))
    if different is not None:
        name, before, now = different
        raise Mismatch(
            f"{directory} is of a training with another {name}: {before!r}, not {now!r}; repeat the"
            " options of that training, or choose another directory"
        )
    try:
        with np.load(folder / _PROGRESS) as file:
            progressive = Progressive.restore({key: file[key] for key in file.files})
    except (OSError, KeyError, ValueError) as error:
        raise TableFileError(f"{folder / _PROGRESS} is damaged: {error!r}") from error
    return Checkpoint(str(folder), progressive=progressive, curve=manifest["curve"], **numbers)


def _difference(before: Any, now: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """Return the path of the first difference between two plans, and both values."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return None if before == now else (name, before, now)
    for key in now:
        inner = f"{name}.{key}" if name else key
        found = _difference(before.get(key), now[key], inner)
        if found is not None:
            return found
    return None
