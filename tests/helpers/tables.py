"""Kinds of tables that several tests draw from."""

from __future__ import annotations

POLICIES = ["sum", "sequential", "each", "unique"]


IDS = ["int32", "int64", "uint32", "uint64"]


STATES = ["element", "row"]


STORAGES = {
    "float32": {"dtype": "float32"},
    "float64": {"dtype": "float64"},
    "bfloat16, float32": {"dtype": "bfloat16"},
    "bfloat16": {"dtype": "bfloat16", "state_dtype": "bfloat16"},
    "float16, float32": {"dtype": "float16"},
    "float16": {"dtype": "float16", "state_dtype": "float16"},
}


def content(table):
    return table.weights.tobytes() + table.state.tobytes()
