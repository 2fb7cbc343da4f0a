"""The command group ``adagrad`` and its commands.

A command module imports click at its top and everything else in its functions, after `require`.
So ``--help`` and ``--version`` are quick and work without the extras.
"""

from __future__ import annotations

import click

import adagrad as package
from adagrad.commands import (
    convert,
    delta,
    demo,
    diagnose,
    evaluate,
    export,
    inspect,
    predict,
    serve,
    textbook,
    train,
    tune,
)
from adagrad.commands.errors import Commands

__all__ = ["adagrad"]

EXAMPLES = """\b
Examples:
  # Will AdaGrad help on this log?
  adagrad diagnose clicks.tsv.gz --label click
  # Train, measure, predict
  adagrad train clicks.tsv.gz --label click --model ctr.safetensors
  adagrad evaluate ctr.safetensors today.parquet
  adagrad predict ctr.safetensors today.parquet > p.txt
"""


@click.group(
    cls=Commands,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package.__version__, prog_name="adagrad")
def adagrad() -> None:
    """Train, evaluate and inspect click models with AdaGrad, on CPUs.

    The exit status is 0 for success, 1 for a failure, which one line on stderr explains, 2 for a
    mistake in the usage, and 128 plus the number of a signal that ended the command.
    """


adagrad.add_command(train.train)
adagrad.add_command(tune.tune)
adagrad.add_command(predict.predict)
adagrad.add_command(evaluate.evaluate)
adagrad.add_command(inspect.inspect)
adagrad.add_command(export.export)
adagrad.add_command(delta.diff)
adagrad.add_command(delta.patch)
adagrad.add_command(diagnose.diagnose)
adagrad.add_command(convert.convert)
adagrad.add_command(serve.serve)
adagrad.add_command(demo.demo)
adagrad.add_command(textbook.textbook)
