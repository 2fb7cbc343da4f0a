"""Arrow streams as bodies: the columns of a batch in, a column of probabilities out.

pyarrow is imported by the first request that needs it.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from adagrad.serving.refusals import Refused

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["MEDIA_TYPE", "lengths", "read", "written"]

MEDIA_TYPE = "application/vnd.apache.arrow.stream"

COLUMN = "probability"


def read(body: bytes, most_rows: int) -> pa.Table:
    """Return the table in a stream.

    Raises
    ------
    Refused
        The stream is damaged, has more rows, or needs more memory than its bytes.
    """
    import pyarrow as pa
    from pyarrow import ipc

    batches: list[Any] = []
    rows = 0
    try:
        _check_plain(ipc, body)
        with ipc.open_stream(pa.py_buffer(body)) as reader:
            _check_types(reader.schema)
            for batch in reader:
                rows += len(batch)
                if rows > most_rows:
                    raise Refused(413, f"the stream has more than {most_rows:,} rows")
                batch.validate(full=True)
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    _check_size(name, column, 8 * len(body))
                batches.append(batch)
            return pa.Table.from_batches(batches, reader.schema)
    except Refused:
        raise
    except Exception as error:  # pyarrow raises OSError, ValueError, KeyError, MemoryError, ...
        raise Refused(400, f"the body is not an Arrow stream: {str(error)[:200]}") from error


def _check_plain(ipc: Any, body: bytes) -> None:
    """Refuse compressed buffers, which would need more memory than the limit of bodies says."""
    for message in ipc.MessageReader.open_stream(body):
        if message.type in ("record batch", "dictionary"):
            data = message.metadata.to_pybytes()
            batch = _at(data, _root(data), 2)
            if message.type == "dictionary":
                batch = _at(data, batch, 1)
            if _at(data, batch, 3):
                raise Refused(415, "the stream is compressed: write it without compression")


def _root(data: bytes) -> int:
    return int(struct.unpack_from("<I", data)[0])


def _at(data: bytes, table: int, field: int) -> int:
    """Return where the table in a field of a table of FlatBuffers is; 0 if it is nowhere."""
    index = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, index)
    entry = 4 + 2 * field
    if entry >= size or not (offset := struct.unpack_from("<H", data, index + entry)[0]):
        return 0
    place = table + offset
    return int(place + struct.unpack_from("<I", data, place)[0])


def _check_types(schema: pa.Schema) -> None:
    """Refuse types in which a few bytes stand for many values."""
    for field in schema:
        if "view" in str(field.type) or "run_end_encoded" in str(field.type):
            raise Refused(
                422,
                f"column {field.name!r:.80} has type {field.type}: send it plain",
                None,
                field.name,
            )


def _check_size(name: str, column: pa.Array, most: int) -> None:
    """Refuse lists of more values than the bits of a body: nulls of no bytes, which take hours."""
    import pyarrow as pa

    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_struct(column.type):
        inner = column.flatten()
    elif pa.types.is_map(column.type):
        inner = [column.keys, column.items]
    elif pa.types.is_nested(column.type) and hasattr(column, "values"):
        inner = [column.values]
    else:
        return
    for values in inner:
        if len(values) > most:
            raise Refused(413, f"column {name!r:.80} has {len(values):,} values", column=name)
        _check_size(name, values, most)


def lengths(table: pa.Table, names: Collection[str]) -> dict[str, list[int]]:
    """Return the number of values in each row of each column of lists or maps among some."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name not in names or not pa.types.is_nested(column.type):
            continue
        if pa.types.is_map(column.type):
            column = pa.chunked_array([x.cast(pa.list_(x.type.value_type)) for x in column.chunks])
        if not pa.types.is_struct(column.type):  # which no encoder takes
            found[name] = pc.list_value_length(column).fill_null(1).to_pylist()
    return found


def written(p: npt.NDArray[np.float64] | None, version: str) -> bytes:
    """Return a stream with one column, and the version of the model in its schema."""
    import pyarrow as pa
    from pyarrow import ipc

    p = np.empty(0) if p is None else p
    if not ((p >= 0) & (p <= 1)).all():
        raise Refused(422, "the model answers what is not a probability")
    schema = pa.schema([(COLUMN, pa.float64())], metadata={"model": version})
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array(p)], schema=schema))
    found: bytes = sink.getvalue().to_pybytes()
    return found
