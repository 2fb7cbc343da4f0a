"""``adagrad diagnose``: will AdaGrad help on this data, and with which table and rate."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from adagrad.commands._shared import (
    check_picture,
    check_writable,
    feature_options,
    log_options,
    one_line_errors,
    open_features,
    reading,
    skipped,
    use_threads,
)

if TYPE_CHECKING:
    from adagrad.ctr.diagnosis.diagnosis import Diagnosis
    from adagrad.ctr.logs.log import Log

__all__ = ["diagnose"]

DPI = 120
IDS = 32  # bits of the hash by which a value is known
LIBSVM_LABEL = "label"
IDS_WITH_VALUES = "ids with their values"

_OF_COLUMNS = {
    name: f"--{name}" for name in ("label", "columns", "ignore", "categorical", "numeric")
}
_OF_A_LOG = {
    **_OF_COLUMNS,
    "file_format": "--format",
    "delimiter": "--delimiter",
    "names": "--names",
    "skip_bad": "--skip-bad",
}


class Found(NamedTuple):
    """A diagnosis, of what, and what became features and how."""

    name: str
    features: str
    numbers: str
    diagnosis: Diagnosis
    skipped: dict[str, int]


@click.command()
@click.argument("file", required=False)
@click.option("-l", "--label", metavar="COLUMN", help="The column to predict; it is no feature.")
@feature_options
@click.option(
    "--numeric",
    type=click.Choice(["log2-bins", "value", "categorical"]),
    help="What other numbers are.  [default: value if every column is a number, else log2-bins]",
)
@click.option(
    "-b",
    "--bits",
    type=click.IntRange(10, 28),
    default=22,
    show_default=True,
    help="Count features in 2^BITS places of 24 bytes: exactly up to half as many.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.json",
    help="Write the numbers, too.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw them; or .svg, .pdf.",
)
@log_options
@one_line_errors
def diagnose(file: str | None, **given: Any) -> None:
    """Tell whether AdaGrad will help on FILE, and with which table size and learning rate.

    FILE is a log as for adagrad train: CSV and TSV (.gz, .zst, .bz2 or plain), Parquet, Arrow,
    libsvm, a directory, a quoted glob, or - for the standard input. Without it, the click log that
    ships with adagrad. It is read once, in constant memory.

    \b
      adagrad diagnose clicks.tsv.gz --label click --picture clicks.png
      adagrad diagnose a9a.libsvm --json a9a.json

    Without a label of 0/1 or -1/+1 everything but the learning rate is found. CSV and TSV files
    need a header then, or --names.
    """  # noqa: D301 (click looks for the character itself)
    from rich.console import Console

    if given["picture"] is not None:
        from adagrad.commands.requirements import require

        require("adagrad diagnose --picture", "matplotlib")
        check_picture(given["picture"])
    if given["json_file"] is not None:
        check_writable(given["json_file"], "--json")
    use_threads(given["threads"])
    if file is None:
        _refuse(given, _OF_A_LOG, "are for a FILE, and none is given")
    found = _shipped(given["bits"]) if file is None else _read(file, given)
    from adagrad.ctr.diagnosis.words import show

    show(Console(highlight=False), found.name, found.features, found.diagnosis)
    if found.skipped:
        click.echo(skipped(found.skipped), err=True)
    if given["json_file"] is not None:
        content = {
            "log": found.name,
            "numbers": found.numbers,
            **found.diagnosis.to_dict(),
            "skipped": found.skipped,
        }
        given["json_file"].write_text(
            json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        click.echo(f"JSON: {given['json_file']}")
    if given["picture"] is not None:
        from adagrad.plotting import diagnosis_figure

        diagnosis_figure(found.diagnosis, found.name).savefig(given["picture"], dpi=DPI)
        click.echo(f"Picture: {given['picture']}")


def _refuse(given: dict[str, Any], options: dict[str, str], why: str) -> None:
    """Refuse options rather than ignore them."""
    useless = [option for name, option in options.items() if given[name]]
    if useless:
        raise click.ClickException(f"{', '.join(useless)} {why}")


def _shipped(bits: int) -> Found:
    from adagrad import datasets
    from adagrad.ctr.diagnosis.diagnosis import Diagnoser
    from adagrad.ctr.encoding.examples import Examples

    log = datasets.click_log()
    diagnoser = Diagnoser(bits, ids_are_slots=True)
    diagnoser.add(Examples.from_csr(log.to_csr()), log.labels)
    return Found(f"{log.name} that ships", IDS_WITH_VALUES, "values", diagnoser.result(), {})


def _read(file: str, given: dict[str, Any]) -> Found:
    from adagrad.ctr.logs.log import LogError
    from adagrad.ctr.logs.sources import find

    given = dict(given)
    libsvm = find([file], given["file_format"])[0].format == "libsvm"
    if libsvm:
        _refuse(given, _OF_COLUMNS, "name or change columns, of which libsvm logs have none")
        given["label"] = LIBSVM_LABEL
    try:
        return _look(file, given, "no --label")
    except LogError as error:
        if file == "-" or not _is_number(error.label):
            raise
        # A target of regression, or more than two classes: once more, from the first row.
        why = f"the label is neither 0/1 nor -1/+1 ({error.path}, line {error.line}: {error.label})"
    if not libsvm:
        with _open(file, given) as log:
            given["columns"] = [name for name in log.schema.names if name != given["label"]]
        given["ignore"] = ()
    given["label"] = None
    return _look(file, given, why)


def _open(file: str, given: dict[str, Any]) -> Log:
    how = reading(given["file_format"], given["delimiter"], given["names"])
    return open_features(
        [file],
        given["label"],
        given["columns"],
        given["ignore"] or (),
        skip_bad=given["skip_bad"],
        **how,
    )


def _is_number(label: object) -> bool:
    try:
        return math.isfinite(float(label))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _look(file: str, given: dict[str, Any], no_label: str) -> Found:
    """Read a log to its end."""
    from rich.console import Console

    from adagrad.commands._progress import Reading
    from adagrad.commands._stray import StrayTexts
    from adagrad.ctr.diagnosis.diagnosis import Diagnoser
    from adagrad.ctr.training.pipeline import Encoder, SlotEncoder, encoded, is_libsvm

    texts = None
    with _open(file, given) as log:
        libsvm = is_libsvm(log.schema, given["label"])
        if libsvm:
            encoder: Encoder = SlotEncoder(1 << IDS)
            features, numbers = IDS_WITH_VALUES, "values"
        else:
            encoder, features, numbers = _encoder(log, given)
            if log.sources[0].format in ("csv", "tsv", None):
                texts = StrayTexts(log.schema, (given["label"], *(given["categorical"] or ())))
                if given["names"] is None:
                    _doubt_header(log)
        diagnoser = Diagnoser(given["bits"], ids_are_slots=libsvm, no_label=no_label)
        with Reading(Console(stderr=True), log) as progress:
            for batch in encoded(log, encoder):
                diagnoser.add(batch.x, batch.y)
                if texts is not None:
                    texts.add(batch.batch)
                progress(batch.position)
        left_out = log.skipped
    for stray in [] if texts is None else texts.found():
        if given["numeric"] == "value":
            raise click.ClickException(f"{file}: {stray}: mend it, or give --categorical")
        click.echo(f"{file}: {stray}: each of its values is a category", err=True)
    try:
        return Found(file, features, numbers, diagnoser.result(), left_out)
    except ValueError as error:
        reason = f"{error}; {skipped(left_out)}" if left_out else str(error)
        raise click.ClickException(f"{file}: {reason}") from None


def _doubt_header(log: Log) -> None:
    """Say so where the names of columns look like a first row."""
    odd = [name for name in log.schema.names if _is_number(name)]
    if odd:
        shown = ", ".join(odd[:5]) + (", ..." if odd[5:] else "")
        click.echo(
            f"the first line names the columns, {shown} among them: without a header, give --names",
            err=True,
        )


def _encoder(log: Log, given: dict[str, Any]) -> tuple[Any, str, str]:
    """Return what makes features of columns, that in words, and what it does with numbers."""
    from adagrad.ctr.encoding.columns import default_kind
    from adagrad.ctr.training.options import Options

    left_out = (given["label"], *(given["ignore"] or ()))
    features = [field for field in log.schema if field.name not in left_out]
    categorical = given["categorical"] or ()
    numeric = given["numeric"]
    if numeric is None:
        kinds = [default_kind(f.type, "value") for f in features if f.name not in categorical]
        numeric = "value" if {"value"} >= set(kinds) else "log2-bins"
    options = Options(
        given["label"] or "",
        bits=IDS,
        ignore=given["ignore"] or (),
        categorical=categorical,
        numeric=numeric,
    )
    if not features:
        raise ValueError(f"{log.paths[0]}: no column is a feature")
    taken = {
        f.name: "categorical" if f.name in categorical else default_kind(f.type, numeric)
        for f in features
    }
    from adagrad.ctr.diagnosis.words import in_words

    return options._encoder(log.schema), in_words(taken), numeric
