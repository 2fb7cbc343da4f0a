"""Bytes, time and loss of each storage dtype, from float64 to 16 bits throughout.

Times are relative to float32: those of Table.step and Table.gather with uniform ids on tables of
one column, and those of the dense step. Tables of 16 bits round stochastically; the dense step
rounds arrays of 16 bits to nearest even. Loss is the progressive logloss of a logistic regression
in one pass, over synthetic clicks and over the log that ships with the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import adagrad
from adagrad import datasets
from adagrad.metrics import entropy
from bench import data
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import US, Claim, Shape, Variant, number, table
from bench.rows import EPS, LR, START, Batch


@dataclass(frozen=True)
class Storage:
    """Dtypes of params and accumulators, and how far a few steps may be from float32's."""

    dtype: str
    state_dtype: str
    rtol: float

    @property
    def name(self) -> str:
        """The name in printed tables; float32 is the baseline."""
        both = f"{self.dtype} + {self.state_dtype}"
        name = self.dtype if self.dtype == self.state_dtype else both
        return US if name == "float32" else f"{US} {name}"


STORAGES = (
    Storage("float32", "float32", 0.0),
    Storage("float64", "float64", 1e-5),
    Storage("bfloat16", "float32", 2**-6),
    Storage("bfloat16", "bfloat16", 2**-5),
    Storage("float16", "float32", 2**-9),
    Storage("float16", "float16", 2**-8),
)
BITS, N = (24, 26), 10**6
POLICIES, GATHER, DENSE = ("sum", "sequential"), "gather", "step"
DENSE_N = 1 << 24
EXAMPLES, FEATURES, TABLE_BITS, MINIBATCH = 1 << 19, 20, 20, 16
SEEDS = 3


def new_table(storage: Storage, count: int, **fields: Any) -> adagrad.Table:
    """Return a table of one column."""
    rule = adagrad.Rule(**{"lr": LR, "eps": EPS, "initial_accumulator": START, **fields})
    return adagrad.Table(count, 1, rule, storage.dtype, state_dtype=storage.state_dtype)


def check_storage(storage: Storage) -> None:
    """Raise if a few steps end too far from those of float32."""
    ids = data.draw(data.UNIFORM, 10, 2000)
    tables = [new_table(of, 1 << 10) for of in (STORAGES[0], storage)]
    for duplicates in ("sum", "unique"):
        for t in tables:
            rows = ids if duplicates == "sum" else np.arange(1 << 10)
            g = data.gradients(2000)[: len(rows)].astype(t.gather(rows).dtype)
            t.step(rows, g, duplicates)
    want, got = (t.gather(np.arange(1 << 10)) for t in tables)
    if not np.allclose(got, want, storage.rtol, atol=0.0):
        raise RuntimeError(f"{storage.name} is further from float32 than {storage.rtol}")


def make(tables: dict[Storage, adagrad.Table], batches: data.Batches) -> list[Variant]:
    """Return the variants for tables of one size."""
    variants = []
    for storage, of in tables.items():
        real = of.gather(np.zeros(1, np.int64)).dtype

        def prepare(i: int, real: np.dtype[Any] = real) -> Batch:
            ids, g = batches(i)
            return ids, g.astype(real, copy=False)

        for policy in POLICIES:
            step = lambda b, of=of, policy=policy: of.step(b[0], b[1], policy)  # noqa: E731
            variants.append(Variant(storage.name, step, prepare, policy))
        gather = lambda b, of=of: of.gather(b[0])  # noqa: E731
        variants.append(Variant(storage.name, gather, prepare, GATHER))
    return variants


def make_dense(n: int) -> list[Variant]:
    """Check the dense step on arrays of each dtype that this build takes; return the variants."""
    kinds: dict[str, tuple[Any, Any, Any]] = {US: (np.float32,) * 3}
    ml_dtypes = peer("ml_dtypes")
    halves: dict[str, Any] = {"float16": np.float16}
    if ml_dtypes is not None:
        halves = {"bfloat16": ml_dtypes.bfloat16} | halves
    for name, half in halves.items():
        kinds[f"{US} w {name}"] = (half, np.float32, np.float32)
        kinds[f"{US} w, g {name}"] = (half, half, np.float32)
        kinds[f"{US} w, s {name}"] = (half, np.float32, half)
        kinds[f"{US} w, g, s {name}"] = (half,) * 3
    variants = []
    random = data.gradients(n)
    for name, (of_w, of_g, of_s) in kinds.items():
        w, g, s = np.ones(n, of_w), random.astype(of_g), np.full(n, START, of_s)
        step = lambda _, a=(w, g, s): adagrad.step(*a, lr=LR, eps=EPS)  # noqa: E731
        try:
            step(None)
        except TypeError:
            continue  # this build takes no arrays of 16 bits
        expected = 1 - LR * random / np.sqrt(np.float32(START) + random * random)
        if not np.allclose(w.astype(np.float32), expected, 2**-8, 0.0):
            raise RuntimeError(f"{name} computes something else")
        variants.append(Variant(name, step, group=DENSE))
    return variants


@dataclass(frozen=True)
class Clicks:
    """Examples in CSR form; values are None where all are 1."""

    name: str
    indptr: np.ndarray
    rows: np.ndarray
    values: np.ndarray | None
    labels: np.ndarray
    table_rows: int


def made_up(examples: int) -> Clicks:
    """Return synthetic clicks: Zipf ids in each field, with one true weight per id."""
    random = np.random.default_rng(4)
    ids = np.minimum(random.zipf(1.2, (examples, FEATURES)) - 1, (1 << TABLE_BITS) - 1)
    rows = (ids * FEATURES + np.arange(FEATURES)) * data.KNUTH % (1 << TABLE_BITS)
    truth = random.normal(0.0, 0.5, 1 << TABLE_BITS)
    logits = truth[rows].sum(1)
    labels = random.random(examples) < 1 / (1 + np.exp(2.0 - logits))
    indptr = np.arange(0, examples * FEATURES + 1, FEATURES)
    return Clicks(
        "made-up clicks", indptr, rows.ravel(), None, labels.astype(np.float32), 1 << TABLE_BITS
    )


def shipped() -> Clicks:
    """Return the click log of the package."""
    log = datasets.click_log()
    return Clicks(log.name, log.indptr, log.rows, log.values, log.labels, log.table_rows)


def logloss(clicks: Clicks, storage: Storage, seed: int) -> float:
    """Return the progressive logloss of one pass."""
    rule = adagrad.Rule(lr=0.1, eps=1e-6)
    model = adagrad.Table(
        clicks.table_rows, 1, rule, storage.dtype, seed=seed, state_dtype=storage.state_dtype
    )
    real = model.gather(clicks.rows[:1]).dtype
    values = None if clicks.values is None else clicks.values.astype(real)
    total = 0.0
    for first in range(0, len(clicks.labels), MINIBATCH):
        labels = clicks.labels[first : first + MINIBATCH]
        indptr = clicks.indptr[first : first + len(labels) + 1]
        part = slice(indptr[0], indptr[-1])
        rows, offsets = clicks.rows[part], indptr - indptr[0]
        factors = None if values is None else values[part]
        logits = model.pool(rows, offsets, "sum", factors).astype(np.float64)
        total += float(np.logaddexp(0.0, np.where(labels == 1, -logits, logits)).sum())
        g = (1 / (1 + np.exp(-logits)) - labels).astype(real)
        model.step_pooled(rows, offsets, g, "sum", factors)
    return total / len(clicks.labels)


def show_losses(report: Report) -> None:
    """Print bytes and losses, and bound the cost of 16 bits."""
    streams = [made_up(1 << 12 if report.smoke else EXAMPLES), shipped()]
    seeds = 1 if report.smoke else SEEDS
    lines, first = [], []
    for storage in STORAGES:
        if not report.wants(storage.name):
            continue
        line = [storage.name, str(new_table(storage, 8).nbytes // 8)]
        for k, clicks in enumerate(streams):
            losses = [logloss(clicks, storage, seed) for seed in range(seeds)]
            mean, spread = float(np.mean(losses)), float(np.ptp(losses))
            if storage is STORAGES[0]:
                first.append(mean)
            over = f"{mean / first[k]:.5f}" if first else "-"
            line += [f"{mean:.5f}", over, f"{spread:.5f}" if storage.rtol > 1e-4 else "-"]
            if first and k == 0 and storage.rtol > 1e-4 and not report.smoke:
                name = storage.name.removeprefix(US).strip()
                text = f"{clicks.name}: logloss of {name} over float32's"
                report.claims.append(Claim(text, 100 * (mean / first[0] - 1), "<=", 0.5, "%"))
        lines.append(line)
    lines.append(["always the share of clicks", "-"])
    for clicks in streams:
        lines[-1] += [f"{entropy(float(clicks.labels.mean())):.5f}", "-", "-"]
    headers = ["", "bytes a feature"]
    for clicks in streams:
        headers += [clicks.name, "/ float32", "over seeds"]
    title = f"Progressive logloss, mean of {seeds} seeds of the rounding; the range over seeds"
    table(title, headers, lines)


def run(report: Report) -> list[Panel]:
    """Measure, print times, bytes and losses."""
    bits_of_tables, n = ((20,), 10**4) if report.smoke else (BITS, N)
    pool = data.SMOKE_POOL if report.smoke else data.POOL
    for storage in STORAGES[1:]:
        check_storage(storage)
    for bits in bits_of_tables:
        label = f"{data.power(bits)} {data.UNIFORM}, {data.thousands(n)}"
        if report.wants(label):
            tables = {storage: new_table(storage, 1 << bits) for storage in STORAGES}
            batches = data.Batches(data.draw(data.UNIFORM, bits, pool), data.gradients(pool), n)
            shape = Shape(label, n, {"table": 1 << bits})
            report.measure(shape, make(tables, batches), repeat=False, budget=16.0)
            del tables
    elements = 1 << 16 if report.smoke else DENSE_N
    label = f"dense 2^{elements.bit_length() - 1}"
    if report.wants(label):
        shape = Shape(label, elements)
        report.measure(shape, make_dense(elements), repeat=report.smoke, budget=8.0)
    for group in (*POLICIES, GATHER):
        title = f"Table.{group}" if group == GATHER else f"Table.step, {group}"
        report.by_shape(f"{title}: ns per id, and time / float32's", group)
    by_dtype(report)
    show_losses(report)
    return [panel(report, group) for group in (*POLICIES, GATHER)]


def by_dtype(report: Report) -> None:
    """Print the times of the dense step, one row per dtype."""
    lines = []
    for shape in report.shapes(DENSE):
        for name in report.names(DENSE):
            r, ratio = report.get(shape.label, name, DENSE), report.ratio(shape.label, name, DENSE)
            if r is not None and ratio is not None:
                lines.append([name, r.text(), f"{number(ratio)}x"])
        table(f"{shape.label}: ns per element, and time / float32's", ["", "", ""], lines)


def panel(report: Report, group: str) -> Panel:
    """Return the ratios to float32 against the size of the table."""
    shapes = report.shapes(group)
    series = {}
    for name in report.names(group):
        x = [shape.facts["table"] for shape in shapes]
        ratios = [report.ratio(shape.label, name, group) for shape in shapes]
        if name != US:
            series[name] = (x, ratios)
    return Panel(f"{group}, uniform ids", "rows of the table", series)
