"""``adagrad tune``: search the options of a model on a click log."""

from __future__ import annotations

import dataclasses
import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adagrad._text import counted, printable
from adagrad.commands.errors import reads_logs
from adagrad.commands.example_options import weight_option
from adagrad.commands.log_options import (
    LogCommand,
    feature_options,
    log_options,
    open_features,
    reader_options,
)
from adagrad.commands.terminal import echo

if TYPE_CHECKING:
    from adagrad.ctr.logs.log import Log
    from adagrad.ctr.training.options import Options
    from adagrad.ctr.training.space import Space
    from adagrad.ctr.training.tuning import Rows, Score, Tuning

__all__ = ["tune"]

EXAMPLES = """\b
Examples:
  # Which model, how many slots, which crosses?
  adagrad tune logs/ --label click
  # A quick look, in two processes
  adagrad tune clicks.tsv.gz -l click --trials 8 --jobs 2
  # Only these crosses, and no other type of model
  adagrad tune logs/ -l click --model-type lr \\
    --cross 'site*ad' --cross 'ad*user' --jobs 1
"""

TYPED = "adagrad.typed"

SEARCHED = {
    *("holdout_last", "trials", "jobs", "seed", "model_type", "bits", "factors", "half_life"),
    *("cross", "logs", "label"),
}
"""Parameters that the command line of the result has in another form."""

MOST_LINES = 20
"""Configurations to print."""


class TuneCommand(LogCommand):
    """A command that remembers how it was typed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, and keep them as they are."""
        ctx.meta[TYPED] = list(args)
        return super().parse_args(ctx, args)


def numbers_option(*flags: str, least: float, help: str) -> Callable[[Any], Any]:
    """Return an option that takes numbers with commas between them."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            found = tuple(float(part) for part in text.split(","))
        except ValueError:
            raise click.BadParameter(f"{text!r} is not a list of numbers, such as 4,8") from None
        if not all(least <= value < 2**63 for value in found):
            raise click.BadParameter(f"{text!r}: each number must be at least {least:g}")
        return found

    return click.option(*flags, type=parse, metavar="N,N,...", help=help)


def parse_types(text: str) -> tuple[str, ...]:
    """Return kinds of models."""
    found = tuple(dict.fromkeys(text.split(",")))
    if not {"lr", "fm", "ffm"}.issuperset(found):
        raise click.BadParameter(f"{text!r}: the types are lr, fm and ffm")
    return found


@click.command(
    cls=TuneCommand, short_help="Search the options of a model on a click log.", epilog=EXAMPLES
)
@click.argument("logs", metavar="LOG...", nargs=-1, required=True)
@click.option("-l", "--label", metavar="COLUMN", required=True, help="Column to predict.")
@click.option(
    "--trials",
    type=click.IntRange(2, 10_000),
    metavar="N",
    default=32,
    show_default=True,
    help="Configurations to begin with.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processes, each with one thread. They do not change the result.  [default: one per CPU]",
)
@click.option(
    "--holdout-last",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    default=0.1,
    show_default=True,
    help="Hold the last rows out, and measure the default and the best configuration on them.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Random seed of the configurations.",
)
@click.option(
    "--model-type",
    type=parse_types,
    metavar="TYPE,...",
    help="Types of models to try.  [default: lr,fm,ffm]",
)
@numbers_option(
    "-b", "--bits", least=8, help="Numbers of slots, 2^N, to try.  [default: by the log]"
)
@numbers_option(
    "-k", "--factors", least=1, help="Lengths of factor vectors to try.  [default: 2,4,8,16]"
)
@numbers_option(
    "--half-life",
    least=64,
    help="Half-lives to try, besides none.  [default: a half and an eighth of the rows]",
)
@click.option(
    "--cross",
    multiple=True,
    metavar="A*B",
    help="A cross to try. Repeatable.  [default: pairs of the six columns that contribute most]",
)
@feature_options
@weight_option("Column of weights, at least 0, of the examples, as for adagrad train.")
@click.option(
    "--numeric",
    type=click.Choice(["log2-bins", "value", "categorical"]),
    default="log2-bins",
    show_default=True,
    help="Encoding of numbers, as for adagrad train.",
)
@log_options
@reads_logs
def tune(logs: tuple[str, ...], label: str, **given: Any) -> None:
    """Search crosses, the type of the model, slots, factors and half-life on LOG....

    The rows should be in the order of time. The last ones are held out. Of the rows before them,
    each configuration learns a part, and is scored on the predictions that it makes before it
    learns. The better third learns three times as many rows, up to all: successive halving. The
    default options always take part.

    Of those that predict all rows about equally well, the one with the fewest changes is the best.
    If it beats the default by two standard errors, both learn all rows but those held out and
    predict these. It prints a table and the command that trains the winner, with the same logloss.
    The winner is the default unless the best one is better there, too.

    Examples may have weights, but there are no rates of negatives.

    The log is parsed once, and stored as Arrow in the directory for temporary files, TMPDIR, until
    the command ends. The result depends on the log, the options and --seed, not on --jobs. Ctrl-C
    prints what is known.
    """
    from adagrad._cpus import available_cpus
    from adagrad.ctr.training.holdout import learned_rows
    from adagrad.ctr.training.processes import workers
    from adagrad.ctr.training.tuning import Rows, Tuning, store

    if "-" in logs:
        raise click.ClickException("the standard input can be read only once: give a file")
    how = reader_options(given, logs)
    default = _default(label, given)
    with tempfile.TemporaryDirectory(prefix="adagrad-tune-") as folder:
        path = Path(folder) / "log.arrows"
        with open_features(
            logs,
            label,
            default.columns,
            default.ignore,
            (*default.text, *default.categorical),
            default.multi,
            floats=() if default.numeric == "categorical" else default.numbers,
            skip_bad=default.skip_bad,
            weight=given["weight"],
            **how,
        ) as log:
            # A log of Vowpal Wabbit has one by itself.
            default = dataclasses.replace(default, weight=log.weight)
            crosses = _crosses(log, default, given["cross"])
            total = store(log, path, lambda batches: next(batches, None))
            rows = Rows(str(path), total, learned_rows(log, total, given["holdout_last"]))
        space = _space(default, rows, crosses, given)
        field = space.field(given["trials"], given["seed"])
        echo(
            f"{counted(len(field), 'configuration')}; the last {total - rows.learned:,} of"
            f" {total:,} rows are held out",
            err=True,
        )
        with workers(given["jobs"] or available_cpus()) as run:
            tuning = Tuning(field, rows, run)
            try:
                tuning.race(_Progress(tuning))
            except (KeyboardInterrupt, SystemExit):
                _print_table(tuning)
                raise
    _print_table(tuning)
    _print_result(tuning, logs, given["holdout_last"])


# Its processes have one thread each.
tune.params = [parameter for parameter in tune.params if parameter.name != "threads"]


def _default(label: str, given: dict[str, Any]) -> Options:
    """Return the options of ``adagrad train`` without more, among the values to try."""
    from adagrad.ctr.training.options import Options

    names = ("ignore", "text", "categorical", "numbers", "calendar", "multi")
    lists: dict[str, Any] = {name: given[name] or () for name in names}
    default = Options(
        label,
        columns=given["columns"],
        numeric=given["numeric"],
        skip_bad=given["skip_bad"],
        **lists,
    )
    if given["model_type"] and default.model_type not in given["model_type"]:
        default = dataclasses.replace(default, model_type=given["model_type"][0])
    if given["bits"]:
        if any(bits != int(bits) or bits > 32 for bits in given["bits"]):
            raise click.ClickException("--bits must be whole numbers of at most 32")
        if default.bits not in given["bits"]:
            default = dataclasses.replace(default, bits=int(given["bits"][0]))
    return default


def _crosses(log: Log, default: Options, crosses: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the crosses that are given."""
    from adagrad.commands.model_options import with_crosses

    return with_crosses(default, tuple(crosses), log).cross


def _space(
    default: Options, rows: Rows, crosses: tuple[tuple[str, ...], ...], given: dict[str, Any]
) -> Space:
    from adagrad.ctr.training import space
    from adagrad.ctr.training.encoders import is_libsvm
    from adagrad.ctr.training.tuning import extent, strongest_pairs

    has_ids = is_libsvm(rows.schema(), default.label)
    if has_ids and "ffm" in (given["model_type"] or ()):
        raise click.ClickException("--model-type ffm needs fields, which libsvm logs do not have")
    if has_ids and given["numeric"] != "log2-bins":
        raise click.ClickException("--numeric needs columns, but libsvm logs have ids")
    types = given["model_type"] or (("lr", "fm") if has_ids else ("lr", "fm", "ffm"))
    halves = given["half_life"] or [rows.learned / part for part in space.HALF_LIVES]
    return space.Space(
        default,
        types,
        tuple(map(int, given["bits"] or space.BITS)),
        tuple(map(int, given["factors"] or space.FACTORS)),
        (None, *(float(f"{value:.2g}") for value in halves if value >= 64)),
        crosses or (() if has_ids else strongest_pairs(default, rows)),
        *extent(default, rows),
    )


class _Progress:
    """Print a line for each rung on stderr."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning

    def __call__(self, score: Score, number: int, total: int) -> None:
        if number < total:
            return
        if self._tuning.final:
            echo(f"{counted(score.scored, 'row')} held out: {total} predicted", err=True)
            return
        ranked = [one for one in self._tuning.ranked() if one.rows == score.rows]
        echo(
            f"{counted(score.rows, 'row')}: {counted(total, 'configuration')},"
            f" logloss {ranked[0].logloss:.5f} to {ranked[-1].logloss:.5f}",
            err=True,
        )


def _print_table(tuning: Tuning) -> None:
    """Print what is known of the configurations."""
    ranked = tuning.ranked()
    if not ranked:
        return
    shown = [one for k, one in enumerate(ranked) if k < MOST_LINES or _is_default(one, tuning)]
    echo("    rows   logloss   against the default  options")
    for one in shown:
        echo(_line(one, tuning, *tuning.against_default(one)))
    if len(shown) < len(ranked):
        echo(f"and {len(ranked) - len(shown)} more, after fewer rows or with a higher logloss")


def _line(score: Score, tuning: Tuning, difference: float, error: float) -> str:
    from adagrad.ctr.training.space import changed_options

    options = printable(changed_options(score.options, tuning.default)) or "the default"
    against = "" if _is_default(score, tuning) else f"{difference:+.5f} ± {error:.5f}"
    return f"{score.rows:8,}  {score.logloss:8.5f}  {against:>20}  {options}"


def _is_default(score: Score, tuning: Tuning) -> bool:
    return score.options == tuning.default


def _print_result(tuning: Tuning, logs: Sequence[str], share: float) -> None:
    """Print the scores on the rows held out, and the command that trains the winner."""
    from adagrad.ctr.training.space import changed_options
    from adagrad.ctr.training.tuning import gain

    first = tuning.final[0]
    echo(f"\nOn the {counted(first.scored, 'row')} held out:")
    for one in tuning.final:
        echo(_line(one, tuning, *gain(one, first)))
    if len(tuning.final) == 1:
        echo("\nNo configuration is better than the default by two standard errors.")
    elif tuning.winner == tuning.default:
        echo("\nThe best configuration is worse than the default there, so the default wins.")
    words = [*logs, "--label", tuning.default.label, "--model", "model.safetensors"]
    words += _kept_options(tuning.default)
    command = shlex.join(["adagrad", "train", *words])
    changed = changed_options(tuning.winner, tuning.default)
    echo(f"\n{command}{' ' if changed else ''}{changed} --holdout-last {share:g}")


def _kept_options(default: Options) -> list[str]:
    """Return the options that say how to read the log, as they were typed."""
    context = click.get_current_context()
    typed = context.meta[TYPED]
    values, _, order = context.command.make_parser(context).parse_args(args=list(typed))
    words: list[str] = []
    for parameter in order:
        if parameter.name in SEARCHED or not isinstance(parameter, click.Option):
            continue
        value = values[parameter.name]
        value = value.pop(0) if isinstance(value, list) else value
        words.append(max(parameter.opts, key=len))
        if not parameter.is_flag:
            words.append(str(value))
    usual = type(default)(default.label)
    for name in ("model_type", "bits"):
        if getattr(default, name) != getattr(usual, name):
            words += [f"--{name.replace('_', '-')}", str(getattr(default, name))]
    return words
