"""The model file of a server: watched, checked, and copied before it is served.

Workers map a copy of the file, in a folder of the server's own. So a program that writes over the
file, instead of renaming a new one to its name, cannot change or truncate what is mapped, which
would kill the process. The copy is checked as a whole before a worker sees it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from adagrad._atomic import writing
from adagrad.serving._description import is_export
from adagrad.serving.export import write_export
from adagrad.serving.scorer import Scorer

__all__ = ["Source", "State", "check_answers", "published", "read_state"]

LOG = logging.getLogger("adagrad.serve")

POLL = 0.5  # seconds
STATE = "state.json"

Identity = tuple[int, int, int, int]  # device, inode, mtime and size of a file


class State(NamedTuple):
    """What the workers of a server serve.

    Attributes
    ----------
    generation : int
        The number of the model, from 1.
    file : str
        Its copy, in the folder of the state.
    version : str
    loaded_at : float
        Unix time of its publication.
    refused : str or None
        Why the model file, as it is now, is not served.
    """

    generation: int
    file: str
    version: str
    loaded_at: float
    refused: str | None = None


def read_state(folder: Path) -> State:
    """Read what `Source` published last."""
    return State(**json.loads((folder / STATE).read_text(encoding="utf-8")))


def published(folder: Path) -> tuple[int, int]:
    """Return what changes whenever `Source` publishes."""
    found = (folder / STATE).stat()
    return found.st_mtime_ns, found.st_ino


class Source:
    """The model file that a server watches.

    Parameters
    ----------
    path : Path
        The model file.
    folder : Path
        An empty folder for copies.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or holds no sound model.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        self.on_published: Callable[[], None] = lambda: None
        self.on_refused: Callable[[], None] = lambda: None
        self._wake, self._stopped = threading.Event(), False
        self._thread: threading.Thread | None = None
        self._seen = self._tried = _identity(path)
        self.scorer = self._copied(1)
        self.state = State(1, _name(1), self.scorer.version, time.time())
        self._publish()

    def start(self) -> None:
        """Watch the file in a thread of its own."""
        self._thread = threading.Thread(target=self._watch, name="model file", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def wake(self) -> None:
        """Look at the file now, and take it even if it looks the same; safe in a signal handler."""
        self._wake.set()

    def _watch(self) -> None:
        while not self._stopped:
            asked = self._wake.wait(POLL)
            self._wake.clear()
            if self._stopped:
                return
            try:
                self.look(asked=asked)
            except Exception as error:  # a thread that ends would watch no longer
                self._refuse(f"{type(error).__name__}: {error}")

    def look(self, *, asked: bool = False) -> bool:
        """Take a new model if there is one; return whether there was.

        Parameters
        ----------
        asked : bool
            Whether to try the file as it is. Otherwise, a file that is as it was tried last, or
            that has changed since the last look, and so may be in the course of being written,
            waits.
        """
        try:
            now = _identity(self.path)
        except OSError as error:
            self._refuse(f"{self.path}: {error.strerror}")
            return False
        settled, self._seen = now == self._seen, now
        if not asked and (now == self._tried or not settled):
            return False
        self._tried = now
        generation = self.state.generation + 1
        try:
            scorer = self._copied(generation)
            self._check(scorer)
        except (OSError, ValueError, TypeError, MemoryError) as error:
            with contextlib.suppress(OSError):
                (self.folder / _name(generation)).unlink()
            if isinstance(error, OSError) or _identity(self.path) != now:
                self._tried = (0, 0, 0, 0)  # again, at the next look
            self._refuse(str(error) or type(error).__name__)
            return False
        if scorer.version == self.state.version:
            (self.folder / _name(generation)).unlink()
            self._accept()
            return False
        before, self.scorer = self.state, scorer
        self.state = State(generation, _name(generation), scorer.version, time.time())
        self._publish()
        with contextlib.suppress(OSError):  # who maps it keeps it
            (self.folder / before.file).unlink()
        LOG.info("serves %s, version %s", self.path, scorer.version)
        self.on_published()
        return True

    def _copied(self, generation: int) -> Scorer:
        """Copy the file and open the copy."""
        target = self.folder / _name(generation)
        before = _identity(self.path)
        shutil.copyfile(self.path, target)
        if _identity(self.path) != before:
            raise ValueError(f"{self.path} changed while it was read")
        try:
            if not is_export(target):
                write_export(target, target)
            scorer = Scorer(target)
            check_answers(scorer)
        except (OSError, ValueError, TypeError) as error:
            text = str(error).replace(str(target), str(self.path))
            raise ValueError(text) from error
        return scorer

    def _check(self, scorer: Scorer) -> None:
        """Raise ValueError if a model asks for other columns, or answers another question."""
        if scorer.label != self.scorer.label:
            raise ValueError(
                f"{self.path} predicts {scorer.label!r}, not {self.scorer.label!r}: restart the"
                " server to serve it"
            )
        new, old = scorer.columns, self.scorer.columns
        changed = sorted(name for name in {*new, *old} if new.get(name) != old.get(name))
        if changed:
            name = changed[0]
            raise ValueError(
                f"{self.path} has other columns: {name!r} is {new.get(name, 'missing')}, not"
                f" {old.get(name, 'missing')}: restart the server to serve it"
            )

    def _refuse(self, reason: str) -> None:
        if reason == self.state.refused:
            return
        LOG.error("keeps version %s: %s", self.state.version, reason)
        self.state = self.state._replace(refused=reason)
        self._publish()
        self.on_refused()

    def _accept(self) -> None:
        """Forget why an earlier state of the file was refused: it is as served again."""
        if self.state.refused is not None:
            self.state = self.state._replace(refused=None)
            self._publish()

    def _publish(self) -> None:
        with writing(self.folder / STATE) as file:
            file.write(json.dumps(self.state._asdict()).encode())


def check_answers(scorer: Scorer) -> None:
    """Raise ValueError or TypeError if a model answers no row, whatever is in it."""
    scorer.predict_one({} if scorer._encoder is not None else {"ids": []})


def _identity(path: Path) -> Identity:
    found = os.stat(path)  # noqa: PTH116
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _name(generation: int) -> str:
    return f"model-{generation}"
