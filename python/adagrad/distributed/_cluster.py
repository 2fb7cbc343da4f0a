"""The Ray cluster: connecting to it, and whether it has room, without ever waiting forever."""

from __future__ import annotations

import logging
import os
import socket
import time

import ray
from ray._private.services import canonicalize_bootstrap_address

_PROBE = 3.0  # seconds until a port counts as silent
_PATIENCE = 10.0  # seconds until processors count as taken


def connect(address: str | None = None) -> None:
    """Connect this process to a cluster, unless it is connected already.

    Parameters
    ----------
    address : str, optional
        "host:port" of a cluster, "ray://host:port" of its client server, "auto" for the cluster
        that runs on this machine, or "local" for a new one on it, which ends with this process.
        By default what ``RAY_ADDRESS`` says, or "local". Where this process is connected, that
        connection is used, whatever the address.

    Raises
    ------
    ConnectionError
        Where nobody listens there, within 5 seconds.
    TypeError, ValueError
        Where it is no address.
    """
    if address is not None and not isinstance(address, str):
        raise TypeError(f"address must be a string, got {address!r}")
    if ray.is_initialized():
        return
    if address is None:
        address = os.environ.get("RAY_ADDRESS") or "local"
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if address == "local":
        ray.init("local", include_dashboard=False, **quiet)
        return
    if address == "auto":
        # Ray's own search, for the address alone: it may be of a cluster that is gone.
        try:
            found = canonicalize_bootstrap_address("auto")
        except ConnectionError:
            found = None
        if found is None:
            raise ConnectionError("no Ray cluster runs on this machine: ray start --head") from None
        address = found
    _probe(address)
    ray.init(address, **quiet)


def _probe(address: str) -> None:
    """Raise where nobody listens: Ray would try for a long time."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(
            f"address must be 'host:port', 'ray://host:port', 'auto' or 'local', got {address!r}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PROBE).close()
    except OSError as error:
        raise ConnectionError(f"no Ray cluster listens at {address}: {error}") from error


def nodes() -> list[str]:
    """Return Ray's ids of the live nodes that have processors; of all live ones where none has."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    working = [node for node in alive if node["Resources"].get("CPU", 0) > 0]
    return [node["NodeID"] for node in working or alive]


def check_room(actors: int, what: str, cpus: int = 1) -> None:
    """Raise where actors would wait forever for a place.

    Parameters
    ----------
    actors : int
        How many.
    what : str
        What they are called in an error, as "shards".
    cpus : int, default 1
        Processors that each takes.

    Raises
    ------
    RuntimeError
        Where no node is alive, or the processors are fewer, or still taken after 10 seconds.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    if not alive:
        raise RuntimeError(f"the Ray cluster has no live node for {actors} {what}")
    need = actors * cpus
    if need == 0:
        return
    have = sum(int(node["Resources"].get("CPU", 0)) // cpus * cpus for node in alive)
    text = f"{actors} {what} need {need} processors, the {len(alive)} live nodes have"
    if have < need:
        raise RuntimeError(f"{text} {have}")
    end = time.monotonic() + _PATIENCE
    # A processor is given back a moment after its actor has ended.
    while (free := ray.available_resources().get("CPU", 0.0)) < need:
        if time.monotonic() > end:
            raise RuntimeError(f"{text} {have}, of which {free:g} are free")
        time.sleep(0.1)
