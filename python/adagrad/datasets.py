"""Example data: a click log, a regression, libsvm files and synthetic clicks.

`adagrad demo`, the textbook, the benchmarks and the documentation use it. This module only reads
data: it does not learn or draw. It keeps a whole data set in memory as NumPy arrays; for logs that
are read as a stream, see `adagrad.ctr.logs`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adagrad._hashing import hash_ids
from adagrad._synthetic import synthetic_clicks

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["Log", "airfoil", "click_log", "libsvm", "synthetic_clicks"]

DATA = Path(__file__).with_name("data")
MAX_DIRECT_ROWS = 1 << 24
HASH_BITS = 22


@dataclass(frozen=True, eq=False)
class Log:
    """Labeled sparse examples in memory, in their order of arrival.

    Example ``i`` has the features ``rows[indptr[i]:indptr[i + 1]]``, with the values at the same
    positions. This class holds a small data set; `adagrad.ctr.logs.Log` streams a log of any size
    from files.

    Attributes
    ----------
    name : str
        Name of the log in tables and titles.
    indptr : numpy.ndarray of int64, shape [examples + 1]
        Start of each example in `rows`; the last entry is ``len(rows)``.
    rows : numpy.ndarray of int64, shape [entries]
        Table row of each entry, in ``[0, table_rows)``.
    values : numpy.ndarray of float32, shape [entries]
        Feature values, finite.
    labels : numpy.ndarray of float32, shape [examples]
        0 or 1; both occur.
    table_rows : int
        Number of table rows that the ids need, without a bias.
    hashed : bool
        Whether the rows are hashes of the ids (see :func:`libsvm`).
    """

    name: str
    indptr: NDArray[np.int64]
    rows: NDArray[np.int64]
    values: NDArray[np.float32]
    labels: NDArray[np.float32]
    table_rows: int
    hashed: bool = False

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)

    def to_csr(self) -> Any:
        """Return the entries as a `scipy.sparse.csr_matrix`, shape [examples, table_rows]."""
        import scipy.sparse

        entries = (self.values, self.rows, self.indptr)
        return scipy.sparse.csr_matrix(entries, shape=(len(self), self.table_rows))

    def first(self, examples: int) -> Log:
        """Return views of the first `examples` examples; they may all have the same label."""
        end = self.indptr[min(examples, len(self))]
        return Log(
            name=self.name,
            indptr=self.indptr[: examples + 1],
            rows=self.rows[:end],
            values=self.values[:end],
            labels=self.labels[:examples],
            table_rows=self.table_rows,
            hashed=self.hashed,
        )


def click_log() -> Log:
    """Read the click log that ships with the package.

    Returns
    -------
    Log
        10,000 examples, 435 of them clicks, with 16 or 18 features each and 7,062 distinct
        features. The ids are hashes below :math:`2^{24}` and serve as rows. Values are 1 or the
        logarithm of a count, in [0, 5.51]. Row 0 has the value 1 in every example, so the log
        includes a bias.

    Notes
    -----
    The file is a test resource of Apache Hivemall (Apache License 2.0), which does not state the
    origin of the data. See ``NOTICE`` beside the file.

    Examples
    --------
    >>> from adagrad.datasets import click_log
    >>> log = click_log()
    >>> len(log), int(log.labels.sum()), log.table_rows
    (10000, 435, 16773089)
    """
    with gzip.open(DATA / "adam_test_10000.tsv.gz", "rt", encoding="ascii") as lines:
        return _parse(lines, "click log")


def airfoil() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the regression data set that ships with the package: airfoil noise in a wind tunnel.

    Returns
    -------
    features : numpy.ndarray of float64, shape [1503, 5]
        Frequency in Hz, angle of attack in degrees, chord length in m, free-stream velocity in
        m/s and displacement thickness of the boundary layer in m.
    levels : numpy.ndarray of float64, shape [1503]
        Sound pressure level in dB, in [103.38, 140.987].

    Notes
    -----
    T. Brooks, D. Pope and M. Marcolini, "Airfoil Self-Noise and Prediction", NASA RP-1218 (1989),
    from the UCI Machine Learning Repository (CC BY 4.0). See ``NOTICE`` beside the file.

    Examples
    --------
    >>> from adagrad.datasets import airfoil
    >>> features, levels = airfoil()
    >>> features[0].tolist(), float(levels[0])
    ([800.0, 0.0, 0.3048, 71.3, 0.00266337], 126.201)
    """
    with gzip.open(DATA / "airfoil_self_noise.tsv.gz", "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines)
    return table[:, :5], table[:, 5]


def libsvm(path: str | os.PathLike[str]) -> Log:
    """Read a file in libsvm (svmlight) format: ``label id:value id:value ...``.

    If all ids are below :math:`2^{24}`, they serve as rows. Otherwise every id is hashed to the row
    ``(id * 0x9E3779B97F4A7C15 mod 2**64) >> 42``, which is below :math:`2^{22}`; ids with the same
    hash share a weight.

    Parameters
    ----------
    path : str or os.PathLike
        The file, plain or compressed (``.gz``, ``.bz2``). Labels are 0 and 1, -1 and +1, or
        1 and 2; the larger one is the positive class and becomes 1. The ids of an example increase.
        They start at 0 or 1 and are below :math:`2^{31}`, a limit of scikit-learn's parser.

    Returns
    -------
    Log
        The examples in the order of the file. Its name is that of the file.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        The file has no examples, a malformed line (the message gives its number), a value that is
        not finite in float32, or other labels than those above.
    """
    from sklearn.datasets import load_svmlight_file

    path = Path(path)
    try:
        x, labels = load_svmlight_file(str(path), dtype=np.float32, zero_based=True)
    except (ValueError, OverflowError) as error:
        reason = "an id is 2**31 or larger" if isinstance(error, OverflowError) else error
        raise ValueError(
            f"{path.name}, line {_malformed_line(path)}: "
            f"expected 'label id:value ...' with increasing ids: {reason}"
        ) from None
    except (EOFError, zlib.error) as error:
        raise OSError(f"{path.name}: {error}") from None
    return _log(path.name, x.indptr, x.indices, x.data, labels)


def _malformed_line(path: Path) -> int:
    """Return the number, from 1, of the first line that the libsvm parser rejects.

    The parser does not give the number. A binary search finds it by parsing the lines about once
    more in total.
    """
    from sklearn.datasets import load_svmlight_file

    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open}
    with openers.get(path.suffix, open)(path, "rb") as file:
        lines = file.readlines()
    good, bad = 0, len(lines)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            load_svmlight_file(io.BytesIO(b"".join(lines[good:middle])), zero_based=True)
            good = middle
        except (ValueError, OverflowError):
            bad = middle
    return bad


def _parse(lines: Iterable[str], name: str) -> Log:
    """Read examples in the format of the click log: ``id,id:value,... label``.

    Parameters
    ----------
    lines : iterable of str
        A tab or spaces separate the features from the label. An id without a value has the value 1.
    name : str
        Name of the log, also for error messages.

    Raises
    ------
    ValueError
        A line is malformed (the message gives its number), or the examples are invalid in a way
        that :func:`libsvm` rejects too.
    """
    indptr, ids, values, labels = [0], [], [], []
    for number, line in enumerate(lines, start=1):
        try:
            features, label = line.split()
            for feature in features.split(","):
                key, colon, value = feature.partition(":")
                ids.append(int(key))
                values.append(float(value) if colon else 1.0)
            labels.append(float(label))
        except ValueError:
            raise ValueError(
                f"{name}, line {number}: expected 'id,id:value,... label', got {line.strip()!r}"
            ) from None
        indptr.append(len(ids))
    return _log(name, np.array(indptr), np.array(ids, np.int64), np.array(values), np.array(labels))


def _log(
    name: str,
    indptr: NDArray[Any],
    ids: NDArray[Any],
    values: NDArray[Any],
    labels: NDArray[Any],
) -> Log:
    """Check the arrays, and convert ids to rows and labels to 0 and 1."""
    if not len(labels):
        raise ValueError(f"{name}: no examples")
    if len(ids) and ids.min() < 0:
        raise ValueError(f"{name}: id {ids.min()} is negative")
    with np.errstate(over="ignore"):
        stored = values.astype(np.float32)
    if not np.isfinite(stored).all():
        entry = int(np.flatnonzero(~np.isfinite(stored))[0])
        example = int(np.searchsorted(indptr, entry, side="right"))
        raise ValueError(
            f"{name}: example {example}, id {ids[entry]}: {values[entry]} is not finite in float32"
        )
    rows, table_rows, hashed = _rows(ids.astype(np.int64))
    return Log(
        name=name,
        indptr=indptr.astype(np.int64),
        rows=rows,
        values=stored,
        labels=_binary(name, labels),
        table_rows=table_rows,
        hashed=hashed,
    )


def _rows(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], int, bool]:
    """Return the row of each id, the number of rows, and whether rows are hashes."""
    largest = int(ids.max()) if len(ids) else 0
    if largest < MAX_DIRECT_ROWS:
        return ids, largest + 1, False
    return hash_ids(ids, HASH_BITS), 1 << HASH_BITS, True


def _binary(name: str, labels: NDArray[Any]) -> NDArray[np.float32]:
    # Unlike adagrad.ctr.logs.labels, this sees all labels at once: that makes 1 and 2 unambiguous.
    found = [float(label) for label in np.unique(labels)]
    if len(found) == 1:
        raise ValueError(
            f"{name}: every label is {found[0]:g}, but learning needs examples of both classes"
        )
    if found not in ([0.0, 1.0], [-1.0, 1.0], [1.0, 2.0]):
        shown = ", ".join(f"{label:g}" for label in found[:5]) + (", ..." if found[5:] else "")
        raise ValueError(f"{name}: labels must be 0 and 1, -1 and +1, or 1 and 2, found {shown}")
    positive: NDArray[np.bool_] = labels == found[1]
    return positive.astype(np.float32)
