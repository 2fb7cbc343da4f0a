"""The console script ``adagrad``.

Only the standard library is imported at the top, so that a missing extra is reported in one line
instead of a traceback.
"""

from __future__ import annotations

import sys

from adagrad.commands import streams
from adagrad.commands.requirements import require

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point of the console script."""
    try:
        streams.open_closed_streams()
        streams.hide_tracebacks()
        require("adagrad", "click")
        from adagrad.commands.group import adagrad

        adagrad(prog_name="adagrad")
    except KeyboardInterrupt:  # while importing; commands say that they are interrupted
        sys.exit(130)


if __name__ == "__main__":
    main()
