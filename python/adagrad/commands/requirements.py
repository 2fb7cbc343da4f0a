"""Which extras a command needs. Only the standard library is imported here."""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["require"]

# Packages whose name on the index differs from the name of their module.
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def require(command: str, *modules: str, extra: str = "ctr") -> None:
    """Exit with status 1 and one line on stderr if a module is not installed.

    Parameters
    ----------
    command : str
        The command that needs the modules, for the message.
    *modules : str
        Names of modules. They are looked up, not imported.
    extra : str
        The extra of this package that installs them.

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
