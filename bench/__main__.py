"""``python -m bench QUESTION``: runs one benchmark of this folder."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from bench.harness import Report

# Each is a module with run(report), which measures, prints, adds claims and returns panels.
QUESTIONS = {
    "dense": "step: sizes from L1 to DRAM, beside NumPy, torch, numba and the limit",
    "rows": "step_rows on [N]: policies for duplicates, uniform and Zipf ids, table sizes",
    "table": "Table.step on rows of one element, from L1 to 2 GiB, beside its limit and two arrays",
    "wide": "step_rows on [N, D], with one accumulator per element and per row",
    "bags": "Table.step on longer rows; bags of rows, forward and backward, beside fbgemm",
    "embedding": "TableEmbeddingBag through autograd, beside fbgemm and torch.nn.EmbeddingBag",
    "threads": "two threads, or --threads N, beside one: tables, step_rows and the dense step",
    "precision": "tables and arrays of 16 bits: bytes, time and loss beside float32",
    "coalesce": "coalesce alone, beside np.unique and torch",
    "ctr": "click learners: one pass, threads, FM and FFM, from files, beside VW, libffm",
    "quality": "click learners: one pass with defaults, beside VW, river, scikit-learn, libffm",
    "door": "logs of many columns and files, errors, the check of memory, the digest of a training",
    "distributed": "click learners on Ray: bits, the cost of staleness, failures",
    "scale": "click learners on Ray: the cost of a batch, beside one process, 64 nodes simulated",
    "keras_fit": "Keras: an update and a training step, ours and Keras's, on each backend",
    "drop_in": "adagrad.torch.Adagrad beside torch.optim.Adagrad: dense, 200 params, sparse",
    "call": "the cost of one call, and of an import",
}


def main() -> None:
    """Parse the command line and run one benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="questions:\n" + "\n".join(f"  {k:12}{v}" for k, v in QUESTIONS.items()),
    )
    parser.add_argument("question", choices=QUESTIONS, metavar="QUESTION")
    parser.add_argument("--quick", action="store_true", help="a smoke run: seconds, small shapes")
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
        help="table, bags, embedding, threads, precision, ctr, distributed, scale: only shapes with"
        " this in the label; quality: only these logs; repeatable",
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
    parser.add_argument("--json", metavar="FILE", help="write every number here")
    parser.add_argument("--picture", metavar="FILE", help="draw the ratios here (needs matplotlib)")
    args = parser.parse_args()
    if args.threads < 1:
        parser.error("--threads must be at least 1")

    report = Report(args, QUESTIONS[args.question])
    panels = importlib.import_module(f"bench.{args.question}").run(report)
    report.finish(panels)


if __name__ == "__main__":
    main()
