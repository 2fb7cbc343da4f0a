"""Time of tables of rows, as embeddings use them: a step alone, and bags forward and backward.

Tables have 2^27 elements of w. "step" is Table.step on random rows without repeats. A bag is the
sum of 20 rows, and its measurement one training step: the forward pass, the gradient of every bag
handed back, repeated rows summed, the update. torch.nn.EmbeddingBag with sparse gradients and
fbgemm's table-batched embeddings use memory that NumPy allocates, on huge pages as ours; "own
memory" is fbgemm on memory that it allocates itself. The limit reads the row of every id, then
updates it, without summing repeated rows.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

import adagrad
from bench import data, limits, rows
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import LIMIT, US, Claim, Shape, Variant, check
from bench.rows import LR, START, Apply, Batch

ELEMENT, ROW = "element", "row"
PRESETS = {ELEMENT: "fbgemm", ROW: "fbgemm_rowwise"}
DIMS, BITS = (4, 8, 16, 32, 64, 128), 27
TORCH_DIMS = (16, 64)  # it takes a second for a step of longer rows
QUICK = ("no repeats", *(f"D {dim:3}, {law}" for dim in (4, 16, 64) for law in ("uniform", "Zipf")))
BAG, BAGS, N = 20, 1 << 14, 10**5
EPS = 1e-8  # fbgemm's
FBGEMM, OWN, TORCH = "fbgemm", "fbgemm, own memory", "torch EmbeddingBag"


class Embeddings:
    """w and s, and a `train` that takes one step on bags and returns their sums."""

    def __init__(self, w: np.ndarray, s: np.ndarray, train: Apply) -> None:
        self.w, self.s, self.train = w, s, train

    def results(self, batch: Batch) -> tuple[np.ndarray, ...]:
        """Return the sums of bags and the rows after a step from a known start."""
        ids = np.unique(batch[0])
        start = np.random.default_rng(3).random((len(ids), self.w.shape[1]), dtype=np.float32)
        self.w[ids], self.s[ids] = start + 1, START
        return np.asarray(self.train(batch)), self.w[ids], self.s[ids]


def new_table(bits: int, dim: int, state: str) -> adagrad.Table:
    """Return a table of 2^bits elements."""
    rule = adagrad.preset(PRESETS[state], lr=LR, eps=EPS, initial_accumulator=START)
    return adagrad.Table((1 << bits) // dim, dim, rule)


def ours(table: adagrad.Table, offsets: np.ndarray, duplicates: str) -> Embeddings:
    """Return pool and step_pooled."""

    def train(batch: Batch) -> np.ndarray:
        out = table.pool(batch[0], offsets)
        table.step_pooled(batch[0], offsets, batch[1], duplicates=duplicates)  # type: ignore[arg-type]
        return out

    return Embeddings(table.weights, table.state, train)


def by_hand(table: adagrad.Table, duplicates: str, bag: int = BAG) -> Embeddings:
    """Return the same by gather and step, with one gradient per id."""

    def train(batch: Batch) -> np.ndarray:
        ids, g = batch
        found = table.gather(ids).reshape(len(g), bag, -1)
        out = found[:, 0].copy()
        for k in range(1, bag):
            out += found[:, k]
        table.step(ids, np.repeat(g, bag, axis=0), duplicates)  # type: ignore[arg-type]
        return out

    return Embeddings(table.weights, table.state, train)


def limit(
    table: adagrad.Table, offsets: np.ndarray, batches: BagBatches, group: str
) -> list[Variant]:
    """Return the same memory traffic, forward and backward."""
    w, s = table.weights, table.state
    out = np.empty((len(offsets) - 1, table.dim), np.float32)

    def bind(of: limits.Limits, i: int) -> limits.Call:
        ids, g = batches(i)
        forward = of.pool(w, ids, offsets, out)
        backward = of.step_bags(w, s, ids, offsets, g)
        return lambda: (forward(), backward())

    return limits.variant(bind, group)


def fbgemm(
    torch: Any, memory: rows.Table | None, bits: int, dim: int, state: str, bag: int = BAG
) -> Embeddings:
    """Return fbgemm's table for one feature, on our memory or its own."""
    tbe = importlib.import_module("fbgemm_gpu.split_table_batched_embeddings_ops_training")
    optimizer = {ELEMENT: "EXACT_ADAGRAD", ROW: "EXACT_ROWWISE_ADAGRAD"}[state]
    count = (1 << bits) // dim
    module = tbe.SplitTableBatchedEmbeddingBagsCodegen(
        [(count, dim, tbe.EmbeddingLocation.HOST, tbe.ComputeDevice.CPU)],
        optimizer=getattr(tbe.OptimType, optimizer),
        learning_rate=LR,
        eps=EPS,
        pooling_mode=tbe.PoolingMode.SUM,
        bounds_check_mode=tbe.BoundsCheckMode.NONE,
    )
    if memory is None:
        module.weights_host.data.fill_(1.0)
        module.momentum1_host.data.fill_(START)
    else:
        module.weights_host.data = torch.from_numpy(memory.w).view(-1)
        module.momentum1_host.data = torch.from_numpy(memory.s).view(-1)
    offsets = torch.arange(0, BAG * BAGS + 1, bag)
    w = module.weights_host.data.view(count, dim).numpy()
    s = module.momentum1_host.data.numpy()

    def train(batch: Batch) -> Any:
        out = module(torch.from_numpy(batch[0]), offsets[: len(batch[1]) + 1])
        out.backward(torch.from_numpy(batch[1]))
        return out.detach()

    return Embeddings(w, s.reshape(w.shape) if state == ELEMENT else s, train)


def fbgemm_tables(torch: Any, shapes: list[tuple[int, int]], offsets: Any, g: Any) -> Any:
    """Return a step of several of fbgemm's tables, which start at 1, from ids of all of them."""
    tbe = importlib.import_module("fbgemm_gpu.split_table_batched_embeddings_ops_training")
    where = (tbe.EmbeddingLocation.HOST, tbe.ComputeDevice.CPU)
    module = tbe.SplitTableBatchedEmbeddingBagsCodegen(
        [(*shape, *where) for shape in shapes],
        optimizer=tbe.OptimType.EXACT_ADAGRAD,
        learning_rate=LR,
        eps=EPS,
        pooling_mode=tbe.PoolingMode.SUM,
        bounds_check_mode=tbe.BoundsCheckMode.NONE,
    )
    module.weights_host.data.fill_(1.0)
    module.momentum1_host.data.fill_(START)

    def train(ids: Any) -> Any:
        out = module(ids, offsets)
        out.backward(g)
        return out.detach()

    return train


def torch_bags(torch: Any, memory: rows.Table, bag: int = BAG) -> Embeddings:
    """Return EmbeddingBag and Adagrad."""
    w = torch.from_numpy(memory.w)
    module = torch.nn.EmbeddingBag.from_pretrained(
        w, freeze=False, mode="sum", sparse=True, include_last_offset=True
    )
    optimizer = torch.optim.Adagrad(module.parameters(), lr=LR, eps=EPS)
    optimizer.state[module.weight]["sum"] = torch.from_numpy(memory.s)
    offsets = torch.arange(0, BAG * BAGS + 1, bag)

    def train(batch: Batch) -> Any:
        out = module(torch.from_numpy(batch[0]), offsets[: len(batch[1]) + 1])
        out.backward(torch.from_numpy(batch[1]))
        optimizer.step()
        optimizer.zero_grad()
        return out.detach()

    return Embeddings(memory.w, memory.s, train)


class BagBatches:
    """Slices of a pool of ids, `bag` for each bag, and of gradients [bags, dim]."""

    def __init__(self, ids: np.ndarray, dim: int, bags: int, bag: int = BAG) -> None:
        self.ids = data.Batches(ids, data.gradients(len(ids)), bags * bag)
        self.g = data.Batches(ids, data.gradients(max(len(ids), 2 * bags * dim)), bags, dim)

    def __call__(self, i: int) -> Batch:
        """Return batch number `i`."""
        return self.ids(i)[0], self.g(i)[1]


def make_bags(
    table: adagrad.Table,
    others: dict[str, Embeddings],
    batches: BagBatches,
    state: str,
    rtol: float,
) -> list[Variant]:
    """Return the variants for one shape, checked: the sums of bags, w and s."""
    batch = batches(0)
    offsets = np.arange(0, len(batch[0]) + 1, BAG)
    group = f"bags, {state}"
    variants = {name: ours(table, offsets, name) for name in ("sequential", "sum")}
    for name, v in variants.items():
        want = by_hand(table, name).results(batch)
        for got, expected in zip(v.results(batch), want, strict=True):
            check(f"{group}: {US} {name}", got, expected)
    for name, other in others.items():
        for got, expected in zip(other.results(batch), want, strict=True):
            check(f"{group}: {name}", got, expected, rtol)
    return [
        Variant(US, variants["sum"].train, batches, group),
        *limit(table, offsets, batches, group),
        Variant(f"{US} sequential", variants["sequential"].train, batches, group),
        *(Variant(name, other.train, batches, group) for name, other in others.items()),
    ]


def make_step(table: adagrad.Table, batches: data.Batches, state: str) -> list[Variant]:
    """Return a step of distinct rows, and its limit."""
    step = lambda b: table.step(b[0], b[1], "unique")  # noqa: E731
    ids, g = batches(0)
    table.weights[ids], table.state[ids] = 1.0, START
    step((ids, g))
    square = g * g if state == ELEMENT else (g * g).mean(1)
    s = np.float32(START) + square
    root = np.sqrt(s if state == ELEMENT else s[:, None]) + np.float32(EPS)
    check("step", table.state[ids], s, 1e-6)
    check("step", table.weights[ids], 1 - np.float32(LR) * g / root, 1e-6)
    group = f"step, {state}"
    w, accumulators = table.weights, table.state
    bind = lambda of, i: of.step_rows(w, accumulators, *batches(i))  # noqa: E731
    return [Variant(US, step, batches, group), *limits.variant(bind, group)]


def run(report: Report) -> list[Panel]:
    """Measure, print a table per kind of accumulator, and judge the claims."""
    bits, n, bags = (16, 500, 128) if report.smoke else (BITS, N, BAGS)
    pool = data.SMOKE_POOL if report.smoke else data.POOL
    torch, fb = peer("torch"), peer("fbgemm_gpu")
    for state in (ELEMENT, ROW):
        for dim in DIMS:
            rows_bits = bits - dim.bit_length() + 1
            labels = {
                law: label_of(dim, law) for law in (data.DISTINCT, data.UNIFORM, data.ZIPF_12)
            }
            labels = {law: label for law, label in labels.items() if report.wants(label)}
            if not labels:
                continue
            table = new_table(bits, dim, state)
            memory = rows.Table(((1 << bits) // dim, dim))
            if state == ROW:
                memory.s = np.full(len(memory.w), START, np.float32)
            others = {}
            if fb is not None:
                others[FBGEMM] = fbgemm(torch, memory, bits, dim, state)
                others[OWN] = fbgemm(torch, None, bits, dim, state)
            if torch is not None and state == ELEMENT and dim in TORCH_DIMS:
                others[TORCH] = torch_bags(torch, memory)
            for law, label in labels.items():
                ids = data.draw(law, rows_bits, pool)
                facts = {"table": 1 << rows_bits, "dim": dim, "law": law, "state": state}
                if law == data.DISTINCT:
                    g = data.gradients(max(pool, 2 * n * dim))
                    variants = make_step(table, data.Batches(ids, g, n, dim), state)
                    report.measure(Shape(label, n, facts), variants, repeat=False)
                    continue
                # Sums of 6e4 gradients: float32 in another order differs by up to 1e-3.
                rtol = 1e-5 if law == data.UNIFORM else 4e-3
                batches = BagBatches(ids, dim, bags)
                variants = make_bags(table, others, batches, state, rtol)
                shape = Shape(label, bags * BAG, facts)
                report.measure(shape, variants, repeat=False, budget=6.0)
            del table, memory, others, variants
    elements = f"{data.power(bits)} elements"
    for state in (ELEMENT, ROW):
        title = f"Table.step, {n} rows of {elements}, one accumulator per {state}"
        report.by_shape(f"{title}: ns per row, and time / adagrad's", f"step, {state}")
        title = f"{bags} bags of {BAG} rows of {elements}, one accumulator per {state}"
        report.by_shape(f"{title}: ns per row, and time / adagrad's", f"bags, {state}")
    judge(report)
    return [panel(report, law, state) for law in (data.UNIFORM, data.ZIPF_12) for state in PRESETS]


def label_of(dim: int, law: str) -> str:
    """Return the length of a row and the law of the ids as text."""
    return f"D {dim:3}, {law}"


def judge(report: Report) -> None:
    """Compare with what the project promises for uniform rows."""

    def claim(
        text: str,
        group: str,
        dims: tuple[int, ...],
        name: str,
        of: str,
        relation: str,
        target: float,
    ) -> None:
        law = data.DISTINCT if group.startswith("step") else data.UNIFORM
        ratios = [report.ratio(label_of(dim, law), name, group, of) for dim in dims]
        found = [ratio for ratio in ratios if ratio is not None and not report.smoke]
        worst = (max if relation == "<=" else min)(found) if len(found) == len(dims) else None
        which = ", ".join(map(str, dims))
        text = f"{text}, D {which}: {name} / {of}" + (", worst" if len(dims) > 1 else "")
        report.claims.append(Claim(text, worst, relation, target))

    for state in (ELEMENT, ROW):
        claim(f"step, {state}", f"step, {state}", DIMS, US, LIMIT, "<=", 1.3)
    for name in (FBGEMM, OWN):
        claim("bags, element", f"bags, {ELEMENT}", DIMS[:3], name, US, ">=", 7)
        claim("bags, element", f"bags, {ELEMENT}", DIMS[4:], name, US, ">=", 4)
        claim("bags, row", f"bags, {ROW}", DIMS, name, US, ">=", 3)
    claim("bags, element", f"bags, {ELEMENT}", TORCH_DIMS, TORCH, US, ">=", 9)


def panel(report: Report, law: str, state: str) -> Panel:
    """Return the ratios of bags of one law against the length of a row."""
    group = f"bags, {state}"
    series = {}
    for name in report.names(group):
        ratios = [(dim, report.ratio(label_of(dim, law), name, group)) for dim in DIMS]
        ratios = [(dim, ratio) for dim, ratio in ratios if ratio is not None]
        if name != US and ratios:
            series[name] = tuple(zip(*ratios, strict=True))
    return Panel(f"bags, {law}, one accumulator per {state}", "elements per row", series)
