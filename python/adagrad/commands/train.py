"""``adagrad train``: from a click log to a model file, in constant memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adagrad._text import counted, printable
from adagrad.commands.cluster import ray_options
from adagrad.commands.errors import reads_logs
from adagrad.commands.log_options import (
    LogCommand,
    check_required,
    log_options,
    open_features,
    reader_options,
    repeated,
    use_threads,
)
from adagrad.commands.model_options import (
    given_options,
    model_options,
    options_of,
    with_crosses,
)
from adagrad.commands.outputs import overwrite_option
from adagrad.commands.train_checks import check_files, check_passes

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from rich.console import Console

    from adagrad.ctr.logs.log import Log
    from adagrad.ctr.training.options import Options
    from adagrad.ctr.training.run import Training
    from adagrad.ctr.training.start import Start
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
  # The next day: the model learns on, and its file is replaced at the end
  adagrad train day_2.tsv.gz --init ctr.safetensors -m ctr.safetensors
  # After an interruption: the same options and --resume
  adagrad train logs/ -l click -m ctr.safetensors --resume
  # Numbers that are ids, combinations of columns, and the hour of a moment
  adagrad train logs/ -l click -m ctr.safetensors \\
    --categorical ad --cross 'site*ad' --calendar at
  # Few weights other than 0, by FTRL-proximal
  adagrad train logs/ -l click -m ctr.safetensors --lr 0.1 --l1 0.3
  # A log that has all clicks, and a tenth of the other rows, drawn at random
  adagrad train logs/ -l click -m ctr.safetensors --negative-rate 0.1
  # A field-aware factorization machine, in up to five passes
  adagrad train logs/ -l click -m ctr.safetensors --model-type ffm \\
    --bits 18 --passes 5 --validate today.parquet --early-stop 1
  # Learn all but the last tenth of the rows, and measure on it
  adagrad train logs/ -l click -m ctr.safetensors --holdout-last 0.1
  # The Ray cluster that this machine belongs to
  adagrad train /shared/logs/ -l click -m ctr.safetensors --ray auto
"""

NOTHING_SAVED = "interrupted before the first batch was learned: nothing to save"


@click.command(cls=LogCommand, short_help="Train a model on a click log.", epilog=EXAMPLES)
@click.argument("logs", metavar="LOG...", nargs=-1)
@click.option(
    "-l",
    "--label",
    metavar="COLUMN",
    help="Column to predict.  [required; with --init, that of the model]",
)
@click.option(
    "-m",
    "--model",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Model file to write (safetensors). It is also the checkpoint. An existing file needs"
    " --overwrite or --resume, unless it is that of --init.  [required]",
)
@click.option(
    "--init",
    "--init-model",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Begin from this model instead of a new one, and learn LOG... on top of it. Its label, its"
    " columns and their types, and its options hold; of these, only a number for --lr, --l1 or"
    " --l2 can change. --weight and --negative-rate describe the new log. It may be from Python.",
)
@model_options
@click.option(
    "--passes",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    show_default=True,
    help="Number of passes over the log.",
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
    input. Formats are CSV, TSV, JSON lines, libsvm, libffm and Vowpal Wabbit's text (plain, .gz,
    .zst, .bz2 or .xz), Parquet and Arrow. Folders named column=value are columns. Labels are 0/1,
    -1/+1, false/true or 1/2. Every other column is a feature, hashed into a slot of the model; the
    ids in a libsvm log are the slots themselves.

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

    With --init, a model learns day after day: after two days, it has the bits of a model that has
    learned both in one run. If --model is the file of --init, it is replaced when all is learned;
    until then, checkpoints go to a file beside it whose name ends in .checkpoint, from which
    --resume continues. It also leaves a model alone whose last run has learned exactly this log, so
    that a job may be repeated after a crash. adagrad inspect shows the runs.
    """
    from adagrad.commands import terminal
    from adagrad.commands.cluster import check_cluster, training_on_ray
    from adagrad.commands.columns import column_lines, doubts, left_out_lines
    from adagrad.commands.progress import TrainingProgress, print_summary
    from adagrad.ctr.training.columns import open_for_model
    from adagrad.ctr.training.run import Training
    from adagrad.ctr.training.stop import Interrupted, Stop

    console = terminal.console(stderr=True, soft_wrap=True)
    use_threads(given["threads"])
    how = reader_options(given, (*logs, *given["validate"]))
    check_required(logs, given["label"], given["model"], how, begins=given["init"] is not None)
    check_files(given, logs)
    start = _start(given)
    options = options_of(given) if start is None else start.options
    check_passes(given, logs)
    check_cluster(given, logs)
    stop = Stop()
    with stop.installed(), _open(logs, options, start, how, stop) as log:
        options = dataclasses.replace(options, weight=log.weight)  # which a VW log has by itself
        if start is None:
            options = with_crosses(options, given["cross"], log)
        kept = _rows_to_learn(log, given, console, stop)
        how_long = {name: given[name] for name in ("passes", "checkpoint_every", "early_stop")}
        if given["ray"] is None:
            training = Training(log, options, given["model"], start=start, **how_long)
        else:
            training = training_on_ray(given, log, options, how_long)
        if given["resume"]:
            _resume(training, console, given["quiet"])
        elif start is not None and not given["quiet"]:
            console.print(_beginning(training, start), markup=False)
        training.prepare()

        def held_out() -> Log:
            held = open_for_model(
                given["validate"] or logs,
                training.features,
                **options.targets,
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
            if start is not None:
                understood += left_out_lines(log, options, **how)
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


def _start(given: dict[str, Any]) -> Start | None:
    """Return the model of ``--init`` with the options that are given."""
    if given["init"] is None:
        return None
    from adagrad.ctr.training.start import Start

    if given["ray"] is not None:
        raise click.ClickException(
            "--init does not work with --ray: train on one machine, or train all logs in one run"
        )
    return Start.read(given["init"], given_options(click.get_current_context()))


def _open(
    logs: tuple[str, ...],
    options: Options,
    start: Start | None,
    how: dict[str, Any],
    stop: Stop,
) -> Log:
    from adagrad.ctr.logs.log import LogError
    from adagrad.ctr.training.columns import open_for_model

    rates = {"weight": options.weight, "negative_rate": options.rate_column}
    how = {**how, **rates, "skip_bad": options.skip_bad}
    try:
        if start is not None:
            return open_for_model(logs, start.features, label=options.label, **how)
        return open_features(
            logs,
            options.label,
            options.columns,
            options.ignore,
            (*options.text, *options.categorical),
            options.multi,
            floats=() if options.numeric == "categorical" else options.numbers,
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
        text += f": {learned}" if training.learned > 0 else ": starting from the first row"
        if training.is_complete:
            text = f"{training.path} is complete: {learned}"
    if training.start is not None and training.learned <= 0 and not training.is_complete:
        text = _beginning(training, training.start)
    if not quiet:
        console.print(text, markup=False)


def _beginning(training: Training, start: Start) -> str:
    """Return what a training begins from, and whether that has learned the log before."""
    text = f"beginning from {start.path}: {counted(start.examples, 'example')} learned"
    if (run := start.run_of(training.log_identity)) is not None:
        text += f"\n{start.path} has learned this log before, in run {run}, and learns it once more"
    return text


def _interrupted(training: Training) -> str:
    if training.learned <= 0:
        return f"\n{NOTHING_SAVED}"
    text = f"\ninterrupted: {counted(training.learned, 'example')} saved in {training.saved_in}; "
    text += "continue with --resume"
    if "-" in training.log.paths:
        text += " and the same stream from its first row"
    return text
