"""The same cases in C++ and in Python, on this machine and on an emulated one: the same bytes.

A small program (cpp/replay.cpp) runs the kernels and the coalescer without Python: once compiled
by the host's compiler, and for aarch64 and riscv64, run by qemu. So the claim that results do not
depend on the machine is tested on three, and the headers are used as a C++ program uses them.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import shlex
import struct
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import adagrad
import toolchain
from adagrad.rule import Rule
from checks import ROOT, assert_same_bits, need, wide_range
from halves import HALVES
from rules import RULES, is_coupled

pytestmark = [pytest.mark.unsanitized, pytest.mark.xdist_group("kernels")]

CORE = ROOT / "cpp" / "isa"
LENGTHS = [*range(68), 97, 1000]
LAYOUTS = ["dense", "every_row", "rows_u32", "rows_u64"]
POLICIES = ["sequential", "sum_in_batches", "sum_sorted", "each"]
EVALUATIONS = ["lr*g/d", "lr/d*g", "g/d*lr"]
STATISTICS = ["square", "scaled_square", "count"]
DECAYS = ["coupled", "decoupled"]
HEADER = struct.Struct("=14Q")


@dataclasses.dataclass
class Case:
    name: str
    rule: Rule
    layout: str
    policy: str
    w: np.ndarray
    s: np.ndarray
    g: np.ndarray
    ids: np.ndarray | None = None
    interleaved: bool = False
    threads: int = 1
    table: adagrad.Table | None = None  # of 16 bits; then w and s are what it has, as floats

    def header(self) -> bytes:
        """What replay.cpp calls Case, and the fields of the rule as text."""
        dim = self.w.shape[1] if self.w.ndim == 2 else 1
        half = self.table
        fields = dataclasses.asdict(self.rule).items()
        text = "".join(f"{name}={value}\n" for name, value in fields).encode()
        header = HEADER.pack(
            self.w.itemsize,
            LAYOUTS.index(self.layout),
            POLICIES.index(self.policy),
            len(self.w),
            dim,
            len(self.g),
            self.s.shape != self.w.shape,
            self.interleaved,
            self.threads,
            0 if half is None else 1 + list(HALVES).index(half.dtype),
            half is not None and half.state_dtype == half.dtype,
            0 if half is None else half.seed,
            0 if half is None else half.steps + 1,
            len(text),
        )
        return header + text

    def packed(self) -> bytes:
        stored = [self.w, self.s] if self.table is None else [memory(self.table)]
        arrays = [*stored, self.g, *([] if self.ids is None else [self.ids])]
        return self.header() + b"".join(a.tobytes() for a in arrays)

    def results(self) -> tuple[np.ndarray, np.ndarray]:
        """New w and s, from Python; of a table, its memory and the sum of all that were named."""
        w, s = self.w.copy(), self.s.copy()
        duplicates = "sum" if self.policy.startswith("sum") else self.policy
        if self.table is not None:
            table = self.table.copy()
            table.step(self.ids, self.g, duplicates)
            offsets = np.array([0, len(self.ids)])
            return memory(table), table.pool(self.ids, offsets, "mean").reshape(-1)
        if self.ids is None:
            adagrad.step(w, self.g, s, self.rule, t=1)
        else:
            adagrad.step_rows(w, self.g, s, self.ids, self.rule, duplicates, t=1)
        return w, s


def memory(table):
    """The rows of a table, as bytes."""
    parts = (np.ascontiguousarray(x.reshape(len(x), -1)) for x in (table.weights, table.state))
    return np.hstack([part.view(np.uint8) for part in parts])


def gradients(rng, rule, shape, dtype):
    g = wide_range(rng, shape, dtype)
    if rule.on_nonfinite == "skip":
        g[rng.random(shape) < 0.05] = np.inf
    return g


@functools.cache
def cases() -> list[Case]:
    rng = np.random.default_rng(13)
    made = []
    rules = {**RULES, "decay all": RULES["keras"].replace(weight_decay=0.01)}

    def add(name, layout, policy, shape, n, dtype, row_state, ids=None):
        w = wide_range(rng, shape, dtype)
        s = np.abs(wide_range(rng, shape[:1] if row_state else shape, dtype))
        g = gradients(rng, rules[name], (n, *shape[1:]), dtype)
        made.append(Case(name, rules[name], layout, policy, w, s, g, ids))

    def add_rows(name, policy, shape, n, dtype, row_state):
        if policy == "each" and is_coupled(rules[name]):
            return  # refused
        layout, id_type = [("rows_u32", np.uint32), ("rows_u64", np.uint64)][len(made) % 2]
        ids = rng.integers(0, shape[0], n).astype(id_type)
        add(name, layout, policy, shape, n, dtype, row_state, ids)
        made[-1].interleaved = len(made) % 3 == 0
        made[-1].threads = 1 + len(made) % 4 // 2 * (len(made) % 5)

    def add_table(name, policy, dim, dtype, state_dtype, row_state):
        layout, id_type = [("rows_u32", np.uint32), ("rows_u64", np.uint64)][len(made) % 2]
        state = "row" if row_state else "element"
        given = {"dtype": dtype, "state": state, "state_dtype": state_dtype, "init": "normal"}
        table = adagrad.Table(60, dim, rules[name], seed=2**63 + len(made), **given)
        # Not 0, since 0 / 0 is a NaN whose sign differs between machines.
        table.state[...] = 0.01 + np.abs(wide_range(rng, table.state.shape, np.float32))
        ids = rng.integers(0, 60, 150).astype(id_type)
        g = gradients(rng, rules[name], (150, dim) if dim > 1 else 150, np.float32)
        w, s = table.weights.astype(np.float32), table.state.astype(np.float32)
        made.append(Case(name, rules[name], layout, policy, w, s, g, ids, table=table))
        made[-1].threads = 1 + len(made) % 3

    for name in rules:
        for dtype in HALVES:
            for policy in ("sequential", "sum_in_batches", "each"):
                if policy == "each" and is_coupled(rules[name]):
                    continue
                for state_dtype in (dtype, "float32"):
                    for dim, row_state in ((1, False), (5, True), (16, False), (33, True)):
                        add_table(name, policy, dim, dtype, state_dtype, row_state)
        for dtype in (np.float32, np.float64):
            for n in LENGTHS:
                add(name, "dense", "sequential", (n,), n, dtype, False)
            for dim in (1, 7, 8, 97, 600):
                add(name, "every_row", "sequential", (5, dim), 5, dtype, True)
            for policy in POLICIES:
                add_rows(name, policy, (60,), 150, dtype, False)
            for policy in ("sequential", "sum_in_batches", "each"):
                for dim, row_state in ((1, True), (3, False), (16, True), (33, False)):
                    add_rows(name, policy, (60, dim), 150, dtype, row_state)
    # Enough ids, far enough apart, that they are dealt into buckets.
    for policy in ("sum_in_batches", "sum_sorted"):
        for dtype in (np.float32, np.float64):
            add_rows("textbook", policy, (1 << 18,), 20_000, dtype, False)
    return made


def build(folder, cxx, isa, kernels, *flags):
    """The replay program, with the kernels of one ISA.

    Only cpu.cpp depends on the ISA. Nothing but the kernels is optimized: the rest runs briefly.
    """
    program = kernels.with_suffix(".replay")
    compile_ = (cxx, "-std=c++17", "-O0", "-ffp-contract=off", *toolchain.WARNINGS)
    shared = []
    for source in (ROOT / "tests" / "cpp" / "replay.cpp", CORE / "sparse_step.cpp"):
        shared.append(folder / f"{Path(cxx).name}.{source.stem}.o")
        if not shared[-1].exists():
            toolchain.run(*compile_, "-c", source, "-o", shared[-1])
    flags = (f"-DADAGRAD_HAVE_{isa}", *flags)
    toolchain.run(*compile_, CORE / "cpu.cpp", *shared, kernels, *flags, "-o", program)
    return program


def replay(tmp_path, *command):
    """What the program says, having checked its results against Python's."""
    with (tmp_path / "cases").open("wb") as file:
        for case in cases():
            file.write(case.packed())
    said = toolchain.run(*command, tmp_path / "cases", tmp_path / "results")
    with (tmp_path / "results").open("rb") as file:
        for case in cases():
            for what, expected in zip(("w", "s"), case.results(), strict=True):
                actual = np.frombuffer(file.read(expected.nbytes), expected.dtype)
                about = f"{what} of {case.name}, {case.layout} {case.policy} {case.w.shape}"
                assert_same_bits(actual.reshape(expected.shape), expected, about)
        assert not file.read()
    return said


def test_cases_cover_the_options():
    rules = [case.rule for case in cases()]
    assert {rule.evaluation for rule in rules} == set(EVALUATIONS)
    assert {rule.statistic for rule in rules} == set(STATISTICS)
    assert {rule.eps_position for rule in rules} == {"inside", "outside"}
    assert {rule.weight_decay_mode for rule in rules if rule.weight_decay} == set(DECAYS)
    assert {rule.power for rule in rules} >= {0.0, 0.3, 0.5, 1.0}
    assert {rule.weight_decay_rows for rule in rules} == {"touched", "all"}
    assert {rule.row_statistic for rule in rules} == {"mean", "max"}
    assert {(case.interleaved, case.threads > 1) for case in cases()} == set(product(*[[0, 1]] * 2))
    for wanted in ("lagged", "maximize", "clip_value", "skip_zero_accumulator"):
        assert any(getattr(rule, wanted) for rule in rules), wanted


def test_on_this_machine(folder, tmp_path):
    cxx, isa = toolchain.compiler(), toolchain.host_isa()
    program = build(folder, cxx, isa, toolchain.kernels(folder, cxx, isa))
    assert replay(tmp_path, program) == f"{len(cases())} cases on {isa.replace('_', '-')}\n"


# riscv64 is a machine for which there are no handwritten vectors.
@pytest.mark.parametrize(("machine", "isa"), [("aarch64", "neon"), ("riscv64", "generic")])
def test_on_another_machine(folder, tmp_path, machine, isa):
    cxx = toolchain.tool(f"{machine}-linux-gnu-g++")
    emulator = toolchain.tool(f"qemu-{machine}", f"qemu-{machine}-static")
    # g++ 12 calls this library for atomic bytes on riscv64.
    libraries = ("-static", "-Wl,--as-needed", "-latomic")
    # The generic row has no loops that depend on the level of optimization: less compiles faster.
    less = ["-O1"] if isa == "generic" else []
    program = build(folder, cxx, isa, toolchain.kernels(folder, cxx, isa, *less), *libraries)
    assert replay(tmp_path, emulator, program) == f"{len(cases())} cases on {isa}\n"


def test_a_difference_is_found(folder, tmp_path):
    """By the same comparison, for kernels that fuse multiplications and additions."""
    isa, kernels = toolchain.broken_kernels(folder)
    if isa.replace("_", "-") not in adagrad.isas():
        pytest.skip(f"this machine cannot run {isa}")
    program = build(folder, toolchain.compiler(), isa, kernels)
    with pytest.raises(AssertionError, match="differ, first at"):
        replay(tmp_path, program)


def test_the_example(tmp_path):
    """Built by the command in its first comment, it prints what Python computes."""
    toolchain.host_isa()
    need(Path(adagrad.get_include()).is_dir(), "the headers of an installed adagrad")
    source = (ROOT / "examples" / "embed.cpp").read_text(encoding="utf-8")
    command = re.match(r"/\* (c\+\+ .*?)\n\n", source, re.DOTALL)[1]
    program = tmp_path / "embed"
    for name, path in {
        "c++ -std": f"{shlex.quote(toolchain.compiler())} -Wall -Wextra -Werror -std",
        "-o embed": f"-o {shlex.quote(str(program))}",
        "$(python": f"$({shlex.quote(sys.executable)}",
    }.items():
        assert name in command
        command = command.replace(name, path)
    toolchain.run("sh", "-c", command, cwd=ROOT)
    printed = [float.fromhex(line) for line in toolchain.run(program).split()]

    w, s = np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32)
    g = np.array([[3, -0.1], [7, 1e-3], [0, -1e4]], np.float32)
    for _ in range(3):
        adagrad.step(w, g, s, lr=0.5)
    adagrad.step_rows(w, g, s, np.array([2, 0, 2]), lr=0.5, duplicates="sequential")
    assert printed == w.ravel().tolist()
