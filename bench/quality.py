"""The quality of one pass over click logs: our defaults beside rates by hand, and beside peers.

Every learner predicts each example before it learns it. Rates and settings called best are the best
on that very log, known afterwards; defaults know nothing. Differences are paired: the standard
error is that of the mean difference over the same examples.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from adagrad.ctr import load
from bench import quality_laws as laws
from bench import quality_logs as logs
from bench.clicks import Clicks
from bench.harness import Report
from bench.picture import Panel
from bench.quality_learners import (
    AUTO,
    BEST,
    FFM,
    FIXED,
    FM,
    LEARNERS,
    RATES,
    VW,
    Losses,
    against,
    all_of_ours,
    base_rate,
    peers,
)
from bench.quality_logs import File, Log
from bench.results import Claim, table

SYNTHETIC, LATER = 100_000, 20_000
DATA = Path("logs")
QUICK = ("hive",)
# Progressive logloss of LR's defaults that the project asks of itself.
ASKED = {
    "hive": 0.1725,
    "iPinYou": 0.155,
    "a9a": 0.3322,
    "synthetic": 0.1850,
    "open bandit": 0.0302,
}


def all_logs(report: Report) -> Iterator[Log]:
    """Yield the logs at hand that --only selects."""
    rows, later = (512, 128) if report.smoke else (SYNTHETIC, LATER)
    found = [
        Log("hive", lambda: logs.shipped(512 if report.smoke else None)),
        Log("synthetic", lambda: logs.synthetic(rows, later)),
    ]
    for folder in report.args.logs or ([] if report.smoke else [DATA]):
        found += logs.in_folder(folder)
    return (log for log in found if report.wants(log.name))


def learn(report: Report, log: Log) -> tuple[Clicks, Clicks | None, dict[str, Losses]]:
    """Let every learner make one pass over a log."""
    of, test = log.load()
    found: dict[str, Losses] = {}
    rates = (0.1, 0.2) if report.smoke else RATES
    for source in (all_of_ours(of, test, rates), peers(of, test, report.smoke)):
        for name, losses in source:
            found[name] = losses
            if sys.stderr.isatty():
                print(f"... {log.name}: {name}", file=sys.stderr)
    return of, test, found


def note(report: Report, log: str, of: Clicks, found: dict[str, Losses]) -> None:
    """Keep the losses for the JSON file."""
    for name, losses in found.items():
        facts: dict[str, object] = {"log": log, "rows": len(of), "learner": name}
        facts |= {"setting": losses.setting, "base_rate": base_rate(of)}
        for part in ("progressive", "held_out"):
            nats, base = getattr(losses, part), getattr(found[AUTO], part)
            if nats is not None:
                over, error = against(nats, base) if base is not None else (None, None)
                facts[part] = {"logloss": float(nats.mean()), "over_auto": over, "error": error}
        report.losses.append(facts)


def cell(losses: Losses | None, base: Losses, part: str) -> str:
    """Return a difference to the defaults in 1e-5 nats, with its standard error."""
    nats = None if losses is None else getattr(losses, part)
    if nats is None:
        return "-"
    over, error = (1e5 * x for x in against(nats, getattr(base, part)))
    if not np.isfinite(over):
        return "not finite"
    return f"{over:+.0f} ±{error:.0f}" if abs(over) < 1e5 else f"{over / 1e5:+.1f} nats"


def show(title: str, results: dict[str, tuple[Clicks, dict[str, Losses]]], part: str) -> None:
    """Print one part of all logs."""
    shown = {name: r for name, r in results.items() if r[1][AUTO].mean(part) is not None}
    others = [name for name in LEARNERS[1:] if any(name in found for _, found in shown.values())]
    lines = []
    for name, (of, found) in shown.items():
        base = found[AUTO]
        cells = [cell(found.get(other), base, part) for other in others]
        lines.append([name, f"{len(of):,}", f"{base_rate(of):.5f}", f"{base.mean(part):.5f}"])
        lines[-1] += cells
    if lines:
        table(title, ["", "examples", "base rate", AUTO, *others], lines)


def claims_of(report: Report, log: str, of: Clicks, found: dict[str, Losses]) -> None:
    """Claim what the defaults are worth on a log."""

    def over(a: str, b: float | None) -> float | None:
        mean = found[a].mean() if a in found else None
        return None if mean is None or b is None else 100 * (mean / b - 1)

    auto = found[AUTO].mean()
    if log in ASKED and not report.smoke:
        report.claims.append(
            Claim(f"{log}: {AUTO} over {ASKED[log]} nats", over(AUTO, ASKED[log]), "<=", 0, "%")
        )
    theirs = found[VW].mean() if VW in found else None
    report.claims += [
        Claim(f"{log}: {AUTO} over the base rate", over(AUTO, base_rate(of)), "<=", 0, "%"),
        Claim(f"{log}: {AUTO} over {FIXED}", over(AUTO, found[FIXED].mean()), "<=", 0.5, "%"),
        Claim(f"{log}: {AUTO} over the best rate", over(AUTO, found[BEST].mean()), "<=", 0.5, "%"),
        Claim(f"{log}: {AUTO} over VW's defaults", over(AUTO, theirs), "<=", 0, "%"),
    ]
    for name in (FM, FFM):
        if name in found:
            report.claims.append(
                Claim(f"{log}: {name} over {AUTO}", over(name, auto), "<=", 0.1, "%")
            )


def trained(file: File, options: list[str]) -> float:
    """Return the progressive logloss of `adagrad train`."""
    with TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        command = [sys.executable, "-m", "adagrad.commands.main", "train", str(file.path), "-q"]
        command += [*file.options(), "--model", str(model), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{file.path.name}: {done.stderr.strip()}")
        return float(load(model).progressive_["logloss"])


def from_files(report: Report, files: dict[str, File]) -> None:
    """Compare `adagrad train` without an option with encodings chosen by hand."""
    lines = []
    for name, file in files.items():
        try:
            plain = trained(file, [])
            tried = file.by_hand()[-1:] if report.smoke else file.by_hand()
            hand = {" ".join(how): trained(file, how) for how in tried}
        except RuntimeError as error:  # what was measured before is not lost
            print(f"adagrad train failed: {error}")
            report.claims.append(Claim(f"{name}: adagrad train", None, "<=", 0.3, "%"))
            continue
        best = min(hand, key=lambda how: hand[how])
        over = 100 * (plain / hand[best] - 1)
        lines.append([name, f"{plain:.5f}", f"{hand[best]:.5f}", f"{over:+.2f} %", best])
        text = f"{name}: adagrad train without options, over the best encoding by hand"
        report.claims.append(Claim(text, over, "<=", 0.3, "%"))
    if lines:
        head = ["", "no option", "best by hand", "over", "the best options"]
        table("Progressive logloss of adagrad train", head, lines)


def run(report: Report) -> list[Panel]:
    """Measure everything that --only selects."""
    results: dict[str, tuple[Clicks, dict[str, Losses]]] = {}
    files = {}
    for log in all_logs(report):
        of, test, found = learn(report, log)
        results[log.name] = (of, found)
        note(report, log.name, of, found)
        print(f"{log.name}: {AUTO} {found[AUTO].mean():.5f}", flush=True)
        claims_of(report, log.name, of, found)
        if log.file is not None and not log.file.is_matrix:
            files[log.name] = log.file
        if log.name == "a9a":
            laws.scales(report, of)
            if test is not None:
                laws.sorted_log(report, of, test)
        if log.name in ("hive", "a9a", "synthetic"):
            laws.one_by_one(report, of, 0.3 if len(of) < 100_000 else 0.02)
        if log.name == "synthetic" and not report.smoke:
            machines = {name: found[name] for name in (FM, FFM)}
            laws.interactions(report, of, found[AUTO], machines)
    units = f"{AUTO} in nats, the others less {AUTO}, in 1e-5 nats ± standard error"
    show(f"Progressive logloss of one pass: {units}", results, "progressive")
    show(f"Logloss of the part held out: {units}", results, "held_out")
    for name, (_, found) in results.items():
        settings = [f"{who} {x.setting}" for who, x in found.items() if x.setting]
        print(f"{name}: the best are {', '.join(settings)}")
    from_files(report, files)
    if report.wants("calibration"):
        laws.calibration(report, 4096 if report.smoke else 300_000)
    return []
