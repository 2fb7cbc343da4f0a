"""Lines of JSON: one object each, parsed strictly, or what is wrong with the line."""

from __future__ import annotations

import json
from typing import Any

from adagrad._text import shortened
from adagrad.ctr.logs.rows import Fault

__all__ = ["parse_line", "shown"]

EMPTY = Fault("empty line", "the line is empty")
SHOWN = 50  # characters of a value in a message


class _Invalid(ValueError):
    """A line is not one JSON object."""


def parse_line(line: bytes) -> dict[str, Any] | Fault:
    """Return the object in a line, or what is wrong with the line."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return Fault("not UTF-8", f"byte {error.start + 1} of the line is not UTF-8")
    if not text.strip(" \t\r"):
        return EMPTY
    try:
        found = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        return Fault("not JSON", _what_is_wrong(text, error))
    except (_Invalid, ValueError) as error:  # ValueError: an integer of thousands of digits
        return Fault("not JSON", f"this is not a JSON object: {error}")
    except RecursionError:
        return Fault("not JSON", "the values are nested too deeply")
    if isinstance(found, dict):
        return found
    what = "an array" if isinstance(found, list) else shown(found)
    return Fault("not JSON", f"the line is {what}, not a JSON object")


def _what_is_wrong(text: str, error: json.JSONDecodeError) -> str:
    if text.lstrip().startswith(("{", "[")) and error.pos >= len(text.rstrip()):
        return "the JSON object does not end on its line: write each on a line, as jq -c . does"
    if error.msg == "Extra data":
        return f"something follows the JSON object, at character {error.pos + 1}"
    return f"this is not a JSON object: {error.msg.lower()}, at character {error.pos + 1}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Invalid(f"the key {twice!r} occurs twice in an object")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)  # NaN is judged as a value


def shown(value: Any) -> str:
    """Return a value as a message shows it."""
    return shortened(json.dumps(value, ensure_ascii=False), SHOWN)
