"""A model that only answers: immutable, safe to share between threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.ctr.encoding.described import encoder_from
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.layouts import parts_of_fields
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from adagrad.rule import Rule
from adagrad.serving.export import FORMAT, VERSION, export_parts
from adagrad.tables.tensors import TableFileError, read_tensors, strict_json

if TYPE_CHECKING:
    from adagrad.ctr.encoding.inputs import Features

__all__ = ["Scorer"]

StrPath = str | os.PathLike[str]
Floats = npt.NDArray[np.float32]


class Scorer:
    """What predicts from an export file, or from the file of a learner.

    Parameters
    ----------
    path : str or PathLike
        A file of `write_export`, or of a learner's `save`.

    Attributes
    ----------
    path : str
    kind : str
        "lr", "fm" or "ffm".
    label : str or None
        The column that the model predicts, if that is known.
    columns : dict of str to str
        The type of each column of a row.
    version : str
        A hash of the file, as 16 hexadecimal digits.
    offset : float
        What is added to every margin, last.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = os.fspath(path)
        data = _bytes_of(path)
        self.version = f"{_core.xxh64(data):016x}"
        description, tensors = _read(path, data)
        self.kind, self.label = description["kind"], description["label"]
        self.offset = description["offset"]
        encoder = description["encoder"]
        self.columns = {}
        self._encoder = None
        if encoder is not None:
            self.columns = {column["name"]: column["type"] for column in encoder["columns"]}
            self._encoder = encoder_from(encoder)
        self._scale = np.float32(1.0)
        self._model = self._filled(description, tensors)

    def _filled(self, description: dict[str, Any], tensors: dict[str, Any]) -> Model:
        pairs, n_slots = description["pairs"], description["n_slots"]
        of_pairs: dict[str, Any] = {}
        if pairs is not None:
            self._scale = np.float32(pairs["scale"])
            of_pairs = {"factors": pairs["factors"], "n_fields": pairs["fields"]}
            of_pairs |= {name: pairs[name] for name in ("parts", "normalize", "init_scale")}
            of_pairs["seed"] = int(pairs["seed"])
        kind: Any = description["kind"] if pairs is not None else "lr"
        settings = Settings(kind, n_slots, Rule(lr=0.1), **of_pairs)
        model = Model(settings)
        rows = tensors["rows"]
        slots: Any = slice(None)
        if description["bucket"] is not None:
            counts = np.diff(tensors["starts"])
            first = np.arange(len(counts), dtype=np.uint32) * np.uint32(description["bucket"])
            slots = np.repeat(first, counts) + tensors["low"]
        model.tables["linear"].weights.reshape(-1)[slots] = rows[:, 0]
        if kind == "fm":
            model.tables["factors"].weights.reshape(n_slots, -1)[slots] = rows[:, 1:]
        elif kind == "ffm":
            k = settings.factors
            for field, (part, place) in enumerate(zip(*parts_of_fields(settings), strict=True)):
                table = model.tables[f"factors{part}"].weights.reshape(n_slots, -1)
                begin = 1 + field * k
                table[slots, place * k : (place + 1) * k] = rows[:, begin : begin + k]
        assert model.bias is not None
        model.bias[0] = description["bias"]
        return model

    def decision_function(self, X: Features) -> Floats:
        """Return the log-odds of rows: float32, shape [n]."""
        x: Any = X if isinstance(X, Examples) or self._encoder is None else None
        x = self._encoder.transform(X) if x is None and self._encoder is not None else x
        model: Any = self._model
        margins: Floats = model.margins(x)
        if self._scale != 1.0:
            linear = _core.stored_margins(
                model.tables["linear"]._memory.view(np.float32), float(model.bias[0]), x, 0
            )
            margins = linear + self._scale * self._pairs(x)
        return margins + np.float32(self.offset) if self.offset else margins

    def _pairs(self, x: Examples) -> Floats:
        from adagrad.ctr.learners.compiled import learner

        memory = {name: t._memory for name, t in self._model.tables.items() if name != "linear"}
        return learner(self._model.settings, memory, None).margins(x, 0)

    def predict_proba(self, X: Features) -> npt.NDArray[np.float64]:
        """Return the probabilities of both classes of rows: float64, shape [n, 2]."""
        return _core.probabilities(self.decision_function(X), 0)

    def predict_one(self, row: Mapping[str, Any]) -> float:
        """Return the probability of the positive class of one row."""
        return float(self.predict_proba([row])[0, 1])


def _bytes_of(path: StrPath) -> bytes:
    """Return the bytes of an export file; those that a learner's file would have, if it is one."""
    data = Path(path).read_bytes()
    if b'"adagrad.score"' in data[:1024]:
        return data
    parts, _, _ = export_parts(path)
    return b"".join(parts)


def _read(path: StrPath, data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    import io
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        file.seek(0)
        raw = io.FileIO(os.dup(file.fileno()))
        metadata, tensors, start = read_tensors(path, raw)
        raw.close()
    if metadata.get("format") != FORMAT or metadata.get("format_version") != VERSION:
        raise TableFileError(f"{path} is not an export file of this version")
    found = {}
    for name, tensor in tensors.items():
        some = data[start + tensor.begin : start + tensor.end]
        if tensor.dtype == "BF16":
            array: Any = (np.frombuffer(some, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            types = {"F32": "f4", "F16": "f2", "U32": "u4", "U16": "u2", "U8": "u1"}
            array = np.frombuffer(some, types[tensor.dtype])
            array = array.astype(np.float32) if tensor.dtype == "F16" else array
        found[name] = array.reshape(tensor.shape)
    return strict_json(metadata["model"]), found
