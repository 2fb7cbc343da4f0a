"""For tests of the commands on logs: a small click log, and ways to run a command on it."""

from __future__ import annotations

import array
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from click.testing import CliRunner
from pyarrow import csv, parquet

from adagrad.commands.group import adagrad as command
from adagrad.ctr import logs

LABEL = "click"
ROWS = 30_000  # of the fixture `log`

BATCH = 640

# A process with small batches that sleeps before each of them, so that a test can interrupt it.
SLOW = f"""
import sys, time
from adagrad.commands import main
from adagrad.ctr import logs
from adagrad.ctr.logs import blocks
from adagrad.ctr.training import run
blocks.BLOCK_BYTES = 1 << 16
logs.open_log.__kwdefaults__["rows"] = {BATCH}
learn = run.Training._learn
def slowly(*arguments):
    time.sleep(0.005)
    learn(*arguments)
run.Training._learn = slowly
sys.argv = ["adagrad", *sys.argv[1:]]
print("ready", file=sys.stderr, flush=True)
main.main()
"""


def invoke(*arguments: object, input: bytes | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(command, [*map(str, arguments)], input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def train(log: object, model: Path, *more: object, input: bytes | None = None) -> str:
    """Train a model of 2^14 slots, in place of one there, and return what the command printed."""
    how = () if "--resume" in more else ("--overwrite",)
    code, out, err = invoke(
        "train", log, "-l", LABEL, "-m", model, "--bits", 14, *how, *more, input=input
    )
    assert (code, out) == (0, ""), err
    return err


def tensors(path: Path) -> dict[str, bytes]:
    """Return the bytes of the tensors in a model file, by name."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


@contextlib.contextmanager
def small_batches() -> Iterator[None]:
    """Let logs have the batches that `slow` has."""
    defaults = logs.open_log.__kwdefaults__
    before = defaults["rows"]
    defaults["rows"] = BATCH
    try:
        yield
    finally:
        defaults["rows"] = before


def finish(*arguments: object) -> None:
    """Run a command to its end, with the batches that `slow` has."""
    with small_batches():
        code, _, err = invoke(*arguments)
    assert code == 0, err


def slow(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *map(str, arguments)],
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200"},
        **options,  # type: ignore[call-overload]
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"ready\n"
    return process


def feed(process: subprocess.Popen[bytes], content: bytes) -> None:
    """Write to the standard input of a process, and wait until it waits for more."""
    import fcntl
    import termios

    assert process.stdin is not None
    process.stdin.write(content)
    process.stdin.flush()
    unread = array.array("i", [1])
    while unread[0]:
        time.sleep(0.02)
        fcntl.ioctl(process.stdin, termios.FIONREAD, unread)
    time.sleep(0.5)  # to process what it has read


def clicks(rows: int, seed: int = 0) -> pa.Table:
    """A log with ids, a count and a user seen once; some sites are clicked more than others."""
    rng = np.random.default_rng(seed)
    site = np.minimum(rng.zipf(1.5, size=rows), 400)
    ad = rng.integers(0, 50, size=rows)
    depth = rng.geometric(0.3, size=rows)
    margin = -1.5 + np.sin(site) + 0.8 * np.cos(ad) - 0.2 * depth
    label = (rng.random(rows) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    names = pa.array([f"site{i}" for i in range(401)])
    return pa.table(
        {
            LABEL: label,
            "site": pa.DictionaryArray.from_arrays(pa.array(site.astype(np.int32)), names),
            "ad": pa.array([f"ad{i}" for i in ad.tolist()]),
            "depth": depth,
            "user": pa.array([f"user{i % 7919}" for i in range(rows)]),
        }
    )


def as_text(table: pa.Table) -> bytes:
    """TSV without quotes, as logs are."""
    plain = pa.table({name: table.column(name).cast(pa.string()) for name in table.column_names})
    options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    sink = pa.BufferOutputStream()
    csv.write_csv(plain, sink, options)
    return "\t".join(table.column_names).encode() + b"\n" + sink.getvalue().to_pybytes()


def write(path: Path, table: pa.Table) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        path.write_bytes(as_text(table))
    return path
