"""The factorization machines beside libffm, if it is on PATH, and beside their limits."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adagrad.ctr import (
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    LogisticRegression,
)
from bench import bounds, clicks
from bench.clicks import FIELDS, Clicks, logloss
from bench.harness import Report
from bench.results import US, Claim, Shape, Variant, table

LIBFFM = "libffm, {} threads, with reading"
FM, FFM_4, FFM_8 = GROUPS = ("FM, k = 8", "FFM, k = 4", "FFM, k = 8")
MOST_OVER = {FM: 1.5, FFM_4: 1.5, FFM_8: 1.25}  # the slower limit
# Roots and divisions of an example: of each factor of each entry, and of each pair for both of its
# entries; and one for each weight.
PAIRS = FIELDS * (FIELDS - 1) // 2
STEPS = {FM: FIELDS * (8 + 1), FFM_4: FIELDS + 2 * 4 * PAIRS, FFM_8: FIELDS + 2 * 8 * PAIRS}


def machines(report: Report) -> None:
    """Measure one pass of each."""
    n = 512 if report.smoke else 20_000 if report.short else 100_000
    of = clicks.fielded(n, 12 if report.smoke else 18)
    shape = Shape(of.name, len(of))
    kinds: dict[str, Callable[[int], Any]] = {
        FM: lambda jobs: FactorizationMachine(8, lr=0.05, n_jobs=jobs),
        FFM_4: lambda jobs: FieldAwareFactorizationMachine(4, lr=0.1, n_jobs=jobs),
        FFM_8: lambda jobs: FieldAwareFactorizationMachine(8, lr=0.1, n_jobs=jobs),
    }
    threads = max(2, report.args.threads)
    for group, make in kinds.items():
        if report.smoke and group == FFM_8:
            continue
        variants = []
        for jobs in (1, threads):
            name = US if jobs == 1 else f"{US}, {jobs} threads"

            def prepare(_: int, make: Any = make, jobs: int = jobs) -> Any:
                return make(jobs).partial_fit(of.x[:1], of.y[:1], classes=[0.0, 1.0])

            variants.append(
                Variant(name, lambda model: model.partial_fit(of.x, of.y), prepare, group)
            )
        new = lambda p=prepare: list(p(0)._model.tables.values())  # noqa: E731
        variants += bounds.memory(of, new, group)
        variants += bounds.arithmetic(STEPS[group] * len(of), group)
        theirs = None
        with TemporaryDirectory() as folder:
            path = shutil.which("ffm-train")
            if path is not None and group.startswith("FFM"):
                file = Path(folder) / "log.ffm"
                clicks_to_libffm(of, file)
                theirs = pass_of_libffm(path, file, group)
                variants += libffm(path, file, group, (1,) if report.short else (1, threads))
            report.measure(shape, variants, repeat=False, budget=15)
        gained = report.ratio(shape.label, US, group, of=f"{US}, {threads} threads")
        least = 1.5 if group == FM else 1.6
        report.claims.append(Claim(f"{group}: {threads} threads against one", gained, ">=", least))
        bounds.claim(report, shape.label, group, group, MOST_OVER[group])
        if group == FFM_4:
            ours = report.get(shape.label, US, group)
            beaten = theirs and ours and theirs / (ours.ns * 1e-9 * len(of))
            report.claims.append(Claim(f"{group}: a pass of libffm, 1 thread", beaten, ">=", 2.5))
    if shutil.which("ffm-train") is not None:
        first_pass(report, of)
    losses = {}
    for group, make in kinds.items():
        if not report.args.quick and not report.smoke:
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


def run_libffm(path: str, file: Path, group: str, passes: int, threads: int) -> None:
    """Let libffm begin a model and make some passes over its binary form of the log."""
    subprocess.run(
        [path, "-k", group[-1], "-t", str(passes), "-s", str(threads), str(file), os.devnull],
        check=True,
        capture_output=True,
        cwd=file.parent,  # it leaves its binary form of the log there
    )


def pass_of_libffm(path: str, file: Path, group: str, passes: int = 4) -> float:
    """Return the seconds of a pass by itself, without those of beginning a model and writing it."""
    seconds = []
    run_libffm(path, file, group, 1, 1)  # writes its binary form
    for _ in range(3):
        moments = [time.perf_counter()]
        for count in (1, 1 + passes):
            run_libffm(path, file, group, count, 1)
            moments.append(time.perf_counter())
        begin, one, end = moments
        seconds.append(((end - one) - (one - begin)) / passes)
    return statistics.median(seconds)


def libffm(path: str, file: Path, group: str, threads: Sequence[int]) -> list[Variant]:
    """Return libffm's runs of one pass, from its binary form of the log."""

    def passes(count: int) -> Callable[[Any], None]:
        return lambda _: run_libffm(path, file, group, 1, count)

    return [Variant(LIBFFM.format(count), passes(count), group=group) for count in threads]
