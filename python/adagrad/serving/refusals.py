"""Why a request gets no answer: a status, a sentence, and the row and column to look at."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["Refused", "error_body"]


class Refused(Exception):
    """A request that is not answered.

    Attributes
    ----------
    status : int
        The HTTP status.
    message : str
        One sentence for the client.
    row : int or None
        The first row that is wrong, counted from 0.
    column : str or None
        Its column.
    """

    def __init__(
        self, status: int, message: str, row: int | None = None, column: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.row, self.column = status, message, row, column

    def body(self) -> bytes:
        """Return the JSON of the answer."""
        return error_body(self.status, self.message, self.row, self.column)


def error_body(
    status: int, message: str, row: int | None = None, column: str | None = None
) -> bytes:
    """Return the JSON of an error."""
    found: dict[str, Any] = {"status": status, "message": message, "row": row, "column": column}
    return json.dumps({"error": found}).encode()
