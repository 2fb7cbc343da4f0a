"""``adagrad diagnose``: will AdaGrad help on this data, and with which table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from adagrad._atomic import writing
from adagrad._text import broken_rows
from adagrad.commands.errors import reads_logs
from adagrad.commands.log_options import (
    LIBSVM_LABEL,
    LogCommand,
    feature_options,
    log_options,
    open_features,
    reader_options,
    use_threads,
)
from adagrad.commands.outputs import (
    Output,
    check_outputs,
    check_standard_output,
    overwrite_option,
    save_picture,
)
from adagrad.commands.terminal import console, echo

if TYPE_CHECKING:
    from adagrad.ctr.diagnosis.diagnosis import Diagnosis
    from adagrad.ctr.logs.log import Log
    from adagrad.ctr.training.encoders import Encoder

__all__ = ["diagnose"]

EXAMPLES = """\b
Examples:
  # The click log that ships with adagrad
  adagrad diagnose
  adagrad diagnose clicks.tsv.gz --label click --picture clicks.png
  adagrad diagnose a9a.libsvm --json a9a.json
"""

DPI = 180
HASH_BITS = 32  # values are told apart by this many bits of their hash

_COLUMN_OPTIONS = {
    name: f"--{name}"
    for name in (
        "label", "columns", "ignore", "text", "categorical", "numbers", "calendar", "numeric",
        "multi",
    )
}  # fmt: skip
_LOG_OPTIONS = {
    **_COLUMN_OPTIONS,
    "file_format": "--format",
    "delimiter": "--delimiter",
    "names": "--names",
    "skip_bad": "--skip-bad",
}


class Found(NamedTuple):
    """A diagnosis of a log, and how its columns were encoded.

    Attributes
    ----------
    name : str
        Name of the log.
    features : str
        The features and their kinds, in words.
    decided : list of str
        Lines about the columns whose kind the first rows have decided.
    numbers : str
        Encoding of numbers.
    diagnosis : Diagnosis
        The diagnosis.
    skipped : dict of str to int
        Broken rows that were skipped, by kind.
    """

    name: str
    features: str
    decided: list[str]
    numbers: str
    diagnosis: Diagnosis
    skipped: dict[str, int]


@click.command(
    cls=LogCommand, short_help="Find out whether AdaGrad will help on a log.", epilog=EXAMPLES
)
@click.argument("file", required=False)
@click.option(
    "-l",
    "--label",
    metavar="COLUMN",
    help="Column with the label, which is not a feature.  [default: no label]",
)
@feature_options
@click.option(
    "--numeric",
    type=click.Choice(["log2-bins", "value", "categorical"]),
    help="Encoding of numbers, as for adagrad train.  [default: value if all features are numbers,"
    " else log2-bins]",
)
@click.option(
    "-b",
    "--bits",
    type=click.IntRange(10, 28),
    metavar="N",
    default=22,
    show_default=True,
    help="Count features in a table of 2^N entries of 24 bytes. Up to 2^(N-1) features are counted"
    " exactly.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.json",
    help="Also write the numbers to this file.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Also draw the numbers: .png, .svg or .pdf.",
)
@overwrite_option
@log_options
@reads_logs
def diagnose(file: str | None, **given: Any) -> None:
    """Find out whether AdaGrad will help on FILE, and with which table size.

    FILE is a log as for adagrad train: CSV and TSV (plain, .gz, .zst, .bz2 or .xz), Parquet, Arrow,
    libsvm, a directory, a quoted glob, or - for the standard input. The default is the click log
    that ships with adagrad. The log is read once, in constant memory.

    A first model is trained only for labels of 0/1, -1/+1 or 1/2; everything else is found
    without a label. A CSV or TSV file without a label needs a header or --names.
    """
    from adagrad.ctr.diagnosis.words import show

    if given["picture"] is not None:
        from adagrad.commands.requirements import require

        require("adagrad diagnose --picture", "matplotlib")
    _check_outputs(file, given)
    use_threads(given["threads"])
    if file is None:
        _refuse(given, _LOG_OPTIONS, "only for a FILE, and none is given")
    found = _shipped(given["bits"]) if file is None else _read(file, given)
    show(console(), found.name, found.features, found.diagnosis, found.decided)
    if found.skipped:
        echo(broken_rows(found.skipped), err=True)
    if given["json_file"] is not None:
        _write_json(given["json_file"], found)
        echo(f"JSON: {given['json_file']}")
    if given["picture"] is not None:
        from adagrad.plotting import diagnosis_figure

        save_picture(diagnosis_figure(found.diagnosis, found.name), given["picture"], dpi=DPI)
        echo(f"Picture: {given['picture']}")


def _check_outputs(file: str | None, given: dict[str, Any]) -> None:
    outputs = [
        ("--json", given["json_file"], "numbers"),
        ("--picture", given["picture"], "picture"),
    ]
    logs = [] if file is None else [file]
    check_standard_output(logs, [], given["file_format"])
    check_outputs(
        [Output(*output) for output in outputs if output[1] is not None],
        logs=logs,
        file_format=given["file_format"],
        overwrite=given["overwrite"],
    )


def _write_json(path: Path, found: Found) -> None:
    content = {
        "log": found.name,
        "numbers": found.numbers,
        **found.diagnosis.to_dict(),
        "skipped": found.skipped,
    }
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with writing(path) as output:
        output.write(text.encode())


def _refuse(given: dict[str, Any], options: dict[str, str], why: str) -> None:
    """Refuse options that would have no effect."""
    useless = [option for name, option in options.items() if given[name]]
    if useless:
        raise click.ClickException(f"{', '.join(useless)}: {why}")


def _shipped(bits: int) -> Found:
    from adagrad import datasets
    from adagrad.commands.columns import IDS_WITH_VALUES
    from adagrad.ctr.diagnosis.diagnosis import Diagnoser
    from adagrad.ctr.encoding.examples import Examples

    log = datasets.click_log()
    diagnoser = Diagnoser(bits, ids_are_slots=True)
    diagnoser.add(Examples.from_csr(log.to_csr()), log.labels)
    return Found(f"{log.name} that ships", IDS_WITH_VALUES, [], "values", diagnoser.result(), {})


def _read(file: str, given: dict[str, Any]) -> Found:
    from adagrad.commands.columns import is_number
    from adagrad.ctr.logs.log import LogError
    from adagrad.ctr.logs.sources import find

    given = dict(given)
    libsvm = find([file], given["file_format"])[0].format == "libsvm"
    if libsvm:
        _refuse(given, _COLUMN_OPTIONS, "not for libsvm logs, which have no columns")
        given["label"] = LIBSVM_LABEL
    try:
        return _diagnose(file, given, "no --label")
    except LogError as error:
        if file == "-" or not is_number(error.label):
            raise
        # A target of a regression or more than two classes: read again, without the label.
        why = f"the label is neither 0/1 nor -1/+1 ({error.path}, line {error.line}: {error.label})"
    if not libsvm:
        with _open(file, given) as log:
            targets = (given["label"], log.weight)
            given["columns"] = [name for name in log.schema.names if name not in targets]
        given["ignore"] = ()
    given["label"] = None
    return _diagnose(file, given, why)


def _open(file: str, given: dict[str, Any]) -> Log:
    how = reader_options(given, [file])
    return open_features(
        [file],
        given["label"],
        given["columns"],
        given["ignore"] or (),
        (*(given["text"] or ()), *(given["categorical"] or ())),
        given["multi"],
        floats=() if given["numeric"] == "categorical" else given["numbers"] or (),
        skip_bad=given["skip_bad"],
        **how,
    )


def _diagnose(file: str, given: dict[str, Any], no_label: str) -> Found:
    """Read a log to its end; `no_label` says why it has no label, if it has none."""
    from adagrad.commands.columns import (
        NearlyNumericColumns,
        decided_lines,
        features_in_words,
        numeric_names,
        repetition,
        texts_of_moments,
        unread_lines,
    )
    from adagrad.commands.progress import ReadingProgress
    from adagrad.ctr.diagnosis.diagnosis import Diagnoser
    from adagrad.ctr.encoding.encoder import HashingEncoder
    from adagrad.ctr.logs.csv import DELIMITERS
    from adagrad.ctr.logs.mistakes import other_delimiter
    from adagrad.ctr.training.encoders import SlotEncoder, is_libsvm
    from adagrad.ctr.training.pipeline import encoded

    suspects = None
    with _open(file, given) as log:
        libsvm = is_libsvm(log.schema, given["label"])
        if libsvm:
            encoder: Encoder = SlotEncoder(1 << HASH_BITS)
            numbers = "values"
        else:
            encoder, numbers = _encoder(log, given)
            kind = log.sources[0].format or ""
            if kind in ("csv", "tsv", ""):
                leave_out = (given["label"], *(given["text"] or ()), *(given["categorical"] or ()))
                suspects = NearlyNumericColumns(log.schema, leave_out)
                names = log.schema.names
                if warning := other_delimiter(names, given["delimiter"] or DELIMITERS.get(kind)):
                    echo(f"{file}: {warning}", err=True)
                if given["names"] is None and (warning := numeric_names(names)):
                    echo(warning, err=True)
        for line in unread_lines(log):
            echo(line, err=True)
        features, decided = features_in_words(encoder, log.schema), decided_lines(encoder)
        values = isinstance(encoder, HashingEncoder) and "value" in encoder.fields_.values()
        if values and given["numeric"] is None:
            features += ", as with adagrad train --numeric value"
        diagnoser = Diagnoser(given["bits"], ids_are_slots=libsvm, no_label=no_label)
        with ReadingProgress(console(stderr=True), log) as progress:
            for batch in encoded(log, encoder):
                if diagnoser.rows == 0:
                    for look in (repetition, texts_of_moments):
                        for doubt in look(batch.batch, encoder):
                            echo(f"{file}: {doubt}", err=True)
                diagnoser.add(batch.x, batch.y)
                if suspects is not None:
                    suspects.add(batch.batch)
                progress(batch.position)
        skipped = log.skipped
    for warning in [] if suspects is None else suspects.warnings():
        if given["numeric"] == "value":
            raise click.ClickException(
                f"{file}: {warning}; correct it, or declare the column --categorical"
            )
        echo(f"{file}: {warning}; each of its values is a category", err=True)
    try:
        return Found(file, features, decided, numbers, diagnoser.result(), skipped)
    except ValueError as error:
        reason = f"{error}; {broken_rows(skipped)}" if skipped else str(error)
        raise click.ClickException(f"{file}: {reason}") from None


def _encoder(log: Log, given: dict[str, Any]) -> tuple[Encoder, str]:
    """Return the encoder of a log, and its encoding of numbers."""
    import pyarrow as pa

    from adagrad.ctr.encoding.columns import default_kind
    from adagrad.ctr.encoding.looks import LOOK
    from adagrad.ctr.training.options import Options

    ignore = given["ignore"] or ()
    declared: dict[str, Any] = {
        name: given[name] or () for name in ("categorical", "numbers", "calendar")
    }
    others = {given["label"], log.weight, *ignore}
    ids = {*declared["categorical"], *declared["calendar"]}
    types = {field.name: field.type for field in log.schema if field.name not in others}
    numeric = given["numeric"]
    if numeric is None:
        kinds = {
            default_kind(t, "value")
            for name, t in types.items()
            if name not in ids and not pa.types.is_timestamp(t)
        }
        numeric = "value" if kinds <= {"value"} else "log2-bins"
    no_column = max(log.schema.names, key=len, default="") + "_"
    options = Options(
        no_column if given["label"] is None else given["label"],
        bits=HASH_BITS,
        ignore=ignore,
        numeric=numeric,
        weight=log.weight,
        **declared,
    )
    try:
        return options.encoder(log.schema, log.head(LOOK)), numeric
    except ValueError as error:
        raise ValueError(f"{log.paths[0]}: {error}") from None
