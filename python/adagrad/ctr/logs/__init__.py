"""Click logs as streams of Arrow record batches.

`open_log` is the entry point. A file passes through its reader (one module per format), the checks
of its rows and the cutting into batches. Encoding and learning do not belong here.
"""

from adagrad.ctr.logs.log import Log, LogError, Position
from adagrad.ctr.logs.opening import open_log

__all__ = ["Log", "LogError", "Position", "open_log"]
