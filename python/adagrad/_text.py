"""Texts for people: numbers, counts, and suggestions for misspelled names.

Commands, reports, pictures, verdicts and error messages use it.
"""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Iterable, Sequence

__all__ = [
    "broken_rows",
    "counted",
    "did_you_mean",
    "listed",
    "mebibytes",
    "metric_texts",
    "one_line",
    "printable",
    "shortened",
    "three_digits",
    "typed",
]

LONGEST = 80
"""Characters of a name in a list of names."""

# Control characters (C0, DEL, C1), marks that change the direction of text, separators of lines and
# paragraphs, and lone surrogates, which no terminal and no file in UTF-8 can take.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str, keep: str = "") -> str:
    r"""Return text from data as a terminal, a web page or a picture can show it on one line.

    Characters that would move the cursor, change colors or reverse the order of what follows are
    shown as Python would write them. A byte of a file name that is not UTF-8 is shown as a byte.

    Parameters
    ----------
    text : str
    keep : str, default ""
        Characters to leave as they are, such as line breaks.

    Examples
    --------
    >>> from adagrad._text import printable
    >>> print(printable("a\x1b[31mb\n"))
    a\x1b[31mb\n
    """
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        code -= 0xDC00
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def one_line(message: object) -> str:
    """Return the text of an exception, for example, in one line."""
    return " ".join(str(message).split())


def shortened(text: str, most: int) -> str:
    """Return the first characters of a text that is longer than `most`."""
    return text if len(text) <= most else text[:most] + "..."


def three_digits(value: float) -> str:
    """Return a number with three significant digits, without an exponent if that is short."""
    if not 1000 <= value < 1e7:
        return f"{value:.3g}"
    return f"{round(value, 2 - math.floor(math.log10(value))):,.0f}"


def mebibytes(size: int) -> str:
    """Return a size in bytes as text: "0.0529 MiB", "1,230 MiB"."""
    return f"{three_digits(size / 2**20)} MiB"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number and its noun: "1 row", "2,000 rows"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def metric_texts(metrics: dict[str, float]) -> list[str]:
    """Return logloss, NE, AUC and calibration as text; "-" for one that is undefined."""
    digits = {"logloss": 5, "normalized_entropy": 4, "auc": 4, "calibration": 3}
    return [
        "-" if math.isnan(metrics[name]) else f"{metrics[name]:.{n}f}" for name, n in digits.items()
    ]


def broken_rows(skipped: dict[str, int]) -> str:
    """Return how many broken rows were skipped, in all and by kind."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(skipped.items()))
    return f"{counted(sum(skipped.values()), 'broken row')} skipped: {kinds}"


def listed(names: Sequence[str], most: int = 20) -> str:
    """Return names with commas, the first ones if there are many: "a, b and 1,002 more".

    An empty name is shown as ``''``, and the end of a long one as dots.
    """
    left = len(names) - most
    shown = [name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..." for name in names[:most]]
    return ", ".join(name or "''" for name in shown) + (f" and {left:,} more" if left > 0 else "")


def typed(names: Iterable[str]) -> str:
    """Return names as an option with names takes them, quoted for a shell: ``a,'"b,c"'``."""
    quoted = (
        '"{}"'.format(name.replace('"', '""')) if re.search('[,"\r\n]', name) else name
        for name in names
    )
    return ",".join(map(shlex.quote, quoted))


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return the end of an error message that suggests the name closest to an unknown one.

    It is empty if no name is close, or if `name` is one of `names`. Names that differ only in case
    and in spaces around them are the closest.
    """
    if name in names:
        return ""
    plain = name.strip().casefold()
    close = [other for other in names if other.strip().casefold() == plain]
    close = close or difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
