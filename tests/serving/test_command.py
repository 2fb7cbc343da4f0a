"""``adagrad serve`` as a process, with its workers and signals, and the examples of its page."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from checks import ROOT, need, need_packages

need_packages("click", "sklearn", "pyarrow", "safetensors")
need_packages("httptools", "msgspec", "prometheus_client")

import command
from adagrad.serving import server as server_
from served import Reply, Served, served, until

pytestmark = pytest.mark.unsanitized

PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    log = command.write(folder / "log.tsv", command.clicks(2000))
    command.train(log, folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    with served(model, tmp_path_factory.mktemp("server") / "copies") as one:
        yield one


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text[:50])
def test_an_example_of_the_page_runs(example, server):
    need(shutil.which("curl") is not None, "curl")
    line = example.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    line = line.replace("python -c", f"{sys.executable} -c")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert not done.stderr
    after = PAGE.partition(example)[2].partition("```json\n")
    if after[0].strip() != "```":  # no answer is shown
        assert done.stdout
        return
    shown = json.loads(after[2].partition("```")[0])
    assert shape(json.loads(done.stdout)) == shape(shown)


def shape(value):
    """Return what does not depend on the model: the names, and the texts that are no versions."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items() if name not in ("path", "workers")}
    if isinstance(value, list):
        return [shape(one) for one in value]
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value):
        return "version"
    return value if not isinstance(value, float) else "number"


@pytest.mark.skipif(sys.platform == "win32", reason="has no locks of files")
def test_what_a_killed_server_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with server_._folder() as serves:
        killed = tmp_path / "adagrad-serve-killed"
        killed.mkdir()
        (killed / "lock").touch()
        (killed / "model-1").write_bytes(b"large")
        with server_._folder():
            assert serves.exists()
            assert not killed.exists()
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(model, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "httptools" else find(name)
    )
    code, _, err = command.invoke("serve", model)
    assert code == 1
    assert err == "adagrad serve needs httptools: pip install 'adagrad[serve]'\n"


def test_a_model_that_is_not_sound_is_no_server(tmp_path):
    (tmp_path / "model").write_bytes(b"no model")
    code, out, err = command.invoke("serve", tmp_path / "model", "--port", 0)
    assert (code, out) == (1, "")
    assert str(tmp_path / "model") in err


@contextlib.contextmanager
def process(*arguments):
    with subprocess.Popen(
        [sys.executable, "-m", "adagrad.commands.main", "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as one:
        try:
            yield one
        finally:
            one.kill()


def children(pid):
    """Return the workers of a server; multiprocessing has a helper besides."""
    lists = Path("/proc", str(pid), "task").glob("*/children")
    found = [one for path in lists for one in path.read_text().split()]
    return [
        int(one) for one in found if b"spawn_main" in Path("/proc", one, "cmdline").read_bytes()
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_workers_live_through_a_death_a_new_model_and_the_end(model, tmp_path):
    path = tmp_path / "model"
    shutil.copy(model, path)
    with process(path, "--port", 0, "--workers", 2) as one:
        url = one.stdout.readline()
        server = Served(None, int(re.search(r":(\d+)/predict", url)[1]))
        until(lambda: server.get("/health").json["workers"] == {"1": 2})
        os.kill(children(one.pid)[0], signal.SIGKILL)
        replies: list[Reply] = []
        for _ in range(50):
            with contextlib.suppress(ConnectionError):  # one that the dead worker had
                replies.append(server.post({}))
        assert {reply.status for reply in replies} == {200}
        log = command.write(tmp_path / "log.tsv", command.clicks(1000))
        command.train(log, tmp_path / "next", "--lr", "0.3")
        (tmp_path / "next").rename(path)
        one.send_signal(signal.SIGHUP)
        until(lambda: server.get("/health").json["workers"] == {"2": 2})
        assert server.metric("adagrad_models_loaded_total") == 1
        assert server.metric("adagrad_rows_total") == len(replies)
        # A request that is in flight when the server is asked to end gets its answer.
        body = b"[" + b",".join([b'{"site": "site1"}'] * 9000) + b"]"
        head = b"POST /predict HTTP/1.1\r\ncontent-type: application/json\r\n"
        with server.raw() as late:
            late.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body[:-1])
            time.sleep(0.2)
            one.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            late.sendall(body[-1:])
            answer = b"".join(iter(lambda: late.recv(1 << 20), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"}")
        assert one.wait(timeout=20) == 0
        assert "worker" in one.stderr.read()
        assert not [*tmp_path.glob("adagrad-serve-*")]
