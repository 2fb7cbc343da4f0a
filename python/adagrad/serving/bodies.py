"""Bodies of requests and of answers: rows of JSON, batches of an Arrow stream.

A body is read whole or refused: nothing in it is guessed. JSON is strict, as RFC 8259 has it, and
refuses what that leaves open: a name that occurs twice in an object.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import numpy as np

from adagrad.serving import arrow_bodies
from adagrad.serving.refusals import Refused

if TYPE_CHECKING:
    import numpy.typing as npt

    from adagrad.serving.scorer import Scorer

    Floats = npt.NDArray[np.float64]

__all__ = ["ARROW", "JSON", "Answer", "answer", "media_type"]

JSON = "application/json"
ARROW = arrow_bodies.MEDIA_TYPE

Answer = tuple[bytes, bytes, Any]
"""The body of an answer, its media type, and the rows that it is about."""

_AT_COLUMN = re.compile(
    r"""^X(?:\[(\d+)\])?\[('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\](?:\[\d+\])?"""
)
_MOST_ENTRIES = 1 << 20  # of the crosses of lists in a request
_MOST_PAIRS = 1 << 24  # of the values in lists of a request, which a field-aware model pairs
_SHOWN = 300  # characters of a message


def media_type(header: bytes | None) -> str:
    """Return the media type that a header names; that of JSON if there is none.

    Raises
    ------
    Refused
        It is another one, or its charset is not UTF-8.
    """
    if header is None or header == b"application/json":
        return JSON
    name, *parameters = header.decode("latin-1").lower().split(";")
    for parameter in parameters:
        key, _, value = parameter.strip().partition("=")
        if key == "charset" and value.strip('"') not in ("utf-8", "utf8"):
            raise Refused(415, f"the charset is {value!r:.40}, but bodies are UTF-8")
    kind = name.strip()
    if kind not in (JSON, ARROW):
        raise Refused(
            415, f"the content-type is {kind!r:.80}, but must be {JSON} (curl --json) or {ARROW}"
        )
    return kind


def answer(body: bytes, kind: str, scorer: Scorer, most_rows: int) -> Answer:
    """Return the answer to a body.

    Parameters
    ----------
    body : bytes
    kind : str
        `JSON` or `ARROW`.
    scorer : Scorer
    most_rows : int
        More are refused.

    Raises
    ------
    Refused
        The body cannot be read, or a row of it cannot be scored. No row is answered then.
    """
    if kind == ARROW:
        table = arrow_bodies.read(body, most_rows)
        p = _of_table(table, scorer) if len(table) else None
        return arrow_bodies.written(p, scorer.version), ARROW.encode(), table
    rows = _parsed(body)
    version = scorer.version
    lists = _Lists.of(scorer)
    if isinstance(rows, dict):
        p_of_row = _of_row(rows, scorer, lists, None)
        one = f'{{"probability": {p_of_row!r}, "model": "{version}"}}'.encode()
        return one, b"application/json", [rows]
    if not isinstance(rows, list):
        raise Refused(400, "the body is neither a row, an object, nor a batch, a list of objects")
    if len(rows) > most_rows:
        raise Refused(413, f"the batch has {len(rows):,} rows, but at most {most_rows:,} are taken")
    found = ", ".join([repr(_of_row(row, scorer, lists, at)) for at, row in enumerate(rows)])
    data = f'{{"probabilities": [{found}], "model": "{version}"}}'.encode()
    return data, b"application/json", rows


def _of_row(row: Any, scorer: Scorer, lists: _Lists | None, number: int | None) -> float:
    """Return the probability of a row; one that cannot be read is refused by name."""
    if type(row) is not dict:
        raise Refused(422, f"a row is an object, not {_kind(row)}", number)
    if scorer._form is not None:
        try:
            row = scorer._form(row)
        except ValueError as error:
            raise _refused(error, number) from error
    if row and scorer._encoder is not None and row.keys().isdisjoint(scorer.columns):
        raise Refused(
            422,
            f"no name of the row, such as {next(iter(row))!r:.80}, is a column of the model: see"
            " /docs",
            number,
        )
    if lists is not None:
        lists.add({k: len(v) for k, v in row.items() if isinstance(v, (list, dict))}, number)
    try:
        p = scorer.predict_one(row)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _refused(error, number) from error
    if not 0.0 <= p <= 1.0:
        raise Refused(422, f"the model answers {p!r}, which is not a probability", number)
    return p


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(400, f"the name {twice!r:.80} occurs twice in an object", column=twice)
    return found


def _no_number(text: str) -> NoReturn:
    raise Refused(400, f"JSON has no {text}: write null for a missing value")


_quick = msgspec.json.Decoder().decode
_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number).decode


def _parsed(body: bytes) -> Any:
    """Return what JSON holds.

    The quick decoder keeps the last of the values of a name that occurs twice. Each name is
    followed by a colon: if flat rows have as many names as the body has colons, none was lost. The
    exact decoder reads what is left, and says what is wrong.
    """
    try:
        rows = _quick(body)
        names = len(rows) if isinstance(rows, dict) else sum(map(len, rows))
        if names == body.count(b":"):
            return rows
    except (msgspec.DecodeError, TypeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _decode(body.decode())
    except UnicodeDecodeError as error:
        raise Refused(400, f"the body is not UTF-8: byte {error.start} is wrong") from error
    except json.JSONDecodeError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Refused(400, "the body is nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise Refused(400, f"the body is not JSON: {error}"[:_SHOWN]) from error


class _Lists:
    """Counts what a model makes of the lists in a request: values that it combines, each with each.

    A body of a megabyte can ask for hours of work, which nothing could interrupt.
    """

    def __init__(
        self, columns: Sequence[str], crosses: Sequence[Sequence[str]], *, pairs: bool
    ) -> None:
        self.columns, self._crosses, self._has_pairs = {*columns}, crosses, pairs
        self._entries = self._pairs = 0

    @classmethod
    def of(cls, scorer: Scorer) -> _Lists | None:
        """Return a count for a model; None if the work is that of reading the lists."""
        encoder, pairs = scorer._encoder, scorer.kind == "ffm"
        if encoder is None:
            return cls(("ids",), (), pairs=pairs) if pairs else None
        crosses = encoder.crosses
        return cls([*scorer.columns], crosses, pairs=pairs) if pairs or crosses else None

    def add(self, lengths: dict[str, int], number: int | None = None) -> None:
        """Add a row, given the lengths of its lists by name.

        Raises
        ------
        Refused
            The request asks for too much.
        """
        lengths = {name: n for name, n in lengths.items() if name in self.columns}
        if not lengths:
            return
        for cross in self._crosses:
            self._entries += math.prod(lengths.get(name, 1) for name in cross)
            if self._entries > _MOST_ENTRIES:
                names = " and ".join(map(repr, cross))
                raise _too_long(f"the lists of {names}", _MOST_ENTRIES, number, cross[0])
        if self._has_pairs:
            self._pairs += sum(lengths.values()) ** 2
            if self._pairs > _MOST_PAIRS:
                longest = max(lengths, key=lengths.__getitem__)
                raise _too_long("the values in lists", _MOST_PAIRS, number, longest)


def _too_long(what: str, most: int, number: int | None, column: str) -> Refused:
    text = f"{what} have too many combinations: at most {most:,} are taken from a request"
    return Refused(413, text, number, column)


def _of_table(table: Any, scorer: Scorer) -> Floats:
    """Return the probabilities of a table; one that cannot be read is refused by column."""
    lists = _Lists.of(scorer)
    if scorer._encoder is None:  # a model of ids
        rows = table.to_pylist()
        return np.array([_of_row(row, scorer, lists, at) for at, row in enumerate(rows)])
    try:
        table = scorer._encoder._with_lists(table)
    except ValueError as error:
        raise _refused(error, None) from error
    if lists is not None:
        lengths = arrow_bodies.lengths(table, lists.columns)
        for row in zip(*lengths.values(), strict=True):
            lists.add(dict(zip(lengths, row, strict=True)))
    try:
        return scorer.predict_proba(table)[:, 1]
    except (ValueError, TypeError, OverflowError) as error:
        raise _refused(error, None) from error


def _refused(error: Exception, number: int | None) -> Refused:
    text = str(error) or type(error).__name__
    at = _AT_COLUMN.match(text)
    column = None if at is None else _name(at[2])
    if at is not None:
        text = f"column {at[2]}{text[at.end() :]}"
    return Refused(422, text.replace("X has", "the batch has")[:_SHOWN], number, column)


def _name(quoted: str) -> str:
    import ast

    return str(ast.literal_eval(quoted))


def _kind(value: Any) -> str:
    names = {str: "text", bool: "a boolean", list: "a list", type(None): "null"}
    return names.get(type(value), "a number")
