"""Logs in text beside what ``adagrad convert`` makes of them: a pass that reads, and trainings."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from adagrad import datasets
from adagrad.ctr.logs import open_log
from bench import endtoend
from bench.harness import Report
from bench.machine import one_processor
from bench.results import US, Claim, Shape, Variant

if TYPE_CHECKING:
    import pyarrow as pa

READING, FIXED, AUTO = "reading", "training at a fixed rate", "training with lr='auto'"
ROWS, SMOKE_ROWS = 300_000, 2_000
LABEL = "synthetic log"
PEER = "pyarrow.json"


def write_logs(folder: Path, rows: int) -> dict[str, Path]:
    """Write one synthetic log in each form; the first is what `US` stands for."""
    import pyarrow.csv
    from click.testing import CliRunner

    from adagrad.commands.convert import convert

    whole = datasets.synthetic_clicks(rows).read_all()
    tsv = folder / "log.tsv"
    options = pyarrow.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    with tsv.open("wb") as file:
        file.write(("\t".join(whole.column_names) + "\n").encode())
        pyarrow.csv.write_csv(whole, file, options)
    with tsv.open("rb") as file, gzip.open(folder / "log.tsv.gz", "wb", 6) as packed:
        shutil.copyfileobj(file, packed)
    with (folder / "log.jsonl").open("w") as file:
        for batch in whole.to_batches(1 << 14):
            file.writelines(json.dumps(row) + "\n" for row in batch.to_pylist())
    for suffix in (".arrow", ".parquet"):
        given = [str(tsv), "-o", str(folder / f"log{suffix}"), "-q"]
        done = CliRunner().invoke(convert, given, catch_exceptions=False)
        if done.exit_code:
            raise RuntimeError(done.stderr)
    return {kind: folder / f"log.{kind}" for kind in ("arrow", "parquet", "tsv", "tsv.gz", "jsonl")}


def read(path: Path) -> None:
    """Read a log to its end."""
    with open_log(path, label="click") as log:
        for _ in log:
            pass


def read_by_pyarrow(path: Path, schema: pa.Schema) -> None:
    """Read JSON lines in pieces of the same size, with types that are known."""
    from pyarrow import json as arrow_json

    how = arrow_json.ReadOptions(use_threads=False, block_size=1 << 20)
    parse = arrow_json.ParseOptions(explicit_schema=schema)
    for _ in arrow_json.open_json(path, how, parse):
        pass


def run(report: Report) -> list[Any]:
    """Measure passes over a log in each form."""
    rows = SMOKE_ROWS if report.smoke else ROWS
    with TemporaryDirectory() as folder:
        paths = write_logs(Path(folder), rows)
        with open_log(paths["jsonl"], label=None) as log:
            schema = log.schema
        ways = {
            READING: read,
            FIXED: lambda path: endtoend.train(path, 0.1),
            AUTO: lambda path: endtoend.train(path, "auto"),
        }
        for group, way in ways.items():
            variants = [
                Variant(
                    US if kind == "arrow" else f"{US}, {kind}",
                    lambda _, path=path, way=way: way(path),
                    group=group,
                )
                for kind, path in paths.items()
            ]
            if group == READING:
                call = lambda _: read_by_pyarrow(paths["jsonl"], schema)  # noqa: E731
                variants.append(Variant(PEER, call, group=group))
            with one_processor():
                report.measure(Shape(LABEL, rows), variants, repeat=False, budget=10)
        for kind, path in paths.items():
            print(f"{kind:8} {path.stat().st_size / 1e6:8.1f} MB")
    for group, kind, least in (
        (READING, "tsv", 2),
        (READING, "tsv.gz", 5),
        (FIXED, "tsv", 2),
        (FIXED, "tsv.gz", 2),
    ):
        ratio = report.ratio(LABEL, f"{US}, {kind}", group)
        report.claims.append(Claim(f"{group}: {kind} over converted", ratio, ">=", least))
    ratio = report.ratio(LABEL, PEER, READING, of=f"{US}, jsonl")
    report.claims.append(Claim("reading JSON lines, beside pyarrow.json", ratio, ">=", 0.6))
    for group in ways:
        report.by_shape(f"{group}, on one processor: ns a row; adagrad reads .arrow", group)
    return []
