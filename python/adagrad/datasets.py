"""Example data: the click log and the regression that ship, libsvm files, made-up clicks.

Called by ``adagrad demo`` and by whoever wants data to try something on. Only reading belongs
here; learning and pictures do not.
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

from adagrad._synthetic import synthetic_clicks

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["Log", "airfoil", "click_log", "libsvm", "synthetic_clicks"]

MAX_DIRECT_ROWS = 1 << 24
HASH_BITS = 22
# 2^64 divided by the golden ratio, made odd: Knuth's multiplicative hash. Neighbouring ids, the
# common case in libsvm files, land far apart, and the top bits are the well mixed ones.
HASH_MULTIPLIER = 0x9E3779B97F4A7C15


@dataclass(frozen=True, eq=False)
class Log:
    """Labelled sparse examples, in the order in which they arrived.

    Example ``i`` has the features ``rows[indptr[i]:indptr[i + 1]]`` with the values at the same
    positions.

    Attributes
    ----------
    name : str
        What to call the log in a table or a title.
    indptr : numpy.ndarray of int64, shape [examples + 1]
        Where each example starts; the last entry is ``len(rows)``.
    rows : numpy.ndarray of int64, shape [entries]
        Table row of every entry, in ``[0, table_rows)``.
    values : numpy.ndarray of float32, shape [entries]
        Feature values, finite.
    labels : numpy.ndarray of float32, shape [examples]
        0 or 1, and each of them at least once.
    table_rows : int
        How many rows a table needs for these ids, without a bias.
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
        """Return the entries as a `scipy.sparse.csr_matrix`, [examples, table_rows]."""
        import scipy.sparse

        entries = (self.values, self.rows, self.indptr)
        return scipy.sparse.csr_matrix(entries, shape=(len(self), self.table_rows))

    def first(self, examples: int) -> Log:
        """Return the first ``examples`` examples, as views; they may all have one label."""
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
        10,000 examples, 435 of them clicks, 16 or 18 features each, 7,062 different features.
        Ids are hashes below 2**24 and are the rows. Values are 1 or the logarithm of a count, in
        [0, 5.51]. Row 0 has the value 1 in every example: the log brings its own bias.

    Notes
    -----
    A test resource of Apache Hivemall (Apache License 2.0); where the rows come from is not
    stated. See ``NOTICE`` beside the file.

    Examples
    --------
    >>> log = click_log()
    >>> len(log), int(log.labels.sum()), log.table_rows
    (10000, 435, 16773089)
    """
    path = Path(__file__).with_name("data") / "adam_test_10000.tsv.gz"
    with gzip.open(path, "rt", encoding="ascii") as lines:
        return _parse(lines, "click log")


def airfoil() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the regression that ships with the package: noise of airfoils in a wind tunnel.

    Returns
    -------
    features : numpy.ndarray of float64, shape [1503, 5]
        Frequency in Hz, angle of attack in degrees, chord length in m, free-stream velocity in
        m/s, thickness of the displaced boundary layer in m.
    levels : numpy.ndarray of float64, shape [1503]
        Sound pressure level in dB, in [103.38, 140.987].

    Notes
    -----
    Brooks, Pope and Marcolini, "Airfoil Self-Noise and Prediction", NASA RP-1218 (1989), by way of
    the UCI Machine Learning Repository (CC BY 4.0). See ``NOTICE`` beside the file.

    Examples
    --------
    >>> features, levels = airfoil()
    >>> features[0].tolist(), float(levels[0])
    ([800.0, 0.0, 0.3048, 71.3, 0.00266337], 126.201)
    """
    path = Path(__file__).with_name("data") / "airfoil_self_noise.tsv.gz"
    with gzip.open(path, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines)
    return table[:, :5], table[:, 5]


def libsvm(path: str | os.PathLike[str]) -> Log:
    """Read a file in libsvm format (svmlight): ``label id:value id:value ...``.

    Ids are the rows as long as all are below 2**24. If one is not, every id is hashed to
    ``(id * 0x9E3779B97F4A7C15 mod 2**64) >> 42``, a row below 2**22; ids which meet there share
    a weight.

    Parameters
    ----------
    path : str or os.PathLike
        The file, plain or compressed (``.gz``, ``.bz2``). Labels are 0 and 1, -1 and +1, or
        1 and 2; the larger one is the positive class and becomes 1. Ids of an example increase,
        are not negative (they may start at 0 or 1) and are below 2**31, the parser's limit.

    Returns
    -------
    Log
        The examples in the order of the file, named after it.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        The file has no example, a malformed line (the message names it), a value which is not
        finite in float32, or other labels than those above.
    """
    from sklearn.datasets import load_svmlight_file

    path = Path(path)
    try:
        x, labels = load_svmlight_file(str(path), dtype=np.float32, zero_based=True)
    except (ValueError, OverflowError) as error:
        reason = "an id is 2**31 or larger" if isinstance(error, OverflowError) else error
        raise ValueError(
            f"{path.name}, line {_refused_line(path)}: "
            f"expected 'label id:value ...' with increasing ids: {reason}"
        ) from None
    except (EOFError, zlib.error) as error:
        raise OSError(f"{path.name}: {error}") from None
    return _log(path.name, x.indptr, x.indices, x.data, labels)


def _refused_line(path: Path) -> int:
    """Return the number of the first line that the libsvm parser refuses, from 1.

    The parser does not say which one it was; halving finds it at the cost of one more reading.
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
    """Read examples of the form ``id,id:value,... label``.

    Parameters
    ----------
    lines : iterable of str
        Features and label are separated by a tab or spaces; an id alone has the value 1.
    name : str
        Name of the log, for itself and for messages.

    Raises
    ------
    ValueError
        A malformed line, named by its number, or what :func:`libsvm` refuses.
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
    """Check the arrays and turn ids into rows and labels into 0 and 1."""
    if not len(labels):
        raise ValueError(f"{name}: no examples")
    if len(ids) and ids.min() < 0:
        raise ValueError(f"{name}: id {ids.min()} is negative")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        entry = int(np.flatnonzero(~np.isfinite(values))[0])
        example = int(np.searchsorted(indptr, entry, side="right"))
        raise ValueError(
            f"{name}: example {example} has a value that is not finite for id {ids[entry]}"
        )
    rows, table_rows, hashed = _rows(ids.astype(np.int64))
    return Log(
        name=name,
        indptr=indptr.astype(np.int64),
        rows=rows,
        values=values,
        labels=_binary(name, labels),
        table_rows=table_rows,
        hashed=hashed,
    )


def _rows(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], int, bool]:
    largest = int(ids.max()) if len(ids) else 0
    if largest < MAX_DIRECT_ROWS:
        return ids, largest + 1, False
    mixed = ids.astype(np.uint64) * np.uint64(HASH_MULTIPLIER)
    return (mixed >> np.uint64(64 - HASH_BITS)).astype(np.int64), 1 << HASH_BITS, True


def _binary(name: str, labels: NDArray[Any]) -> NDArray[np.float32]:
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
