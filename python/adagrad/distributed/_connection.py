"""Connecting to a Ray cluster, and checking its capacity, always with a time limit."""

from __future__ import annotations

import logging
import os
import socket
import time

import ray
from ray._private.services import canonicalize_bootstrap_address

_PROBE_TIMEOUT = 3.0  # seconds to connect to a port
_FREE_TIMEOUT = 10.0  # seconds to wait for processors to become free


def connect(address: str | None = None) -> None:
    """Connect this process to a cluster.

    If the process is connected already, `address` is ignored.

    Parameters
    ----------
    address : str, optional
        "host:port" of a cluster, "ray://host:port" of its client server, "auto" for the cluster
        that runs on this machine, or "local" for a new one on it, which ends with this process.
        By default the environment variable ``RAY_ADDRESS``, or "local" if it is not set.

    Raises
    ------
    ConnectionError
        If no cluster listens at the address. Raised within 5 seconds.
    TypeError, ValueError
        If `address` is not an address.
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
        # Only the address that Ray finds: the cluster may be gone.
        try:
            found = canonicalize_bootstrap_address("auto")
        except ConnectionError:
            found = None
        if found is None:
            raise ConnectionError(
                "no Ray cluster runs on this machine; start one with: ray start --head"
            ) from None
        address = found
    _probe(address)
    ray.init(address, **quiet)


def _probe(address: str) -> None:
    """Raise if nothing listens at the address, which Ray would try for a long time."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(
            f"address must be 'host:port', 'ray://host:port', 'auto' or 'local', got {address!r}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PROBE_TIMEOUT).close()
    except OSError as error:
        raise ConnectionError(f"no Ray cluster listens at {address}: {error}") from error


def nodes() -> list[str]:
    """Return Ray's ids of the live nodes with processors, or of all live nodes if none has any."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    working = [node for node in alive if node["Resources"].get("CPU", 0) > 0]
    return [node["NodeID"] for node in working or alive]


def check_room(actors: int, what: str, cpus: int = 1) -> None:
    """Raise if actors would wait forever to start.

    Parameters
    ----------
    actors : int
        Number of actors.
    what : str
        Their name in an error, such as "shards".
    cpus : int, default 1
        Processors per actor.

    Raises
    ------
    RuntimeError
        If no node is alive, or the cluster has too few processors, or too few are free after 10
        seconds.
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
    end = time.monotonic() + _FREE_TIMEOUT
    # Ray frees a processor a moment after its actor has ended.
    while (free := ray.available_resources().get("CPU", 0.0)) < need:
        if time.monotonic() > end:
            raise RuntimeError(f"{text} {have}, of which {free:g} are free")
        time.sleep(0.1)
