"""The console script ``adagrad``.

Only the standard library is imported at the top, so that a missing extra is reported in one line
instead of a traceback.
"""

from __future__ import annotations

import sys

from adagrad._text import printable
from adagrad.commands import streams
from adagrad.commands.requirements import require

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point of the console script."""
    try:
        streams.prepare()
        streams.hide_tracebacks()
        require("adagrad", "click")
        from adagrad.commands.group import adagrad

        adagrad(prog_name="adagrad")
    # Commands report their own errors. These are of the imports.
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if streams.shows_tracebacks():
            raise
        print(f"Error: cannot start: {printable(str(error))}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
