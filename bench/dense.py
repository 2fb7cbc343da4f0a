"""Time of a dense step, from L1 to DRAM.

All variants work on the same three arrays, which NumPy allocates; "own memory" is torch on tensors
that torch allocates (aligned to 64 bytes, without huge pages). Every step reads w, g and s and
writes w and s. GB/s counts these 20 bytes per float32 element.

Each size is measured on several placements of its arrays, because a single one may be unlucky: on
an EPYC of family 25, model 17, an AVX2 step of 16 M elements takes 2.4 times as long, and an
AVX-512 step 1.4 times, if s begins 2^27 + 2^12 bytes after w (2^27 + 2^13 is harmless).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import adagrad
from adagrad import _core
from bench import limits
from bench.harness import Report
from bench.machine import binary, home, peer
from bench.picture import Panel
from bench.results import LIMIT, US, Claim, Shape, Variant, check, number, table

LR = 0.01
# torch's default epsilon, for all. Beside accumulators of 0.1 it is lost in rounding, so that
# torch's sqrt(s) + eps and our sqrt(s + eps) are the same function.
EPS = 1e-10
START = 0.1

# 12 bytes an element: 24 KiB, 48 KiB, 768 KiB, 1.5 MiB, 12 MiB, 192 MiB, 768 MiB.
SIZES = {"64": 64, "2 k": 1 << 11, "4 k": 1 << 12, "64 k": 1 << 16, "128 k": 1 << 17}
LARGE = {"1 M": 1 << 20, "16 M": 1 << 24}
HUGE = {"64 M": 1 << 26}
QUICK = ("64", "2 k", "128 k", "16 M")


PLACEMENTS = 4
MOST_PAD = 1 << 16  # bytes: sixteen pages, so that arrays do not always lie 2^k + 4096 apart


def empty(n: int, dtype: str, align: int | None, pad: int) -> np.ndarray:
    """Return an array cut from one with `pad` more bytes, aligned to `align` bytes if given."""
    size = n * np.dtype(dtype).itemsize
    if align is None:
        return np.empty(size + pad, np.uint8)[:size].view(dtype)
    raw = np.empty(size + pad + align, np.uint8)
    start = -raw.ctypes.data % align
    return raw[start : start + size].view(dtype)


def numpy_step(w: np.ndarray, g: np.ndarray, s: np.ndarray) -> None:
    """Take the step as a textbook writes it in NumPy."""
    s += g * g
    w -= LR * g / np.sqrt(s + EPS)


def numba_step(numba: Any) -> Callable[[np.ndarray, np.ndarray, np.ndarray, Any, Any], None]:
    """Compile the plain loop, with NumPy's error model: Python's prevents vectorization."""

    @numba.njit(error_model="numpy")
    def loop(w, g, s, lr, eps):  # type: ignore[no-untyped-def]
        for i in range(w.size):
            s[i] += g[i] * g[i]
            w[i] -= lr * g[i] / np.sqrt(s[i] + eps)

    return loop


def torch_variants(torch: Any, w: np.ndarray, g: np.ndarray, s: np.ndarray) -> list[Variant]:
    """Return torch.optim.Adagrad.step, on our memory and on its own."""

    def optimizer(param: Any, grad: Any, **options: Any) -> Any:
        param.requires_grad_().grad = grad
        return torch.optim.Adagrad(
            [param], lr=LR, eps=EPS, initial_accumulator_value=START, **options
        )

    variants = []
    for name, options in (("fused", {"fused": True}), ("", {}), ("foreach", {"foreach": True})):
        step = optimizer(torch.from_numpy(w), torch.from_numpy(g), **options)
        for state in step.state.values():
            state["sum"] = torch.from_numpy(s)
        variants.append(Variant(f"torch {name}".rstrip(), lambda _, step=step: step.step()))
    param = torch.tensor(w)
    own = optimizer(param, torch.tensor(g), fused=True)
    w1, s1 = w.copy(), s.copy()
    numpy_step(w1, g, s1)
    own.step()
    check("torch fused, own memory", param.detach().numpy(), w1, 1e-6)
    variants.insert(1, Variant("torch fused, own memory", lambda _: own.step()))
    return variants


def make(report: Report, n: int, dtype: str, loop: Any, placement: int) -> list[Variant]:
    """Return the variants for one size, checked against NumPy."""
    random = np.random.default_rng(placement)
    pads = random.integers(0, MOST_PAD, 3)
    w, g, s = (empty(n, dtype, report.args.align, int(pad)) for pad in pads)
    # Positive gradients: the limit adds them to s, which must not become negative.
    random.random(out=g, dtype=dtype)
    random.random(out=w, dtype=dtype)
    g += 0.5
    w += 1.0
    s[:] = START
    threads = report.args.threads

    def ours(isa: str, count: int = 1) -> Callable[[int], None]:
        def prepare(_: int) -> None:
            _core.use_isa(isa)
            adagrad.set_num_threads(count)

        return prepare

    *others, best = adagrad.isas()
    variants = [Variant(US, lambda _: adagrad.step(w, g, s, lr=LR, eps=EPS), ours(best))]
    if threads > 1:
        name = f"{US}, {threads} threads"
        variants.append(Variant(name, variants[0].call, ours(best, threads)))
    variants += [Variant(f"{US} {isa}", variants[0].call, ours(isa)) for isa in reversed(others)]
    if loop is not None:
        lr, eps = w.dtype.type(LR), w.dtype.type(EPS)
        variants.append(Variant("numba", lambda _: loop(w, g, s, lr, eps)))
    torch = peer("torch")
    if torch is not None:
        variants += torch_variants(torch, w, g, s)
    variants.append(Variant("NumPy", lambda _: numpy_step(w, g, s)))

    w0, s0 = w.copy(), s.copy()
    w1, s1 = w.copy(), s.copy()
    numpy_step(w1, g, s1)
    for v in variants:
        w[:], s[:] = w0, s0
        v.prepare(0)
        v.call(None)
        if v.name != "torch fused, own memory":
            rtol = 1e-6 if v.name.startswith("torch") else 0.0
            check(v.name, s, s1, rtol)
            check(v.name, w, w1, rtol)
    return [variants[0], *limits.variant(lambda of, _: of.dense(w, g, s)), *variants[1:]]


def run(report: Report) -> list[Panel]:
    """Measure, print the table, and judge the claims."""
    numba = peer("numba")
    loop = numba_step(numba) if numba is not None else None
    sizes = SIZES | ({} if report.smoke else LARGE) | (HUGE if report.args.large else {})
    cells = [(label, n, "float32") for label, n in sizes.items()]
    cells.append(("4 k f64", SIZES["4 k"], "float64"))
    if not report.smoke:
        cells.append(("16 M f64", LARGE["16 M"], "float64"))
    for label, n, dtype in cells:
        if not report.wants(label):
            continue
        item = np.dtype(dtype).itemsize
        facts = {"dtype": dtype, "bytes": 3 * n * item, "home": home(3 * n * item)}
        in_cache = facts["home"] != "DRAM"
        for placement in range(1 if report.smoke or report.short else PLACEMENTS):
            variants = make(report, n, dtype, loop, placement)
            report.measure(Shape(label, n, facts), variants, in_cache, 0.5 if in_cache else 4.0)
        _core.use_isa(adagrad.isas()[-1])
        adagrad.set_num_threads(1)
    show(report)
    return [Panel("float32, all variants on the same arrays", "elements", series(report))]


def show(report: Report) -> None:
    """Print variants as rows and sizes as columns, and judge the claims."""
    shapes = report.shapes()
    rows = [
        ["w, g and s", *(binary(shape.facts["bytes"]) for shape in shapes)],
        ["fit", *(shape.facts["home"] for shape in shapes)],
    ]
    for name in report.names():
        results = [report.get(shape.label, name) for shape in shapes]
        rows.append([name, *("-" if r is None else r.text() for r in results)])
    for name in (US, LIMIT):
        rates = []
        for shape in shapes:
            r = report.get(shape.label, name)
            item = np.dtype(shape.facts["dtype"]).itemsize
            rates.append("-" if r is None else number(5 * item / r.ns))
        rows.append([f"GB/s of {name}", *rates])
    for name in report.names():
        if name != US:
            ratios = [report.ratio(shape.label, name) for shape in shapes]
            rows.append([f"{name} / {US}", *("-" if r is None else number(r) for r in ratios)])
    table("ns per element", ["", *(shape.label for shape in shapes)], rows)

    for name, target in (("NumPy", 6), ("torch", 6), ("torch fused", 1.15)):
        value = report.ratio("16 M", name)
        report.claims.append(Claim(f"16 M float32: {name} / {US}", value, ">=", target))
    own = report.ratio("16 M", "torch fused, own memory")
    report.claims.append(Claim(f"16 M float32: torch fused, own memory / {US}", own, ">=", 1.15))
    value = report.ratio("16 M", US, of=LIMIT)
    report.claims.append(Claim(f"16 M float32: {US} / {LIMIT}", value, "<=", 1.05))
    value = report.ratio("128 k", "torch fused")
    where = home(12 * SIZES["128 k"])
    report.claims.append(Claim(f"128 k float32 ({where}): torch fused / {US}", value, ">=", 1.6))


def series(report: Report) -> dict[str, Any]:
    """Return elements and ratios to adagrad of each variant, float32 only."""
    shapes = [shape for shape in report.shapes() if shape.facts["dtype"] == "float32"]
    x = [shape.count for shape in shapes]
    return {
        name: (x, [report.ratio(shape.label, name) for shape in shapes])
        for name in report.names()
        if name != US
    }
