"""The options of ``adagrad train`` that decide what a model is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adagrad.commands.example_options import (
    class_weight_option,
    negative_rate_option,
    weight_option,
)
from adagrad.commands.log_options import crossed, feature_options

if TYPE_CHECKING:
    from adagrad.ctr.logs.log import Log
    from adagrad.ctr.training.options import Options

__all__ = ["given_options", "model_options", "options_of", "with_crosses"]

F = TypeVar("F", bound=Callable[..., Any])


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


def model_options(command: F) -> F:
    """Add the options that decide what a model is, and which columns it learns from."""
    for option in reversed(
        [
            click.option(
                "--model-type",
                type=click.Choice(["lr", "fm", "ffm"]),
                default="lr",
                show_default=True,
                help="Logistic regression, factorization machine or field-aware factorization"
                " machine.",
            ),
            click.option(
                "--lr",
                type=rate,
                metavar="RATE",
                default="auto",
                show_default=True,
                help="Learning rate. auto leaves none to choose: it mixes five learners while"
                " it trains, and the result is one model.",
            ),
            click.option(
                "-b",
                "--bits",
                type=click.IntRange(8, 32),
                metavar="N",
                default=22,
                show_default=True,
                help="Hash features into 2^N slots. In training, logistic regression needs 64"
                " bytes per slot, or 8 at a fixed --lr.",
            ),
            click.option(
                "--l1",
                type=float,
                metavar="X",
                default=0.0,
                show_default=True,
                help="L1 penalty: linear weights that do not pay for it are exactly 0. Needs --lr.",
            ),
            click.option(
                "--l2",
                type=float,
                metavar="X",
                default=0.0,
                show_default=True,
                help="L2 penalty: keeps the weights of rare features small. Needs --lr.",
            ),
            click.option(
                "--half-life",
                type=click.FloatRange(64.0),
                metavar="N",
                help="With --lr auto: forget, so that an example counts half after N more. For"
                " logs whose meaning drifts.  [default: forget nothing]",
            ),
            click.option(
                "-k",
                "--factors",
                type=click.IntRange(1, 4096),
                metavar="N",
                help="Length of the factor vectors of fm and ffm.  [default: 8 for fm, 4 for ffm]",
            ),
            click.option(
                "--preset",
                metavar="NAME",
                help="Follow the AdaGrad of another framework, such as torch or keras. Needs"
                " --lr.  [default: textbook AdaGrad]",
            ),
            weight_option(
                "Weights of the examples, at least 0: they multiply gradients and metrics, also"
                " those of --validate logs. A row of weight 0 counts as absent."
            ),
            negative_rate_option(
                "The log has only this share of its negatives, drawn at random: predictions are"
                " corrected to hold where all negatives are. A column has a share for every row."
                " Progress is shown for the log as it is; of --validate logs, only those with the"
                " column lack negatives."
            ),
            class_weight_option(
                "Multiply the weights of negatives by A and of positives by B. Predictions are"
                " those of the weighted log."
            ),
            feature_options,
            click.option(
                "--numeric",
                type=click.Choice(["log2-bins", "value", "categorical"]),
                default="log2-bins",
                show_default=True,
                help="Encoding of numbers: logarithmic bins (two per power of two), one weight"
                " times the value, or ids.",
            ),
            click.option(
                "--cross",
                multiple=True,
                metavar="A*B",
                help="Add the combinations of the values of two or more columns as features."
                " Repeatable.",
            ),
            click.option(
                "--seed",
                type=click.IntRange(0),
                metavar="N",
                default=0,
                show_default=True,
                help="Random seed of the initial factors of fm and ffm.",
            ),
        ]
    ):
        command = option(command)
    return command


def given_options(context: click.Context) -> dict[str, Any]:
    """Return the options of `Options` that the user has typed."""
    from adagrad.ctr.training.options import Options

    names = {field.name for field in dataclasses.fields(Options)}
    default = click.core.ParameterSource.DEFAULT
    return {
        name: value
        for name, value in context.params.items()
        if name in names and context.get_parameter_source(name) is not default
    }


def options_of(given: dict[str, Any]) -> Options:
    """Return the options of a new model, without its crosses."""
    from adagrad.ctr.training.options import Options

    same = ["label", "model_type", "lr", "bits", "l1", "l2", "half_life", "factors", "preset"]
    same += ["seed", "columns", "numeric", "skip_bad", "weight", "negative_rate", "holdout_last"]
    return Options(
        **{name: given[name] for name in same},
        ignore=given["ignore"] or (),
        text=given["text"] or (),
        categorical=given["categorical"] or (),
        numbers=given["numbers"] or (),
        calendar=given["calendar"] or (),
        class_weight=given["class_weight"] or (),
        multi=given["multi"],
    )


def with_crosses(options: Options, crosses: tuple[str, ...], log: Log) -> Options:
    """Return the options with the crosses, whose parts are fields of the log."""
    from adagrad.ctr.encoding.fields import CALENDAR, derived

    left_out = {*options.targets.values(), *options.ignore}
    names = [name for name in log.schema.names if name not in left_out]
    if log.sources[0].format == "libsvm" and crosses:
        raise click.ClickException("--cross needs columns, but libsvm logs have ids")
    fields = derived({name: CALENDAR if name in options.calendar else None for name in names})
    return dataclasses.replace(options, cross=crossed(crosses, [*fields]))
