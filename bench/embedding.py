"""Time of a training step of embedding bags in PyTorch: forward, backward and update.

65,536 ids of one batch, alone or in bags of 16, through autograd: `adagrad.torch.TableEmbeddingBag`
beside fbgemm's table-batched embeddings and torch.nn.EmbeddingBag with sparse gradients. "core" is
the same without PyTorch, `Table.pool` and `Table.step_pooled`, and "forward" the module's forward
pass alone: what is between them and the module is what the adapter costs. The limit reads the row
of every id, then updates it, without summing repeated rows and without PyTorch. ZenDNN's bags, of
the package zentorch, have no backward pass: theirs is a forward pass beside ours. Tables of 2^27
elements; memory as in `bags`.

Then a step of 26 tables as a recommendation model has them, one id of each table per example: one
module for all of them, and one module each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import adagrad
from bench import bags, data, rows
from bench.bags import ELEMENT, FBGEMM, OWN, PRESETS, ROW, TORCH, BagBatches, Embeddings
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import LIMIT, US, Claim, Shape, Variant, check
from bench.rows import Batch

IDS, SIZES, DIMS = 1 << 16, (1, 16), (4, 16, 64)
QUICK = ("uniform",)
CORE, FORWARD = f"{US} core", f"{US} forward"
ZEN = "ZenDNN forward"
TABLES, ROWS, DIM, EXAMPLES = 26, 200_000, 16, (256, 2048, 16384)
MANY, EACH = "many tables", f"{US}, a module each"


def ours(torch: Any, table: adagrad.Table, bag: int) -> dict[str, Embeddings]:
    """Return the module, and its parts."""
    from adagrad.torch import TableEmbeddingBag

    module = TableEmbeddingBag(table, "sum", include_last_offset=True)
    offsets = torch.arange(0, IDS + 1, bag)

    def train(batch: Batch) -> Any:
        out = module(torch.from_numpy(batch[0]), offsets[: len(batch[1]) + 1])
        out.backward(torch.from_numpy(batch[1]))
        return out.detach()

    def forward(batch: Batch) -> Any:
        return module(torch.from_numpy(batch[0]), offsets[: len(batch[1]) + 1])

    parts = {US: train, FORWARD: forward}
    return {name: Embeddings(table.weights, table.state, part) for name, part in parts.items()}


def zen(torch: Any, memory: rows.Table, bag: int) -> Embeddings:
    """Return ZenDNN's forward pass."""
    w, offsets = torch.from_numpy(memory.w), torch.arange(0, IDS + 1, bag)
    pool = torch.ops.zentorch.zentorch_embedding_bag

    def forward(batch: Batch) -> Any:
        ends = offsets[: len(batch[1]) + 1]
        return pool(w, torch.from_numpy(batch[0]), ends, False, 0, False, None, True)

    return Embeddings(memory.w, memory.s, forward)


def make(
    report: Report, table: adagrad.Table, memory: rows.Table, batches: BagBatches, bag: int
) -> list[Variant]:
    """Return the variants for one shape, checked: the sums of bags, w and s."""
    torch, state, dim = peer("torch"), table.accumulator, table.dim
    bits = (table.rows * dim).bit_length() - 1
    batch = batches(0)
    offsets = np.arange(0, len(batch[0]) + 1, bag)
    variants = {CORE: bags.ours(table, offsets, "sum")}
    if torch is not None:
        variants = ours(torch, table, bag) | variants
        if state == ELEMENT:
            variants[TORCH] = bags.torch_bags(torch, memory, bag)
    if torch is not None and peer("fbgemm_gpu") is not None:
        variants[FBGEMM] = bags.fbgemm(torch, memory, bits, dim, state, bag)
        variants[OWN] = bags.fbgemm(torch, None, bits, dim, state, bag)
    if torch is not None and state == ELEMENT and peer("zentorch") is not None:
        variants[ZEN] = zen(torch, memory, bag)
        memory.w[batch[0]] = 1.0
        check(ZEN, np.asarray(variants[ZEN].train(batch)), np.float32(bag), 0.0)
    want = bags.by_hand(table, "sum", bag).results(batch)
    for name, variant in variants.items():
        if name not in (FORWARD, ZEN):
            # Peers add in another order.
            rtol = 0.0 if name.startswith(US) else 4e-3
            for got, expected in zip(variant.results(batch), want, strict=True):
                check(f"{state}, {name}", got, expected, rtol)
    limit = bags.limit(table, offsets, batches, state)
    return [*(Variant(name, v.train, batches, state) for name, v in variants.items()), *limit]


def many(report: Report, torch: Any) -> None:
    """Measure a step of many tables, checked: all give the same results and tables."""
    from adagrad.torch import TableEmbeddingBag

    count, rows_each = (4, 1000) if report.smoke else (TABLES, ROWS)
    rule = adagrad.preset("fbgemm", lr=bags.LR, eps=bags.EPS, initial_accumulator=bags.START)
    tables = [adagrad.Table(rows_each, DIM, rule) for _ in range(count)]
    together = TableEmbeddingBag(tables, "sum", include_last_offset=True)
    alone = [TableEmbeddingBag(table, "sum", include_last_offset=True) for table in tables]
    for examples in EXAMPLES[:1] if report.smoke else EXAMPLES:
        label = f"{count} tables x {examples} ids"
        if not report.wants(label):
            continue
        n = count * examples
        ids = np.random.default_rng(0).integers(0, rows_each, 8 * n)
        g = torch.rand(examples, count * DIM) - 0.5
        offsets = torch.arange(n + 1)

        def batch(i: int, ids: np.ndarray = ids, n: int = n) -> Any:
            return torch.from_numpy(ids[i % 8 * n :][:n])

        def in_one(ids: Any, offsets: Any = offsets, g: Any = g) -> Any:
            out = together(ids, offsets)
            out.backward(g)
            return out.detach()

        def in_each(ids: Any, offsets: Any = offsets[: examples + 1], g: Any = g) -> Any:
            parts = ids.view(count, -1)
            out = torch.cat([bag(parts[t], offsets) for t, bag in enumerate(alone)], 1)
            out.backward(g)
            return out.detach()

        made = {US: in_one, EACH: in_each}
        if peer("fbgemm_gpu") is not None:
            made[FBGEMM] = bags.fbgemm_tables(torch, [(rows_each, DIM)] * count, offsets, g)
        results = []
        for name, train in made.items():
            for table in tables:
                table.weights[:], table.state[:] = 1.0, bags.START
            results.append([np.asarray(train(batch(i))) for i in range(2)])
            for got, want in zip(results[-1], results[0], strict=True):
                check(name, got, want, 0.0 if name.startswith(US) else 1e-5)
        facts = {"tables": count, "rows": rows_each, "dim": DIM, "examples": examples}
        variants = [Variant(name, train, batch, MANY) for name, train in made.items()]
        report.measure(Shape(label, n, facts), variants, repeat=False, budget=3.0)
    report.by_shape(f"A step of many tables, D {DIM}: ns per id, and time / adagrad's", MANY)


def run(report: Report) -> list[Panel]:
    """Measure, print a table per kind of accumulator, and judge the claims."""
    bits, n = (16, 1 << 10) if report.smoke else (bags.BITS, IDS)
    pool = data.SMOKE_POOL if report.smoke else data.POOL
    for state in PRESETS:
        for dim in DIMS:
            rows_bits = bits - dim.bit_length() + 1
            table = bags.new_table(bits, dim, state)
            memory = rows.Table(((1 << bits) // dim, dim))
            if state == ROW:
                memory.s = np.full(len(memory.w), bags.START, np.float32)
            for law in (data.UNIFORM, data.ZIPF_12):
                for bag in SIZES:
                    label = label_of(dim, bag, law)
                    if not report.wants(label):
                        continue
                    batches = BagBatches(data.draw(law, rows_bits, pool), dim, n // bag, bag)
                    variants = make(report, table, memory, batches, bag)
                    facts = {"table": 1 << rows_bits, "dim": dim, "law": law, "bag": bag}
                    shape = Shape(label, n, facts | {"state": state})
                    report.measure(shape, variants, repeat=False, budget=3.0)
                    del variants
            del table, memory
    for state in PRESETS:
        title = f"{n} ids, 2^{bits} elements, one accumulator per {state}"
        report.by_shape(f"{title}: ns per id, and time / adagrad's", state)
    torch = peer("torch")
    if torch is not None:
        many(report, torch)
    judge(report)
    return [panel(report, state) for state in PRESETS]


def label_of(dim: int, bag: int, law: str) -> str:
    """Return the length of a row, the size of a bag and the law of the ids as text."""
    return f"D {dim:2}, {'single ids' if bag == 1 else f'bags of {bag}'}, {law}"


def judge(report: Report) -> None:
    """Compare with what the project promises, in the worst shape.

    A target that even the limit misses is out of reach on this machine.
    """

    def claim(state: str, name: str, dims: tuple[int, ...], target: float, of: str = US) -> None:
        labels = [
            label_of(dim, bag, law)
            for dim in dims
            for bag in SIZES
            for law in (data.UNIFORM, data.ZIPF_12)
        ]
        ratios = [report.ratio(label, name, state, of) for label in labels]
        found = [ratio for ratio in ratios if ratio is not None and not report.smoke]
        worst = min(found) if len(found) == len(labels) else None
        which = ", ".join(map(str, dims))
        text = f"{state}, D {which}: {name} / {of}, worst"
        report.claims.append(Claim(text, worst, ">=", target))

    for state, short, long in ((ELEMENT, 4, 3.5), (ROW, 5, 3)):
        for name in (FBGEMM, OWN):
            for of in (US, LIMIT):
                claim(state, name, (4, 16), short, of)
                claim(state, name, (64,), long, of)
    claim(ELEMENT, TORCH, DIMS, 8)
    claim(ELEMENT, ZEN, DIMS, 1, FORWARD)
    for examples in EXAMPLES:
        label = f"{TABLES} tables x {examples} ids"
        for name in (EACH, FBGEMM):
            target = 1 if name == EACH else 4
            ratio = None if report.smoke else report.ratio(label, name, MANY)
            report.claims.append(Claim(f"{label}: {name} / {US}", ratio, ">=", target))


def panel(report: Report, state: str) -> Panel:
    """Return the ratios of single uniform ids against the length of a row."""
    series = {}
    for name in report.names(state):
        ratios = [(dim, report.ratio(label_of(dim, 1, data.UNIFORM), name, state)) for dim in DIMS]
        ratios = [(dim, ratio) for dim, ratio in ratios if ratio is not None]
        if name != US and ratios:
            series[name] = tuple(zip(*ratios, strict=True))
    return Panel(f"single uniform ids, one accumulator per {state}", "elements per row", series)
