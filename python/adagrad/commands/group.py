"""The command group: one line per command.

A command imports what it needs beyond click when it runs, after ``require``, so that ``--help`` and
``--version`` are quick and work without the extras.
"""

from __future__ import annotations

import click

import adagrad as package
from adagrad.commands import demo, diagnose, evaluate, inspect, predict, train

__all__ = ["adagrad"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package.__version__, prog_name="adagrad")
def adagrad() -> None:
    """AdaGrad for rare features, on CPUs."""


adagrad.add_command(train.train)
adagrad.add_command(predict.predict)
adagrad.add_command(evaluate.evaluate)
adagrad.add_command(inspect.inspect)
adagrad.add_command(diagnose.diagnose)
adagrad.add_command(demo.demo)
