"""The click learners beside Vowpal Wabbit, scikit-learn and libffm, and beside their limits.

Learners start from hashed examples in memory; the end-to-end shapes start from a file. Each pass
starts from a new model. Vowpal Wabbit reads its text, or its binary cache.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

import adagrad
from adagrad.ctr import LogisticRegression
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from bench import bounds, clicks, drift, endtoend, factors, l1, limits, matrices, sampling
from bench.clicks import Clicks, logloss
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import US, Claim, Shape, Variant

EXAMPLES = 1_000_000
GENERIC_EXAMPLES = 400_000
SIZES = (18, 22, 24)
RULE = adagrad.Rule(lr=0.05)
LEARN, GENERIC, AUTO, PREDICT = (
    "one pass, 39 fields",
    "one pass, sparse matrix of 5 to 119 entries",
    "lr='auto'",
    "predict_proba",
)
QUICK = (
    f"{LEARN}, 2^22",
    f"{GENERIC}, 2^22",
    AUTO,
    "machines",
    "end to end",
    matrices.FIT,
    PREDICT,
)
VW_CACHE, VW_TEXT, SGD = "VW, cache", "VW, text", "SGDClassifier"
EXPERT_LANES = 8  # floats of the params of a mixture in a row, and as many of its sums
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


def limits_of(of: Clicks, group: str) -> list[Variant]:
    """Return both limits of a pass, and the loop in C that one writes at first."""
    bits = of.x.n_slots.bit_length() - 1
    memory = bounds.memory(of, lambda: list(new_model(bits).tables.values()), group)
    return memory + bounds.arithmetic(of.entries, group) + plain(of, group)


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
    bounds.claim(report, of.name, of.name, group, 1.3)
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
    bits, n = of.x.n_slots.bit_length() - 1, min(len(of), 50_000 if report.short else 200_000)
    model = new_model(bits)
    one_by_one = [model.learn(of.x[i : i + 1], of.y[i : i + 1])[0] for i in range(n)]
    margins = new_model(bits).learn(of.x[:n], of.y[:n])
    more = logloss(margins, of.y[:n]) / logloss(np.array(one_by_one), of.y[:n]) - 1
    report.claims.append(
        Claim(f"{of.name}: logloss over one example a call", 100 * more, "<=", 0.02, "%")
    )


def fielded(report: Report, bits: int, peers: bool) -> None:
    """Measure one pass over 39 fields."""
    n = 4096 if report.smoke else EXAMPLES // 8 if report.short else EXAMPLES
    of = clicks.fielded(n, bits)
    shape = Shape(of.name, of.entries)
    threads = max(2, report.args.threads)
    check_bits(of, threads)
    variants = [us(of, 1), us(of, threads)]
    variants += limits_of(of, LEARN)
    with ExitStack() as stack:
        if peers and peer("vowpalwabbit") is not None:
            text, cache = stack.enter_context(clicks.vw_files(of))
            sources = {VW_CACHE: f"-d {text} --cache_file {cache}", VW_TEXT: f"-d {text}"}
            if report.short:
                del sources[VW_TEXT]
            for name, source in sources.items():
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
        Claim(f"{of.name}: {threads} threads against one", gained, ">=", 1.5),
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
    variants += limits_of(of, LEARN)
    if peer("sklearn") is not None and bits == 22:
        matrix = of.x.to_csr()
        call = lambda _: clicks.sgd_pass(matrix, of.y)  # noqa: E731
        variants.append(Variant(SGD, call))
    variants = [regroup(v, GENERIC) for v in variants]
    report.measure(Shape(of.name, of.entries), variants, repeat=False, budget=15)
    show_loss(report, of)
    gained = report.ratio(of.name, US, GENERIC, of=f"{US}, {threads} threads")
    report.claims.append(Claim(f"{of.name}: {threads} threads against one", gained, ">=", 1.5))
    claim_of_limits(report, of, GENERIC)
    if bits == 22:
        beaten = report.ratio(of.name, SGD, GENERIC)
        report.claims.append(Claim(f"{of.name}: {SGD}", beaten, ">=", 3))


def auto(report: Report, bits: int) -> None:
    """Measure the cost of having no rate to choose."""
    n = 32_768 if report.smoke else EXAMPLES // 4 if report.short else EXAMPLES
    of = clicks.fielded(n, bits)

    def begun(lr: Any) -> Any:
        return LogisticRegression(lr, n_jobs=1).partial_fit(of.x[:1], of.y[:1], classes=[0.0, 1.0])

    def learn(model: LogisticRegression) -> None:
        model.partial_fit(of.x, of.y)

    variants = [
        Variant(US, learn, lambda _: begun(0.05), AUTO),
        Variant(f"{US}, auto", learn, lambda _: begun("auto"), AUTO),
        *bounds.memory(of, lambda: [adagrad.Table(1 << bits, EXPERT_LANES, RULE)], AUTO),
        *bounds.arithmetic(EXPERT_LANES * of.entries, AUTO),
    ]
    report.measure(Shape(of.name, of.entries), variants, repeat=False, budget=10)
    cost = report.ratio(of.name, f"{US}, auto", AUTO)
    report.claims.append(Claim(f"{of.name}: lr='auto' over a fixed rate", cost, "<=", 2.2))
    bounds.claim(report, of.name, f"{of.name}: lr='auto'", AUTO, 1.3, f"{US}, auto")


def predict(report: Report, bits: int) -> None:
    """Measure predictions of one example and of many."""
    of = clicks.fielded(4096 if report.smoke else 100_000, bits)
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
    for bits in (18,) if report.smoke else SIZES:
        questions[f"{LEARN}, 2^{bits}"] = functools.partial(fielded, report, bits, True)
    for bits in (18,) if report.smoke else SIZES:
        questions[f"{GENERIC}, 2^{bits}"] = functools.partial(sparse_matrix, report, bits)
    bits = 18 if report.smoke else 22
    questions[AUTO] = functools.partial(auto, report, bits)
    questions["machines: FM, FFM"] = functools.partial(factors.machines, report)
    questions[endtoend.END_TO_END] = functools.partial(endtoend.end_to_end, report)
    if hasattr(os, "wait4"):
        questions[endtoend.MEMORY] = functools.partial(endtoend.memory, report)
    questions[f"{matrices.FIT}, {matrices.PREDICT}"] = functools.partial(matrices.run, report)
    questions["l1"] = functools.partial(l1.run, report)
    questions["drift"] = functools.partial(drift.drift, report)
    questions["sampling"] = functools.partial(sampling.run, report)
    questions[PREDICT] = functools.partial(predict, report, bits)
    for label, ask in questions.items():
        if report.wants(label):
            ask()
            clicks.fielded.cache_clear()
            clicks.generic.cache_clear()
    for group in (LEARN, GENERIC, AUTO):
        report.by_shape(f"{group}: ns an entry", group)
    for group in (*factors.GROUPS, PREDICT):
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
