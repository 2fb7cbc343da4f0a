"""What the compiler made of the kernels, read from the disassembly.

A compiler may stop vectorizing a loop, fuse a multiply and an add, or delete a prefetch, and every
result stays as good as before or differs in the last bit. So each kernel is found as the bindings
find it, through the table of its instruction set, and everything it can reach is looked at.
"""

from __future__ import annotations

import bisect
import re
from itertools import combinations, product
from pathlib import Path

import pytest

import adagrad
import toolchain
from adagrad import _core
from checks import ROOT

pytestmark = [pytest.mark.unsanitized, pytest.mark.xdist_group("kernels")]

# kernels.hpp: an array of pointers, the first to the name of the ISA.
BY_ID = ("rows", "gather", "pool", "collect", "sum", "add")
ENTRIES = ("dense", "decay_rows", "every_row")
ENTRIES += tuple(f"{entry}_{ids}" for ids in ("u32", "u64") for entry in BY_ID)
ENTRIES += ("initialise", "fade")
HALF = ("decay_rows", *(f"{entry}_{ids}" for ids in ("u32", "u64") for entry in BY_ID[:3]))
SLOTS = ("isa", *(f"{kind}.{entry}" for kind in ("f32", "f64") for entry in ENTRIES), "mixed")
SLOTS += tuple(f"half.{entry}" for entry in (*HALF, "initialise", "fade"))
SLOTS += ("count_u32", "count_u64")
# An array of pointers too.
CTR_HEADER = ROOT / "cpp" / "ctr" / "kernels.hpp"

STEPS = [f"{t}.{e}" for t in ("f32", "f64") for e in ("dense", "every_row", "rows_u32", "rows_u64")]
STEPS += ["mixed", "half.rows_u32", "half.rows_u64"]
IDS = ("u32", "u64")
# Other vectorized loops: sums of bags, random numbers, decay of accumulators.
READS_PACKED = {
    **{f"{t}.pool_{ids}": [(t, "add")] for t in ("f32", "f64") for ids in IDS},
    **{f"half.pool_{ids}": [("f32", "add")] for ids in IDS},
    **{
        f"{t}.{to}_{ids}": [(t, "add")]
        for t in ("f32", "f64")
        for to in ("sum", "add")
        for ids in IDS
    },
    **{f"{t}.initialise": [("f64", "div"), ("f64", "sqrt")] for t in ("f32", "f64", "half")},
    "f32.fade": [("f32", "mul")],
    "f64.fade": [("f64", "mul")],
    "half.fade": [("f32", "mul")],
}
HASHED = ("half.rows_u32", "half.rows_u64", "half.fade", "half.decay_rows")
# The entries that find a thread's ids by hand-written vector code.
COLLECTED = ("f32.collect_u32", "f32.collect_u64")
# The fewest prefetches in the code of each of these entries.
PREFETCHES = {
    **{f"{t}.gather_{ids}": 1 for t in ("f32", "f64", "half") for ids in IDS},
    **{f"{t}.pool_{ids}": 2 for t in ("f32", "f64") for ids in IDS},
    **{f"half.pool_{ids}": 1 for ids in IDS},
    **{f"half.rows_{ids}": 12 for ids in IDS},
}

# The learners' entries that prefetch, and those whose plain steps are vectorized.
ASKING = (
    *("linear_sums", "linear_each", "factor_sums", "pair_sums"),
    *("mixture_sums", "mixture_rates", "mixture_steps", "mixed_sums"),
)
STEPPING_LEARNERS = ("linear_steps", "linear_each", "factor_steps", "pair_steps")
# The operations that a loop of these entries has as vectors. The roots of a mixture are four wide.
VECTOR_LOOPS = {
    "mixture_margins": [("f32", "div"), ("f32", "mul")],
    "mixture_rates": [("f32", "div"), ("f32", "add")],
    "mixture_steps": [("f32", "mul"), ("f32", "add")],
    "mixture_residuals": [("f32", "div"), ("f32", "mul")],
    "mix": [("f64", "div"), ("f64", "mul")],
}

# The full width of each ISA; compilers may prefer half of AVX-512's.
PACKED = {
    "x86_64": r"{}p{}\s.*%xmm",
    "x86_64_v3": r"v{}p{}\s.*%ymm",
    "x86_64_v4": r"v{}p{}\s.*%[yz]mm",
    "neon": r"f{}\s+v\d+\.{}",
}
LANES = {"f32": {"neon": "4s"}, "f64": {"neon": "2d"}}
# The ISAs that update scattered coordinates by vectors of 32 bytes, and the lanes of such a vector.
PAIRED, PAIRS = ("x86_64_v3", "x86_64_v4"), {"f32": 8, "f64": 4}
BRANCH = re.compile(r"(?:j\w+|call\w*|bl?|b\.\w+|cbn?z|tbn?z)\s+(?:.*[ ,])?([0-9a-f]+) <")
CALL = re.compile(r"call|bl\s")
HASH = re.compile(r"v?pmul(ld|udq|lq).*%[xyz]mm|mul\s+v\d+\.4s")
PREFETCH = re.compile(r"prefetch|prfm")
ARITHMETIC = re.compile(r"v?(add|sub)[ps][sd]|f(add|sub)")
# Fused multiply-adds, and approximate reciprocals and roots.
NOT_IEEE = re.compile(
    r"vfn?m(add|sub)|vfm(addsub|subadd)|v?(rsqrt|rcp)(14|28)?[ps][sd]"
    r"|fml[as]|fn?m(add|sub)|frsqrt[es]|frecp[esx]"
)
AVX = re.compile(r"v[a-z].*%[xyz]mm")
# Conversions between 16 and 32 bits shift; nothing else that a mixed step reaches does.
PACKED_SHIFT = re.compile(r"v?ps[rl][la]d\s.*%[xyz]mm|[su]?sh(r|l|ll)2?\s+v\d+\.")


def ctr_slots() -> list[str]:
    """The entries of CtrKernels in order."""
    text = CTR_HEADER.read_text(encoding="utf-8")
    struct = text[text.index("struct CtrKernels {") :]
    slots = []
    for match in re.finditer(r"void \(\*(\w+)\)|^  Each (.*);", struct, re.M):
        slots += [match[1]] if match[1] else match[2].split(", ")
    return slots


class MachineCode:
    """A linked module: its functions, and the tables of kernels in it."""

    def __init__(self, path: str | Path, objdump: str) -> None:
        self.functions: dict[int, tuple[str, list[tuple[int, str]]]] = {}
        code: list[tuple[int, str]] = []
        for line in toolchain.run(objdump, "-d", "--no-show-raw-insn", path).splitlines():
            if match := re.match(r"([0-9a-f]+) <(.*)>:$", line):
                code = []
                self.functions[int(match[1], 16)] = match[2], code
            elif match := re.match(r" *([0-9a-f]+):\t(.*)", line):
                code.append((int(match[1], 16), match[2].strip()))
        self.starts = sorted(self.functions)
        symbols = toolchain.run(objdump, "-t", path)
        relocations = toolchain.run(objdump, "-R", path)
        relative = r"^([0-9a-f]+) \S+_RELATIVE\s+\*ABS\*\+0x([0-9a-f]+)"
        pointers = re.findall(relative, relocations, re.M)
        target = {int(where, 16): int(what, 16) for where, what in pointers}
        tables = re.findall(r"^([0-9a-f]+) .*\.data\S*\s.*\dkernels_(\w+)E$", symbols, re.M)
        self.tables = {
            isa: {slot: target[int(start, 16) + 8 * i] for i, slot in enumerate(SLOTS)}
            for start, isa in tables
        }
        learners = re.findall(r"^([0-9a-f]+) .*\.data\S*\s.*\dctr_kernels_(\w+)E$", symbols, re.M)
        self.learners = {
            isa: {slot: target[int(start, 16) + 8 * i] for i, slot in enumerate(ctr_slots())}
            for start, isa in learners
        }

    def reachable(self, *entries: int) -> set[int]:
        """Functions of this module that may run when these are called."""
        found: set[int] = set()
        todo = list(entries)
        while todo:
            start = self.starts[bisect.bisect_right(self.starts, todo.pop()) - 1]
            name, code = self.functions[start]
            if start not in found and not name.endswith("@plt"):
                found.add(start)
                todo += [int(match[1], 16) for _, text in code if (match := BRANCH.match(text))]
        return found

    def lines(self, functions: set[int]) -> list[tuple[int, str]]:
        """Addresses and instructions."""
        return [line for start in functions for line in self.functions[start][1]]

    def instructions(self, functions: set[int]) -> list[str]:
        return [text for _, text in self.lines(functions)]

    def loops(self, *entries: int) -> list[list[tuple[int, str]]]:
        """The innermost loops that are reachable: from a target to the last branch back to it."""
        found = []
        for start in self.reachable(*entries):
            code = self.functions[start][1]
            ends: dict[int, int] = {}
            for address, text in code:
                match = BRANCH.match(text)
                if match and not CALL.match(text) and start <= int(match[1], 16) <= address:
                    ends[int(match[1], 16)] = address
            for begin, end in ends.items():
                if not any(begin < b and e <= end for b, e in ends.items()):
                    found.append([line for line in code if begin <= line[0] <= end])
        return found

    def count(self, pattern: re.Pattern[str], start: int) -> int:
        return count(pattern, self.lines(self.reachable(start)))

    def owned(self) -> dict[str, set[int]]:
        """By ISA, all functions behind its table."""
        return {
            isa: self.reachable(
                *(table[slot] for slot in SLOTS[1:]), *self.learners.get(isa, {}).values()
            )
            for isa, table in self.tables.items()
        }


def packed(isa: str, dtype: str, op: str) -> re.Pattern[str]:
    suffix = LANES[dtype].get(isa, {"f32": "s", "f64": "d"}[dtype])
    return re.compile(PACKED[isa].format(op, suffix))


def has(loop: list[tuple[int, str]], *patterns: re.Pattern[str]) -> tuple[bool, ...]:
    return tuple(any(pattern.match(text) for _, text in loop) for pattern in patterns)


def count(pattern: re.Pattern[str], lines: list[tuple[int, str]]) -> int:
    return sum(pattern.match(text) is not None for _, text in lines)


def not_vectorised(code: MachineCode) -> list[str]:
    """Vector code that is missing.

    A plain rule has a loop with packed sqrt and division for each evaluation. The general form has
    its roots (the square root, and the digits of any power) and its divisions (one per evaluation)
    apart from each other, and not always in a loop: a block may be unrolled as a whole.
    """
    missing = []
    for isa, table in code.tables.items():
        for entry in STEPS:
            dtype = "f64" if entry.startswith("f64") else "f32"
            ops = [packed(isa, dtype, op) for op in ("sqrt", "div")]
            plain = [x for x in code.loops(table[entry]) if has(x, *ops) == (True, True)]
            inside = {line for loop in plain for line in loop}  # loops may overlap
            apart = [x for x in code.lines(code.reachable(table[entry])) if x not in inside]
            roots, divisions = (count(op, apart) for op in ops)
            if len(plain) < 3 or roots < 2 or divisions < 3:
                found = f"{len(plain)} plain loops, {roots} roots and {divisions} divisions"
                missing.append(f"{isa} {entry}: {found}")
            if isa in PAIRED and "rows_u" in entry and not entry.startswith("half"):
                pairs = [x for x in code.loops(table[entry]) if prefetches(x) >= PAIRS[dtype]]
                both = sum(has(loop, *ops) == (True, True) for loop in pairs)
                if both < 3:
                    missing.append(f"{isa} {entry}: {both} loops over pairs")
        for entry, ops in READS_PACKED.items():
            if isa == "neon" and entry.endswith("initialise"):
                continue  # which has no vectors of 64-bit products
            patterns = [packed(isa, dtype, op) for dtype, op in ops]
            found = zip(*(has(loop, *patterns) for loop in code.loops(table[entry])), strict=True)
            if not all(any(column) for column in found):
                missing.append(f"{isa} {entry}: not all of {ops}")
        conversions = sum(has(loop, PACKED_SHIFT)[0] for loop in code.loops(table["mixed"]))
        if conversions < 4:
            missing.append(f"{isa} mixed: {conversions} loops to and from two 16-bit types")
        for entry in (*HASHED, *(COLLECTED if isa in PAIRED else ())):
            if not any(has(loop, HASH) == (True,) for loop in code.loops(table[entry])):
                missing.append(f"{isa} {entry}: random words or owners")
        ops = [packed(isa, "f32", op) for op in ("sqrt", "div")]
        for entry in STEPPING_LEARNERS:
            loops = code.loops(code.learners[isa][entry])
            if not any(has(loop, *ops) == (True, True) for loop in loops):
                missing.append(f"{isa} {entry}: steps")
        for entry, wanted in VECTOR_LOOPS.items():
            patterns = [packed(isa, dtype, op) for dtype, op in wanted]
            loops = code.loops(code.learners[isa][entry])
            if not any(all(has(loop, *patterns)) for loop in loops):
                missing.append(f"{isa} {entry}: a loop of {wanted}")
    return missing


def not_ieee(code: MachineCode) -> list[str]:
    return [text for text in code.instructions(set(code.starts)) if NOT_IEEE.match(text)]


def prefetches(loop: list[tuple[int, str]]) -> int:
    return count(PREFETCH, loop)


def lost_prefetches(code: MachineCode) -> list[str]:
    """Loops over rows without a prefetch in them.

    A prefetch in an innermost loop that computes is for rows of one element. There are at least
    four such loops for each of the four forms (three plain ones and the general one), and on some
    instruction sets one more per plain form, with a prefetch per lane. All others are for longer
    rows.
    """
    lost = []
    for isa, table in code.tables.items():
        for dtype, entry in product(("f32", "f64"), ("rows_u32", "rows_u64")):
            start = table[f"{dtype}.{entry}"]
            counts = [prefetches(loop) for loop in code.loops(start) if has(loop, ARITHMETIC)[0]]
            scalar = sum(0 < count <= 2 for count in counts)
            paired = sum(count >= PAIRS[dtype] for count in counts) if isa in PAIRED else 3
            rest = code.count(PREFETCH, start) - sum(counts)
            if scalar < 16 or paired < 3 or rest < 12:
                lost.append(f"{isa} {dtype}.{entry}: {scalar}, {paired}, {rest} prefetches")
        for entry, least in PREFETCHES.items():
            if (found := code.count(PREFETCH, table[entry])) < least:
                lost.append(f"{isa} {entry}: {found} prefetches")
        for entry in ASKING:
            if code.count(PREFETCH, code.learners[isa][entry]) == 0:
                lost.append(f"{isa} {entry}: no prefetch")
    return lost


def mixed(code: MachineCode) -> list[str]:
    """Functions that two ISAs share, and AVX outside the tables that may use it."""
    names, owned = code.functions, code.owned()
    shared = [
        f"{a} and {b}: {names[start][0]}"
        for (a, of_a), (b, of_b) in combinations(owned.items(), 2)
        for start in of_a & of_b
    ]
    behind_avx = set().union(*(owned.get(isa, set()) for isa in ("x86_64_v3", "x86_64_v4")))
    outside = set(code.starts) - behind_avx
    return shared + [
        f"AVX in {names[start][0]}"
        for start in sorted(outside)
        if any(AVX.match(text) for text in code.instructions({start}))
    ]


CHECKS = (not_vectorised, not_ieee, lost_prefetches, mixed)


def external_symbols(path: Path, nm: str) -> set[str]:
    """What an object file offers to, or wants from, others."""
    lines = toolchain.run(nm, "-C", "--extern-only", "--format=posix", path).splitlines()
    return {re.sub(r" (\S)( [0-9a-f]+)*\s*$", r" \1", line) for line in lines}


@pytest.fixture(scope="module")
def installed():
    toolchain.host_isa()  # only ELF files are read
    return MachineCode(_core.__file__, toolchain.tool("objdump"))


@pytest.fixture(scope="module")
def neon(folder, tmp_path_factory):
    cxx = toolchain.tool(toolchain.CROSS + "g++")
    module = tmp_path_factory.mktemp("neon") / "neon.so"
    toolchain.run(cxx, "-shared", toolchain.kernels(folder, cxx, "neon"), "-o", module)
    return MachineCode(module, toolchain.tool(toolchain.CROSS + "objdump"))


def test_every_isa_has_a_table(installed):
    assert {isa.replace("_", "-") for isa in installed.tables} >= set(adagrad.isas())


@pytest.mark.parametrize("check", CHECKS)
def test_installed_module(installed, check):
    assert check(installed) == []


@pytest.mark.parametrize("check", CHECKS)
def test_aarch64(neon, check):
    assert list(neon.tables) == ["neon"]
    assert check(neon) == []


def test_the_checks_can_fail(folder, tmp_path):
    """On broken kernels, of which the tables of two ISAs are made one."""
    isa, kernels = toolchain.broken_kernels(folder)
    module = tmp_path / "broken.so"
    toolchain.run(toolchain.compiler(), "-shared", kernels, "-o", module)
    code = MachineCode(module, toolchain.tool("objdump"))
    assert mixed(code) == []
    code.tables["x86_64"] = code.tables[isa]
    code.learners["x86_64"] = code.learners[isa]
    for check in CHECKS:
        assert check(code) != [], check.__name__


def test_only_the_table_is_external(folder):
    cxx, isa = toolchain.compiler(), toolchain.host_isa()
    symbols = external_symbols(toolchain.kernels(folder, cxx, isa), toolchain.tool("nm"))
    allowed = {"memcpy U", "memset U", "memmove U", "_GLOBAL_OFFSET_TABLE_ U"}
    tables = {f"adagrad::kernels_{isa} D", f"adagrad::ctr_kernels_{isa} D"}
    assert symbols - allowed == tables


def test_a_weak_symbol_is_seen(tmp_path):
    source, path = tmp_path / "weak.cpp", tmp_path / "weak.o"
    source.write_text("template <class T> T f(T x) { return x; }\nint g() { return f(1); }\n")
    toolchain.run(toolchain.compiler(), "-O0", "-c", source, "-o", path)
    assert external_symbols(path, toolchain.tool("nm")) >= {"g() T", "int f<int>(int) W"}
