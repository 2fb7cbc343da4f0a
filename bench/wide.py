"""Time of step_rows on [N, D] tables, with one accumulator per element and one per row.

The questions of rows.py for rows of 4, 16 and 64 elements. "row" has an s of [N] that accumulates
the mean square of a row; torch has no such optimizer. Then a Table at every length of a row: see
lengths.py.
"""

from __future__ import annotations

import numpy as np

from bench import data, lengths
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import US, Shape, Variant
from bench.rows import EPS, LR, START, Batch, Table, torch_sparse

ELEMENT, ROW = "element", "row"
DIMS, BITS = (4, 16, 64), 26  # 2^26 elements: 256 MiB, as the large table of rows.py
N = 10**5


def sums(rows: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum rows of a gradient by id, the fast way in NumPy: sort, then add runs."""
    order = np.argsort(rows, kind="stable")
    u, starts = np.unique(rows[order], return_index=True)
    return u, np.add.reduceat(g[order], starts, axis=0)


class WideTable(Table):
    """w of [N, D] with s of [N, D] or of [N]."""

    def __init__(self, rows: int, dim: int, row_state: bool) -> None:
        super().__init__((rows, dim))
        if row_state:
            self.s = np.full(rows, START, np.float32)

    def numpy_wide(self, batch: Batch) -> None:
        """Sum, then step."""
        u, total = sums(*batch)
        self.apply(u, total)

    def reference_wide(self, batch: Batch) -> None:
        """Step as `numpy_wide`, but add in order of appearance, as adagrad promises."""
        rows, g = batch
        u, inverse = np.unique(rows, return_inverse=True)
        total = np.zeros((len(u), g.shape[1]), np.float32)
        np.add.at(total, inverse, g)
        self.apply(u, total)

    def apply(self, u: np.ndarray, total: np.ndarray) -> None:
        """Take a step of distinct rows."""
        w, s = self.w, self.s
        if s.ndim == 1:
            s[u] += (total * total).mean(1)
            w[u] -= LR * total / np.sqrt(s[u] + EPS)[:, None]
        else:
            s[u] += total * total
            w[u] -= LR * total / np.sqrt(s[u] + EPS)


def make(table: WideTable, batches: data.Batches, group: str) -> list[Variant]:
    """Return the variants for one shape, checked on the first batch."""
    ours = Variant(US, table.step("sum"), batches, group)
    numpy = Variant("NumPy", table.numpy_wide, batches, group)
    table.check(ours, batches(0), table.reference_wide, 0.0)
    table.check(numpy, batches(0), table.reference_wide, 4e-3)
    variants = [ours, *table.limit(batches, group), numpy]
    torch = peer("torch")
    if torch is not None and group == ELEMENT:
        v = torch_sparse(torch, table, group, batches)
        v.prepare(0)
        table.check(v, batches(0), table.reference_wide, 4e-3)
        variants.append(v)
    return variants


def run(report: Report) -> list[Panel]:
    """Measure, and print a table per kind of accumulator."""
    bits, n = (20, 2000) if report.smoke else (BITS, N)
    pool = data.SMOKE_POOL if report.smoke else data.POOL
    for group in (ELEMENT, ROW):
        for dim in DIMS:
            shift = dim.bit_length() - 1
            table = WideTable(1 << (bits - shift), dim, group == ROW)
            for law in (data.UNIFORM, data.ZIPF_12):
                if not report.wants(f"D {dim:2}, {law}"):
                    continue
                ids = data.draw(law, bits - shift, pool)
                g = data.gradients(max(pool, 2 * n * dim))
                batches = data.Batches(ids, g, n, dim)
                unique = batches.unique()
                facts = {"table": 1 << (bits - shift), "dim": dim, "law": law, "unique": unique}
                shape = Shape(f"D {dim:2}, {law}, u {unique:.2f}", n, facts)
                report.measure(shape, make(table, batches, group), repeat=False)
            del table
    elements = f"{data.power(bits)} elements, {n} ids"
    report.by_shape(f"{elements}, s of [N, D]: ns per row, and time / adagrad's", ELEMENT)
    report.by_shape(f"{elements}, s of [N]: ns per row, and time / adagrad's", ROW)
    print("\nu: share of different ids in a batch.")
    lengths.run(report)
    return [
        panel(report, group, law)
        for law in (data.UNIFORM, data.ZIPF_12)
        for group in (ELEMENT, ROW)
    ]


def panel(report: Report, group: str, law: str) -> Panel:
    """Return the ratios of one law against the length of a row."""
    shapes = [shape for shape in report.shapes(group) if shape.facts["law"] == law]
    x = [shape.facts["dim"] for shape in shapes]
    series = {
        name: (x, [report.ratio(shape.label, name, group) for shape in shapes])
        for name in report.names(group)
        if name != US
    }
    return Panel(f"{law}, one accumulator per {group}", "elements per row", series)
