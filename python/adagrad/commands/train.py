"""``adagrad train``: from a click log to a model file, in constant memory."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adagrad._text import counted, printable
from adagrad.commands.cluster import checkpoint_of, ray_options
from adagrad.commands.errors import reads_logs
from adagrad.commands.log_options import (
    LogCommand,
    check_required,
    crossed,
    feature_options,
    log_options,
    open_features,
    reader_options,
    repeated,
    use_threads,
)
from adagrad.commands.outputs import Output, check_checkpoint, check_outputs, overwrite_option

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from rich.console import Console

    from adagrad.ctr.logs.log import Log
    from adagrad.ctr.training.options import Options
    from adagrad.ctr.training.run import Training
    from adagrad.ctr.training.stop import Stop

__all__ = ["train"]

EXAMPLES = """\b
Examples:
  # The logs of some days
  adagrad train 'day_*.tsv.gz' --label click --model ctr.safetensors
  # A directory; measure on another day, and write a page with pictures
  adagrad train logs/ -l click -m ctr.safetensors \\
    --validate today.parquet --report ctr.html
  # A pipe
  zcat day_1.tsv.gz | adagrad train - --format tsv -l click -m ctr.safetensors
  # After an interruption: the same options and --resume
  adagrad train logs/ -l click -m ctr.safetensors --resume
  # Numbers that are ids, combinations of columns, and the hour of a moment
  adagrad train logs/ -l click -m ctr.safetensors \\
    --categorical ad --cross 'site*ad' --calendar at
  # Few weights other than 0, by FTRL-proximal
  adagrad train logs/ -l click -m ctr.safetensors --lr 0.1 --l1 0.3
  # A field-aware factorization machine, in up to five passes
  adagrad train logs/ -l click -m ctr.safetensors --model-type ffm \\
    --bits 18 --passes 5 --validate today.parquet --early-stop 1
  # Learn all but the last tenth of the rows, and measure on it
  adagrad train logs/ -l click -m ctr.safetensors --holdout-last 0.1
  # The Ray cluster that this machine belongs to
  adagrad train /shared/logs/ -l click -m ctr.safetensors --ray auto
"""

NOTHING_SAVED = "interrupted before the first batch was learned: nothing to save"


def rate(text: str) -> float | str:
    """Parse a learning rate: a number above 0 or the word auto."""
    if text == "auto":
        return text
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a number nor auto") from None
    if not 0.0 < number < math.inf:
        raise ValueError(f"{text!r} is not above 0 and finite: give a rate such as 0.1, or auto")
    return number


@click.command(cls=LogCommand, short_help="Train a model on a click log.", epilog=EXAMPLES)
@click.argument("logs", metavar="LOG...", nargs=-1)
@click.option("-l", "--label", metavar="COLUMN", help="Column to predict.  [required]")
@click.option(
    "-m",
    "--model",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Model file to write (safetensors). It is also the checkpoint. An existing file needs"
    " --overwrite or --resume.  [required]",
)
@click.option(
    "--model-type",
    type=click.Choice(["lr", "fm", "ffm"]),
    default="lr",
    show_default=True,
    help="Logistic regression, factorization machine or field-aware factorization machine.",
)
@click.option(
    "--lr",
    type=rate,
    metavar="RATE",
    default="auto",
    show_default=True,
    help="Learning rate. auto leaves none to choose: it mixes five learners while it trains, and"
    " the result is one model.",
)
@click.option(
    "-b",
    "--bits",
    type=click.IntRange(8, 32),
    metavar="N",
    default=22,
    show_default=True,
    help="Hash features into 2^N slots. In training, logistic regression needs 64 bytes per slot,"
    " or 8 at a fixed --lr.",
)
@click.option(
    "--l1",
    type=float,
    metavar="X",
    default=0.0,
    show_default=True,
    help="L1 penalty: linear weights that do not pay for it are exactly 0. Needs --lr.",
)
@click.option(
    "--l2",
    type=float,
    metavar="X",
    default=0.0,
    show_default=True,
    help="L2 penalty: keeps the weights of rare features small. Needs --lr.",
)
@click.option(
    "--half-life",
    type=click.FloatRange(64.0),
    metavar="N",
    help="With --lr auto: forget, so that an example counts half after N more. For logs whose"
    " meaning drifts.  [default: forget nothing]",
)
@click.option(
    "-k",
    "--factors",
    type=click.IntRange(1, 4096),
    metavar="N",
    help="Length of the factor vectors of fm and ffm.  [default: 8 for fm, 4 for ffm]",
)
@click.option(
    "--preset",
    metavar="NAME",
    help="Follow the AdaGrad of another framework, such as torch or keras. Needs --lr."
    "  [default: textbook AdaGrad]",
)
@feature_options
@click.option(
    "--numeric",
    type=click.Choice(["log2-bins", "value", "categorical"]),
    default="log2-bins",
    show_default=True,
    help="Encoding of numbers: logarithmic bins (two per power of two), one weight times the value,"
    " or ids.",
)
@click.option(
    "--cross",
    multiple=True,
    metavar="A*B",
    help="Add the combinations of the values of two or more columns as features. Repeatable.",
)
@click.option(
    "--passes",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    show_default=True,
    help="Number of passes over the log.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Random seed of the initial factors of fm and ffm.",
)
@click.option(
    "--validate",
    multiple=True,
    metavar="LOG",
    help="Evaluate the model on this log after each pass. Repeatable.",
)
@click.option(
    "--holdout-last",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Do not learn the last rows of LOG..., such as 0.1 of all, but evaluate the model on them"
    " after each pass. The rows are counted first; of Parquet, the files say it.",
)
@click.option(
    "--early-stop",
    type=click.IntRange(1),
    metavar="N",
    help="Stop after N passes without a lower logloss on the --validate log or the rows held out,"
    " and keep the best model.  [default: run all passes]",
)
@click.option(
    "--checkpoint-every",
    type=click.IntRange(1),
    metavar="N",
    default=10_000_000,
    show_default=True,
    help="Save the model file every N examples, atomically.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue from the model file if it exists. Repeat the options of the first run and its"
    " logs; a broken row in them may be repaired, or skipped by --skip-bad.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Write a web page with learning curves, calibration, lift, rates and collisions, and with"
    " what each expert and each column contributes.",
)
@ray_options
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@overwrite_option
@log_options
@reads_logs
def train(logs: tuple[str, ...], **given: Any) -> None:
    """Train a click model on LOG..., in constant memory.

    LOG is a file, a directory, a quoted glob, a URI such as s3://bucket/log/, or - for the standard
    input. Formats are CSV, TSV and libsvm (plain, .gz, .zst, .bz2 or .xz), Parquet and Arrow.
    Folders named column=value are columns. Labels are 0/1, -1/+1, false/true or 1/2. Every other
    column is a feature, hashed into a slot of the model; the ids in a libsvm log are the slots
    themselves.

    It prints how it reads each column, and warns of likely mistakes in the first rows: numbers read
    as text, a column of row ids, a missing header.

    The model predicts every example before it learns from it, and the metrics shown are those of
    these predictions. NE, normalized entropy, is the logloss divided by that of always predicting
    the share of positives. Neither the number of threads nor the format of the log changes a bit of
    the model, as long as the columns have the same types.

    If the labels are ordered, such as all negatives first, the pass ends with a model that predicts
    what came last. Then the model is that of a random sample of 8,192 rows instead, in a random
    order, and a line says so.

    Ctrl-C saves a checkpoint, and so does a broken row. A training that was interrupted, killed or
    stopped by a broken row and continued with --resume ends with the same bits as one that ran
    through. In the first pass, only the rows that it has learned must be unchanged: a broken row
    may be repaired or skipped, and rows and files may be added. From the second pass on, the names,
    the sizes and the first and last 64 KiB of all files must be.
    """
    from adagrad.commands import terminal
    from adagrad.commands.cluster import check_cluster, training_on_ray
    from adagrad.commands.columns import column_lines, doubts
    from adagrad.commands.progress import TrainingProgress, print_summary
    from adagrad.ctr.training.columns import open_for_model
    from adagrad.ctr.training.run import Training
    from adagrad.ctr.training.stop import Interrupted, Stop

    console = terminal.console(stderr=True, soft_wrap=True)
    use_threads(given["threads"])
    how = reader_options(given, (*logs, *given["validate"]))
    check_required(logs, given["label"], given["model"], how)
    _check_files(given, logs)
    options = _options(given)
    _check_passes(given, logs)
    check_cluster(given, logs)
    stop = Stop()
    with stop.installed(), _open(logs, options, how, stop) as log:
        options = _with_crosses(options, given["cross"], log)
        kept = _rows_to_learn(log, given, console, stop)
        how_long = {name: given[name] for name in ("passes", "checkpoint_every", "early_stop")}
        if given["ray"] is None:
            training = Training(log, options, given["model"], **how_long)
        else:
            training = training_on_ray(given, log, options, how_long)
        if given["resume"]:
            _resume(training, console, given["quiet"])
        training.prepare()

        def held_out() -> Log:
            held = open_for_model(
                given["validate"] or logs,
                training.features,
                label=options.label,
                skip_bad=options.skip_bad,
                **how,
            )
            held.limit(kept)
            return held

        def look(batch: RecordBatch) -> None:
            is_text = log.sources[0].format in ("csv", "tsv", None)
            header = is_text and given["names"] is None
            for doubt in doubts(batch, options, training.encoder, text=is_text, header=header):
                console.print(printable(f"{log.paths[0]}: {doubt}"), markup=False)

        if not given["quiet"]:
            understood = column_lines(log, options, training.encoder)
            for line in [*repeated(click.get_current_context()), *understood]:
                console.print(printable(line), markup=False)
        validates = bool(given["validate"]) or kept > 0
        if validates:
            held_out().close()  # report a missing file now, not after the first pass
        try:
            with TrainingProgress(console, training, given["quiet"]) as progress:
                training.run(
                    progress,
                    validate=held_out if validates else None,
                    stop=stop,
                    look=None if given["quiet"] else look,
                )
        except Interrupted as interrupted:
            console.print(_interrupted(training), markup=False)
            raise SystemExit(128 + interrupted.signal) from None
    if not given["quiet"]:
        print_summary(console, training, progress)
    if given["report"] is not None:
        from adagrad.ctr.training.report import write_report

        write_report(given["report"], training, seconds=progress.seconds)
        if not given["quiet"]:
            console.print(f"Report: {given['report']}", markup=False)


def _check_files(given: dict[str, Any], logs: tuple[str, ...]) -> None:
    outputs = [Output("--model", given["model"], "model")]
    if given["report"] is not None:
        from adagrad.commands.requirements import require

        require("adagrad train --report", "matplotlib")
        outputs.append(Output("--report", given["report"], "report"))
    read = (*logs, *given["validate"])
    replace = {name: given[name] for name in ("overwrite", "resume")}
    check_outputs(outputs, logs=read, file_format=given["file_format"], **replace)
    if given["ray"] is not None:
        check_checkpoint(checkpoint_of(given["model"]), read, outputs, **replace)


def _check_passes(given: dict[str, Any], logs: tuple[str, ...]) -> None:
    if "-" in logs and given["passes"] > 1:
        raise click.ClickException(
            f"--passes {given['passes']}: the standard input can be read only once"
        )
    if given["holdout_last"] is not None:
        for other, is_given in (("--validate", given["validate"]), ("--ray", given["ray"])):
            if is_given:
                raise click.ClickException(f"--holdout-last and {other} exclude each other")
        if "-" in logs:
            raise click.ClickException(
                "--holdout-last counts the rows first, but the standard input can be read only"
                " once: give a file"
            )
    validates = given["validate"] or given["holdout_last"] is not None
    if given["early_stop"] is not None and not (validates and given["passes"] > 1):
        raise click.ClickException(
            "--early-stop needs --validate or --holdout-last, and --passes of 2 or more"
        )
    if "-" in given["validate"]:
        raise click.ClickException(
            "--validate cannot read the standard input, because it is read more than once"
        )


def _options(given: dict[str, Any]) -> Options:
    from adagrad.ctr.training.options import Options

    same = ["label", "model_type", "lr", "bits", "l1", "l2", "half_life", "factors", "preset"]
    same += ["seed", "columns", "numeric", "skip_bad", "holdout_last"]
    return Options(
        **{name: given[name] for name in same},
        ignore=given["ignore"] or (),
        text=given["text"] or (),
        categorical=given["categorical"] or (),
        numbers=given["numbers"] or (),
        calendar=given["calendar"] or (),
    )


def _with_crosses(options: Options, crosses: tuple[str, ...], log: Log) -> Options:
    from adagrad.ctr.encoding.fields import CALENDAR, derived

    left_out = {options.label, *options.ignore}
    names = [name for name in log.schema.names if name not in left_out]
    if log.sources[0].format == "libsvm" and crosses:
        raise click.ClickException("--cross needs columns, but libsvm logs have ids")
    fields = derived({name: CALENDAR if name in options.calendar else None for name in names})
    return dataclasses.replace(options, cross=crossed(crosses, [*fields]))


def _open(logs: tuple[str, ...], options: Options, how: dict[str, Any], stop: Stop) -> Log:
    from adagrad.ctr.logs.log import LogError

    how = {**how, "skip_bad": options.skip_bad}
    try:
        return open_features(
            logs,
            options.label,
            options.columns,
            options.ignore,
            (*options.text, *options.categorical),
            **how,
        )
    except LogError:
        if not stop.signal:
            raise
        click.echo(f"\n{NOTHING_SAVED}", err=True)
        raise SystemExit(128 + stop.signal) from None


def _rows_to_learn(log: Log, given: dict[str, Any], console: Console, stop: Stop) -> int:
    """Limit a log to the rows before those that are held out, and return their number, or 0."""
    from adagrad.ctr.training.holdout import count_rows, learned_rows
    from adagrad.ctr.training.stop import Interrupted

    if given["holdout_last"] is None:
        return 0
    try:
        rows = count_rows(log, stop.wait)
    except Interrupted as interrupted:
        click.echo(f"\n{NOTHING_SAVED}", err=True)
        raise SystemExit(128 + interrupted.signal) from None
    kept = learned_rows(log, rows, given["holdout_last"])
    log.limit(0, kept)
    if not given["quiet"]:
        console.print(f"held out: the last {rows - kept:,} of {rows:,} rows", markup=False)
    return kept


def _resume(training: Training, console: Console, quiet: bool) -> None:
    if not (training.path.exists() or training.saved_in.exists()):
        text = f"{training.path} does not exist yet: starting from the first row"
    else:
        training.resume()
        learned = f"{counted(training.examples, 'example')} learned"
        text = f"resuming from {training.saved_in}"
        text += f": {learned}" if training.examples else ": starting from the first row"
        if training.is_complete:
            text = f"{training.path} is complete: {learned}"
    if not quiet:
        console.print(text, markup=False)


def _interrupted(training: Training) -> str:
    if not training.examples:
        return f"\n{NOTHING_SAVED}"
    text = f"\ninterrupted: {counted(training.examples, 'example')} saved in {training.saved_in}; "
    text += "continue with --resume"
    if "-" in training.log.paths:
        text += " and the same stream from its first row"
    return text
