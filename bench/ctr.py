"""The click learners beside Vowpal Wabbit, scikit-learn and libffm, and beside the limit.

Learners start from hashed examples in memory; the end-to-end shapes start from a file. Each pass
starts from a new model. The limit reads and writes the same rows in the same order, each once per
entry: it does not wait for the margin before it takes a step. Vowpal Wabbit reads its text, or its
binary cache.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import adagrad
from adagrad.ctr import (
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    LogisticRegression,
)
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from bench import clicks, drift, endtoend, l1, limits
from bench.clicks import FIELDS, Clicks, logloss
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import LIMIT, US, Claim, Shape, Variant, table

EXAMPLES = 1_000_000
GENERIC_EXAMPLES = 400_000
SIZES = (18, 22, 24)
RULE = adagrad.Rule(lr=0.05)
LEARN, GENERIC, BUSY, AUTO, PREDICT = (
    "one pass, 39 fields",
    "one pass, sparse matrix of 5 to 119 entries",
    "one pass, 39 fields, a busy process beside",
    "lr='auto'",
    "predict_proba",
)
QUICK = (f"{LEARN}, 2^22", f"{GENERIC}, 2^22", BUSY, AUTO, "machines", "end to end", PREDICT)
BURN = "print(flush=True)\nwhile True: sum(range(10_000))"
VW_CACHE, VW_TEXT, SGD = "VW, cache", "VW, text", "SGDClassifier"
PLAIN = "plain C, one example at a time"


def new_model(bits: int) -> Model:
    """Return a logistic regression whose memory has been touched, as after a long stream."""
    model = Model(Settings("lr", 1 << bits, RULE))
    model.tables["linear"].weights[:] = 0
    return model


def us(of: Clicks, threads: int) -> Variant:
    """Return one pass of our learner."""
    name = US if threads == 1 else f"{US}, {threads} threads"

    def call(model: Model) -> None:
        model._learner.learn(of.x, of.y, None, 0, threads)

    bits = of.x.n_slots.bit_length() - 1
    return Variant(name, call, lambda _: new_model(bits), LEARN)


def limit(of: Clicks, new: Callable[[], Model], group: str) -> list[Variant]:
    """Return the limit of a pass: the params of a new model's tables, each entry visited once."""
    g, margins = np.full(len(of), 2.0**-10, np.float32), np.empty(len(of), np.float32)

    def bind(loops: limits.Limits, _: int) -> limits.Call:
        tables = [(t.weights, t.state) for t in new().tables.values()]
        return loops.learn(tables, of.x, g, margins)

    return limits.variant(bind, group)


def plain(of: Clicks, group: str) -> list[Variant]:
    """Return one pass of the loop in C that one writes at first."""
    loops, margins = limits.load(), np.empty(len(of), np.float32)
    if loops is None:
        return []
    bits = of.x.n_slots.bit_length() - 1

    def prepare(_: int) -> limits.Call:
        table = new_model(bits).tables["linear"]
        eps = RULE.eps
        arrays = (table.weights, table.state, of.x, of.y, RULE.lr, eps, margins)
        return loops.learn_logistic(*arrays)

    return [Variant(PLAIN, lambda call: call(), prepare, group)]


def claim_of_limits(report: Report, of: Clicks, group: str) -> None:
    """Claim how near the limit a pass is, and how far from a plain loop."""
    over = report.ratio(of.name, US, group, of=LIMIT)
    report.claims.append(Claim(f"{of.name}: over the limit", over, "<=", 1.3))
    beaten = report.ratio(of.name, PLAIN, group)
    report.claims.append(Claim(f"{of.name}: {PLAIN}", beaten, ">=", 1.1))


def regroup(variant: Variant, group: str) -> Variant:
    return Variant(variant.name, variant.call, variant.prepare, group)


def check_bits(of: Clicks, threads: int) -> None:
    """Raise if the bits of a model depend on the number of threads."""
    bits = of.x.n_slots.bit_length() - 1
    models = []
    for count in (1, *range(2, max(threads, 4) + 1)):
        models.append(new_model(bits))
        models[-1].learn(of.x, of.y, threads=count)
        same = np.array_equal(
            models[0].tables["linear"]._memory, models[-1].tables["linear"]._memory
        )
        if not same:
            raise RuntimeError(f"{count} threads give another model than one")


def show_loss(report: Report, of: Clicks) -> None:
    """Claim how little logloss rounds cost beside one example a call."""
    bits, n = of.x.n_slots.bit_length() - 1, min(len(of), 200_000)
    model = new_model(bits)
    one_by_one = [model.learn(of.x[i : i + 1], of.y[i : i + 1])[0] for i in range(n)]
    margins = new_model(bits).learn(of.x[:n], of.y[:n])
    more = logloss(margins, of.y[:n]) / logloss(np.array(one_by_one), of.y[:n]) - 1
    report.claims.append(
        Claim(f"{of.name}: logloss over one example a call", 100 * more, "<=", 0.02, "%")
    )


def fielded(report: Report, bits: int, peers: bool) -> None:
    """Measure one pass over 39 fields."""
    n = 4096 if report.smoke else EXAMPLES // 4 if report.short else EXAMPLES
    of = clicks.fielded(n, bits)
    shape = Shape(of.name, of.entries)
    threads = max(2, report.args.threads)
    check_bits(of, threads)
    variants = [us(of, 1), us(of, threads)]
    variants += limit(of, lambda: new_model(bits), LEARN) + plain(of, LEARN)
    with ExitStack() as stack:
        if peers and peer("vowpalwabbit") is not None:
            text, cache = stack.enter_context(clicks.vw_files(of))
            for name, source in (
                (VW_CACHE, f"-d {text} --cache_file {cache}"),
                (VW_TEXT, f"-d {text}"),
            ):
                call = lambda _, s=source: clicks.vw_pass(s, bits)  # noqa: E731
                variants.append(Variant(name, call, group=LEARN))
        if peers and peer("sklearn") is not None:
            matrix = of.x.to_csr()
            call = lambda _: clicks.sgd_pass(matrix, of.y)  # noqa: E731
            variants.append(Variant(SGD, call, group=LEARN))
        report.measure(shape, variants, repeat=False, budget=20)
    show_loss(report, of)
    gained = report.ratio(of.name, US, LEARN, of=f"{US}, {threads} threads")
    claims = [
        Claim(f"{of.name}: {threads} threads against one", gained, ">=", 1.4),
        Claim(f"{of.name}: VW from its cache", report.ratio(of.name, VW_CACHE, LEARN), ">=", 7),
        Claim(f"{of.name}: {SGD}", report.ratio(of.name, SGD, LEARN), ">=", 4),
    ]
    report.claims += claims
    claim_of_limits(report, of, LEARN)


def sparse_matrix(report: Report, bits: int) -> None:
    """Measure one pass over the rows of a sparse matrix, the same for each learner."""
    n = 4096 if report.smoke else GENERIC_EXAMPLES // 2 if report.short else GENERIC_EXAMPLES
    of = clicks.generic(n, bits)
    threads = max(2, report.args.threads)
    check_bits(of, threads)
    variants = [us(of, 1), us(of, threads)]
    variants += limit(of, lambda: new_model(bits), LEARN) + plain(of, LEARN)
    if peer("sklearn") is not None and bits == 22:
        matrix = of.x.to_csr()
        call = lambda _: clicks.sgd_pass(matrix, of.y)  # noqa: E731
        variants.append(Variant(SGD, call))
    variants = [regroup(v, GENERIC) for v in variants]
    report.measure(Shape(of.name, of.entries), variants, repeat=False, budget=15)
    show_loss(report, of)
    gained = report.ratio(of.name, US, GENERIC, of=f"{US}, {threads} threads")
    report.claims.append(Claim(f"{of.name}: {threads} threads against one", gained, ">=", 1.25))
    claim_of_limits(report, of, GENERIC)
    if bits == 22:
        beaten = report.ratio(of.name, SGD, GENERIC)
        report.claims.append(Claim(f"{of.name}: {SGD}", beaten, ">=", 3))


def busy(report: Report, bits: int) -> None:
    """Measure two threads while another process keeps a processor busy."""
    of = clicks.fielded(4096 if report.quick else EXAMPLES // 4, bits)
    variants = [regroup(us(of, threads), BUSY) for threads in (1, 2)]
    with subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it has begun
            report.measure(Shape(of.name, of.entries), variants, repeat=False, budget=10)
        finally:
            process.kill()
    kept = report.ratio(of.name, US, BUSY, of=f"{US}, 2 threads")
    report.claims.append(
        Claim(f"{of.name}: two threads beside a busy core, against one", kept, ">=", 0.35)
    )


def auto(report: Report, bits: int) -> None:
    """Measure the cost of having no rate to choose."""
    n = 32_768 if report.smoke else EXAMPLES // 4 if report.short else EXAMPLES
    of = clicks.fielded(n, bits)

    def fit(lr: Any) -> LogisticRegression:
        return LogisticRegression(lr, n_jobs=1).fit(of.x, of.y)

    variants = [
        Variant(US, lambda _: fit(0.05), group=AUTO),
        Variant(f"{US}, auto", lambda _: fit("auto"), group=AUTO),
    ]
    report.measure(Shape(of.name, of.entries), variants, repeat=False, budget=10)
    cost = report.ratio(of.name, f"{US}, auto", AUTO)
    report.claims.append(Claim(f"{of.name}: lr='auto' over a fixed rate", cost, "<=", 2.2))


def machines(report: Report) -> None:
    """Measure the factorization machines, beside libffm if it is on PATH."""
    n = 512 if report.smoke else 30_000 if report.short else 100_000
    of = clicks.fielded(n, 12 if report.smoke else 18)
    shape = Shape(of.name, len(of))
    kinds: dict[str, Callable[[int], Any]] = {
        "FM, k = 8": lambda jobs: FactorizationMachine(8, lr=0.05, n_jobs=jobs),
        "FFM, k = 4": lambda jobs: FieldAwareFactorizationMachine(4, lr=0.1, n_jobs=jobs),
        "FFM, k = 8": lambda jobs: FieldAwareFactorizationMachine(8, lr=0.1, n_jobs=jobs),
    }
    threads = max(2, report.args.threads)
    for group, make in kinds.items():
        if report.quick and group == "FFM, k = 8":
            continue
        variants = []
        for jobs in (1, threads):
            name = US if jobs == 1 else f"{US}, {jobs} threads"

            def prepare(_: int, make: Any = make, jobs: int = jobs) -> Any:
                return make(jobs).partial_fit(of.x[:1], of.y[:1], classes=[0.0, 1.0])

            variants.append(
                Variant(name, lambda model: model.partial_fit(of.x, of.y), prepare, group)
            )
        variants += limit(of, lambda p=prepare: p(0)._model, group)
        with TemporaryDirectory() as folder:
            path = shutil.which("ffm-train")
            if path is not None and group.startswith("FFM"):
                file = Path(folder) / "log.ffm"
                clicks_to_libffm(of, file)
                variants += libffm(path, file, group, threads)
            report.measure(shape, variants, repeat=False, budget=15)
        gained = report.ratio(shape.label, US, group, of=f"{US}, {threads} threads")
        if group.startswith("FFM"):
            report.claims.append(
                Claim(f"{group}: {threads} threads against one", gained, ">=", 1.5)
            )
    if shutil.which("ffm-train") is not None:
        first_pass(report, of)
    losses = {}
    for group, make in kinds.items():
        if not report.quick:
            losses[group] = make(None).fit(of.x, of.y).progressive_["logloss"]
    if losses:
        lr = LogisticRegression(0.05).fit(of.x, of.y).progressive_["logloss"]
        table(
            f"Progressive logloss of {len(of)} examples in 2^18 slots",
            ["model", "logloss"],
            [["LR", f"{lr:.5f}"], *([name, f"{loss:.5f}"] for name, loss in losses.items())],
        )


def clicks_to_libffm(of: Clicks, path: Path) -> None:
    """Write examples as libffm reads them."""
    slots = of.x.slots.reshape(-1, FIELDS)
    fields = of.x.fields
    with path.open("w") as file:
        for row, label in zip(slots, of.y, strict=True):
            entries = " ".join(f"{f}:{s}:1" for f, s in zip(fields, row, strict=True))
            file.write(f"{label:.0f} {entries}\n")


def first_pass(report: Report, of: Clicks) -> None:
    """Claim that one pass over four fifths predicts the rest as well as libffm, by defaults."""
    n = len(of) * 4 // 5
    parts = [Clicks(of.name, of.x[part], of.y[part]) for part in (slice(n), slice(n, None))]
    with TemporaryDirectory() as folder:
        for part, name in zip(parts, ("learned", "held_out"), strict=True):
            clicks_to_libffm(part, Path(folder) / name)
        command = ["ffm-train", "-k", "4", "-t", "1", "-p", "held_out", "learned", "model"]
        run = subprocess.run(command, check=True, capture_output=True, cwd=folder, text=True)
    theirs = float(run.stdout.splitlines()[-1].split()[2])  # iter, tr_logloss, va_logloss, tr_time
    model = FieldAwareFactorizationMachine(4).fit(parts[0].x, parts[0].y)
    ours = logloss(model.decision_function(parts[1].x), parts[1].y)
    text = "FFM, k = 4: held-out logloss of one pass, over libffm's"
    report.claims.append(Claim(text, 100 * (ours / theirs - 1), "<=", 0.5, "%"))


def libffm(path: str, file: Path, group: str, threads: int) -> list[Variant]:
    """Return libffm's runs of one pass, from its binary form of the log."""

    def run(iterations: int, count: int) -> None:
        subprocess.run(
            [path, "-k", group[-1], "-t", str(iterations), "-s", str(count), str(file), os.devnull],
            check=True,
            capture_output=True,
            cwd=file.parent,  # it leaves its binary form of the log there
        )

    def passes(count: int) -> Callable[[Any], None]:
        return lambda _: run(1, count)

    run(1, 1)  # writes its binary form
    return [
        Variant(f"libffm, {count} threads, with reading", passes(count), group=group)
        for count in (1, threads)
    ]


def predict(report: Report, bits: int) -> None:
    """Measure predictions of one example and of many."""
    of = clicks.fielded(4096 if report.quick else 100_000, bits)
    model = LogisticRegression(0.05, n_jobs=1).fit(of.x, of.y)
    for count in (1, 100, len(of)):
        x = of.x[:count]
        variants = [Variant(US, lambda _, x=x: model.predict_proba(x), group=PREDICT)]
        if peer("sklearn") is not None:
            from sklearn.linear_model import SGDClassifier

            matrix = x.to_csr()
            other = SGDClassifier(loss="log_loss").partial_fit(matrix, of.y[:count], [0.0, 1.0])
            call = lambda _, o=other, m=matrix: o.predict_proba(m)  # noqa: E731
            variants.append(Variant(SGD, call, group=PREDICT))
        report.measure(
            Shape(f"{of.name}, {count} examples", count), variants, repeat=True, budget=2
        )
    one = report.get(f"{of.name}, 1 examples", US, PREDICT)
    report.claims.append(
        Claim("predict_proba of one example", one and one.ns / 1000, "<=", 20, "us")
    )


def run(report: Report) -> list[Panel]:
    """Measure everything that --only selects."""
    questions: dict[str, Callable[[], None]] = {}
    for bits in (18,) if report.quick else SIZES:
        questions[f"{LEARN}, 2^{bits}"] = functools.partial(fielded, report, bits, True)
    for bits in (18,) if report.quick else SIZES:
        questions[f"{GENERIC}, 2^{bits}"] = functools.partial(sparse_matrix, report, bits)
    bits = 18 if report.quick else 22
    questions[BUSY] = functools.partial(busy, report, bits)
    questions[AUTO] = functools.partial(auto, report, bits)
    questions["machines: FM, FFM"] = functools.partial(machines, report)
    questions[endtoend.END_TO_END] = functools.partial(endtoend.end_to_end, report)
    if hasattr(os, "wait4"):
        questions[endtoend.MEMORY] = functools.partial(endtoend.memory, report)
    questions["l1"] = functools.partial(l1.run, report)
    questions["drift"] = functools.partial(drift.drift, report)
    questions[PREDICT] = functools.partial(predict, report, bits)
    for label, ask in questions.items():
        if report.wants(label):
            ask()
            clicks.fielded.cache_clear()
            clicks.generic.cache_clear()
    for group in (LEARN, GENERIC, BUSY, AUTO):
        report.by_shape(f"{group}: ns an entry", group)
    for group in ("FM, k = 8", "FFM, k = 4", "FFM, k = 8", PREDICT):
        report.by_shape(f"{group}: ns an example", group)
    panels = []
    for group in (LEARN, GENERIC):
        series = {}
        for name in report.names(group):
            points = [
                (2.0 ** int(shape.label.split("^")[1]), report.ratio(shape.label, name, group))
                for shape in report.shapes(group)
            ]
            known = [(x, ratio) for x, ratio in points if ratio is not None]
            if name != US and known:
                series[name] = ([x for x, _ in known], [ratio for _, ratio in known])
        panels.append(Panel(group, "slots", series))
    return panels
