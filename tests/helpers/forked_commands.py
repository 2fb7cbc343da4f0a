"""Shell scripts whose calls of ``adagrad`` are forks of this process, so that none has to import.

`served` makes a program ``adagrad`` that asks this process for a fork with its arguments, working
directory, output and process group. A signal to the group of a script therefore reaches the
command as well, as if the script had started it. The process must have no threads yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kills

CLIENT = """#!{python} -ISs
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), os.getpgrp()])
    socket.send_fds(server, [request.encode()], [1, 2])
    code = int(server.recv(16) or 1)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of a script, whose PATH has the program.

    Parameters
    ----------
    folder : Path
        Where the program and the socket lie.
    """
    address = str(folder / "socket")
    program = folder / "adagrad"
    program.write_text(CLIENT.format(python=sys.executable, address=address))
    program.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    server = os.fork()
    if not server:
        with contextlib.suppress(BaseException):
            while True:
                serve(listener.accept()[0])
        os._exit(1)
    listener.close()
    try:
        yield {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)


def serve(client: socket.socket) -> None:
    """Run one call; the client gets its exit status, negative for a signal."""
    with client:
        request, (out, err), *_ = socket.recv_fds(client, 1 << 16, 2)
        if not request:
            return
        arguments, cwd, group = json.loads(request)

        def work() -> None:
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.chdir(cwd)
            kills.call(*arguments)

        with contextlib.suppress(OSError):  # the script may be gone
            child = kills.in_a_fork(work, group=group)
            _, status = os.waitpid(child, 0)
            client.send(str(os.waitstatus_to_exitcode(status)).encode())
        os.close(out)
        os.close(err)


def start(script: str, *arguments: object, env: dict[str, str], cwd: Path) -> subprocess.Popen:
    """Start a shell script in a process group of its own."""
    return subprocess.Popen(
        ["sh", script, *map(str, arguments)],
        env=env,
        cwd=cwd,
        preexec_fn=os.setpgrp,  # Python 3.10 has no process_group
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
