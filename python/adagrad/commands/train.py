"""``adagrad train``: from a click log to a model file, in one pass, in constant memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adagrad.commands._shared import (
    check_writable,
    feature_options,
    log_options,
    one_line_errors,
    open_features,
    quality,
    reading,
    skipped,
    use_threads,
)

if TYPE_CHECKING:
    from rich.console import Console

    from adagrad.commands._progress import Display
    from adagrad.ctr.logs.log import Log
    from adagrad.ctr.training.options import Options
    from adagrad.ctr.training.run import Training
    from adagrad.ctr.training.stop import Stop

__all__ = ["train"]

NOTHING = "interrupted before the first batch was learned: nothing to save"


def rate(text: str) -> float | str:
    """Read a learning rate, or the word auto."""
    return text if text == "auto" else float(text)


@click.command()
@click.argument("logs", metavar="LOG...", nargs=-1, required=True)
@click.option("-l", "--label", required=True, metavar="COLUMN", help="The column to predict.")
@click.option(
    "-m",
    "--model",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the model (safetensors); it is the checkpoint, too.",
)
@click.option(
    "--model-type",
    type=click.Choice(["lr", "fm", "ffm"]),
    default="lr",
    show_default=True,
    help="Logistic regression, factorization machine, field-aware factorization machine.",
)
@click.option(
    "--lr",
    type=rate,
    default="auto",
    show_default=True,
    help="Learning rate; auto takes the best of eight on the first 20,480 examples.",
)
@click.option(
    "-b",
    "--bits",
    type=click.IntRange(8, 32),
    default=22,
    show_default=True,
    help="The model has 2^BITS slots, of 8 bytes each in logistic regression.",
)
@click.option("--l1", type=float, default=0.0, help="L1 penalty of the linear params.")
@click.option("--l2", type=float, default=0.0, help="L2 penalty.")
@click.option(
    "-k",
    "--factors",
    type=click.IntRange(1, 4096),
    help="Length of a factor vector.  [default: 8 for fm, 4 for ffm]",
)
@click.option("--preset", metavar="NAME", help="AdaGrad as another system has it, such as torch.")
@feature_options
@click.option(
    "--numeric",
    type=click.Choice(["log2-bins", "value", "categorical"]),
    default="log2-bins",
    show_default=True,
    help="What other numbers are: two bins an octave, values of one weight, or ids.",
)
@click.option(
    "--cross",
    multiple=True,
    metavar="A*B",
    help="Combinations of columns as a feature of their own; may be given again.",
)
@click.option(
    "--passes", type=click.IntRange(1), default=1, show_default=True, help="Over the log."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the factors of fm and ffm.")
@click.option(
    "--validate",
    multiple=True,
    metavar="LOG",
    help="Measure on this log after each pass; may be given again.",
)
@click.option(
    "--early-stop",
    type=click.IntRange(1),
    metavar="N",
    help="End after N passes without a lower logloss on --validate, and keep the best model.",
)
@click.option(
    "--checkpoint-every",
    type=click.IntRange(1),
    metavar="N",
    default=10_000_000,
    show_default=True,
    help="Replace the model file after every N examples, as a whole or not at all.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the model file, if it is there; give the same options and log.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Write one page with curves, calibration, lift, rates and collisions.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Train on a cluster of Ray: auto, local or HOST:PORT.",
)
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="With --ray: processes that compute."
)
@click.option(
    "--shards",
    type=click.IntRange(1),
    metavar="N",
    help="With --ray: processes that hold the model; the result has the same bits.",
)
@click.option(
    "--mode",
    type=click.Choice(["sync", "async"]),
    help="With --ray: batches in rounds, in a fixed order, or as they come.  [default: sync]",
)
@click.option(
    "--staleness",
    type=click.IntRange(0),
    metavar="N",
    help="With --ray: the steps of so many batches a batch may not know of.  [default: 1]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    metavar="N",
    help="With --ray: examples of a batch, which take one step.  [default: 8192]",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@log_options
@one_line_errors
def train(logs: tuple[str, ...], **given: Any) -> None:
    """Train a click model on LOG..., in one pass and in constant memory.

    LOG is a file, a directory, a quoted glob, or - for the standard input: CSV and TSV (.gz, .zst,
    .bz2 or plain), Parquet, Arrow, libsvm. Labels are 0/1, -1/+1 or false/true; every other column
    is a feature, hashed into the model's slots. Numbers of a libsvm log are the slots.

    \b
      adagrad train day_*.tsv.gz --label click --model ctr.safetensors
      adagrad train logs/ -l click -m ctr.safetensors --model-type ffm --validate day_8.parquet
      adagrad train /shared/logs/ -l click -m ctr.safetensors --ray auto --workers 16 --shards 8
      zcat log.gz | adagrad train - --format csv -l click -m ctr.safetensors

    Every example is predicted before it is learned from: the numbers shown are of these
    predictions. NE, normalized entropy, is the logloss over that of always predicting the share of
    positives. The model has the same bits for any number of threads, and for any format of a log
    whose columns have the same types.

    Ctrl-C saves a checkpoint. With --resume, a training that was stopped or killed ends with the
    bits of one that was not. A log is known again by the name and the size of each file, and by its
    first and last 64 KiB.
    """  # noqa: D301 (click looks for the character itself)
    from rich.console import Console

    from adagrad.commands._progress import Display
    from adagrad.commands._ray import check_cluster, on_ray
    from adagrad.ctr.training.pipeline import open_again
    from adagrad.ctr.training.run import Training
    from adagrad.ctr.training.stop import Interrupted, Stop

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    use_threads(given["threads"])
    check_writable(given["model"], "--model")
    if given["report"] is not None:
        from adagrad.commands.requirements import require

        require("adagrad train --report", "matplotlib")
        check_writable(given["report"], "--report")
    options = _options(given)
    how = reading(given["file_format"], given["delimiter"], given["names"])
    if "-" in logs and given["passes"] > 1:
        raise click.ClickException(
            f"--passes {given['passes']}: the standard input can be read only once"
        )
    if given["early_stop"] is not None and not (given["validate"] and given["passes"] > 1):
        raise click.ClickException("--early-stop needs --validate, and --passes of more than 1")
    if "-" in given["validate"]:
        raise click.ClickException("--validate cannot read the standard input: it is read twice")
    check_cluster(given, logs)
    stop = Stop()
    with stop.installed(), _open(logs, options, how, stop) as log:
        for path in (given["model"], given["report"]):
            if path is not None and path.exists() and any(path.samefile(p) for p in _files(log)):
                raise click.ClickException(f"{path} is the log, which it would replace")
        how_long = {name: given[name] for name in ("passes", "checkpoint_every", "early_stop")}
        if given["ray"] is None:
            training = Training(log, options, given["model"], **how_long)
        else:
            training = on_ray(given, log, options, how_long)
        if given["resume"]:
            _resume(training, console, given["quiet"])

        def held_out() -> Log:
            return open_again(
                given["validate"],
                training.features,
                label=options.label,
                skip_bad=options.skip_bad,
                **how,
            )

        if given["validate"]:
            held_out().close()  # a missing file is told now, not after the pass
        try:
            with Display(console, training, given["quiet"]) as display:
                training.run(display, validate=held_out if given["validate"] else None, stop=stop)
        except Interrupted as interrupted:
            console.print(_saved(training), markup=False)
            raise SystemExit(128 + interrupted.signal) from None
    if not given["quiet"]:
        _summary(console, training, display)
    if given["report"] is not None:
        from adagrad.ctr.training.report import write_report

        write_report(given["report"], training, seconds=display.seconds)
        if not given["quiet"]:
            console.print(f"Report: {given['report']}", markup=False)


def _options(given: dict[str, Any]) -> Options:
    from adagrad.ctr.training.options import Options

    crosses = tuple(tuple(cross.split("*")) for cross in given["cross"])
    names = ("label", "model_type", "lr", "bits", "l1", "l2", "factors", "preset", "seed")
    features = ("columns", "numeric", "skip_bad")
    return Options(
        **{name: given[name] for name in names + features},
        ignore=given["ignore"] or (),
        categorical=given["categorical"] or (),
        cross=crosses,
    )


def _files(log: Log) -> list[str]:
    return [path for path in log.paths if path != "-"]


def _open(logs: tuple[str, ...], options: Options, how: dict[str, Any], stop: Stop) -> Log:
    from adagrad.ctr.logs.log import LogError

    how = {**how, "skip_bad": options.skip_bad}
    try:
        return open_features(logs, options.label, options.columns, options.ignore, **how)
    except LogError:
        if not stop.signal:
            raise
        click.echo(f"\n{NOTHING}", err=True)
        raise SystemExit(128 + stop.signal) from None


def _resume(training: Training, console: Console, quiet: bool) -> None:
    if not (training.path.exists() or training.saved_in.exists()):
        text = f"{training.path} is not there yet: training from the first row"
    else:
        training.resume()
        text = f"going on from {training.saved_in}"
        if training.examples:
            text += f": {training.examples:,} examples learned"
        if training.pass_number >= training.passes:
            text = f"{training.path} is complete: {training.examples:,} examples learned"
    if not quiet:
        console.print(text, markup=False)


def _saved(training: Training) -> str:
    if not training.examples:
        return f"\n{NOTHING}"
    text = f"\ninterrupted: {training.examples:,} examples are saved in {training.saved_in}; "
    if training.progressive is None:
        return text + "--resume begins anew, as the learning rate was not chosen yet"
    text += "go on with --resume"
    return text + (" and the same stream from its first row" if "-" in training.log.paths else "")


def _summary(console: Console, training: Training, display: Display) -> None:
    from rich import box
    from rich.table import Table

    from adagrad.commands._ray import spread

    assert training.progressive is not None
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("examples", "logloss", "NE", "AUC", "calibration"):
        table.add_column(heading, justify="right", no_wrap=True)
    boards = [("progressive, first pass", training.progressive.sums[0], training.progressive)]
    rows = [(name, f"{int(count):,}", *quality(board.metrics())) for name, count, board in boards]
    for number, metrics in enumerate(training.validation, start=1):
        count = f"{int(training.board.sums[0]):,}" if training.board else ""
        rows.append((f"validation, pass {number}", count, *quality(metrics)))
    for row in rows:
        table.add_row(*row)
    console.print()
    console.print(table)
    console.print(
        f"\n{training.examples:,} examples in {training.pass_number} pass"
        f"{'es' if training.pass_number > 1 else ''}, {display.rate(training):,.0f} rows/s;"
        f" lr {training.estimator.lr_:g}; {training.path}",
        markup=False,
    )
    if training.best_pass:
        console.print(f"the model is that of pass {training.best_pass}, the best", markup=False)
    for line in spread(training):
        console.print(line, markup=False)
    if training.skipped:
        console.print(skipped(training.skipped), markup=False)
    if training.progressive.metrics()["logloss"] != training.progressive.metrics()["logloss"]:
        console.print("the predictions left the finite numbers: give a smaller --lr", markup=False)
