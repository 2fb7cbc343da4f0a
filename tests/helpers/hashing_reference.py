"""The rules of `HashingEncoder`, implemented value by value from its notes alone."""

from __future__ import annotations

import functools
import itertools
import math
import struct

import numpy as np

MASK = 2**64 - 1
P1, P2, P3 = 11400714785074694791, 14029467366897019727, 1609587929392839161
P4, P5 = 9650029242287828579, 2870177450012600261


def rotate(x, r):
    return (x << r | x >> (64 - r)) & MASK


def lane_round(lane, word):
    return rotate((lane + word * P2) & MASK, 31) * P1 & MASK


@functools.cache
def xxh64(data, seed=0):
    at = 0
    if len(data) >= 32:
        lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        while at + 32 <= len(data):
            words = struct.unpack_from("<4Q", data, at)
            lanes = [lane_round(lane, word) for lane, word in zip(lanes, words, strict=True)]
            at += 32
        h = sum(rotate(lane, r) for lane, r in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            h = ((h ^ lane_round(0, lane)) * P1 + P4) & MASK
    else:
        h = (seed + P5) & MASK
    h = (h + len(data)) & MASK
    while at + 8 <= len(data):
        (word,) = struct.unpack_from("<Q", data, at)
        h = (rotate(h ^ lane_round(0, word), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= len(data):
        (word,) = struct.unpack_from("<I", data, at)
        h = (rotate(h ^ word * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ byte * P5 & MASK, 11) * P1 & MASK
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


def text_of(value):
    """Return the text of a category."""
    if isinstance(value, np.float16):
        value = np.float32(value)
    if isinstance(value, bool):
        return str(int(value)).encode()
    if isinstance(value, (float, np.float32)):
        if math.isfinite(value) and float(value).is_integer() and abs(value) < 2**63:
            return str(int(value)).encode()
        if isinstance(value, float):
            return repr(value).encode()
        if 1e-4 <= abs(value) < 2**63:
            return np.format_float_positional(value, trim="-").encode()
        return np.format_float_scientific(value, trim="-", exp_digits=2).encode()
    return value if isinstance(value, bytes) else str(value).encode()


def bin_of(x):
    """Return the bin, from octave and half; the encoder shifts bits instead."""
    sign = 4096 if math.copysign(1, x) < 0 and x != 0 else 0
    if math.isinf(x):
        return sign + 2 * 2047
    mantissa, exponent = math.frexp(abs(x))  # in [0.5, 1)
    if abs(x) < 2.0**-1022:
        return sign + int(abs(x) >= 2.0**-1023)
    return sign + 2 * (exponent + 1022) + int(mantissa >= 0.75)


def hash_of(value, kind, seed):
    if kind == "categorical":
        return xxh64(text_of(value), seed)
    if kind == "log2-bins":
        return xxh64(struct.pack("<Q", bin_of(float(value))), seed)
    return xxh64(b"", seed)


def is_missing(value):
    return value is None or value != value


def slot_of(h, j, n, wide, bits):
    homes = list(range(8)) if wide else [r for r in range(8) if r % n == j % 8]
    if not wide and n >= 8:
        homes = [j % 8]
    region = homes[(h % 2**32) * len(homes) >> 32]
    return region * 2 ** (bits - 3) + (h >> (64 - (bits - 3)))


def encode(columns, kinds, *, bits, crosses=(), wide=(), null="value", multi="sum", seed=0):
    """Return the entries (slot, field, value) of each row of a dict of columns."""
    names = [*kinds, *("*".join(cross) for cross in crosses)]
    seeds = {name: xxh64(name.encode(), seed) for name in names}
    rows = []
    for cells in zip(*columns.values(), strict=True):
        found = {}  # hashes and values of each field
        for (name, kind), cell in zip(kinds.items(), cells, strict=True):
            s = seeds[name]
            if isinstance(cell, list):
                present = [x for x in cell if not is_missing(x)]
                weight = np.float32(1) / np.float32(len(present) or 1) if multi == "mean" else 1
                found[name] = [(hash_of(x, kind, s), weight) for x in present]
            elif isinstance(cell, dict):
                present = {key: value for key, value in cell.items() if value is not None}
                weight = np.float32(len(present) or 1) if multi == "mean" else 1
                found[name] = [
                    (hash_of(key, kind, s), np.float32(value) / weight)
                    for key, value in present.items()
                ]
            elif is_missing(cell):
                found[name] = [(s, 1)] if null == "value" else []
            else:
                value = np.float32(cell) if kind == "value" else 1
                found[name] = [(hash_of(cell, kind, s), value)]
        for cross in crosses:
            name = "*".join(cross)
            found[name] = found[cross[0]]
            for part in cross[1:]:
                found[name] = [
                    (xxh64(struct.pack("<2Q", a, b), seeds[name]), np.float32(v * w))
                    for (a, v), (b, w) in itertools.product(found[name], found[part])
                ]
        entries = [
            (slot_of(h, j, len(names), name in wide, bits), j, np.float32(value))
            for j, name in enumerate(names)
            for h, value in found[name]
        ]
        rows.append(sorted(entries, key=lambda e: e[0] >> (bits - 3)))  # stable
    return rows
