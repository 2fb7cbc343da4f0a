"""The console script ``adagrad``.

Only the standard library is imported at the top, so that a missing extra is reported in one line
instead of a traceback.
"""

from __future__ import annotations

from adagrad.commands.requirements import require

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point of the console script."""
    require("adagrad", "click")
    from adagrad.commands.group import adagrad

    adagrad(prog_name="adagrad")


if __name__ == "__main__":
    main()
