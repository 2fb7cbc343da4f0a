"""What stands between a log and the kernels: wide and divided logs, errors, checks, the digest.

Logs are synthetic. Times of a command are processor times of its process.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np

from adagrad.ctr.logs import memory, open_log
from adagrad.ctr.training import digest as digests
from adagrad.ctr.training.options import Options
from adagrad.ctr.training.run import Training
from bench import endtoend
from bench.harness import Report
from bench.machine import leave_out, one_processor
from bench.picture import Panel
from bench.results import US, Claim, Shape, Variant

WIDE = "open a log of many columns"
MANY = "open a log of many files"
COLUMNS, SMOKE_COLUMNS = 20_000, 200
FILES, SMOKE_FILES = 1_500, 100
DESCRIPTORS = 64
ROWS, SMOKE_ROWS = 500_000, 4_096
PASSES = 5


def spent_in(owner: Any, name: str, run: Callable[[], object]) -> float:
    """Return the share of a function in the processor time of a call."""
    spent, function = 0.0, getattr(owner, name)

    def timed(*args: Any, **options: Any) -> Any:
        nonlocal spent
        begin = time.thread_time()
        found = function(*args, **options)
        spent += time.thread_time() - begin
        return found

    with mock.patch.object(owner, name, timed):
        begin = time.process_time()
        run()
        return spent / (time.process_time() - begin)


def share_of(report: Report, owner: Any, name: str, run: Callable[[], object]) -> float:
    """Return the median share of a function, in percent, with all threads on one processor."""
    with one_processor():
        run()
        passes = range(1 if report.smoke else PASSES)
        return 100 * float(np.median([spent_in(owner, name, run) for _ in passes]))


def wide_logs(folder: Path, columns: int) -> dict[str, Path]:
    """Write a log of a few rows in each format."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.parquet

    numbers = np.arange(8)
    names = [f"feature_{k}" for k in range(columns - 1)]
    table = pa.table({"click": numbers % 2, **{name: numbers + k for k, name in enumerate(names)}})
    paths = {name: folder / f"wide.{name}" for name in ("csv", "parquet", "arrow")}
    pyarrow.csv.write_csv(table, paths["csv"])
    pyarrow.parquet.write_table(table, paths["parquet"])
    pyarrow.feather.write_feather(table, paths["arrow"], "uncompressed")
    return paths


def wide(report: Report) -> None:
    """Open logs of many columns."""
    columns = SMOKE_COLUMNS if report.smoke else COLUMNS
    with TemporaryDirectory() as name:
        for kind, path in wide_logs(Path(name), columns).items():
            label = f"{kind}, {columns:,} columns"

            def opened(_: Any, path: Path = path) -> None:
                open_log(path, label="click").close()

            # Counted in logs, so that ns are those of a log.
            report.measure(Shape(label, 1), [Variant(US, opened, group=WIDE)], repeat=False)
            found = report.get(label, group=WIDE)
            assert found is not None
            report.claims.append(Claim(f"open {label}", found.ns / 1e9, "<=", 2, "s"))
    report.by_shape(f"{WIDE}: ns a log", WIDE)


@contextlib.contextmanager
def few_descriptors(most: int) -> Iterator[None]:
    """Let this process open no more files than these."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def many_files(report: Report) -> None:
    """Open and read a log of many files with few descriptors."""
    if sys.platform == "win32":
        leave_out("limits of descriptors")
        return
    import pyarrow as pa
    import pyarrow.parquet

    count = SMOKE_FILES if report.smoke else FILES
    with TemporaryDirectory() as name:
        for k in range(count):
            table = pa.table({"click": [0, 1], "site": ["a", f"b{k}"]})
            pyarrow.parquet.write_table(table, Path(name) / f"part-{k:05}.parquet")

        def opened(_: Any) -> None:
            open_log(name, label="click").close()

        def read(_: Any) -> None:
            with open_log(name, label="click") as log:
                rows = sum(batch.num_rows for batch in log)
            if rows != 2 * count:
                raise RuntimeError(f"{rows} rows of {2 * count} were read")

        label = f"{count:,} Parquet files"
        variants = [
            Variant(US, opened, group=MANY),
            Variant(f"{US}, open and read", read, group=MANY),
        ]
        with few_descriptors(DESCRIPTORS):
            report.measure(Shape(label, count), variants, repeat=False, budget=5)
    report.by_shape(f"{MANY}, with {DESCRIPTORS} descriptors: ns a file", MANY)
    # Reading raises if it needs more descriptors or misses a row.
    report.claims.append(Claim(f"rows read of {label}", 2.0 * count, ">=", 2 * count, "rows"))


def processor_time(*arguments: str | Path) -> tuple[float, int]:
    """Return the processor time of a command of adagrad, and its exit status."""
    process = subprocess.Popen(
        [sys.executable, "-m", "adagrad.commands.main", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, process.returncode


def mistaken_type(report: Report) -> None:
    """Evaluate a model of numbers on a log that has text in their column."""
    if sys.platform == "win32":
        leave_out("processor times of commands")
        return
    rows = SMOKE_ROWS if report.smoke else ROWS
    with TemporaryDirectory() as name:
        model, short, wrong = (Path(name) / end for end in ("model", "short.csv", "wrong.csv"))
        lines = [f"{k % 2},{k % 97},s{k % 31}\n" for k in range(1_000)]
        short.write_text("click,price,site\n" + "".join(lines))
        few = [line.replace(",", ",about ", 1) for line in lines]
        with wrong.open("w") as file:
            file.write("click,price,site\n")
            file.writelines("".join(few) for _ in range(-(-rows // len(few))))
        done = processor_time("train", short, "-l", "click", "-m", model, "-b", "12", "--lr", "0.1")
        start, good = processor_time("evaluate", model, short)
        error, bad = processor_time("evaluate", model, wrong)
    if (done[1], good, bad) != (0, 0, 1):
        raise RuntimeError(f"the commands ended with {done[1]}, {good}, {bad}, not 0, 0, 1")
    print(f"\nevaluate: {start:.2f} s on 1,000 rows, {error:.2f} s until the error of a type")
    report.claims.append(
        Claim("evaluate until the error, beyond 1,000 rows", error - start, "<=", 1, "s")
    )


def checks(report: Report) -> None:
    """Measure the share of the check of memory in a pass, and of the digest in a training."""
    with TemporaryDirectory() as name:
        paths = endtoend.write_logs(Path(name), SMOKE_ROWS if report.smoke else ROWS)
        model = Path(name) / "model"

        def train(path: Path) -> None:
            with open_log(path, label="click") as log:
                Training(log, Options(label="click"), model).run()

        of_pass = share_of(report, memory, "damage", lambda: endtoend.train(paths["log.parquet"]))
        of_text, of_columns = (
            share_of(report, digests, "_hash", lambda path=paths[kind]: train(path))
            for kind in ("log.tsv", "log.parquet")
        )
    report.claims += [
        Claim("the check of memory, of a pass from Parquet", of_pass, "<=", 3, "%"),
        Claim("the digest, of a training from TSV", of_text, "<=", 1, "%"),
        Claim("the digest, of a training from Parquet", of_columns, "<=", 1, "%"),
    ]


def run(report: Report) -> list[Panel]:
    """Measure what comes before the kernels, and judge the claims."""
    wide(report)
    many_files(report)
    mistaken_type(report)
    checks(report)
    return []
