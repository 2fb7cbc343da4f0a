"""``adagrad serve`` under load, beside FastAPI around scikit-learn and Vowpal Wabbit."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from adagrad import datasets
from adagrad.ctr import HashingEncoder, LogisticRegression
from adagrad.serving import write_export
from bench import serve_peers
from bench.harness import Report
from bench.machine import leave_out, peer
from bench.results import US, Claim, Result, Shape, Variant, table

QUICK = ("1 row,",)

ROUNDS, SECONDS = 5, 2
CONNECTIONS = 8
BATCH = 100
LOG_ROWS = 50_000
SWAPS = 20
PAUSE = 0.5  # seconds between checks of a server that starts

SKLEARN, VW = "FastAPI, scikit-learn", "FastAPI, VW"

# wrk runs this in its thread. `done` gets counts, and times in microseconds.
LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open(os.getenv("BENCH_BODY"))
wrk.body = file:read("*a")
function done(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status
  local form = "{\\"requests\\": %d, \\"seconds\\": %f, \\"failed\\": %d, \\"late\\": %d, "
    .. "\\"p50\\": %f, \\"p99\\": %f, \\"most\\": %f}\\n"
  local p50, p99 = latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
  io.write(string.format(form, summary.requests, summary.duration / 1e6, failed, e.timeout,
    p50, p99, latency.max / 1e3))
end
"""


class Load(NamedTuple):
    """What a run of wrk found; times in milliseconds. Late answers took 10 seconds or longer."""

    requests: int
    seconds: float
    failed: int
    late: int
    p50: float
    p99: float
    most: float

    @property
    def rate(self) -> float:
        """Requests that were answered, per second."""
        return (self.requests - self.failed) / self.seconds


def load(folder: Path, body: str, port: int, seconds: float, connections: int) -> Load:
    """Put load on a server for some seconds."""
    command = (
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "10s",
        "-s",
    )
    done = subprocess.run(
        (*command, folder / "post.lua", f"http://127.0.0.1:{port}/predict"),
        env={**os.environ, "BENCH_BODY": str(folder / body)},
        capture_output=True,
        text=True,
        check=True,
    )
    return Load(**json.loads(done.stdout.splitlines()[-1]))


def commands(folder: Path, port: int, workers: int) -> dict[str, list[str]]:
    """Return the command line of each server that can run here."""
    python = [sys.executable, "-m"]
    ours = [*python, "adagrad.commands.main", "serve", str(folder / "model"), "--port", str(port)]
    found = {US: [*ours, "--workers", str(workers)]}
    for name, application in ((SKLEARN, "scikit_learn"), (VW, "vw")):
        if peer("fastapi") is None or (name == VW and peer("vowpalwabbit") is None):
            continue
        uvicorn = ["uvicorn", "--factory", f"bench.serve_peers:{application}"]
        how = ["--port", str(port), "--workers", str(workers), "--log-level", "error"]
        found[name] = [*python, *uvicorn, *how, "--no-access-log"]
    return found


@contextlib.contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the block."""
    process = subprocess.Popen(
        command,
        env={**os.environ, serve_peers.FOLDER: str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=(folder / "errors").open("ab"),
    )
    try:
        body = (folder / "one.json").read_bytes()
        headers = {"content-type": "application/json"}
        url = f"http://127.0.0.1:{port}/predict"
        for _ in range(100):
            time.sleep(PAUSE)
            with contextlib.suppress(OSError):
                urllib.request.urlopen(urllib.request.Request(url, body, headers)).close()
                break
        else:
            raise RuntimeError(f"no server: {(folder / 'errors').read_text()}")
        time.sleep(PAUSE)  # for other workers
        yield process
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def write(folder: Path, rows: int) -> None:
    """Write models and bodies of requests, all from one synthetic log of 39 fields."""
    log = datasets.synthetic_clicks(rows).read_all()
    y = log["click"].to_numpy()
    features = log.drop_columns(["click"])
    some = features.to_pylist()
    model = LogisticRegression("auto", encoder=HashingEncoder(22))
    write_export(model.fit(features, y), folder / "model")
    half = rows // 2
    other = LogisticRegression("auto", encoder=HashingEncoder(22))
    write_export(other.fit(features.slice(0, half), y[:half]), folder / "other")
    serve_peers.write(folder, some, y)
    (folder / "one.json").write_text(json.dumps(some[:1]))
    (folder / "many.json").write_text(json.dumps(some[:BATCH]))
    (folder / "post.lua").write_text(LUA)


def compare(report: Report, folder: Path) -> None:
    """Measure all servers in turns: a row and a batch, one and two workers."""
    rounds, seconds = (1, 1) if report.smoke else (ROUNDS, SECONDS)
    lines = []
    for workers in (1, 2):
        shapes = {
            f"1 row, {workers} worker{'s' * (workers > 1)}": "one.json",
            f"{BATCH} rows, {workers} worker{'s' * (workers > 1)}": "many.json",
        }
        shapes = {label: body for label, body in shapes.items() if report.wants(label)}
        if not shapes:
            continue
        found: dict[tuple[str, str], list[Load]] = {}
        with contextlib.ExitStack() as stack:
            ports = {}
            for name in commands(folder, 0, workers):
                ports[name] = free_port()
                command = commands(folder, ports[name], workers)[name]
                stack.enter_context(running(command, folder, ports[name]))
            for _ in range(rounds):
                for label, body in shapes.items():
                    for name, port in ports.items():
                        one = load(folder, body, port, seconds, CONNECTIONS)
                        found.setdefault((label, name), []).append(one)
        for (label, name), runs in found.items():
            times = tuple(1 / run.rate for run in runs)
            report.results.append(Result(Shape(label, 1000), Variant(name, print), times))
            middle = [
                statistics.median(x)
                for x in zip(*((r.rate, r.p50, r.p99) for r in runs), strict=True)
            ]
            failed = sum(run.failed for run in runs)
            lines.append(
                (
                    f"{label}: {name}",
                    f"{middle[0]:,.0f}",
                    *map("{:.2f}".format, middle[1:]),
                    str(failed),
                )
            )
    report.by_shape("us a request")
    heads = ("", "requests/s", "p50, ms", "p99, ms", "failed")
    table(f"wrk, {CONNECTIONS} connections, medians of {rounds} runs of {seconds} s", heads, lines)
    for label in (f"{n}, 1 worker" for n in ("1 row", f"{BATCH} rows")):
        text = f"requests/s beside {SKLEARN}: {label}"
        report.claims.append(Claim(text, report.ratio(label, SKLEARN), ">=", 3))


def memory(process: int) -> dict[int, int]:
    """Return the resident bytes of a process and its descendants."""
    found = {}
    waiting = [process]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{one}/status").read_text()
            found[one] = 1024 * int(status.partition("VmRSS:")[2].split()[0])
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return found


def soak(report: Report, folder: Path) -> None:
    """Replace the model again and again under load; count what failed, and watch the memory."""
    minutes = report.args.soak or (0.1 if report.smoke else 0.5)
    swaps = max(2, round(SWAPS * minutes / 10)) if minutes < 10 else SWAPS
    port = free_port()
    served = folder / "served"
    shutil.copy(folder / "model", served)
    command = commands(folder, port, 2)[US]
    command[command.index(str(folder / "model"))] = str(served)
    with running(command, folder, port) as process:
        runs = [load(folder, "one.json", port, 2, CONNECTIONS)]
        begin = memory(process.pid)
        pause = 60 * minutes / swaps
        for swap in range(swaps):
            shutil.copy(folder / ("model" if swap % 2 else "other"), folder / "next")
            (folder / "next").rename(served)
            body = "many.json" if swap % 4 == 3 else "one.json"
            runs.append(load(folder, body, port, pause, CONNECTIONS))
        end = memory(process.pid)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            text = page.read().decode()
    if begin.keys() != end.keys():
        raise RuntimeError("a worker died")
    loaded = float(text.partition("\nadagrad_models_loaded_total ")[2].split()[0])
    codes = dict(re.findall(r'requests_total\{code="(\d+)",path="predict"\} (\S+)', text))
    refused = sum(float(n) for code, n in codes.items() if code != "200")
    requests, failed, late = (
        sum(getattr(run, name) for run in runs) for name in ("requests", "failed", "late")
    )
    growth = 100 * (sum(end.values()) / sum(begin.values()) - 1)
    print(
        f"\nsoak: {minutes:g} minutes, 2 workers: {requests:,} requests, {failed} failed, "
        f"{late} late, {refused:.0f} refused by the server, {loaded:.0f} of {swaps} swaps;"
        f" slowest answer {max(run.most for run in runs):.0f} ms;"
        f"\nresident memory of all processes: {sum(begin.values()) / 2**20:.0f} MiB, then"
        f" {sum(end.values()) / 2**20:.0f} MiB"
    )
    report.claims += [
        Claim("soak: failed or refused requests", failed + refused, "<=", 0, "requests"),
        Claim("soak: models taken", loaded, ">=", swaps, "swaps"),
        Claim("soak: growth of memory", growth, "<=", 5, "%"),
    ]


def run(report: Report) -> list[Any]:
    """Measure the server, and judge the claims."""
    if shutil.which("wrk") is None or not hasattr(signal, "SIGHUP"):
        leave_out("wrk")
        print("\nserve needs wrk, of the Debian package of that name.")
        return []
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, 2_000 if report.smoke else LOG_ROWS)
        if not report.args.soak:
            compare(report, folder)
        soak(report, folder)
    return []
