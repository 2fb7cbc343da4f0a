"""Checkpoints of a distributed training: a folder of slices, and the manifest that names it.

The driver writes and reads them. The slices themselves are written by the shards; see `_slices`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import reprlib
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_integer
from adagrad.ctr.learners.progressive import Progressive
from adagrad.tables import files
from adagrad.tables.tensors import TableFileError, read_json

__all__ = ["Checkpoint", "Mismatch", "plan_in", "prepare", "read", "remove", "write"]

MANIFEST = "training.json"
_FORMAT, _VERSION = "adagrad.distributed", 1
_PROGRESS = "progress.npz"
_FOLDER = re.compile(r"batch-\d{20}")
_LONGEST = 100_000_000  # bytes of a manifest; the plan may name thousands of columns
_NPY_HEADER = 1024  # the most bytes before an array


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
    # The metrics in the curve are not finite if the model has diverged.
    found = read_json(path, _LONGEST, finite=False)
    try:
        _check_manifest(path, found)
    except TableFileError:
        raise
    except (TypeError, ValueError) as error:
        raise TableFileError(f"{path} is damaged: {error}") from error
    manifest: dict[str, Any] = found
    return manifest


def _check_manifest(path: Path, found: Any) -> None:
    """Raise if a manifest is not what `write` writes."""
    if not isinstance(found, dict):
        raise TypeError(f"it holds {reprlib.repr(found)}")
    of_file = found.get("format"), found.get("version")
    if of_file != (_FORMAT, _VERSION):
        raise TableFileError(
            f"{path} has format {of_file[0]!r:.60}, version {of_file[1]!r:.60}; this adagrad reads"
            f" {_FORMAT!r}, version {_VERSION}"
        )
    if missing := [name for name in ("plan", "folder", "curve", *_NUMBERS) if name not in found]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    folder, curve = found["folder"], found["curve"]
    if not isinstance(folder, str) or not _FOLDER.fullmatch(folder):
        raise ValueError(f"folder is {reprlib.repr(folder)}")
    if not isinstance(found["plan"], dict):
        raise TypeError(f"plan is {reprlib.repr(found['plan'])}")
    json.dumps(found["plan"], allow_nan=False)  # it has no metrics, which may not be finite
    if not isinstance(curve, list) or not all(map(_is_point, curve)):
        raise TypeError(f"curve is {reprlib.repr(curve)}")
    for name in _NUMBERS:
        check_integer(name, found[name], 0, 2**63 - 1)


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 5 and all(type(x) in (int, float) for x in value)
    )


def _read_progress(path: Path) -> Progressive:
    """Return the metrics in an archive of NumPy, whose sizes are checked before it is read."""
    expected = Progressive().state()
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name, array in expected.items():
                with archive.open(f"{name}.npy") as entry:
                    file = io.BytesIO(entry.read(array.nbytes + _NPY_HEADER))
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                if (shape, dtype) != (array.shape, array.dtype):
                    raise ValueError(f"{name} is {dtype} of shape {shape}")
                found[name] = np.frombuffer(file.read(), dtype).reshape(shape)
    except FileNotFoundError:
        raise TableFileError(f"{path} does not exist") from None
    except Exception as error:  # zipfile raises a dozen kinds for an archive that is damaged
        raise TableFileError(f"{path} is damaged: {error}") from error
    return Progressive.restore(found)


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
    numbers = {name: manifest[name] for name in _NUMBERS}
    folder, of_checkpoint = directory / manifest["folder"], manifest["plan"]
    # Through JSON, which turns tuples into lists.
    different = _difference(of_checkpoint, json.loads(json.dumps(plan)))
    if different is not None:
        name, before, now = different
        raise Mismatch(
            f"{directory} is of a training with another {name}: {before!r:.100}, not {now!r:.100};"
            " repeat the options of that training, or choose another directory"
        )
    progressive = _read_progress(folder / _PROGRESS)
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
