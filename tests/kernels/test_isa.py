"""What is decided once for a process: the instruction set, the threads, what an import costs."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

import adagrad
import toolchain
from adagrad import _core

pytestmark = pytest.mark.unsanitized

SCRIPT = """
import adagrad, numpy as np
w, g, s = np.ones(1000, "f4"), np.linspace(-3, 3, 1000, dtype="f4"), np.zeros(1000, "f4")
adagrad.step(w, g, s)
print(adagrad.isa(), hash(w.tobytes() + s.tobytes()))
"""


def python(script: str, **environment: str) -> str:
    """What a fresh interpreter prints that runs the script."""
    env = {**os.environ, "PYTHONHASHSEED": "0", **environment}
    return toolchain.run(sys.executable, "-W", "error", "-c", script, env=env)


def test_every_isa_can_be_forced_and_gives_the_same_bits():
    said = [python(SCRIPT, ADAGRAD_ISA=isa).split() for isa in adagrad.isas()]
    assert [isa for isa, _ in said] == list(adagrad.isas())
    assert len({bits for _, bits in said}) == 1


def test_one_of_them_is_chosen_when_none_is_forced():
    env = {name: value for name, value in os.environ.items() if name != "ADAGRAD_ISA"}
    chosen = toolchain.run(sys.executable, "-c", "import adagrad; print(adagrad.isa())", env=env)
    assert chosen.strip() in adagrad.isas()


@pytest.mark.parametrize("name", ["sse9", "", "X86-64", "x86-64 "])
def test_an_unknown_isa_is_an_error(name):
    script = "try:\n    import adagrad\nexcept ImportError as error:\n    print(error)"
    said = python(script, ADAGRAD_ISA=name)
    assert f"ADAGRAD_ISA={name}: " in said
    for known in adagrad.isas():
        assert known in said


def test_an_unknown_isa_changes_nothing(isa):
    assert not _core.use_isa("sse9")
    assert adagrad.isa() == isa


def test_import_is_light():
    heavy = ["torch", "keras", "tensorflow", "sklearn", "scipy", "matplotlib", "click", "rich"]
    script = "import adagrad, sys; print(*(m for m in sys.modules if '.' not in m))"
    assert not set(python(script).split()) & {*heavy, "pandas", "numba", "hypothesis"}


def test_show_config(capsys, threads):
    adagrad.set_num_threads(3)
    adagrad.show_config()
    printed = capsys.readouterr().out
    for part in (adagrad.__version__, adagrad.isa(), *adagrad.isas(), np.__version__, "threads: 3"):
        assert part in printed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_threads_survive_a_fork():
    """Threads are started per call, so a child has them as well, and its parent keeps its own."""
    script = """
import os, numpy as np, adagrad
n = 1 << 21
def stepped():
    w, g, s = np.ones(n), np.linspace(-3, 3, n), np.zeros(n)
    adagrad.step(w, g, s)
    return w.tobytes() + s.tobytes()
expected = stepped()
adagrad.set_num_threads(4)
assert stepped() == expected
child = os.fork()
if child == 0:
    same = adagrad.get_num_threads() == 4 and stepped() == expected
    os._exit(0 if same else 1)
print(os.waitpid(child, 0)[1], stepped() == expected, adagrad.get_num_threads())
"""
    # OpenBLAS keeps threads of its own, about which fork would warn.
    assert python(script, OPENBLAS_NUM_THREADS="1") == "0 True 4\n"
