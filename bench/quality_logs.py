"""The logs of bench/quality.py: what the package ships or makes, and what a folder holds.

A folder describes its logs in `logs.json`, an object a log; only `file` and `label` are needed::

    {"criteo": {"file": "criteo.tsv", "label": "click", "test": "criteo.test.tsv",
                "ignore": ["id"], "categorical": ["C14"], "numeric": "value"}}

The test file is held out. An ignored column is not a feature. The kinds are the encoding that a
person would choose, where the default is not the best.

Three well-known logs need no description.
"""

from __future__ import annotations

import functools
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adagrad import datasets
from adagrad.ctr import Examples, HashingEncoder
from adagrad.ctr.logs import open_log
from bench.clicks import Clicks

BITS = 18  # a field-aware machine of 40 fields has 330 MB then
ENCODINGS: tuple[dict[str, Any], ...] = (
    {"numeric": "log2-bins"},
    {"numeric": "categorical"},
    {"numeric": "value"},
)


@dataclass(frozen=True)
class File:
    """A log on disk, and how a person would encode it."""

    path: Path
    label: str
    test: Path | None = None
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: str | None = None

    @property
    def is_matrix(self) -> bool:
        """Whether its ids are the slots."""
        return ".libsvm" in self.path.suffixes or self.path.name.startswith("a9a")

    def load(self, path: Path) -> tuple[Examples, np.ndarray]:
        """Return the examples and labels of one of its files, encoded by hand."""
        import pyarrow as pa

        if self.is_matrix:
            return matrix(datasets.libsvm(path), np.unique(datasets.libsvm(self.path).rows))
        kept = [*self.ignore, self.label]
        with open_log(path, label=self.label, text=self.categorical) as log:
            table = pa.Table.from_batches(list(log), log.schema)
        y = table.column(self.label).to_numpy().astype(np.float32)
        table = table.drop_columns([c for c in kept if c in table.column_names])
        fields: dict[str, Any] = dict.fromkeys(table.column_names)
        fields |= dict.fromkeys(self.categorical, "categorical")
        encoder = HashingEncoder(BITS, fields, numeric=self.numeric or "log2-bins")  # type: ignore[arg-type]
        return encoder.transform(table), y

    def options(self) -> list[str]:
        """Return the options that no training can do without."""
        options = ["--label", self.label]
        if self.ignore:
            options += ["--ignore", ",".join(self.ignore)]
        return options

    def by_hand(self) -> list[list[str]]:
        """Return the options of the encodings that a person would try."""
        found = [["--numeric", encoding["numeric"]] for encoding in ENCODINGS]
        if self.categorical:
            found.append(["--categorical", ",".join(self.categorical)])
            if self.numeric:
                found[-1] += ["--numeric", self.numeric]
        return found


@dataclass(frozen=True)
class Log:
    """A log as it is learned, and the part that is held out."""

    name: str
    load: Callable[[], tuple[Clicks, Clicks | None]] = field(compare=False)
    file: File | None = None


def matrix(log: datasets.Log, used: np.ndarray) -> tuple[Examples, np.ndarray]:
    """Return a libsvm log whose slots are the positions of its ids in `used`; others are left out.

    Without gaps between ids, small models suffice, also for peers that copy theirs.
    """
    import scipy.sparse

    slots = np.searchsorted(used, log.rows)
    known = used[np.minimum(slots, len(used) - 1)] == log.rows
    owner = np.repeat(np.arange(len(log)), np.diff(log.indptr))
    shape = (len(log), len(used))
    entries = (log.values[known], (owner[known], slots[known]))
    sparse = scipy.sparse.csr_matrix(entries, shape=shape, dtype=np.float32)
    return Examples.from_csr(sparse), log.labels


def split(name: str, x: Examples, y: np.ndarray, n: int) -> tuple[Clicks, Clicks]:
    """Return the first n examples and the rest."""
    return Clicks(name, x[:n], y[:n]), Clicks(name, x[n:], y[n:])


def shipped(rows: int | None = None) -> tuple[Clicks, Clicks | None]:
    """Return the click log of the package."""
    log = datasets.click_log()
    x, y = matrix(log, np.unique(log.rows))
    return Clicks("hive", x[:rows], y[:rows]), None


def synthetic(
    rows: int, held_out: int, bits: int = 18, click_rate: float = 0.05, seed: int = 1
) -> tuple[Clicks, Clicks]:
    """Return a synthetic log, and the rows that follow."""
    log = datasets.synthetic_clicks(rows + held_out, seed=seed, click_rate=click_rate).read_all()
    y = log.column("click").to_numpy().astype(np.float32)
    x = HashingEncoder(bits).transform(log.drop_columns(["click"]))
    return split("synthetic", x, y, rows)


def from_file(name: str, file: File) -> tuple[Clicks, Clicks | None]:
    """Return a log on disk."""
    test = None if file.test is None else Clicks(name, *file.load(file.test))
    return Clicks(name, *file.load(file.path)), test


def bandit(path: Path) -> tuple[Clicks, Clicks | None]:
    """Return the Open Bandit sample: its six logs one after another."""
    import pyarrow as pa
    import pyarrow.csv

    tables = []
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            if member.isfile() and not member.name.endswith("item_context.csv"):
                tables.append(pyarrow.csv.read_csv(archive.extractfile(member)))
    log = pa.concat_tables(tables, promote_options="permissive")
    y = log.column("click").to_numpy().astype(np.float32)
    features = [c for c in log.column_names if c.startswith(("item", "pos", "user_"))]
    x = HashingEncoder(BITS, numeric="categorical").transform(log.select(features))
    return Clicks("open bandit", x, y), None


def in_folder(folder: Path) -> Iterator[Log]:
    """Return the logs of a folder."""
    known = {
        "a9a": File(folder / "a9a.gz", "label", folder / "a9a.t.gz"),
        "iPinYou": File(
            folder / "ipinyou_fh.train.csv.gz", "IsClick", folder / "ipinyou_fh.test.csv.gz"
        ),
    }
    for name, file in known.items():
        if file.path.is_file():
            yield Log(name, functools.partial(from_file, name, file), file)
    if (folder / "open_bandit_60k.tar.xz").is_file():
        yield Log("open bandit", functools.partial(bandit, folder / "open_bandit_60k.tar.xz"))
    described = folder / "logs.json"
    if not described.is_file():
        return
    for name, facts in json.loads(described.read_text(encoding="utf-8")).items():
        file = File(
            folder / facts["file"],
            facts.get("label", "label"),
            folder / facts["test"] if "test" in facts else None,
            *(tuple(facts.get(key, ())) for key in ("ignore", "categorical")),
            facts.get("numeric"),
        )
        yield Log(name, functools.partial(from_file, name, file), file)
