"""What ``adagrad train`` refuses before it reads a log: files in the way, impossible passes."""

from __future__ import annotations

from typing import Any

import click

from adagrad.commands.outputs import Output, check_checkpoint, check_outputs

__all__ = ["check_files", "check_passes"]


def check_files(given: dict[str, Any], logs: tuple[str, ...]) -> None:
    """Refuse outputs that would replace what they must not."""
    outputs = [Output("--model", given["model"], "model")]
    if given["report"] is not None:
        from adagrad.commands.requirements import require

        require("adagrad train --report", "matplotlib")
        outputs.append(Output("--report", given["report"], "report"))
    read = (*logs, *given["validate"])
    replace = {name: given[name] for name in ("overwrite", "resume")}
    init = given["init"]
    if init is not None and given["model"].exists() and init.samefile(given["model"]):
        _check_checkpoint(given)
        replace["resume"], init = True, None
    check_outputs(outputs, logs=read, files=[init], file_format=given["file_format"], **replace)
    if given["ray"] is not None:
        from adagrad.ctr.training.checkpoint import checkpoint_of

        check_checkpoint(checkpoint_of(given["model"]), read, outputs, **replace)


def _check_checkpoint(given: dict[str, Any]) -> None:
    """Refuse to begin again from a model from which an interrupted training began."""
    from adagrad.ctr.training.checkpoint import checkpoint_of

    path = checkpoint_of(given["model"])
    if path.is_dir():
        raise click.ClickException(f"{path} is a directory, but the checkpoint needs this name")
    if path.exists() and not (given["overwrite"] or given["resume"]):
        raise click.ClickException(
            f"{path} holds a training that began from {given['init']} and was interrupted: give"
            " --resume to continue it, or --overwrite to begin it again"
        )


def check_passes(given: dict[str, Any], logs: tuple[str, ...]) -> None:
    """Refuse to read a log more often than it can be read, and options that lack another."""
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
