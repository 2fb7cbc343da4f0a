"""Whether AdaGrad will help, judged from examples before any model is trained.

``adagrad diagnose`` runs this: batches of `Examples` in, numbers and a verdict out. Nothing is
read, drawn or printed here.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.sparse

from adagrad.ctr.diagnosis.conditioning import Conditioning, conditioning
from adagrad.ctr.diagnosis.counting import FeatureTable, RowSample, nonzero
from adagrad.ctr.diagnosis.occupancy import Estimate, expected_sharing
from adagrad.ctr.diagnosis.verdict import RARE, Diagnosis, Quality, TableSize
from adagrad.ctr.encoding.examples import Examples, concatenate
from adagrad.ctr.learners.logistic import LogisticRegression
from adagrad.tables.layout import BYTES

__all__ = ["Diagnoser", "Diagnosis"]

Floats = npt.NDArray[np.float32]

FIRST_ROWS = 20_480
"""A logistic regression learns at most this many rows, so that a long log costs no more."""

SAMPLE_ROWS = 16_384
SAMPLE_ENTRIES = 1 << 22
SAMPLE_FEATURES = 256
MOST_SHARING = 0.1
"""A table is large enough if at most this share of the features share a slot."""

ZIPF_RANKS = (10, 1000)
_POINTS = 2000  # of a curve, at most


class Diagnoser:
    """Diagnose a stream of examples, in memory that does not depend on its length.

    Parameters
    ----------
    bits : int, default 22
        Features are counted in ``2**bits`` places. The counts are exact for up to half as many
        features, and estimates for more.
    ids_are_slots : bool, default False
        Whether slots are ids from the log rather than hashes.
    no_label : str, default "no label"
        Reason that `Diagnosis.no_quality` gives if no batch has labels.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad.ctr.diagnosis import Diagnoser
    >>> from adagrad.ctr import Examples
    >>> diagnoser = Diagnoser(bits=10)
    >>> diagnoser.add(Examples.from_csr(np.eye(200)), None)
    >>> diagnoser.result().seen_once
    Estimate(value=1.0, error=0.0)
    """

    def __init__(
        self, bits: int = 22, *, ids_are_slots: bool = False, no_label: str = "no label"
    ) -> None:
        self._table = FeatureTable(bits)
        self._ids_are_slots, self._no_label = ids_are_slots, no_label
        self._sample = RowSample(SAMPLE_ROWS, SAMPLE_ENTRIES)
        self._head: list[Examples] = []
        self._labels: list[Floats] = []
        self._first: Examples | None = None
        self._varies = False
        self._positives: float | None = None
        self.rows = self._entries = 0

    def add(self, x: Examples, y: Floats | None) -> None:
        """Take in the next examples.

        Parameters
        ----------
        x : Examples
            n examples. All batches must come from the same encoder or matrix.
        y : ndarray of float32, shape [n], or None
            Labels, 0 or 1.
        """
        if not len(x):
            return
        self.rows += len(x)
        if self._first is None:
            self._first = x.take(np.arange(1))
        self._varies = self._varies or not _repeats(self._first, x)
        _, ids, values = nonzero(x)
        self._entries += len(ids)
        self._table.add(ids, values)
        self._sample.add(x)
        if y is None:
            return
        self._positives = (self._positives or 0.0) + float(y.sum(dtype=np.float64))
        room = FIRST_ROWS - sum(map(len, self._head))
        entries = SAMPLE_ENTRIES - sum(len(part.slots) for part in self._head)
        if room > 0 and entries > 0:
            fitting = int(np.searchsorted(x.indptr, entries, side="right")) - 1
            part = np.arange(min(room, max(fitting, 1), len(x)))
            self._head.append(x.take(part))
            self._labels.append(y[part])

    def result(self) -> Diagnosis:
        """Return the findings so far.

        Raises
        ------
        ValueError
            If there is nothing to diagnose: no rows, no entries, all rows equal, or more features
            than ``2**bits`` places can count.
        """
        if not self.rows:
            raise ValueError("no rows")
        if not self._entries:
            raise ValueError("no row has a value that is not 0")
        if not self._varies:
            plural = "" if self.rows == 1 else "s"
            raise ValueError(f"all features are constant, in {self.rows:,} row{plural}")
        table = self._table
        features = table.features()
        if not math.isfinite(features.value):
            bits = table.size.bit_length() - 1
            raise ValueError(f"more features than 2^{bits} places can count: use more bits")
        used = np.flatnonzero(table.counts)
        used = used[np.argsort(-table.counts[used], kind="stable")]
        counts = table.counts[used]
        rms = np.sqrt(table.squares[used] / self.rows) / 2
        at = np.unique(np.geomspace(1, len(used), _POINTS).round().astype(np.int64)) - 1
        low, middle, high = (float(q) for q in np.quantile(rms, [0.01, 0.5, 0.99]))
        rare = table.occurrences(RARE)
        quality, no_quality = self._quality()
        return Diagnosis(
            rows=self.rows,
            entries=self._entries,
            positive=None if self._positives is None else self._positives / self.rows,
            features=features,
            seen_once=table.share(1),
            rare=table.share(RARE),
            rare_entries=Estimate(min(rare.value / self._entries, 1.0), rare.error / self._entries),
            zipf_slope=_zipf_slope(counts),
            scales=(low, middle, high),
            conditioning=self._conditioning(),
            sample_stride=self._sample.stride,
            table=self._table_size(features.value),
            quality=quality,
            no_quality=no_quality,
            ranks=at + 1,
            counts=counts[at],
            rms=rms[at],
        )

    def _conditioning(self) -> Conditioning:
        sample = self._sample.examples()
        rows, ids, values = nonzero(sample)
        if not len(ids):
            raise ValueError(f"no row of a sample of {len(sample):,} has a value that is not 0")
        known, column, counts = np.unique(ids, return_inverse=True, return_counts=True)
        frequent = np.argsort(-counts, kind="stable")[:SAMPLE_FEATURES]
        order = np.full(len(known), -1)
        order[frequent] = np.arange(len(frequent))
        columns = order[column]
        taken = columns >= 0
        return conditioning(
            rows[taken],
            columns[taken],
            None if values is None else values[taken],
            (len(sample), len(frequent)),
        )

    def _table_size(self, features: float) -> TableSize:
        bits = 8
        while bits < 32 and expected_sharing(features, 1 << bits) > MOST_SHARING:
            bits += 1
        sharing = expected_sharing(features, 1 << bits)
        direct = max(8, self._table.largest_id.bit_length())
        if self._ids_are_slots and direct <= bits:
            bits, sharing = direct, 0.0
        dtypes = (("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "bfloat16"))
        sizes = {" + ".join(pair): sum(BYTES[d] for d in pair) << bits for pair in dtypes}
        return TableSize(bits, sharing, sizes)

    def _quality(self) -> tuple[Quality | None, str]:
        if not self._head:
            return None, self._no_label
        y = np.concatenate(self._labels)
        if y.min() == y.max():
            return None, f"every label of the first {len(y):,} rows is {y[0]:g}"
        x = concatenate(self._head)
        rows, ids, values = nonzero(x)
        entries = np.ones(len(ids), np.float32) if values is None else values
        matrix = scipy.sparse.csr_matrix(
            (entries, (rows, self._table.places(ids))), shape=(len(x), self._table.size)
        )
        found = LogisticRegression().fit(Examples.from_csr(matrix), y).progressive_
        return Quality(len(y), found["logloss"], found["normalized_entropy"]), ""


def _repeats(first: Examples, x: Examples) -> bool:
    """Return whether every example equals `first`."""
    width = len(first.slots)
    if not (np.diff(x.indptr) == width).all():
        return False
    same = (x.slots.reshape(-1, width) == first.slots).all() if width else True
    if first.values is None or x.values is None:
        ones = all(part.values is None or (part.values == 1).all() for part in (first, x))
        return bool(same and ones)
    return bool(same and (x.values.reshape(-1, max(width, 1)) == first.values).all())


def _zipf_slope(counts: npt.NDArray[np.int64]) -> float | None:
    """Return `Diagnosis.zipf_slope` for counts in descending order."""
    first, last = ZIPF_RANKS[0], min(ZIPF_RANKS[1], len(counts))
    if last < 2 * first:
        return None
    ranks = np.unique(np.geomspace(first, last, 50).round().astype(np.int64))
    slope, _ = np.polyfit(np.log(ranks), np.log(counts[ranks - 1]), 1)
    return float(slope)
