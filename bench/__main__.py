"""``python -m bench QUESTION`` runs one benchmark of this folder, ``python -m bench all`` each."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from pathlib import Path

from bench import compare, everything, gate, pages
from bench.harness import Report
from bench.machine import leave_out

# Each is a module with run(report), which measures, prints, adds claims and returns panels. QUICK,
# if it has that, names the shapes of the quick form by parts of their labels.
QUESTIONS = {
    "dense": "step: sizes from L1 to DRAM, beside NumPy, torch, numba and the limit",
    "rows": "step_rows on [N]: policies for duplicates, uniform and Zipf ids, table sizes",
    "table": "Table.step on rows of one element, from L1 to 2 GiB, beside its limit and two arrays",
    "wide": "step_rows on [N, D], with one accumulator per element and per row",
    "bags": "Table.step on longer rows; bags of rows, forward and backward, beside fbgemm",
    "embedding": "TableEmbeddingBag through autograd, beside fbgemm and torch.nn.EmbeddingBag",
    "threads": "two threads, or --threads N, beside one: tables, step_rows and the dense step",
    "beside": "two threads beside one, on a quiet machine and beside a busy processor",
    "precision": "tables and arrays of 16 bits: bytes, time and loss beside float32",
    "coalesce": "coalesce alone, beside np.unique and torch",
    "ctr": "click learners: one pass, threads, FM and FFM, from files, beside VW, libffm",
    "quality": "click learners: one pass with defaults, beside VW, river, scikit-learn, libffm",
    "door": "logs of many columns and files, errors, the check of memory, the digest of a training",
    "formats": "reading VW text, libffm and JSON lines, beside VW, libffm and pyarrow",
    "convert": "logs in text beside what adagrad convert makes of them: reading and training",
    "export": "a model in service: exports, deltas, opening, one row, beside scikit-learn and VW",
    "distributed": "click learners on Ray: bits, the cost of staleness, failures",
    "serve": "the server under load, beside FastAPI; --soak MINUTES: models replaced under load",
    "scale": "click learners on Ray: the cost of a batch, beside one process, 64 nodes simulated",
    "keras_fit": "Keras: an update and a training step, ours and Keras's, on each backend",
    "drop_in": "adagrad.torch.Adagrad beside torch.optim.Adagrad: dense, 200 params, sparse",
    "call": "the cost of one call, and of an import",
    "gate": "one thread, in cache: the few ratios that every change must keep",
}
COMMANDS = {
    "all": (everything, "every question, each in a process of its own, into one JSON file"),
    "compare": (compare, "two JSON files: which ratios moved beyond their spread"),
    "docs": (pages, "writes the numbers of docs/benchmarks.md and README.md from a JSON file"),
    "check": (gate, "the gate, against what is kept for this kind of machine: fails on a fall"),
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line of a question."""
    lines = [f"  {name:12}{text}" for name, text in QUESTIONS.items()]
    lines += ["", "commands, each with --help:"]
    lines += [f"  {name:12}{text}" for name, (_, text) in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="questions:\n" + "\n".join(lines),
    )
    parser.add_argument("question", choices=QUESTIONS, metavar="QUESTION")
    parser.add_argument("--quick", action="store_true", help="only what claims name; fewer samples")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes: only shows that it runs")
    parser.add_argument("--large", action="store_true", help="also 64 M elements, 2^28 coordinates")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds for each measurement")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="dense: also with N; threads: N, not 2"
    )
    parser.add_argument(
        "--grain", type=int, metavar="N", help="threads: least work of a thread, in elements"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="TEXT",
        help="only shapes with this in the label (not call, coalesce, door, drop_in, keras_fit);"
        " quality: only these logs; repeatable",
    )
    parser.add_argument(
        "--align", type=int, metavar="BYTES", help="dense: start arrays there, not where NumPy does"
    )
    parser.add_argument(
        "--logs",
        action="append",
        type=Path,
        metavar="DIR",
        help="quality: a folder of logs, described in its logs.json; repeatable",
    )
    parser.add_argument(
        "--soak", type=float, metavar="MINUTES", help="serve: only replace models, for so long"
    )
    parser.add_argument("--json", metavar="FILE", help="write every number here")
    parser.add_argument("--picture", metavar="FILE", help="draw the ratios here (needs matplotlib)")
    args = parser.parse_args(arguments)
    if args.threads < 1:
        parser.error("--threads must be at least 1")
    return args


def ask(args: argparse.Namespace) -> None:
    """Run one benchmark. If it needs a package that is missing, say so: that is no failure."""
    report = Report(args, QUESTIONS[args.question])
    panels = []
    try:
        module = importlib.import_module(f"bench.{args.question}")
        if report.short and not args.only:
            report.only = getattr(module, "QUICK", report.only)
        panels = module.run(report)
    except ModuleNotFoundError as error:
        name = (error.name or "bench").partition(".")[0]
        if name in ("adagrad", "bench"):
            raise
        leave_out(name)
        print(f"\n{args.question} needs {name}: {error}.")
    report.finish(panels)


def main() -> None:
    """Run a command, or one benchmark."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        sys.exit(COMMANDS[name][0].main(rest))
    if name not in QUESTIONS and not name.startswith("-"):
        near = difflib.get_close_matches(name, [*QUESTIONS, *COMMANDS], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "--help lists them"
        print(f"python -m bench: invalid choice: {name!r}: {hint}", file=sys.stderr)
        sys.exit(2)
    ask(parse([name, *rest]))


if __name__ == "__main__":
    main()
