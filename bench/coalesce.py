"""Time of coalesce: ids and gradients to different ids and their sums.

Fresh ids for every sample, as in rows.py. torch coalesces a sparse COO tensor; making the tensor is
not timed. "np.unique" alone returns the ids and the inverse and has summed nothing yet.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import adagrad
from bench import data
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import US, Claim, Shape, Variant, check

TABLES, NS = (20, 26), (10**4, 10**5, 10**6)
QUICK = ("2^26 uniform, 1 M", "2^26 Zipf 1.2, 1 M", "2^20 uniform, 10 k")
Batch = tuple[np.ndarray, np.ndarray]


def numpy_coalesce(batch: Batch) -> Batch:
    """Sum by id as one writes it in NumPy."""
    u, inverse = np.unique(batch[0], return_inverse=True)
    return u, np.bincount(inverse, batch[1], len(u)).astype(np.float32)


def make(batches: data.Batches, size: int) -> list[Variant]:
    """Return the variants for one shape, checked."""
    variants = [
        Variant(US, lambda b: adagrad.coalesce(*b), batches),
        Variant("np.unique + bincount", numpy_coalesce, batches),
        Variant("np.unique", lambda b: np.unique(b[0], return_inverse=True), batches),
    ]
    torch = peer("torch")
    if torch is not None:

        def prepare(i: int) -> Any:
            rows, g = (torch.from_numpy(x) for x in batches(i))
            return torch.sparse_coo_tensor(rows[None], g, (size,), check_invariants=False)

        variants.append(Variant("torch", lambda x: x.coalesce(), prepare))

    ids, inverse = np.unique(batches(0)[0], return_inverse=True)
    total = np.zeros(len(ids), np.float32)
    np.add.at(total, inverse, batches(0)[1])
    for v in variants:
        got = v.call(v.prepare(0))
        if v.name == "torch":
            got = got.indices()[0].numpy(), got.values().numpy()
        check(v.name, got[0], ids)
        if v.name != "np.unique":
            # Sums of 1e5 gradients: float32 in order differs from float64 by up to 1e-3.
            check(v.name, got[1], total, 0.0 if v.name == US else 4e-3)
    return variants


def run(report: Report) -> list[Panel]:
    """Measure, print the table, and judge the claims."""
    tables, ns = ((20,), NS[:1]) if report.smoke else (TABLES, NS)
    pool = data.SMOKE_POOL if report.smoke else data.POOL
    for bits in tables:
        for law in data.LAWS:
            ids = data.draw(law, bits, pool)
            for n in ns:
                label = f"{data.power(bits)} {law}, {data.thousands(n)}"
                if not report.wants(label):
                    continue
                batches = data.Batches(ids, data.gradients(pool), n)
                unique = batches.unique()
                facts = {"table": 1 << bits, "law": law, "unique": unique}
                variants = make(batches, 1 << bits)
                budget = 6.0 if n == NS[-1] else 2.0
                shape = Shape(f"{label}, u {unique:.2f}", n, facts)
                report.measure(shape, variants, repeat=False, budget=budget)
    report.by_shape("ns per id, and time / adagrad's")
    print("\nu: share of different ids in a batch.")
    for law in (data.UNIFORM, data.ZIPF_12):
        start = f"2^26 {law}, 1 M"
        label = next((s.label for s in report.shapes() if s.label.startswith(start)), "")
        for name in ("np.unique + bincount", "np.unique"):
            ratio = report.ratio(label, name)
            report.claims.append(Claim(f"{start}: {name} / {US}", ratio, ">=", 8))
    return [panel(report, bits, law) for bits in tables for law in data.LAWS]


def panel(report: Report, bits: int, law: str) -> Panel:
    """Return the ratios of one table and law against the batch size."""
    shapes = [
        shape
        for shape in report.shapes()
        if (shape.facts["table"], shape.facts["law"]) == (1 << bits, law)
    ]
    x = [shape.count for shape in shapes]
    series = {
        name: (x, [report.ratio(shape.label, name) for shape in shapes])
        for name in report.names()
        if name != US
    }
    return Panel(f"{data.power(bits)} ids, {law}", "ids per call", series)
