"""Read damaged Arrow and Parquet files in a process of its own, which a crash may end.

``python damaged_arrow.py KIND FIRST COUNT KNOWN...`` reads the inputs of seeds in turn: files of
any kind, files of maps, or pages of Parquet. It writes each seed to the standard output before it
begins, and after it a line about what is wrong, if anything.
"""

from __future__ import annotations

import datetime
import decimal
import faulthandler
import functools
import io
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import feather, parquet

from adagrad.ctr import HashingEncoder
from adagrad.ctr.logs import LogError, open_log
from fuzz import damaged
from parquet_files import differences

SECONDS = 20  # that one input may take; far more than it needs, even with a sanitizer
BYTES = 256 << 20  # that one input may add to the memory of the process
ROWS = 150
NOT_IN_PARQUET = ("view", "coded", "codes")


def made_up() -> pa.Table:
    """Return rows with a column of each type whose memory can be damaged."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 20, ROWS)
    texts = pa.array(
        [None if x == 3 else f"{'ä' * (x % 2)}{x:b}-{'long' * (x % 5)}" for x in numbers]
    )
    offsets = pa.array(np.sort(rng.integers(0, ROWS, ROWS + 1)), pa.int32())
    start = datetime.date(2026, 1, 31)
    days = pa.array([start + datetime.timedelta(int(x)) for x in numbers])
    lists = pa.ListArray.from_arrays(offsets, texts)
    return pa.table(
        {
            "click": pa.array(numbers % 2 == 0),
            "text": texts,
            "large": texts.cast(pa.large_string()),
            "view": texts.cast(pa.string_view()),
            "bytes": texts.cast(pa.binary()),
            "dictionary": texts.dictionary_encode(),
            "small": texts.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.large_string())),
            "days": days.dictionary_encode(),
            "moment": days.cast(pa.timestamp("us", "Europe/Berlin")),
            "list": lists,
            "large_list": pa.LargeListArray.from_arrays(offsets.cast(pa.int64()), numbers),
            "coded": pa.ListArray.from_arrays(offsets, texts.dictionary_encode()),
            "pair": pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(numbers, 2)), 2),
            "count": pa.array(numbers, mask=numbers == 5),
            "price": pa.array(numbers / 7).cast(pa.float16()),
            "exact": pa.array([decimal.Decimal(int(x)) for x in numbers]),
            "null": pa.nulls(ROWS),
        }
    )


def maps() -> pa.Table:
    """Return rows with columns of maps."""
    rng = np.random.default_rng(1)
    numbers = rng.integers(0, 20, ROWS)
    names = pa.array([f"{'ä' * (x % 2)}{x:b}-{'long' * (x % 5)}" for x in numbers])
    values = pa.array(numbers / 7, mask=numbers == 9)
    ends = np.sort(rng.integers(0, ROWS, ROWS + 1))
    offsets = pa.array(ends, pa.int32(), mask=np.arange(ROWS + 1) % 50 == 7)  # some are null
    return pa.table(
        {
            "click": pa.array(numbers % 2 == 0),
            "texts": pa.MapArray.from_arrays(offsets, names, values.cast(pa.float32())),
            "large": pa.MapArray.from_arrays(offsets, names.cast(pa.large_string()), values),
            "ids": pa.MapArray.from_arrays(offsets, numbers, numbers),
            "small": pa.MapArray.from_arrays(offsets, names, pa.array(numbers).cast(pa.int8())),
            "codes": pa.MapArray.from_arrays(offsets, names.dictionary_encode(), values),
        }
    )


@functools.cache
def intact(number: int, made: Callable[[], pa.Table]) -> tuple[str, bytes]:
    """Return a format of logs, and a file in it."""
    table = made()
    out = io.BytesIO()
    if number < 2:
        if made is made_up:
            views = pa.ListViewArray.from_arrays(
                pa.array([k % 7 for k in range(ROWS)], pa.int32()),
                pa.array([k % 3 for k in range(ROWS)], pa.int32()),
                table.column("view").chunk(0),
            )
            runs = pa.RunEndEncodedArray.from_arrays(pa.array([9, 70, ROWS]), ["a", None, "b" * 20])
            table = table.append_column("views", views).append_column("runs", runs)
        new = pa.ipc.new_file if number == 0 else pa.ipc.new_stream
        with new(out, table.schema) as writer:
            writer.write_table(table, 64)
        return "arrow", out.getvalue()
    if number < 4:
        compression = "lz4" if number == 2 else "zstd"
        feather.write_feather(table, out, compression=compression, chunksize=64)
        return "arrow", out.getvalue()
    if number < 6:
        options = {"data_page_version": "2.0", "use_dictionary": False, "compression": "zstd"}
        parquet.write_table(
            table.select([name for name in table.column_names if name not in NOT_IN_PARQUET]),
            out,
            row_group_size=64,
            **options if number == 5 else {},
        )
        return "parquet", out.getvalue()
    raise IndexError(number)


FORMATS = 6


@functools.cache
def pages(number: int) -> bytes:
    """Return a Parquet file of columns that the compiled module decodes itself."""
    rng = np.random.default_rng(number)
    rows = int(rng.integers(1, 120))
    few, many = rng.integers(0, 5, rows), rng.integers(0, 1 << 40, rows)
    with_nulls, without = rng.random(rows) < 0.3, np.zeros(rows, np.bool_)
    columns = {
        "few": pa.array(few, pa.int32(), mask=with_nulls),
        "many": pa.array(many, mask=without),
        "runs": pa.array(np.sort(few), mask=without),
        "price": pa.array(many / 7, mask=with_nulls),
        "share": pa.array((few / 7).astype("f4")),
        "site": pa.array([f"{x:b}" for x in few], mask=with_nulls),
        "user": pa.array([f"{x:08x}" for x in many], mask=without),
    }
    picked = [name for name in columns if rng.random() < 0.5] or ["site"]
    table = pa.table({name: columns[name] for name in picked})
    out = io.BytesIO()
    parquet.write_table(
        table,
        out,
        # Most faults in compressed pages only show that they cannot be decompressed.
        compression=str(rng.choice(["none", "none", "none", "snappy", "zstd", "gzip"])),
        data_page_version=str(rng.choice(["1.0", "2.0"])),
        use_dictionary=bool(rng.random() < 0.6),
        dictionary_pagesize_limit=int(rng.choice([20, 1 << 20])),
        row_group_size=int(rng.choice([7, 64, 1000])),
        data_page_size=int(rng.choice([1, 100, 1 << 20])),
        write_batch_size=int(rng.choice([1, 10, 1000])),
        write_statistics=False,
        store_schema=bool(rng.random() < 0.3),
    )
    return out.getvalue()


def read_pages(seed: int, path: Path) -> str | None:
    """Read a damaged file of pages as a log; return how that differs from what pyarrow reads."""
    data = pages(seed % 500)
    if seed % 2:
        end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        path.write_bytes(damaged(data[:end], seed) + data[end:])
    else:
        path.write_bytes(damaged(data, seed))
    return "; ".join(differences(path)) or None


def read(seed: int, path: Path, made: Callable[[], pa.Table] = made_up) -> str | None:
    """Read one damaged file as a log and as columns; return what is wrong with the outcome."""
    format, data = intact(seed % FORMATS, made)
    path.write_bytes(damaged(data, seed))
    encoder = HashingEncoder(bits=12)
    try:
        with open_log(path, label="click", format=format, rows=64, skip_bad=seed % 7 == 0) as log:
            for batch in log:
                encoder.transform(batch)
    except (LogError, ValueError, TypeError) as error:
        wrong = _not_one_line(error)
        if wrong is not None:
            return wrong
    try:
        table = _columns(path, format)
    except (pa.ArrowException, OSError, ValueError):
        return None
    for use in (encoder.fit_transform, encoder.inverse, encoder.collisions):
        try:
            use(table)
        except (ValueError, TypeError) as error:
            wrong = _not_one_line(error)
            if wrong is not None:
                return wrong
    return None


def _columns(path: Path, format: str) -> pa.Table:
    if format == "parquet":
        return parquet.read_table(path)
    data = path.read_bytes()
    is_file = data[:6] == b"ARROW1"
    return (pa.ipc.open_file if is_file else pa.ipc.open_stream)(pa.BufferReader(data)).read_all()


def _not_one_line(error: Exception) -> str | None:
    text = str(error)
    if not text or "\n" in text or len(text) > 1000:
        return f"the message of {type(error).__name__} is not one line: {text!r}"
    return None


READERS = {"any": read, "maps": functools.partial(read, made=maps), "pages": read_pages}


def main(kind: str, first: int, count: int, known: list[int]) -> None:
    """Read the inputs of the known seeds, then of the seeds from `first`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        for seed in [*known, *range(first, first + count)]:
            print(seed, flush=True)
            before = _peak()
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            try:
                wrong = READERS[kind](
                    seed, Path(folder, "log.parquet" if kind == "pages" else "log")
                )
            except Exception as error:
                wrong = f"{type(error).__name__}: {error}".replace("\n", " ")
            if _peak() > before + BYTES:
                wrong = f"{(_peak() - before) >> 20} MiB of memory"
            if wrong is not None:
                print(f"{seed}: {wrong}", flush=True)
        faulthandler.cancel_dump_traceback_later()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def failures(kind: str, seeds: list[int]) -> list[str]:
    """Read the inputs of seeds in child processes; return a line about each that fails."""
    found = []
    environment = {
        **os.environ,
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        # With AddressSanitizer, a file that claims too much memory gets none, as without it.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=512",
    }
    while seeds:
        command = [sys.executable, __file__, kind, *_arguments(seeds)]
        child = subprocess.run(command, capture_output=True, text=True, env=environment)
        lines = child.stdout.split("\n")[:-1]
        found += [line for line in lines if ":" in line]
        started = [int(line) for line in lines if ":" not in line]
        if child.returncode == 0 and len(started) == len(seeds):
            return found
        assert started, child.stderr
        tail = child.stderr.strip()[-3000:]
        found.append(f"{started[-1]}: exit code {child.returncode}: {tail}")
        seeds = seeds[len(started) :]
    return found


def _arguments(seeds: list[int]) -> list[str]:
    """Return the shortest arguments for these seeds, of which most are a range."""
    begin = len(seeds) - 1
    while begin and seeds[begin - 1] == seeds[begin] - 1:
        begin -= 1
    return [str(number) for number in (seeds[begin], len(seeds) - begin, *seeds[:begin])]


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]), [int(seed) for seed in sys.argv[4:]])
