"""``adagrad serve``: a model behind HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from adagrad.commands.requirements import require
from adagrad.commands.terminal import echo

__all__ = ["serve"]

EXAMPLES = """\b
Examples:
  # On this machine only
  adagrad serve ctr.safetensors
  # For other machines, in two processes
  adagrad serve ctr.safetensors --host 0.0.0.0 --workers 2
"""


@click.command(short_help="Serve a model over HTTP.", epilog=EXAMPLES)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Listen on this address; 0.0.0.0 lets other machines ask, without encryption or password.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Listen on this port; 0 takes a free one. The URL is printed.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 512),
    metavar="N",
    default=1,
    show_default=True,
    help="Answer in this number of processes, which share the memory of the model.",
)
@click.option(
    "--max-body",
    type=click.IntRange(1),
    metavar="BYTES",
    default=8 << 20,
    show_default=True,
    help="Refuse larger bodies.",
)
@click.option(
    "--max-rows",
    type=click.IntRange(1),
    metavar="N",
    default=10_000,
    show_default=True,
    help="Refuse larger batches.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="Give up a request after this time.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    metavar="N",
    default=1_000,
    show_default=True,
    help="Refuse more open connections of a process.",
)
@click.option("--access-log", is_flag=True, help="Log every request to stderr.")
def serve(
    model: Path,
    host: str,
    port: int,
    workers: int,
    max_body: int,
    max_rows: int,
    timeout: float,
    max_connections: int,
    access_log: bool,
) -> None:
    """Answer requests over HTTP with the probabilities that MODEL predicts.

    MODEL is what `adagrad export` or `adagrad train` wrote. POST /predict takes a row (a JSON
    object), a batch (a list of objects) or an Arrow stream. GET /docs describes the columns, GET
    /health what is served, and GET /metrics has metrics for Prometheus.

    When the file is replaced, or on SIGHUP, the new model takes over between two requests. A file
    that is not sound, or that has another label or other columns, is refused: the log, /health and
    /metrics say so, and the old model serves on. SIGTERM ends the server after the requests in
    flight.
    """
    modules = ("rich", "sklearn", "pyarrow", "safetensors")
    require("adagrad serve", "httptools", "msgspec", "prometheus_client", *modules, extra="serve")
    from adagrad.serving import server
    from adagrad.serving.limits import Limits

    limits = Limits(max_body, max_rows, timeout, max_connections)
    server.log_to_stderr()
    server.serve(
        model,
        host=host,
        port=port,
        workers=workers,
        limits=limits,
        access_log=access_log,
        announce=lambda url: echo(f"adagrad serve: {url}/predict, see {url}/docs"),
    )
