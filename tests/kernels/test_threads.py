"""Threads beside other threads, processes and libraries, and where no thread can be started."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import adagrad
import toolchain
from adagrad import Table
from checks import need_packages, wide_range


def python(script, **environment):
    """Run the script in a fresh interpreter; return what it prints."""
    # OpenBLAS would start threads too.
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment}
    return toolchain.run(sys.executable, "-W", "error", "-c", script, env=env)


# Trains a table for a few steps, with enough ids for several threads.
TRAIN = """
import os, numpy as np, adagrad
def trained(threads, dim=8, steps=3):
    rng = np.random.default_rng(5)
    table = adagrad.Table(5000, dim)
    for _ in range(steps):
        ids, g = rng.integers(0, 5000, 40_000), rng.standard_normal((40_000, dim)).astype("f4")
        table.step(ids, g, threads=threads)
    return table.weights.tobytes() + table.state.tobytes()
"""


def test_python_threads_on_tables_of_their_own(fine_grain, rng):
    def trained(k):
        table, own = Table(3000, 4), np.random.default_rng(k)
        for policy in ("sum", "sequential", "each"):
            ids, g = own.integers(0, 3000, 8000), own.standard_normal((8000, 4)).astype("f4")
            table.step(ids, g, policy, threads=2)
        return table.weights.tobytes() + table.pool(ids, np.array([0, 99, 8000])).tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(trained, range(12))) == [trained(k) for k in range(12)]


def test_python_threads_that_read_one_table(fine_grain, rng):
    table = Table(3000, 4, init="normal", seed=1)
    ids, offsets = rng.integers(0, 3000, 8000), np.arange(0, 8001, 10)
    with ThreadPoolExecutor(4) as pool:
        gathered = list(pool.map(lambda _: table.gather(ids, threads=2), range(12)))
        pooled = list(pool.map(lambda _: table.pool(ids, offsets, threads=2), range(12)))
    for a in gathered:
        np.testing.assert_array_equal(a, table.weights[ids])
    for a in pooled:
        np.testing.assert_array_equal(a, pooled[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_after_threads():
    script = f"""{TRAIN}
expected = trained(2)
child = os.fork()
if child == 0:
    os._exit(0 if trained(2) == expected else 1)
print(os.waitpid(child, 0)[1], trained(2) == expected == trained(1))
"""
    assert python(script) == "0 True\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_table_is_a_copy():
    script = """
import os, numpy as np, adagrad
table = adagrad.Table(1 << 20, dim=4, init="normal")
before, ids, g = table.weights.copy(), np.arange(1 << 16), np.ones((1 << 16, 4), "f4")
child = os.fork()
if child == 0:
    table.step(ids, g, threads=2)
    os._exit(0 if (table.weights[: 1 << 16] != before[: 1 << 16]).all() else 1)
print(os.waitpid(child, 0)[1], (table.weights == before).all(), table.steps)
"""
    assert python(script) == "0 True 0\n"


@pytest.mark.unsanitized
@pytest.mark.parametrize("first", ["torch", "adagrad"])
def test_beside_torch(first):
    need_packages("torch")
    script = f"""
import {first}
import torch
{TRAIN}
torch.set_num_threads(2)
x = torch.arange(400.0 * 400).reshape(400, 400) / 1e5
for _ in range(3):
    y, z = (x @ x).sum().item(), trained(2)
    assert (y, z) == ((x @ x).sum().item(), trained(1))
print(torch.get_num_threads(), adagrad.get_num_threads())
"""
    assert python(script, ADAGRAD_ISA=adagrad.isa()).split()[0] == "2"


def test_threads_of_a_call_and_of_the_process(threads, fine_grain, rng):
    n = 1 << 20
    ids = rng.integers(0, 1000, 4000)
    g = wide_range(rng, n, "float32")

    def results(threads):
        w, s = np.ones(n, "f4"), np.zeros(n, "f4")
        adagrad.step(w, g, s, threads=threads)
        adagrad.step_many([(w, g, s), (s[:0], s[:0], w[:0])], threads=threads)
        rows = np.ones((n >> 4, 16), "f4"), g.reshape(-1, 16), np.zeros(n >> 4, "f4")
        adagrad.step(*rows, threads=threads)
        table = Table(1000, init="normal")
        table.step(ids, g[:4000], threads=threads)
        table.step_pooled(ids, np.array([0, 7, 4000]), g[:2], threads=threads)
        table.decay(0.9, threads=threads)
        of_rows = np.ones((1000, 3), "f4"), g[:12_000].reshape(-1, 3), np.zeros((1000, 3), "f4")
        adagrad.step_rows(*of_rows, ids, threads=threads)
        made = (w, s, rows[0], rows[2], of_rows[0], of_rows[2], table.weights, table.state)
        return [a.tobytes() for a in (*made, table.gather(ids, threads=threads))]

    adagrad.set_num_threads(1)
    expected = results(None)
    for k in (2, 3):
        adagrad.set_num_threads(1)
        assert results(k) == expected
        assert adagrad.get_num_threads() == 1
        adagrad.set_num_threads(k)
        assert results(None) == expected
        assert results(1) == expected


def test_where_no_thread_can_be_started():
    """Then the calling thread does all the parts."""
    resource = pytest.importorskip("resource")
    if sys.platform != "linux":
        pytest.skip("needs /proc, and a limit on address space that binds")
    stack = 512 << 20  # of a thread
    script = f"""{TRAIN}
import resource, threading
expected = trained(1)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {stack} // 2, used + {stack} // 2))
print(trained(4) == expected)
try:
    threading.Thread(target=print).start()
except RuntimeError as error:
    print("no thread:", error)
"""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if hard != resource.RLIM_INFINITY and hard < stack:
        pytest.skip("the stack cannot be made so large")
    run = [sys.executable, "-W", "error", "-c", script]
    said = toolchain.run("sh", "-c", f'ulimit -s {stack >> 10} && exec "$0" "$@"', *run)
    assert said == "True\nno thread: can't start new thread\n"


@pytest.mark.unsanitized
def test_the_account_of_what_threads_save(tmp_path):
    program = tmp_path / "savings"
    source = toolchain.ROOT / "tests" / "cpp" / "savings.cpp"
    flags = ("-std=c++17", "-O1", "-pthread", *toolchain.WARNINGS)
    toolchain.run(toolchain.compiler(), *flags, source, "-o", program)
    assert toolchain.run(program) == ""
