"""The console script ``adagrad``: says what is missing, or hands over to ``adagrad.commands``.

Only the standard library is imported here, so that an installation without the extras answers
with one line instead of a traceback.
"""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main", "require"]

# Module names where they differ from the name to install.
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def require(command: str, *modules: str, extra: str = "ctr") -> None:
    """Leave with exit status 1 and one line on stderr if a module is not installed.

    Parameters
    ----------
    command : str
        What needs the modules, for the message.
    *modules : str
        Names to import, not yet imported by this check.
    extra : str
        The extra of this package that brings them.

    Raises
    ------
    SystemExit
        A module is missing.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(DISTRIBUTIONS.get(name, name) for name in missing)
        print(f"{command} needs {names}: pip install 'adagrad[{extra}]'", file=sys.stderr)
        sys.exit(1)


def main() -> None:
    """Run the command line; the entry point of the console script."""
    require("adagrad", "click")
    from adagrad.commands import adagrad

    adagrad(prog_name="adagrad")


if __name__ == "__main__":
    main()
