"""Time of a training step of embedding bags in PyTorch: forward, backward and update.

65,536 ids of one batch, alone or in bags of 16, through autograd: `adagrad.torch.TableEmbeddingBag`
beside fbgemm's table-batched embeddings and torch.nn.EmbeddingBag with sparse gradients. "core" is
the same without PyTorch, `Table.pool` and `Table.step_pooled`, and "forward" the module's forward
pass alone: what is between them and the module is what the adapter costs. Tables of 2^27 elements;
memory as in `bags`.
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
from bench.results import US, Claim, Shape, Variant, check
from bench.rows import Batch

IDS, SIZES, DIMS = 1 << 16, (1, 16), (4, 16, 64)
QUICK = ("uniform",)
CORE, FORWARD = f"{US} core", f"{US} forward"


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


def make(
    report: Report, table: adagrad.Table, memory: rows.Table, batches: BagBatches, bag: int
) -> list[Variant]:
    """Return the variants for one shape, checked: the sums of bags, w and s."""
    torch, state, dim = peer("torch"), table.accumulator, table.dim
    bits = (table.rows * dim).bit_length() - 1
    batch = batches(0)
    variants = {CORE: bags.ours(table, np.arange(0, len(batch[0]) + 1, bag), "sum")}
    if torch is not None:
        variants = ours(torch, table, bag) | variants
        if state == ELEMENT:
            variants[TORCH] = bags.torch_bags(torch, memory, bag)
    if torch is not None and peer("fbgemm_gpu") is not None:
        variants[FBGEMM] = bags.fbgemm(torch, memory, bits, dim, state, bag)
        variants[OWN] = bags.fbgemm(torch, None, bits, dim, state, bag)
    want = bags.by_hand(table, "sum", bag).results(batch)
    for name, variant in variants.items():
        if name != FORWARD:
            # Peers add in another order.
            rtol = 0.0 if name.startswith(US) else 4e-3
            for got, expected in zip(variant.results(batch), want, strict=True):
                check(f"{state}, {name}", got, expected, rtol)
    return [Variant(name, v.train, batches, state) for name, v in variants.items()]


def run(report: Report) -> list[Panel]:
    """Measure, print a table per kind of accumulator, and judge the claims."""
    bits, n = (16, 1 << 10) if report.quick else (bags.BITS, IDS)
    pool = data.QUICK_POOL if report.quick else data.POOL
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
    judge(report)
    return [panel(report, state) for state in PRESETS]


def label_of(dim: int, bag: int, law: str) -> str:
    """Return the length of a row, the size of a bag and the law of the ids as text."""
    return f"D {dim:2}, {'single ids' if bag == 1 else f'bags of {bag}'}, {law}"


def judge(report: Report) -> None:
    """Compare with what the project promises for uniform ids."""

    def claim(state: str, name: str, dims: tuple[int, ...], target: float) -> None:
        labels = [label_of(dim, bag, data.UNIFORM) for dim in dims for bag in SIZES]
        ratios = [report.ratio(label, name, state) for label in labels]
        found = [ratio for ratio in ratios if ratio is not None and not report.quick]
        worst = min(found) if len(found) == len(labels) else None
        which = ", ".join(map(str, dims))
        text = f"{state}, D {which}: {name} / {US}, worst"
        report.claims.append(Claim(text, worst, ">=", target))

    for state in PRESETS:
        for name in (FBGEMM, OWN):
            claim(state, name, (64,), 3)
            claim(state, name, (4,), 7)
    claim(ELEMENT, TORCH, DIMS, 5)


def panel(report: Report, state: str) -> Panel:
    """Return the ratios of single uniform ids against the length of a row."""
    series = {}
    for name in report.names(state):
        ratios = [(dim, report.ratio(label_of(dim, 1, data.UNIFORM), name, state)) for dim in DIMS]
        ratios = [(dim, ratio) for dim, ratio in ratios if ratio is not None]
        if name != US and ratios:
            series[name] = tuple(zip(*ratios, strict=True))
    return Panel(f"single uniform ids, one accumulator per {state}", "elements per row", series)
