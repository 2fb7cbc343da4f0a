"""Random numbers and conversions to 16 bits: the C++ headers equal the oracle, which is sound.

A small program (cpp/numbers.cpp) runs the loops of random.hpp and half.hpp with the kernels' flags,
for every x86-64 level that this machine has and for aarch64 under qemu.
"""

from __future__ import annotations

import functools
import statistics
import struct
from dataclasses import dataclass

import numpy as np
import pytest

import adagrad
import reference
import toolchain
from checks import assert_same_bits
from halves import HALVES, all_patterns, hard_floats

KINDS = ["load", "nearest", "stochastic", "words", "weights float32", "weights float64"]
SEEDS = [0, 1, 2**64 - 1, 0x0123456789ABCDEF]
REQUEST = struct.Struct("=8Qd")


@dataclass
class Request:
    what: str
    option: int
    arrays: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]
    n: int
    high_bits: int = 0
    seed: int = 0
    step: int = 0
    row: int = 0
    first: int = 0
    scale: float = 1.0

    def packed(self) -> bytes:
        """What numbers.cpp calls Request, and its arrays."""
        numbers = (self.n, self.high_bits, self.seed, self.step, self.row, self.first, self.scale)
        header = REQUEST.pack(KINDS.index(self.what), self.option, *numbers)
        return header + b"".join(a.tobytes() for a in self.arrays)


def conversions():
    rng = np.random.default_rng(23)
    for option, (half, dtype) in enumerate(HALVES.items()):
        stored, x = all_patterns(half), hard_floats()
        yield Request("load", option, (stored,), (stored.astype("f4"),), len(stored))
        with np.errstate(all="ignore"):
            yield Request("nearest", option, (x,), (x.astype(dtype),), len(x))
        for n in (*range(70), len(x)):  # every remainder of a vector
            part = x[n : 2 * n] if 2 * n <= len(x) else x
            words = rng.integers(0, 1 << 32, n, dtype="u4")
            for high_bits in (0, 1):
                r = words >> np.uint32(16) if high_bits else words & np.uint32(0xFFFF)
                rounded = reference.stochastic(part, r, half).view(dtype)
                yield Request("stochastic", option, (part, words), (rounded,), n, high_bits)


def random_numbers():
    for k, seed in enumerate(SEEDS):
        for stream, name in enumerate(reference.STREAMS):
            step, row, first = k + 2**40 * (k % 2), [0, 7, 2**33 + 1, 2**64 - 1][k], 100 * k
            key = reference.key(seed, name, step)
            of_row = reference.row_key(key, row)
            keys = np.concatenate([key, of_row, reference.occurrence_key(of_row, first)])
            words = reference.word(of_row, np.arange(first, first + 1000))
            made = {"seed": seed, "step": step, "row": row, "first": first}
            yield Request("words", stream, (), (keys, words), len(words), **made)
        for option, init in enumerate(("uniform", "normal")):
            for dtype in ("float32", "float64"):
                for first, n in ((0, 70_000), (2**40 + 3, 1), (5, 67)):
                    c = np.arange(first, first + n, dtype="u8")
                    w = reference.initial_weights(init, seed, c, 0.01 * k, dtype)
                    made = {"seed": seed, "first": first, "scale": 0.01 * k}
                    yield Request(f"weights {dtype}", option, (), (w,), n, **made)


@functools.cache
def requests():
    return [*conversions(), *random_numbers()]


def check(folder, name, cxx, *flags, emulator=()):
    """Build the program, and compare each of its answers."""
    program, source = folder / name, toolchain.ROOT / "tests" / "cpp" / "numbers.cpp"
    toolchain.run(
        *(cxx, "-std=c++17", *toolchain.kernel_flags(), *toolchain.WARNINGS, *flags),
        *(source, "-o", program),
    )
    (folder / "requests").write_bytes(b"".join(request.packed() for request in requests()))
    toolchain.run(*emulator, program, folder / "requests", folder / "answers")
    with (folder / "answers").open("rb") as file:
        for request in requests():
            for expected in request.expected:
                answer = np.frombuffer(file.read(expected.nbytes), expected.dtype)
                assert_same_bits(answer, expected, (name, request.what, request.option, request.n))
        assert not file.read()


def test_on_this_machine(tmp_path):
    toolchain.host_isa()
    for isa in adagrad.isas():
        flags = [] if isa == "neon" else [f"-march={isa}"]
        check(tmp_path, isa, toolchain.compiler(), *flags)


def test_on_aarch64(tmp_path):
    cxx = toolchain.tool(toolchain.CROSS + "g++")
    emulator = toolchain.tool("qemu-aarch64", "qemu-aarch64-static")
    check(tmp_path, "neon", cxx, "-static", emulator=[emulator])


# From here on the oracle itself.


def test_mix64_is_splitmix64():
    # The first outputs of splitmix64 from state 1234567: of its reference implementation.
    state = reference.u64(1234567) + np.arange(1, 4, dtype="u8") * reference.u64(reference.GOLDEN)
    assert reference.mix64(state).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_keys_differ():
    keys = [
        reference.row_key(reference.key(seed, stream, step), np.arange(100))
        for seed in SEEDS
        for stream in reference.STREAMS
        for step in range(100)
    ]
    keys += [reference.occurrence_key(keys[0][:1], np.arange(1, 100))]
    flat = np.concatenate(keys)
    assert len(np.unique(flat)) == len(flat)


def test_words_are_uniform():
    # Chi squared of each byte over many words, in rows and down columns: mean 255, deviation 22.6.
    key = reference.key(7, "step", 1)
    across = reference.word(reference.row_key(key, 3), np.arange(1 << 18))
    down = reference.word(reference.row_key(key, np.arange(1 << 18)), 0)
    for words in (across, down):
        for byte in words.view(np.uint8).reshape(-1, 4).T:
            counts = np.bincount(byte, minlength=256)
            chi_squared = ((counts - 1024.0) ** 2 / 1024.0).sum()
            assert abs(chi_squared - 255) < 5 * 22.6
        low, high = words & np.uint32(0xFFFF), words >> np.uint32(16)
        assert abs(np.corrcoef(low, high)[0, 1]) < 5 / np.sqrt(len(words))
        assert abs(np.corrcoef(low[1:], low[:-1])[0, 1]) < 5 / np.sqrt(len(words))


@pytest.mark.parametrize("half", HALVES)
def test_stochastic_rounding_has_the_right_mean(half):
    # Exactly, over each random number once: but for the 2^-16 of a unit that 16 bits can resolve.
    dtype, rng = HALVES[half], np.random.default_rng(5)
    r = np.arange(1 << 16, dtype="u4")
    tiny = rng.standard_normal(20) * 2.0 ** rng.integers(-30, -14, 20)  # float16's subnormals
    wide = rng.standard_normal(20) * 2.0 ** rng.integers(-14, 14, 20)
    exact = np.arange(0, 0x7C00, 999, "u2").view(dtype)
    for x in np.concatenate([tiny, wide, exact.astype(float)]).astype("f4"):
        rounded = reference.stochastic(np.full(1 << 16, x), r, half).view(dtype).astype(float)
        values = np.unique(rounded)
        assert len(values) <= 2
        assert values[0] <= x <= values[-1]
        assert abs(rounded.mean() - float(x)) <= (values[-1] - values[0]) * 2.0**-16, x


@pytest.mark.parametrize("half", HALVES)
def test_stochastic_rounding_by_words_is_unbiased(half):
    dtype, rng, n = HALVES[half], np.random.default_rng(6), 1 << 16
    for k in range(60):
        x = np.float32(rng.standard_normal() * 2.0 ** rng.integers(-24, 15))
        word = reference.word(reference.row_key(reference.key(k, "step", 1), np.arange(n)), 0)
        for r in (word & np.uint32(0xFFFF), word >> np.uint32(16)):
            rounded = reference.stochastic(np.full(n, x), r, half).view(dtype).astype(float)
            unit = np.ptp(rounded)  # of a value that lies between two
            up = abs(float(x) - rounded[np.argmin(np.abs(rounded))]) / unit if unit else 0.0
            sigma = np.sqrt(up * (1 - up) / n)
            assert abs(rounded.mean() - float(x)) <= unit * (5 * sigma + 2.0**-16), (k, x)


@pytest.mark.parametrize("half", HALVES)
def test_stochastic_rounding_of_special_values(half):
    dtype = HALVES[half]
    exact = all_patterns(half)
    for r in (0, 1, 65535):
        rounded = reference.stochastic(exact.astype("f4"), np.full(len(exact), r), half)
        assert_same_bits(rounded.view(dtype), exact, r)  # what 16 bits hold stays as it is
    largest = np.finfo(np.float32).max
    x = np.array([largest, -largest, np.nan, -np.nan], "f4")
    rounded = reference.stochastic(x, np.full(4, 65535), half).view(dtype).astype("f4")
    assert rounded[:2].tolist() == [np.inf, -np.inf]
    assert np.isnan(rounded[2:]).all()


def test_normal_quantiles():
    tails = 2.0 ** -np.arange(1, 54)
    u = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 20_001), tails, 1 - tails[1:]])
    expected = np.array([statistics.NormalDist().inv_cdf(x) for x in u])
    np.testing.assert_allclose(reference.normal_quantile(u), expected, rtol=1e-14, atol=0)
    np.testing.assert_allclose(reference.logarithm(u), np.log(u), rtol=1e-15, atol=1e-16)


def test_initial_weights_have_their_distribution():
    n = 1 << 18
    u = reference.unit(np.array([0, 2**64 - 1], "u8"))
    assert u.tolist() == [2.0**-53, 1 - 2.0**-53]
    uniform = reference.initial_weights("uniform", 3, np.arange(n), 0.5, "f8")
    assert -0.5 < uniform.min() < -0.4999 < 0.4999 < uniform.max() < 0.5
    for init, deviation in (("uniform", 0.5 / np.sqrt(3)), ("normal", 0.5)):
        w = reference.initial_weights(init, 3, np.arange(n), 0.5, "f8")
        assert abs(w.mean()) < 5 * deviation / np.sqrt(n)
        assert abs(w.std() / deviation - 1) < 5 / np.sqrt(n)
        assert len(np.unique(w)) == n
