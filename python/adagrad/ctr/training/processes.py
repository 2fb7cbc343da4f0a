"""Processes that measure configurations, each with one thread."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pyarrow as pa

import adagrad

__all__ = ["Run", "workers"]

Run = Callable[[Iterable[tuple[Any, ...]]], Iterator[Any]]


def _call(task: tuple[Any, ...]) -> Any:
    function, *arguments = task
    return function(*arguments)


def _begin() -> None:
    """Prepare a process: one thread, deaf to the Ctrl-C of the terminal, gone with its parent."""
    adagrad.set_num_threads(1)
    pa.set_cpu_count(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def workers(jobs: int) -> Iterator[Run]:
    """Yield a function that runs tasks in so many processes, or in this one.

    The processes are killed if the block ends early.

    Raises
    ------
    MemoryError
        A process has died, as the system kills one if there is no memory.
    """
    if jobs == 1:
        yield lambda tasks: map(_call, tasks)
        return
    before = {child.pid for child in multiprocessing.active_children()}
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin)
    try:
        yield lambda tasks: pool.map(_call, tasks)
    except BrokenProcessPool:
        raise MemoryError("a process has died: give fewer --jobs, or fewer --bits") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child.pid not in before:
                child.terminate()
                child.join()
