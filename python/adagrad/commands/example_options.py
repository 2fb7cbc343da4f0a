"""The options that weight examples: ``--weight``, ``--negative-rate`` and ``--class-weight``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

__all__ = ["class_weight_option", "negative_rate_option", "rate_column", "weight_option"]

F = TypeVar("F", bound=Callable[..., Any])

LARGEST = 2.0**48


def parse_negative_rate(text: str) -> float | str:
    """Return a rate above 0 and at most 1, or the name of a column."""
    try:
        rate = float(text)
    except ValueError:
        return text
    if not 0.0 < rate <= 1.0:
        raise click.BadParameter(
            f"{text!r} is not above 0 and at most 1: give the share of the negatives that the log"
            " has, such as 0.1, or a column of such shares"
        )
    return rate


def parse_class_weight(text: str) -> tuple[str, ...]:
    """Return ``0:1,1:5`` as its parts, in one spelling."""
    if text.strip() == "balanced":
        raise click.BadParameter(
            "balanced needs the number of clicks, which a log that is read once does not tell:"
            " give the weights, such as 0:1,1:5"
        )
    found: dict[str, float] = {}
    for part in text.split(","):
        label, colon, number = (piece.strip() for piece in part.partition(":"))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not colon or label not in ("0", "1") or not 0.0 < weight <= LARGEST:
            raise click.BadParameter(
                f"{part!r} is not the label 0 or 1, a colon, and a weight above 0: give"
                " the weights as in 0:1,1:5"
            )
        if label in found:
            raise click.BadParameter(f"the label {label} has two weights in {text!r}")
        found[label] = weight
    return tuple(f"{label}:{_shortest(weight)}" for label, weight in sorted(found.items()))


def _shortest(weight: float) -> str:
    return f"{weight:.0f}" if weight.is_integer() and weight < 1e15 else repr(weight)


def weight_option(help: str) -> Callable[[F], F]:
    """Return the option ``--weight COLUMN``."""
    return click.option("--weight", metavar="COLUMN", help=help)


def negative_rate_option(help: str) -> Callable[[F], F]:
    """Return the option ``--negative-rate``: what a log says, or what is known of all of it."""
    return click.option(
        "--negative-rate", type=parse_negative_rate, metavar="RATE|COLUMN", help=help
    )


def class_weight_option(help: str) -> Callable[[F], F]:
    """Return the option ``--class-weight``."""
    return click.option(
        "--class-weight",
        type=parse_class_weight,
        metavar="0:A,1:B",
        help=help,
    )


def rate_column(given: Mapping[str, Any]) -> str | None:
    """Return the column that ``--negative-rate`` names, if it names one."""
    rate = given["negative_rate"]
    return rate if isinstance(rate, str) else None
