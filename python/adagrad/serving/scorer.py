"""A model that only answers: immutable, shared by threads, and by processes that map one file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.ctr.encoding.described import (
    described,
    encoder_from,
    id_row,
    refused_ids,
    row_form,
)
from adagrad.ctr.encoding.examples import Examples
from adagrad.serving._description import is_export
from adagrad.serving.export import export_parts
from adagrad.tables.tensors import TableFileError

if TYPE_CHECKING:
    from adagrad.ctr.encoding.column_encoder import ColumnEncoder
    from adagrad.ctr.encoding.inputs import Features
    from adagrad.ctr.encoding.row_form import RowForm

__all__ = ["Scorer"]

StrPath = str | os.PathLike[str]
Floats = npt.NDArray[np.float32]


class Scorer:
    """What predicts from an export file, with the bits of the learner that was exported.

    Parameters
    ----------
    path : str or PathLike
        A file of `write_export`, which is mapped: processes that map it share its memory, and only
        the parts that are read take any. Or a file of a learner's `save`, which is exported in
        memory.

    Attributes
    ----------
    path : str
    kind : str
        "lr", "fm" or "ffm".
    label : str or None
        The column that the model predicts, if that is known.
    classes : list
        The negative and the positive class.
    columns : dict of str to str
        The type of each column of a row, such as "string", "int64" or "list<item: string>". Of
        a model that learned from a matrix, those of "ids" and "values".
    version : str
        The checksum of the export, as 16 hexadecimal digits: another one if any byte is.
    offset : float
        What every margin adds last.

    Raises
    ------
    adagrad.TableFileError
        The file is foreign, newer, truncated or damaged: all of it is checked once.
    OSError
        It cannot be read.

    Notes
    -----
    Any number of threads may call one scorer. `pickle` and `copy` keep its path, and open the file
    again. A file that is replaced as a whole, as `write_export` does, stays as it was for the
    scorers that have mapped it. One that is cut short in place ends the processes that read from
    it: a mapping has no other way to fail.

    Examples
    --------
    >>> from adagrad.ctr import HashingEncoder, LogisticRegression
    >>> from adagrad.serving import Scorer, write_export
    >>> log = {"site": ["a", "b", "a", "b"], "ad": [7, 7, 8, 9]}
    >>> model = LogisticRegression(encoder=HashingEncoder()).fit(log, [1, 0, 1, 0])
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_export(model, f"{folder}/click.score")
    ...     scorer = Scorer(f"{folder}/click.score")
    >>> row = {"site": "a", "ad": 7}
    >>> scorer.predict_one(row) == model.predict_one(row)
    True
    """

    path: str
    kind: str
    label: str | None
    classes: list[Any]
    columns: dict[str, str]
    version: str
    offset: float

    def __init__(self, path: StrPath) -> None:
        self.path = os.fspath(path)
        self._core = _opened(path)
        self._answer = self._core.predict_one
        self.version = self._core.version
        self._known: dict[str, Any] = json.loads(self._core.description)
        try:
            self._describe(self._known)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableFileError(f"{path} is corrupted: its metadata: {error!r}") from None

    def _describe(self, known: dict[str, Any]) -> None:
        self.kind, self.label = known["kind"], known["label"]
        self.classes, self.offset = known["classes"], known["offset"]
        self._encoder: ColumnEncoder | None = None
        self._form: RowForm | None = None
        self.columns = {}
        if (encoder := known["encoder"]) is not None:
            self._encoder = encoder_from(encoder)
            self._form = row_form(self._encoder)
            self.columns = {column["name"]: column["type"] for column in encoder["columns"]}
            if described(self._encoder)["fields"] != encoder["fields"]:
                raise ValueError("its fields are not those of its columns and its seed")
        elif known["ids"] is not None:
            self.columns = {"ids": "list<int64>", "values": "list<float>"}

    def predict_one(self, row: Mapping[str, Any]) -> float:
        """Return the probability of the positive class of one row, in microseconds.

        Parameters
        ----------
        row : dict
            Values by column, as `HashingEncoder` takes rows of dicts: a column that the row lacks
            is missing, and other keys do not count. A column ``user.id`` may be the key "id" of a
            dict "user".

        Raises
        ------
        TypeError, ValueError
            The row is no dict, or a value cannot be encoded.
        """
        if self._form is not None:
            row = self._form(row)
        found = self._answer(row)
        return found if found is not None else self._as_batch(row)

    def _as_batch(self, row: Mapping[str, Any]) -> float:
        """Predict a row with values of rare types, or raise what encoding it raises."""
        if not isinstance(row, Mapping):
            raise TypeError(f"row must be a dict of values by column, got {row!r:.80}")
        if self._encoder is not None:
            return float(self.predict_proba([row])[0, 1])
        n_slots = self._known["n_slots"]
        found = self._answer(id_row(row, n_slots)) if self.columns else None
        if found is None:
            raise refused_ids(row, n_slots)
        return found

    def decision_function(self, X: Features) -> Floats:
        """Return the log-odds of the positive class of n rows: float32, shape [n].

        Parameters
        ----------
        X
            Columns, as the learner takes them: a DataFrame, Arrow data, a dict of arrays, an array
            or a list of dicts; or `Examples`. Of a model that learned from a matrix, a matrix.
        """
        return self._core.margins(self._examples(X))

    def predict_proba(self, X: Features) -> npt.NDArray[np.float64]:
        """Return the probabilities of both classes, in the order of `classes`: shape [n, 2]."""
        return _core.probabilities(self.decision_function(X), 0)

    def weights(self, slots: npt.NDArray[np.uint32]) -> Floats:
        """Return the linear weights of slots; 0 of one that no training has touched."""
        return self._core.weights(slots)

    def _examples(self, X: Any) -> Examples:
        if isinstance(X, Examples):
            return X
        if self._encoder is not None:
            return self._encoder.transform(X)
        if self._known["ids"] is None:
            raise ValueError("the model learned from Examples, and knows no columns: pass Examples")
        import scipy.sparse

        from adagrad.ctr.encoding.matrices import checked_csr
        from adagrad.ctr.encoding.matrix_rows import MatrixRows

        csr = checked_csr(X if scipy.sparse.issparse(X) else scipy.sparse.csr_matrix(X))
        rows = MatrixRows.of(csr, self._known["n_slots"])
        return (rows.with_fields() if self.kind == "ffm" else rows).examples()

    def __repr__(self) -> str:
        return f"Scorer({self.path!r}, kind={self.kind!r}, version={self.version!r})"

    def __reduce__(self) -> tuple[type[Scorer], tuple[str]]:
        return Scorer, (self.path,)

    def __copy__(self) -> Scorer:
        return self

    def __deepcopy__(self, memo: object) -> Scorer:
        return self


def _opened(path: StrPath) -> _core.Scorer:
    """Map an export file; export the file of a learner in memory."""
    if not is_export(path):
        parts, _, _ = export_parts(path)
        return _core.Scorer(b"".join(parts))
    try:
        return _core.Scorer(os.fsdecode(Path(path)))
    except ValueError as error:
        raise TableFileError(str(error)) from None
