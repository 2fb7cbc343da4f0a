"""Connecting to a Ray cluster: addresses, silent ports, processors."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from adagrad import Table
from checks import need_packages

need_packages("ray")

import ray

from adagrad.distributed import _connection

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("cluster")]


@pytest.fixture
def unconnected(monkeypatch):
    monkeypatch.setattr(_connection.ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "192.0.2.1:6379", "auto"])
def test_nobody_listens(address, monkeypatch):
    monkeypatch.setattr(_connection, "canonicalize_bootstrap_address", lambda _: "127.0.0.1:1")
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"no Ray cluster listens at .*:"):
        _connection.connect(address)
    assert time.monotonic() - start < 5.0


@pytest.mark.usefixtures("unconnected")
def test_no_cluster_on_this_machine(monkeypatch):
    def none(_):
        raise ConnectionError

    monkeypatch.setattr(_connection, "canonicalize_bootstrap_address", none)
    with pytest.raises(ConnectionError, match="no Ray cluster runs on this machine"):
        _connection.connect("auto")


@pytest.mark.usefixtures("unconnected")
def test_the_address_of_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConnectionError, match=r"listens at 127\.0\.0\.1:1"):
        _connection.connect()


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:x", "host:0", "host:65536"])
def test_bad_addresses(address):
    with pytest.raises(ValueError, match="address must be"):
        _connection.connect(address)


def test_check_room(cluster, monkeypatch):
    _connection.check_room(1000, "shards", cpus=0)
    _connection.check_room(2, "workers")
    with pytest.raises(RuntimeError, match=r"3 workers need 3 processors, .* 2 live nodes have 2"):
        _connection.check_room(3, "workers")
    with pytest.raises(RuntimeError, match=r"1 workers need 2 processors, .* have 0"):
        _connection.check_room(1, "workers", cpus=2)  # on one node
    monkeypatch.setattr(_connection, "_FREE_TIMEOUT", 0.2)
    holder = ray.remote(num_cpus=1)(object).remote()
    try:
        ray.get(holder.__ray_ready__.remote())
        # Ray reports a processor as taken a moment after the actor has it.
        end = time.monotonic() + 30.0
        while ray.available_resources().get("CPU", 0.0) > 1.0 and time.monotonic() < end:
            time.sleep(0.05)
        with pytest.raises(RuntimeError, match="have 2, of which 1 are free"):
            _connection.check_room(2, "workers")
    finally:
        ray.kill(holder)
    monkeypatch.setattr(_connection.ray, "nodes", lambda: [{"Alive": False}])
    with pytest.raises(RuntimeError, match="no live node for 2 shards"):
        _connection.check_room(2, "shards", cpus=0)


LOCAL = """
import numpy as np
from adagrad.distributed import ShardedTable
with ShardedTable(4, shards=2, init="normal", address="local") as table:
    print(table.gather(np.arange(4)).tolist())
"""


def test_a_local_cluster_is_quiet(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = subprocess.run(
        [sys.executable, "-c", LOCAL], capture_output=True, text=True, timeout=60
    )
    assert found.stderr == ""
    assert found.stdout == f"{Table(4, init='normal').gather(np.arange(4)).tolist()}\n"
