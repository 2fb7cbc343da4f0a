"""Time of adagrad.torch.Adagrad.step, beside torch.optim.Adagrad with each of its implementations.

Models and gradients are torch's own tensors, and the same for all variants; only ``step()`` is
timed. torch's default on CPUs is its loop over params, which foreach=True and fused=True replace.
The sparse gradient is what the backward of ``F.embedding(sparse=True)`` leaves: not coalesced, new
for each sample. ns are those of an element, a param or an id.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import adagrad
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import US, Claim, Shape, Variant, check

LR = 0.01
PARAMS, ELEMENTS = 200, 64
ROWS, DIM, IDS = 2_000_000, 16, 65_536
DENSE = {"1 x 64": 64, "1 x 64 k": 1 << 16, "1 x 1 M": 1 << 20, "1 x 16 M": 1 << 24}
DEFAULT, FUSED, FOREACH = "torch", "torch fused", "torch foreach"
MANY = f"{US}.step_many"


def variants(torch: Any, params: list[Any], groups: Any, dense: bool) -> list[Variant]:
    """Return step() of each optimizer on the same params and accumulators."""
    from adagrad.torch import Adagrad

    made = {US: Adagrad(groups(), lr=LR), DEFAULT: torch.optim.Adagrad(groups(), lr=LR)}
    if dense:
        made[FUSED] = torch.optim.Adagrad(groups(), lr=LR, fused=True)
        made[FOREACH] = torch.optim.Adagrad(groups(), lr=LR, foreach=True)
    start = [p.detach().clone() for p in params]
    results = []
    for optimizer in made.values():
        for p in params:
            optimizer.state[p]["sum"] = made[US].state[p]["sum"]
            made[US].state[p]["sum"].zero_()
        for p, w in zip(params, start, strict=True):
            p.data.copy_(w)
        optimizer.step()
        results.append([p.detach().numpy().copy() for p in params])
    for name, result in zip(made, results, strict=True):
        for got, want in zip(result, results[0], strict=True):
            check(name, got, want, 1e-5)
    return [Variant(name, lambda _, o=o: o.step()) for name, o in made.items()]


def dense(report: Report, torch: Any, label: str, count: int, n: int, split: bool = False) -> None:
    """Measure `count` params of `n` elements; half of them in a group that decays if `split`."""
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.rand(n) + 1.0) for _ in range(count)]
    for p in params:
        p.grad = torch.rand(n) + 0.5

    def groups() -> Any:
        if not split:
            return params
        half = count // 2
        return [{"params": params[:half]}, {"params": params[half:], "weight_decay": 1e-4}]

    shape = Shape(label, count if count > 1 else n, {"params": count, "elements": n})
    in_cache = count * n < 1 << 18
    budget = 1.0 if in_cache else 4.0
    made = variants(torch, params, groups, True)
    if count > 1 and not split:
        made.append(many(params))
    report.measure(shape, made, in_cache, budget)


def many(params: list[Any]) -> Variant:
    """Return one call of step_many on the memory of the params."""
    rule = adagrad.Rule(lr=LR)
    arrays = [(p.detach().numpy(), p.grad.numpy()) for p in params]
    triples = [(w, g, np.zeros_like(w)) for w, g in arrays]
    return Variant(MANY, lambda _: adagrad.step_many(triples, rule))


def embedding(report: Report, torch: Any, label: str, rows: int, n: int, zipf: bool) -> None:
    """Measure a table with sparse gradients."""
    rng = np.random.default_rng(0)
    weight = torch.nn.Parameter(torch.rand(rows, DIM) + 1.0)
    up = torch.rand(n, DIM) + 0.5

    def prepare(_: int) -> None:
        ids = np.minimum(rng.zipf(1.2, n) - 1, rows - 1) if zipf else rng.integers(0, rows, n)
        weight.grad = None
        bag = torch.nn.functional.embedding(torch.from_numpy(ids), weight, sparse=True)
        bag.backward(up)

    prepare(0)
    made = variants(torch, [weight], lambda: [weight], False)
    made = [Variant(v.name, v.call, prepare) for v in made]
    facts = {"rows": rows, "dim": DIM, "ids": n}
    report.measure(Shape(label, n, facts), made, repeat=False, budget=6.0)


def run(report: Report) -> list[Panel]:
    """Measure dense and sparse models, and judge the claims."""
    torch = peer("torch")
    if torch is None:
        print("\nadagrad.torch needs torch: nothing to measure.")
        return []
    sizes = dict(list(DENSE.items())[: 2 if report.smoke else None])
    for label, n in sizes.items():
        dense(report, torch, label, 1, n)
    small, split = f"{PARAMS} x {ELEMENTS}", f"{PARAMS} x {ELEMENTS}, two weight decays"
    dense(report, torch, small, PARAMS, ELEMENTS)
    dense(report, torch, split, PARAMS, ELEMENTS, split=True)
    rows, n = (20_000, 4_096) if report.smoke else (ROWS, IDS)
    uniform, zipf = (f"[{rows:,}, {DIM}], {n:,} {law} ids" for law in ("uniform", "Zipf 1.2"))
    embedding(report, torch, uniform, rows, n, zipf=False)
    embedding(report, torch, zipf, rows, n, zipf=True)
    report.by_shape("step(): ns per element, param or id, and time / adagrad's")

    for label, name, target in (
        ("1 x 16 M", FUSED, 1.0),
        (small, DEFAULT, 8.0),
        (split, DEFAULT, 8.0),
        (small, FOREACH, 8.0),
        (f"[{ROWS:,}, {DIM}], {IDS:,} uniform ids", DEFAULT, 8.0),
        (f"[{ROWS:,}, {DIM}], {IDS:,} Zipf 1.2 ids", DEFAULT, 8.0),
    ):
        value = report.ratio(label, name)
        report.claims.append(Claim(f"{label}: {name} / {US}", value, ">=", target))
    value = report.ratio(small, DEFAULT, of=MANY)
    report.claims.append(Claim(f"{small}: {DEFAULT} / {MANY}", value, ">=", 8.0))
    x = list(sizes.values())
    series = {
        name: (x, [report.ratio(label, name) for label in sizes])
        for name in (DEFAULT, FUSED, FOREACH)
    }
    return [Panel("one dense param", "elements", series)]
