"""Arrow streams as bodies: the columns of a batch in, a column of probabilities out.

pyarrow is imported by the first request that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adagrad.serving.refusals import Refused

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["MEDIA_TYPE", "read", "written"]

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
        with ipc.open_stream(pa.py_buffer(body)) as reader:
            for batch in reader:
                rows += len(batch)
                if rows > most_rows:
                    raise Refused(413, f"the stream has more than {most_rows:,} rows")
                batch.validate(full=True)
                batches.append(batch)
            return pa.Table.from_batches(batches, reader.schema)
    except Refused:
        raise
    except Exception as error:  # pyarrow raises OSError, ValueError, KeyError, MemoryError, ...
        raise Refused(400, f"the body is not an Arrow stream: {str(error)[:200]}") from error


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
