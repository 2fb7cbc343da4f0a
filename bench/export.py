"""A model in service: sizes of exports and deltas, opening one, and the time of one row.

The log is synthetic: 39 columns, days of 100,000 rows. A row is a dict of raw values for Python,
and an array of values for score.hpp, which is called through its C interface with rows one after
the other. The peers hash a row as their users do: scikit-learn's FeatureHasher and predict_proba,
and Vowpal Wabbit's predict, whose text is made before the clock runs.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from adagrad import ctr, datasets
from adagrad.metrics import measure
from adagrad.serving import Scorer, write_export
from adagrad.serving.delta import diff
from bench.harness import Report
from bench.machine import leave_out, peer
from bench.picture import Panel
from bench.results import US, Claim, Shape, Variant, table

LABEL = "click"
DAYS, DAY, SMOKE_DAY = 10, 100_000, 2_000
BITS = 22
DTYPES = ("float32", "float16", "bfloat16")
OPEN, ROW, CPP = "open a model", "one row", "score.hpp"
ROWS = 512
SOURCE = Path(__file__).parents[1] / "cpp" / "score" / "adagrad_score.cpp"
LINKS = {"float32": US, "float16": f"{US}, float16", "bfloat16": f"{US}, bfloat16"}


def sizes(report: Report, folder: Path, rows: int, bits: int) -> tuple[Any, Any]:
    """Write exports of two days and the deltas between them; return the model and the next day."""
    import pyarrow as pa

    log = datasets.synthetic_clicks((DAYS + 2) * rows, seed=1, dictionary=True)
    whole = pa.Table.from_batches(list(log), log.schema)
    model = ctr.LogisticRegression(encoder=ctr.HashingEncoder(bits))
    for day in range(DAYS + 1):
        part = whole.slice(day * rows, rows)
        model.partial_fit(part.drop_columns([LABEL]), part[LABEL].to_numpy(), classes=[0, 1])
        if day == DAYS - 1:
            model.save(folder / "old")
    model.save(folder / "new")
    tomorrow = whole.slice((DAYS + 1) * rows)
    x, y = tomorrow.drop_columns([LABEL]), tomorrow[LABEL].to_numpy()
    losses, lines = {}, []
    for dtype in DTYPES:
        old, new, like, delta = (folder / f"{dtype}.{name}" for name in ("old", "new", "like", "d"))
        write_export(folder / "old", old, dtype)  # type: ignore[arg-type]
        write_export(folder / "new", new, dtype)  # type: ignore[arg-type]
        write_export(folder / "new", like, dtype, mix_like=old)  # type: ignore[arg-type]
        found = [diff(old, new, delta), diff(old, like, delta)]
        for path in (new, like):
            p = Scorer(path).predict_proba(x)[:, 1]
            losses[path.name] = measure(y.astype(np.float32), p).logloss
        more = [100 * (losses[path.name] / losses["float32.new"] - 1) for path in (new, like)]
        shares = [100 * one.delta / one.new for one in found]
        packed = 100 * _compressed(new) / found[0].new
        percents = [f"{share:.0f} %" for share in (packed, *shares)]
        lines.append(
            [dtype, f"{found[0].new / 1e6:.2f} MB", *percents, *(f"{x:+.4f} %" for x in more)]
        )
        for name, share in zip(("", ", mix_like"), shares, strict=True):
            text = f"delta of a day, {dtype}{name}, of the whole"
            report.claims.append(Claim(text, share, "<=", 100 / 3, "%"))
        if dtype != "float32":
            text = f"logloss of {dtype} over that of float32"
            report.claims.append(Claim(text, 100 + more[0], "<=", 100.05, "%"))
    size = (folder / "new").stat().st_size / 1e6
    title = f"One more day of {rows:,} rows after {DAYS}, of a model file of {size:.1f} MB"
    heads = ["dtype", "export", "zstd -19", "delta", "mix_like", "logloss", "logloss, mix_like"]
    table(title, heads, lines)
    return model, tomorrow


def _compressed(path: Path) -> int:
    import pyarrow as pa

    return len(pa.Codec("zstd", compression_level=19).compress(path.read_bytes(), asbytes=True))


def opening(report: Report, folder: Path) -> None:
    """Measure how long a process waits for a model."""
    variants = [
        Variant(US, lambda _: Scorer(folder / "float32.new"), group=OPEN),
        Variant(f"{US}.ctr.load", lambda _: ctr.load(folder / "new"), group=OPEN),
    ]
    if peer("sklearn") is not None:
        import joblib

        path = folder / "sgd.joblib"
        joblib.dump(_sgd(folder)[1], path)
        variants.append(Variant("joblib, SGDClassifier", lambda _: joblib.load(path), group=OPEN))
    # Counted in files, so that ns are those of a file.
    report.measure(Shape("a file", 1), variants, repeat=False)
    report.by_shape(f"{OPEN}: ns a file", OPEN)


def scoring(report: Report, folder: Path, model: Any, day: Any, bits: int) -> None:
    """Measure one row at a time."""
    log = day.drop_columns([LABEL]).slice(0, ROWS).to_pylist()
    path = folder / "float32.new"
    scorer, fields = Scorer(path), len(log[0])
    at: Callable[[int], Any] = lambda i: log[i % len(log)]  # noqa: E731
    variants = [Variant(US, scorer.predict_one, at, ROW)]
    variants.append(Variant(f"{US}, learner", model.predict_one, at, ROW))
    for dtype in DTYPES[1:]:
        other = Scorer(folder / f"{dtype}.new")
        variants.append(Variant(LINKS[dtype], other.predict_one, at, ROW))
    if (library := _library(folder, optimized=not report.smoke)) is not None:
        call = _score_hpp(library, path, log, [scorer.predict_one(row) for row in log])
        # All rows a call, counted as one: a call through ctypes takes as long as a row.
        report.measure(Shape("39 fields", fields * len(log)), [call], repeat=False)
        report.by_shape(f"{CPP}, from C++: ns a field", CPP)
    if peer("sklearn") is not None:
        hasher, sgd = _sgd(folder)
        predict = lambda row: sgd.predict_proba(hasher.transform([row]))  # noqa: E731
        texts = lambda i: _texts(at(i))  # noqa: E731
        variants.append(Variant("scikit-learn", predict, texts, ROW))
    if (vw := _vowpal_wabbit(day, bits)) is not None:
        variants.append(Variant("Vowpal Wabbit", vw.predict, lambda i: _line(at(i)), ROW))
    report.measure(Shape("39 fields", fields), variants, repeat=False, budget=3)
    report.by_shape(f"{ROW}: ns a field", ROW)


def _texts(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row for scikit-learn's FeatureHasher, in which integers are values."""
    return {name: x for name, x in row.items() if x is not None}


def _line(row: dict[str, Any]) -> str:
    return "| " + " ".join(f"{name}={x}" for name, x in row.items() if x is not None)


def _sgd(folder: Path) -> tuple[Any, Any]:
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import SGDClassifier

    hasher = FeatureHasher(1 << BITS)
    log = next(iter(datasets.synthetic_clicks(ROWS, seed=1))).to_pylist()
    y = [row.pop(LABEL) for row in log]
    sgd = SGDClassifier(loss="log_loss").partial_fit(
        hasher.transform(map(_texts, log)), y, classes=[0, 1]
    )
    return hasher, sgd


def _vowpal_wabbit(day: Any, bits: int) -> Any:
    vowpalwabbit = peer("vowpalwabbit")
    if vowpalwabbit is None:
        return None
    vw = vowpalwabbit.Workspace(f"--quiet --loss_function logistic --link logistic -b {bits}")
    for row in day.slice(0, ROWS).to_pylist():
        vw.learn(f"{1 if row.pop(LABEL) else -1} {_line(row)}")
    return vw


class _Content(ctypes.Union):
    _fields_ = (("integer", ctypes.c_int64), ("text", ctypes.c_char_p))


class _Value(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("size", ctypes.c_size_t), ("content", _Content))


def _value(x: str | int | None) -> _Value:
    if x is None:
        return _Value(0, 0)
    if isinstance(x, int):
        return _Value(2, 0, _Content(integer=x))
    text = x.encode()
    return _Value(6, len(text), _Content(text=text))


def _library(folder: Path, *, optimized: bool) -> ctypes.CDLL | None:
    """Compile the C interface of score.hpp."""
    path = folder / "libadagrad_score.so"
    flags = ("-std=c++17", "-O2" if optimized else "-O0", "-ffp-contract=off", "-shared", "-fPIC")
    try:
        subprocess.run([os.environ.get("CXX", "c++"), *flags, SOURCE, "-o", path], check=True)
    except (OSError, subprocess.CalledProcessError):
        leave_out("c++")
        return None
    library = ctypes.CDLL(str(path))
    library.adagrad_score_open.restype = ctypes.c_void_p
    library.adagrad_score_predict.restype = ctypes.c_size_t
    return library


def _score_hpp(
    library: ctypes.CDLL, path: Path, log: list[dict[str, Any]], expected: list[float]
) -> Variant:
    """Return the variant that scores all rows, which is checked."""
    model = ctypes.c_void_p(library.adagrad_score_open(os.fsencode(path), None, ctypes.c_size_t(0)))
    cells = list(itertools.chain.from_iterable(row.values() for row in log))
    values = (_Value * len(cells))(*map(_value, cells))
    found = np.empty(len(log))
    to, count = found.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(len(log))

    def call(_: object) -> None:
        library.adagrad_score_predict(model, values, count, to, None, ctypes.c_size_t(0))

    call(None)
    if found.tolist() != expected:
        raise RuntimeError("score.hpp and Scorer predict other numbers")
    return Variant(US, call, group=CPP)


def run(report: Report) -> list[Panel]:
    """Measure sizes and times, and judge the claims."""
    rows, bits = (SMOKE_DAY, 14) if report.smoke else (DAY, BITS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, day = sizes(report, folder, rows, bits)
        opening(report, folder)
        scoring(report, folder, model, day, bits)
    one = report.get("39 fields", group=ROW)
    value = None if one is None else one.ns * one.shape.count / 1e3
    report.claims.append(Claim("predict_one of 39 fields", value, "<=", 10, "µs"))
    for name, group in (("predict_one", ROW), (CPP, CPP)):
        found = report.get("39 fields", group=group)
        value = None if found is None else found.ns
        report.claims.append(Claim(f"{name}: a field", value, "<=", 200, "ns"))
    for name in ("scikit-learn", "Vowpal Wabbit"):
        ratio = report.ratio("39 fields", name, ROW)
        report.claims.append(Claim(f"predict_one: {name} / {US}", ratio, ">=", 1.0))
    ratio = report.ratio("a file", f"{US}.ctr.load", OPEN)
    report.claims.append(Claim(f"open: {US}.ctr.load / {US}", ratio, ">=", 10))
    return []
