"""The parts of bench/ctr.py that start from a log: speed and memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from adagrad import datasets
from adagrad.ctr import HashingEncoder, LogisticRegression
from adagrad.ctr.logs import open_log
from adagrad.ctr.training.pipeline import encoded
from bench import clicks, limits
from bench.harness import Report
from bench.machine import one_processor, peer
from bench.results import LIMIT, US, Claim, Shape, Variant, table

END_TO_END = "end to end, on one processor"
MEMORY = "memory of a long log"
LOG_ROWS, ROWS = 500_000, 200_000
BITS = 22


FIXED, AUTO, SCORING = f"{US}, fixed rate", US, "adagrad predict"
PARSING = f"{LIMIT} of TSV"


def train(path: Path, lr: float | str = "auto") -> LogisticRegression:
    """Learn from a file in one pass, by the calls that a user makes."""
    encoder, model = HashingEncoder(BITS), LogisticRegression(lr, n_jobs=1)
    with open_log(path, label="click") as log:
        for batch in log:
            x = encoder.transform(batch.drop_columns(["click"]))
            model.partial_fit(x, batch.column("click").to_numpy(), classes=[0.0, 1.0])
    return model


def score(path: Path, model: LogisticRegression, encoder: HashingEncoder) -> None:
    """Predict every row of a file."""
    with open_log(path, label=None, ignore=["click"]) as log:
        for batch in encoded(log, encoder):
            model.predict_proba(batch.x)


def name(ours: str, kind: str) -> str:
    """Return the name of a variant on a log of a kind."""
    return ours if (ours, kind) == (US, "parquet") else f"{ours}, {kind}"


def write_logs(folder: Path, rows: int) -> dict[str, Path]:
    """Write one synthetic log in each format."""
    import pyarrow.csv
    import pyarrow.parquet

    paths = {name: folder / name for name in ("log.tsv", "log.parquet", "log.vw")}
    whole = datasets.synthetic_clicks(rows).read_all()
    # The writer makes dictionaries of strings, but writes most dictionaries that differ between
    # batches as plain text.
    pyarrow.parquet.write_table(whole, paths["log.parquet"])
    options = pyarrow.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    with paths["log.tsv"].open("wb") as file:
        file.write(("\t".join(whole.column_names) + "\n").encode())  # pyarrow would quote the names
        pyarrow.csv.write_csv(whole, file, options)
    names = [name for name in whole.column_names if name != "click"]
    with paths["log.vw"].open("w") as file:
        for batch in whole.to_batches(1 << 14):
            columns = [batch.column(name).to_pylist() for name in names]
            labels = batch.column("click").to_pylist()
            for label, row in zip(labels, zip(*columns, strict=True), strict=True):
                entries = " ".join(f"{n}={v}" for n, v in zip(names, row, strict=True))
                file.write(f"{1 if label else -1} | {entries}\n")
    return paths


def parsing(path: Path) -> list[Variant]:
    """Return the limit of a pass over a text: it is read, and each byte is looked at once."""
    loops = limits.load()
    if loops is None:
        return []
    found = np.zeros(1, np.uint64)
    call = lambda _: loops.scan(path.read_bytes(), found)()  # noqa: E731
    return [Variant(PARSING, call, group=END_TO_END)]


def end_to_end(report: Report) -> None:
    """Measure a pass from a file to a trained model."""
    rows = 4096 if report.smoke else LOG_ROWS
    with TemporaryDirectory() as folder:
        paths = write_logs(Path(folder), rows)
        variants = []
        for kind in ("tsv", "parquet"):
            path = paths[f"log.{kind}"]
            with one_processor():
                model = train(path, "auto")
            variants += [
                Variant(name(FIXED, kind), lambda _, path=path: train(path, 0.1), group=END_TO_END),
                Variant(
                    name(AUTO, kind), lambda _, path=path: train(path, "auto"), group=END_TO_END
                ),
                Variant(
                    name(SCORING, kind),
                    lambda _, path=path, model=model: score(path, model, HashingEncoder(BITS)),
                    group=END_TO_END,
                ),
            ]
        variants += parsing(paths["log.tsv"])
        if peer("vowpalwabbit") is not None:
            call = lambda _: clicks.vw_pass(f"-d {paths['log.vw']}", BITS)  # noqa: E731
            variants.append(Variant("VW, text", call, group=END_TO_END))
        with one_processor():
            report.measure(Shape("synthetic log", rows), variants, repeat=False, budget=15)
    for kind, words, target in (
        ("tsv", "from TSV", 6),
        ("parquet", "from dictionaries in Parquet", 8),
    ):
        for ours, rate in ((FIXED, "a fixed rate"), (AUTO, "lr='auto'")):
            ratio = report.ratio("synthetic log", "VW, text", END_TO_END, of=name(ours, kind))
            claim = f"{words}, {rate}, VW from its text"
            report.claims.append(Claim(claim, ratio, ">=", target))
        # The model that is scored is the one that lr='auto' trains.
        for ours, rate in ((AUTO, "training it"), (FIXED, "training with a fixed rate")):
            of = name(ours, kind)
            ratio = report.ratio("synthetic log", name(SCORING, kind), END_TO_END, of=of)
            report.claims.append(Claim(f"{words}, predicting over {rate}", ratio, "<=", 1))
    report.by_shape(f"{END_TO_END}: ns a row", END_TO_END)


def peak(rows: int, folder: Path) -> float:
    """Return the peak memory of ``adagrad train`` on a pipe of `rows` rows, in MiB."""
    import pyarrow.csv

    log = datasets.synthetic_clicks(rows)
    options = pyarrow.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    command = [
        sys.executable,
        "-m",
        "adagrad.commands.main",
        "train",
        "-",
        "--format",
        "tsv",
        "--label",
        "click",
    ]
    process = subprocess.Popen(
        [*command, "--model", str(folder / f"model{rows}")],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(("\t".join(log.schema.names) + "\n").encode())
        for batch in log:
            pyarrow.csv.write_csv(batch, pipe, options)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"adagrad train failed: {process.returncode}")
    return usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def memory(report: Report) -> None:
    """Compare the peak memory of ``adagrad train`` on a log and on one ten times as long."""
    rows = 512 if report.smoke else 1_000_000
    with TemporaryDirectory() as name:
        peaks = {n: peak(n, Path(name)) for n in (rows, 10 * rows)}
    table(
        "Peak memory of adagrad train on a pipe",
        ["rows", "MiB"],
        [[f"{n:,}", f"{mib:.0f}"] for n, mib in peaks.items()],
    )
    grown = peaks[10 * rows] / peaks[rows]
    report.claims.append(Claim("peak memory on ten times the rows", grown, "<=", 1.1))
