"""What to say about a log that was misunderstood: another delimiter, no header, misspelled names.

The readers, `Request` and the commands call this module when they refuse a log. It reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence

from adagrad._text import did_you_mean, listed

__all__ = ["missing_columns", "other_delimiter"]

MOST_MISSING = 5

# What a single column may contain if it is a whole line, and the option that reads it.
DELIMITERS = {
    "\t": ("tabs", "--format tsv"),
    "\x01": ("the bytes \\x01", r"--delimiter '\x01'"),
    ";": ("semicolons", "--delimiter ';'"),
    "|": ("pipes", "--delimiter '|'"),
    ",": ("commas", "--format csv"),
}


def other_delimiter(fields: Sequence[str], delimiter: str | None) -> str | None:
    """Return the doubt that a line of one field is delimited by another character, if it may be.

    Parameters
    ----------
    fields : sequence of str
        The fields of the first line.
    delimiter : str or None
        The character that separated them, if it is known.
    """
    if len(fields) != 1:
        return None
    for other, (what, option) in DELIMITERS.items():
        if other in fields[0] and other != delimiter:
            return f"1 column, which contains {what}: use {option}?"
    return None


def missing_columns(
    wanted: Sequence[str], names: Sequence[str], first_line: Sequence[str] = ()
) -> str:
    """Return what to say about columns that a log lacks: the nearest names and what there is.

    Parameters
    ----------
    wanted : sequence of str
        The missing columns, at least one.
    names : sequence of str
        The columns of the log.
    first_line : sequence of str
        The fields of the first line, if it has none of the requested names; else empty.
    """
    near = first_line or names
    if len(wanted) == 1:
        found = f"no column {wanted[0]!r}"
        hint = did_you_mean(wanted[0], near)
    else:
        shown = [_with_nearest(name, near) for name in wanted[:MOST_MISSING]]
        found = f"no columns {listed([*shown, *wanted[MOST_MISSING:]], MOST_MISSING)}"
        hint = ""
    if not first_line or hint:
        return f"{found}; the columns are {listed(near, 50)}{hint}"
    return (
        f"{found}; the first line is {listed(first_line, 50)}; if the file has no header, use"
        f" {listed(names, 50)} or give --names"
    )


def _with_nearest(name: str, names: Sequence[str]) -> str:
    nearest = did_you_mean(name, names).partition("did you mean ")[2].rstrip("?")
    return f"{name!r} (nearest: {nearest})" if nearest else repr(name)
