"""The memory of ``adagrad diagnose`` does not grow with the log, of text or of Parquet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "pyarrow", "rich", "sklearn")

import pyarrow as pa
from pyarrow import csv, parquet

ROWS = 120_000
COLUMNS = 16
# Batches are small, so that with these rows all buffers between reader and diagnosis are full.
PEAK = """
import sys
from adagrad.commands import main as cli
from adagrad.ctr import logs
from adagrad.ctr.logs import arrow as _arrow
_arrow.READ = 1 << 13
logs.open_log.__kwdefaults__["rows"] = 1 << 12
try:
    cli.main()
finally:
    status = open("/proc/self/status").read()
    print("peak", status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""


def numbers(rows: int) -> pa.Table:
    """Numbers that no codec makes smaller."""
    rng = np.random.default_rng(rows)
    return pa.table({f"c{i}": rng.normal(size=rows) for i in range(COLUMNS)})


def peak(path: Path) -> int:
    """Return the most memory, in bytes, that a process had which diagnosed a log."""
    process = subprocess.run(
        [sys.executable, "-c", PEAK, "diagnose", str(path), "--bits", "10", "--threads", "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return int(process.stderr.split("peak")[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_log(tmp_path, suffix):
    peaks = []
    for rows in (ROWS, 3 * ROWS):
        path = tmp_path / f"{rows}.{suffix}"
        if suffix == "csv":
            csv.write_csv(numbers(rows), path)
        else:
            parquet.write_table(numbers(rows), path, row_group_size=1 << 13, use_dictionary=False)
        peaks.append(peak(path))
    content = 8 * COLUMNS * 2 * ROWS  # of the rows that the longer log has more, as numbers
    assert peaks[1] - peaks[0] < 2 * content / 3
