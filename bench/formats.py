"""Reading Vowpal Wabbit's text, libffm and JSON lines, beside those who read the same."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from adagrad.ctr.logs import open_log
from bench import limits
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import US, Claim, Shape, Variant, number, table

QUICK = ("VW text",)

ROWS, SMOKE_ROWS = 100_000, 500
NUMBERS, CATEGORIES, WORDS = 13, 26, 80
VW, PYARROW, LIBFFM = "VW, --noop", "pyarrow.json", "libffm, converter"


def made_up(rows: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield labels, numbers and ids, a tenth of them rare."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, rows)
    numbers = rng.lognormal(0, 1, (rows, NUMBERS)).round(3)
    ids = rng.zipf(1.3, (rows, CATEGORIES)) % 1_000_000
    yield from zip(labels.tolist(), numbers, ids, strict=True)


def write_logs(folder: Path, rows: int) -> dict[str, Path]:
    """Write the same rows in each format, and rows of words with values for VW."""
    lines: dict[str, list[str]] = {
        "2.vw": [],
        "39.vw": [],
        "80.vw": [],
        "39.ffm": [],
        "39.jsonl": [],
    }
    rng = np.random.default_rng(1)
    words, values = rng.zipf(1.2, (rows, WORDS)) % 50_000, rng.random((rows, WORDS)) / 9
    for row, (y, numbers, ids) in enumerate(made_up(rows)):
        xs = [f"{x:g}" for x in numbers]
        keys = [f"{i:08x}" for i in ids * 2_654_435_761 % 2**32]
        label = y or -1
        lines["2.vw"].append(
            f"{label} |n {' '.join(f'i{j}:{x}' for j, x in enumerate(xs))}"
            f" |c {' '.join(f'c{j}_{key}' for j, key in enumerate(keys))}\n"
        )
        spaces = [f"|i{j} v:{x}" for j, x in enumerate(xs)]
        spaces += [f"|c{j} {key}" for j, key in enumerate(keys)]
        lines["39.vw"].append(f"{label} {' '.join(spaces)}\n")
        entries = (f"{word}:{x:.7e}" for word, x in zip(words[row], values[row], strict=True))
        lines["80.vw"].append(f"{label} |f {' '.join(entries)}\n")
        fields = [f"{j}:1:{x}" for j, x in enumerate(xs)]
        fields += [f"{NUMBERS + j}:{i}:1" for j, i in enumerate(ids.tolist())]
        lines["39.ffm"].append(f"{y} {' '.join(fields)}\n")
        cells = [f'"i{j}": {x}' for j, x in enumerate(xs)]
        cells += [f'"c{j}": "{key}"' for j, key in enumerate(keys)]
        lines["39.jsonl"].append(f'{{"click": {y}, {", ".join(cells)}}}\n')
    for name, text in lines.items():
        (folder / name).write_text("".join(text))
    return {name: folder / name for name in lines}


def read(path: Path) -> int:
    """Read a log to its end; return the number of its rows."""
    with open_log(path, label="click") as log:
        return sum(batch.num_rows for batch in log)


def of_vw(path: Path) -> list[Variant]:
    """Return VW's reading of its text, without learning."""
    package = peer("vowpalwabbit")
    if package is None:
        return []

    def run(_: Any) -> None:
        package.Workspace(f"--quiet --noop -b 22 -d {path}").finish()

    return [Variant(VW, run)]


def of_pyarrow(path: Path) -> list[Variant]:
    """Return pyarrow's reading of JSON lines, in one thread."""
    from pyarrow import json

    options = json.ReadOptions(use_threads=False)
    return [Variant(PYARROW, lambda _: json.read_json(path, options))]


def limit(path: Path) -> list[Variant]:
    """Return a loop in C that reads the values of entries."""
    loops = limits.load()
    if loops is None:
        return []
    text = path.read_bytes()
    count = np.zeros(1, np.uint64)
    parse = loops.parse_entries(text, np.zeros(text.count(b":"), np.float32), count)
    return limits.variant(lambda *_: parse)


def of_libffm(path: Path) -> float | None:
    """Return the seconds of libffm's conversion to its binary form, if it is installed."""
    program = shutil.which("ffm-train")
    if program is None:
        return None
    seconds = []
    for _ in range(3):
        moments = []
        for binary in path.parent.glob(f"{path.name}.bin"):
            binary.unlink()
        for _ in range(2):  # with the conversion, and without
            begin = time.perf_counter()
            subprocess.run(
                [program, "-k", "1", "-t", "1", "-s", "1", path.name, "model"],
                cwd=path.parent,
                check=True,
                capture_output=True,
            )
            moments.append(time.perf_counter() - begin)
        seconds.append(moments[0] - moments[1])
    return float(np.median(seconds))


def run(report: Report) -> list[Panel]:
    """Measure each format beside its peers, and judge the claims."""
    rows = SMOKE_ROWS if report.smoke else ROWS
    kinds: dict[str, tuple[str, Callable[[Path], list[Variant]]]] = {
        "2.vw": ("VW text, 2 namespaces", of_vw),
        "39.vw": ("VW text, 39 namespaces", of_vw),
        "80.vw": ("VW text, 80 exponents", of_vw),
        "39.ffm": ("libffm, 39 fields", limit),
        "39.jsonl": ("JSON lines, 39 columns", of_pyarrow),
    }
    shown = []
    with TemporaryDirectory() as name:
        paths = write_logs(Path(name), rows)
        for kind, (label, peers) in kinds.items():
            if not report.wants(label):
                continue
            path = paths[kind]
            if read(path) != rows:
                raise RuntimeError(f"not all rows of {path} were read")
            variants = [Variant(US, lambda _, path=path: read(path)), *peers(path)]
            size = path.stat().st_size
            report.measure(Shape(label, rows, {"bytes": size}), variants, repeat=False, budget=6)
            for variant in variants:
                found = report.get(label, variant.name)
                assert found is not None
                shown.append(
                    [
                        label,
                        variant.name,
                        f"{1e9 / found.ns:,.0f}",
                        number(size / rows / found.ns * 1e3),
                    ]
                )
            if kind.endswith(".vw"):
                ratio = report.ratio(label, VW)
                report.claims.append(Claim(f"reading {label}: VW over adagrad", ratio, ">=", 1))
        if (
            report.wants("libffm, 39 fields")
            and (seconds := of_libffm(paths["39.ffm"])) is not None
        ):
            size = paths["39.ffm"].stat().st_size
            speed = [f"{rows / seconds:,.0f}", number(size / seconds / 1e6)]
            shown.append(["libffm, 39 fields", LIBFFM, *speed])
    report.by_shape("ns a row")
    table("reading", ["", "", "rows/s", "MB/s"], shown)
    return []
