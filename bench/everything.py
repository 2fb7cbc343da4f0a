"""``python -m bench all``: every question, each in a process of its own, into one JSON file."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import machine, record
from bench.results import Table


def ask(question: str, options: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run a question, which prints to our output, and return its part of the record.

    A question that fails has an ``error``, which is the last line that it wrote, and no results.
    """
    file = folder / f"{question}.json"
    command = [sys.executable, "-m", "bench", question, "--json", str(file), *options]
    began, last = time.perf_counter(), ""
    with subprocess.Popen(command, cwd=record.ROOT, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            sys.stderr.write(line)
            last = line.strip() or last
    if child.returncode == 0 and file.exists():
        return record.read(file)["questions"][question]
    seconds = round(time.perf_counter() - began)
    return {"seconds": seconds, "error": last or f"exit status {child.returncode}"}


def summary(found: dict[str, Any]) -> Table:
    """Return a line for each question: its claims, its peers, and what is missing."""
    rows = []
    for name, part in found.items():
        verdicts = [claim["met"] for claim in part.get("claims", [])]
        notes = [f"FAILED: {part['error']}"] if "error" in part else []
        for key, text in (("left_out", "not installed"), ("nowhere", "no such shapes")):
            notes += [f"{text}: {', '.join(part[key])}"] if part.get(key) else []
        counts = [verdicts.count(True), verdicts.count(False), verdicts.count(None)]
        slower = len(part.get("faster_peers", []))
        rows.append(
            [name, *map(str, counts), str(slower), f"{part['seconds']} s", "; ".join(notes)]
        )
    headers = ["", "met", "NOT MET", "not measured", "faster peers", "time", ""]
    return Table("All questions: claims, and how often a peer is faster", headers, rows)


def main(arguments: Sequence[str]) -> int:
    """Ask every question; return 1 if one failed."""
    from bench.__main__ import QUESTIONS

    parser = argparse.ArgumentParser(prog="python -m bench all", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--quick", action="store_true", help="what claims name: under ten minutes")
    form.add_argument("--smoke", action="store_true", help="tiny shapes: only shows that it runs")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds for each measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: bench-MACHINE.json")
    parser.add_argument(
        "--questions",
        nargs="+",
        choices=QUESTIONS,
        metavar="NAME",
        help=f"these, not all of {', '.join(QUESTIONS)}",
    )
    args = parser.parse_args(arguments)
    form = "smoke" if args.smoke else "quick" if args.quick else "long"
    whole = record.begin(form)
    path = (args.json or Path(f"bench-{machine.kind()}.json")).absolute()
    options = [] if form == "long" else [f"--{form}"]
    options += [] if args.budget is None else ["--budget", str(args.budget)]
    found = whole["questions"]
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        for question in args.questions or QUESTIONS:
            print(f"\n{'=' * 100}", flush=True)
            found[question] = ask(question, options, Path(folder))
            record.write(whole, path)
    print(f"\n{'=' * 100}\n{summary(found)}")
    print(f"\n{time.perf_counter() - began:.0f} s, written to {path}")
    return int(any("error" in part for part in found.values()))
