"""Click logs as streams of Arrow record batches, one module per format."""

from adagrad.ctr.logs.log import Log, LogError, Position, open_log

__all__ = ["Log", "LogError", "Position", "open_log"]
