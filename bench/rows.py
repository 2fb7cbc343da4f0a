"""Time of step_rows on [N] tables: policies for duplicates, laws of ids, batch and table sizes.

w and s are two arrays, so an id touches two cache lines. No sample uses ids that a variant has seen
within the last 8 M, so a small batch never comes out of cache; how much of a table does depends on
its size and on the law of the ids. Ids are int64, which torch requires. torch.optim.Adagrad gets
the sparse COO gradient uncoalesced, as backward makes it; making the tensor is not timed. The limit
visits the row of every id in order, for every policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import adagrad
from bench import data, limits
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import LIMIT, US, Claim, Shape, Variant, check

LR, EPS, START = 0.01, 1e-10, 0.1  # as in dense.py
TABLES, NS = (20, 24, 26), (10**4, 10**5, 10**6)
QUICK = ("2^26 uniform, 1 M", "2^26 Zipf 1.2, 1 M", "2^26 uniform, 10 k", "2^26 Zipf 1.2, 10 k")
Batch = tuple[np.ndarray, np.ndarray]
Apply = Callable[[Any], object]


class Table:
    """w and s, which all variants share."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.w = np.ones(shape, np.float32)
        self.s = np.full(shape, START, np.float32)

    def check(self, v: Variant, batch: Batch, want: Apply, rtol: float) -> None:
        """Apply a batch by `v` and by `want`, from the same start, and compare."""
        ids = np.unique(batch[0])
        results = []
        for apply in (want, v.call):
            self.w[ids], self.s[ids] = 1.0, START
            apply(batch)
            results.append((self.s[ids], self.w[ids]))
        for got, expected in zip(results[1], results[0], strict=True):
            check(f"{v.group}: {v.name}", got, expected, rtol)

    def step(self, duplicates: str, threads: int = 1) -> Apply:
        """Return our step_rows."""
        w, s = self.w, self.s
        return lambda b: adagrad.step_rows(
            w, b[1], s, b[0], LR, duplicates, eps=EPS, threads=threads
        )

    def limit(self, batches: data.Batches, group: str) -> list[Variant]:
        """Return the limit of a step, whatever its policy for duplicates: a visit for each id."""
        return limits.variant(lambda of, i: of.step_rows(self.w, self.s, *batches(i)), group)

    def numpy_sum(self, batch: Batch) -> None:
        """Sum, then step, as one writes it in NumPy."""
        w, s, (rows, g) = self.w, self.s, batch
        u, inverse = np.unique(rows, return_inverse=True)
        total = np.bincount(inverse, g, len(u)).astype(np.float32)
        s[u] += total * total
        w[u] -= LR * total / np.sqrt(s[u] + EPS)

    def reference_sum(self, batch: Batch) -> None:
        """Step as `numpy_sum`, but add float32 in order of appearance, as adagrad promises."""
        w, s, (rows, g) = self.w, self.s, batch
        u, inverse = np.unique(rows, return_inverse=True)
        total = np.zeros((len(u), *g.shape[1:]), np.float32)
        np.add.at(total, inverse, g)
        s[u] += total * total
        w[u] -= LR * total / np.sqrt(s[u] + EPS)

    def numpy_each(self, batch: Batch) -> None:
        """Add all squares, then take all steps."""
        rows, g = batch
        np.add.at(self.s, rows, g * g)
        np.subtract.at(self.w, rows, LR * g / np.sqrt(self.s[rows] + EPS))

    def numpy_unique(self, batch: Batch) -> None:
        """Take a step in which no id repeats."""
        w, s, (rows, g) = self.w, self.s, batch
        s[rows] += g * g
        w[rows] -= LR * g / np.sqrt(s[rows] + EPS)

    def reference_sequential(self, batch: Batch) -> None:
        """Make one update per occurrence."""
        lr, eps = np.float32(LR), np.float32(EPS)
        for i, g in zip(*batch, strict=True):
            self.s[i] += g * g
            self.w[i] -= lr * g / np.sqrt(self.s[i] + eps)


def torch_sparse(torch: Any, table: Table, group: str, batches: data.Batches) -> Variant:
    """Return torch.optim.Adagrad.step on the memory of the table."""
    param = torch.from_numpy(table.w).requires_grad_()
    optimizer = torch.optim.Adagrad([param], lr=LR, eps=EPS)
    optimizer.state[param]["sum"] = torch.from_numpy(table.s)

    def prepare(i: int) -> None:
        rows, g = (torch.from_numpy(x) for x in batches(i))
        param.grad = torch.sparse_coo_tensor(rows[None], g, param.shape, check_invariants=False)

    return Variant("torch sparse", lambda _: optimizer.step(), prepare, group)


def numba_sequential(numba: Any) -> Callable[..., None]:
    """Compile the plain loop."""

    @numba.njit(error_model="numpy")
    def loop(w, g, s, rows, lr, eps):  # type: ignore[no-untyped-def]
        for i in range(rows.size):
            id = rows[i]
            s[id] += g[i] * g[i]
            w[id] -= lr * g[i] / np.sqrt(s[id] + eps)

    return loop


def make(table: Table, batches: data.Batches, law: str, loop: Any) -> list[Variant]:
    """Return the variants for one shape, checked."""
    variants: list[Variant] = []
    first = batches(0)
    short = (first[0][:4000], first[1][:4000])  # the reference of "sequential" is slow

    def add(group: str, name: str, call: Apply, want: Apply, rtol: float = 0.0) -> None:
        v = Variant(name, call, batches, group)
        table.check(v, short if group == "sequential" else first, want, rtol)
        variants.append(v)

    # Sums of 1e5 gradients: float32 in order differs from bincount's float64 by up to 1e-3.
    add("sum", US, table.step("sum"), table.reference_sum)
    variants.extend(table.limit(batches, "sum"))
    add("sum", "NumPy", table.numpy_sum, table.reference_sum, 4e-3)
    torch = peer("torch")
    if torch is not None:
        v = torch_sparse(torch, table, "sum", batches)
        v.prepare(0)
        table.check(v, first, table.reference_sum, 4e-3)
        variants.append(v)
    if law == data.DISTINCT:
        add("unique", US, table.step("unique"), table.numpy_unique)
        variants.extend(table.limit(batches, "unique"))
        add("unique", "NumPy", table.numpy_unique, table.numpy_unique)
        return variants
    add("sequential", US, table.step("sequential"), table.reference_sequential)
    variants.extend(table.limit(batches, "sequential"))
    if loop is not None:
        lr, eps = np.float32(LR), np.float32(EPS)
        call = lambda b: loop(table.w, b[1], table.s, b[0], lr, eps)  # noqa: E731
        add("sequential", "numba", call, table.reference_sequential)
    if batches.n == NS[-1]:
        add("each", US, table.step("each"), table.numpy_each)
        add("each", "NumPy", table.numpy_each, table.numpy_each)
    return variants


def run(report: Report) -> list[Panel]:
    """Measure, print a table per policy, and judge the claims."""
    numba = peer("numba")
    loop = numba_sequential(numba) if numba is not None else None
    tables = (20,) if report.smoke else (*TABLES, *((28,) if report.args.large else ()))
    pool = data.SMOKE_POOL if report.smoke else data.POOL
    for bits in tables:
        table = Table((1 << bits,))
        for law in (*data.LAWS, data.DISTINCT):
            ids = data.draw(law, bits, pool)
            for n in NS[:1] if report.smoke else NS[2:] if law == data.DISTINCT else NS:
                label = label_of(bits, law, n)
                if not report.wants(label):
                    continue
                batches = data.Batches(ids, data.gradients(pool), n)
                unique = batches.unique()
                facts = {"table": 1 << bits, "law": law, "unique": unique}
                variants = make(table, batches, law, loop)
                shape = Shape(f"{label}, u {unique:.2f}", n, facts)
                report.measure(shape, variants, repeat=False, budget=8.0 if n == NS[-1] else 2.0)
    for policy in ("sum", "sequential", "each", "unique"):
        report.by_shape(f"duplicates={policy!r}: ns per id, and time / adagrad's", policy)
    print("\nu: share of different ids in a batch.")
    judge(report)
    return [panel(report, bits, law) for bits in tables for law in data.LAWS]


def label_of(bits: int, law: str, n: int) -> str:
    """Return table, law and batch size as text."""
    return f"{data.power(bits)} {law}, {data.thousands(n)}"


def find(report: Report, bits: int, law: str, n: int) -> str:
    """Return the full label of a shape, with its unique fraction."""
    start = label_of(bits, law, n) + ","
    return next((s.label for s in report.shapes("sum") if s.label.startswith(start)), "")


def judge(report: Report) -> None:
    """Compare with what the project promises for 1 M ids over 2^26 coordinates."""
    for law, numpy_x, torch_x in ((data.UNIFORM, 6, 12), (data.ZIPF_12, 6, 8)):
        label = find(report, 26, law, 10**6)
        for name, target in (("NumPy", numpy_x), ("torch sparse", torch_x)):
            text = f"2^26 {law}, 1 M, sum: {name} / {US}"
            report.claims.append(Claim(text, report.ratio(label, name, "sum"), ">=", target))
        value = report.ratio(label, US, "sequential", LIMIT)
        text = f"2^26 {law}, 1 M, sequential: {US} / {LIMIT}"
        report.claims.append(Claim(text, value, "<=", 1.25))
        value = report.ratio(label, US, "sum", LIMIT)
        text = f"2^26 {law}, 1 M, sum: {US} / {LIMIT}"
        report.claims.append(Claim(text, value, "<=", 1.5))
        for n, target in ((10**4, 1.25), (10**6, 1.4)):
            found = find(report, 26, law, n)
            both = [report.get(found, US, policy) for policy in ("sum", "sequential")]
            value = both[0].ns / both[1].ns if both[0] and both[1] else None
            text = f"2^26 {law}, {data.thousands(n)}, {US}: sum / sequential"
            report.claims.append(Claim(text, value, "<=", target))


def panel(report: Report, bits: int, law: str) -> Panel:
    """Return the ratios of one table and law against the batch size."""
    found = [(n, find(report, bits, law, n)) for n in NS]
    found = [(n, label) for n, label in found if label]
    series = {}
    for group in ("sum", "sequential", "each"):
        for name in report.names(group):
            ratios = [(n, report.ratio(label, name, group)) for n, label in found]
            ratios = [(n, ratio) for n, ratio in ratios if ratio is not None]
            if name != US and ratios:
                series[f"{group}: {name}"] = tuple(zip(*ratios, strict=True))
    return Panel(f"{data.power(bits)} coordinates, {law}", "ids per call", series)
