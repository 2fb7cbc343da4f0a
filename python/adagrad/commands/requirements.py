"""A check that a command's packages are installed. It imports only the standard library."""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["require"]

# Modules whose package has another name on PyPI.
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def require(command: str, *modules: str, extra: str = "ctr") -> None:
    """Exit with status 1 and one line on stderr if a module is not installed.

    Parameters
    ----------
    command : str
        The command, for the message.
    *modules : str
        Names of modules; they are looked up, not imported.
    extra : str
        The extra of adagrad that installs them.

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
