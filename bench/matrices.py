"""Sparse matrices as a user passes them: `partial_fit(csr, y)` and `predict_proba(csr)`.

Everything between the call and the loops counts: checks, labels, sorting entries by region. Models
have learned before, so no call allocates one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from adagrad.ctr import Examples, LogisticRegression
from bench import clicks
from bench.harness import Report
from bench.machine import peer
from bench.results import US, Claim, Shape, Variant

FIT, PREDICT = "partial_fit of a matrix", "predict_proba of a matrix"
SGD = "SGDClassifier"
BITS, ROWS = 22, 300_000
HASHED, MIXED = "39 a row", "5 to 119 a row"
RATES: dict[str, Any] = {"": 0.05, ", auto": "auto"}


def _hashed(rows: int) -> tuple[Any, np.ndarray]:
    """Return 39 ones a row in the order of the fields, each hashed to any slot, and labels."""
    random = np.random.default_rng(0)
    cards = np.exp(random.uniform(np.log(10), np.log(5e6), clicks.FIELDS)).astype(np.uint64)
    values = np.minimum(random.zipf(clicks.ZIPF, (rows, clicks.FIELDS)).astype(np.uint64), cards)
    columns = clicks.hashed(values, np.arange(clicks.FIELDS)) % np.uint64(1 << BITS)
    indptr = np.arange(0, columns.size + 1, clicks.FIELDS, dtype=np.int32)
    ones = np.ones(columns.size, np.float32)
    shape = rows, 1 << BITS
    matrix = scipy.sparse.csr_matrix((ones, columns.ravel().astype(np.int32), indptr), shape=shape)
    return matrix, (random.random(rows) < 0.2).astype(np.int64)


def _matrices(rows: int, short: bool) -> dict[str, tuple[Any, np.ndarray]]:
    """Return the matrices and labels by name; those of the quick form if `short`."""
    log = clicks.generic(rows, BITS)
    mixed = log.x.to_csr(), log.y.astype(np.int64)
    hashed, y = _hashed(rows)
    if short:
        return {HASHED: (hashed, y), MIXED: mixed}
    ordered = hashed.copy()
    ordered.sort_indices()
    precise = hashed.astype(np.float64)
    return {
        HASHED: (hashed, y),
        "39 a row, sorted": (ordered, y),
        "39 a row, float64": (precise, y),
        MIXED: mixed,
    }


def _begun(lr: Any, threads: int, matrix: Any, y: np.ndarray) -> LogisticRegression:
    return LogisticRegression(lr, n_jobs=threads).partial_fit(matrix[:2048], y[:2048])


def _sgd(matrix: Any, y: np.ndarray) -> Any:
    from sklearn.linear_model import SGDClassifier

    other = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.05)
    return other.partial_fit(matrix[:2048], y[:2048], classes=[0, 1])


def _measure(report: Report, name: str, matrix: Any, y: np.ndarray, threads: int) -> None:
    fits, predictions = [], []
    for label, lr in RATES.items():
        for count in (1, threads):
            text = f"{US}{label}" + ("" if count == 1 else f", {count} threads")
            model = _begun(lr, count, matrix, y)
            fits.append(Variant(text, lambda _, m=model: m.partial_fit(matrix, y), group=FIT))
            known = _begun(lr, count, matrix, y).partial_fit(matrix, y)
            known.predict_proba(matrix)
            predict = lambda m: m.predict_proba(matrix)  # noqa: E731
            predictions.append(Variant(text, predict, lambda _, m=known: m, PREDICT))
            if label and count > 1:
                fresh = _begun(lr, count, matrix, y)
                again = lambda _, m=fresh: m.partial_fit(matrix[:64], y[:64])  # noqa: E731
                predictions.append(Variant(f"{text}, after learning", predict, again, PREDICT))
            elif label:
                x = Examples.from_csr(matrix)
                alone = lambda _, m=model, x=x: m.partial_fit(x, y)  # noqa: E731
                fits.append(Variant(f"{text}, Examples", alone, group=FIT))
    if peer("sklearn") is not None:
        other = _sgd(matrix, y)
        fits.append(Variant(SGD, lambda _: other.partial_fit(matrix, y), group=FIT))
        predictions.append(Variant(SGD, lambda _: other.predict_proba(matrix), group=PREDICT))
    shape = Shape(name, matrix.nnz)
    if report.wants(FIT):
        report.measure(shape, fits, repeat=False, budget=6)
    if report.wants(PREDICT):
        report.measure(shape, predictions, repeat=False, budget=3)


def run(report: Report) -> None:
    """Measure both calls on each matrix, and claim what they take less than scikit-learn."""
    threads = max(2, report.args.threads)
    for name, (matrix, y) in _matrices(1024 if report.smoke else ROWS, report.short).items():
        _measure(report, name, matrix, y, threads)
        ours = f"{US}, {threads} threads"
        auto = f"{US}, auto, {threads} threads"
        for call, group, of in (
            ("partial_fit", FIT, ours),
            ("predict_proba", PREDICT, ours),
            ("predict_proba", PREDICT, auto),
        ):
            beaten = report.ratio(name, SGD, group, of=of)
            report.claims.append(Claim(f"{call}, {name}: {SGD} over {of}", beaten, ">=", 3))
        # On one thread: in rotation, two threads of a mixture vary more than this ratio.
        around = report.ratio(name, f"{US}, auto", FIT, of=f"{US}, auto, Examples")
        text = f"partial_fit, {name}: {US}, auto, over that of Examples"
        report.claims.append(Claim(text, around, "<=", 1.15))
    for group in (FIT, PREDICT):
        report.by_shape(f"{group}: ns an entry", group)
