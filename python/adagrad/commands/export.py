"""``adagrad export``: what a model predicts with, in a file for scoring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from adagrad._text import counted, listed, mebibytes
from adagrad.commands.errors import reads_logs
from adagrad.commands.outputs import Output, check_outputs, overwrite_option
from adagrad.commands.terminal import echo

__all__ = ["export", "numbers_of", "text_of"]

EXAMPLES = """\b
Examples:
  adagrad export ctr.safetensors -o ctr.score
  # With weights of 16 bits
  adagrad export ctr.safetensors -o ctr.score --dtype float16
  # The next day, for a small delta (see adagrad diff)
  adagrad export monday.safetensors -o monday.score
  adagrad export tuesday.safetensors -o tuesday.score --mix-like monday.score
"""

DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    short_help="Write what a model predicts with to a file for scoring.", epilog=EXAMPLES
)
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Write the export to this file.")
@click.option(
    "--dtype",
    type=click.Choice(list(DTYPES.values())),
    default="float32",
    show_default=True,
    help="How weights are stored. 16 bits halve the file and hardly change predictions.",
)
@click.option(
    "--mix-like",
    type=FILE,
    metavar="EXPORT",
    help="Mix the experts of --lr auto in the proportions of this earlier export. The weights that"
    " learned nothing since then keep their bits, which makes a delta small, and the predictions"
    " are not quite those of MODEL.  [default: in those of MODEL]",
)
@overwrite_option
@reads_logs
def export(model: Path, output: Path, dtype: str, mix_like: Path | None, overwrite: bool) -> None:
    """Write what MODEL predicts with to a file: its weights, and how columns become features.

    The file is mapped instead of read, so that it answers at once and processes share it. adagrad
    serve, predict and evaluate take it, adagrad.serving.Scorer in Python, and score.hpp and
    adagrad_score.h in other languages. Nothing can train it: keep MODEL for the next day.
    """
    from adagrad.serving.export import write_export

    read = [model] if mix_like is None else [model, mix_like]
    check_outputs([Output("--output", output, "file")], files=read, overwrite=overwrite)
    summary = write_export(model, output, dtype, mix_like=mix_like)  # type: ignore[arg-type]
    size = mebibytes(summary["bytes"])
    echo(f"{output}: {counted(summary['slots'], 'slot')} as {dtype}, {size}", err=True)


def numbers_of(path: Path) -> dict[str, Any]:
    """Return what an export holds, for a program to read."""
    from adagrad.serving._description import description_of
    from adagrad.serving.scorer import Scorer

    scorer, found = Scorer(path), description_of(path)
    return {
        "class": "export",
        "kind": scorer.kind,
        "dtype": found["dtype"],
        "n_slots": found["n_slots"],
        "used": found["rows"],
        "label": scorer.label,
        "classes": found["classes"],
        "bias": found["bias"],
        "offset": scorer.offset,
        "columns": scorer.columns,
        "version": scorer.version,
    }


def text_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what an export holds, as names and texts."""
    found = numbers_of(path)
    size = path.stat().st_size
    kind = {"lr": "LogisticRegression", "fm": "FactorizationMachine"}.get(
        found["kind"], "FieldAwareFactorizationMachine"
    )
    yield "export", f"of a {kind}, {path} ({mebibytes(size)})"
    yield "version", found["version"]
    yield "slots", f"{found['n_slots']:,}, of which {found['used']:,} have weights"
    yield "weights", DTYPES[found["dtype"]]
    yield "label", found["label"] or "not known"
    yield "bias", f"{found['bias'] + found['offset']:.5f}"
    yield "columns", listed([f"{name} ({type_})" for name, type_ in found["columns"].items()])
