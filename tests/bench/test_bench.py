"""The benchmarks run without their optional peers, and name what they left out."""

from __future__ import annotations

import json

import pytest

import benchmark
from checks import need_packages

QUESTIONS = (
    "dense",
    "rows",
    "table",
    "wide",
    "bags",
    "embedding",
    "threads",
    "beside",
    "precision",
    "coalesce",
    "ctr",
    "door",
    "export",
    "keras_fit",
    "drop_in",
    "call",
)

# SciPy, which the learners need, looks into torch where that is there at all; adagrad.torch is made
# of it.
PEERS = dict.fromkeys(QUESTIONS, "torch,numba,fbgemm_gpu")
PEERS |= {"ctr": "vowpalwabbit,numba", "keras_fit": "keras,torch,numba"}
PEERS |= dict.fromkeys(("beside", "drop_in"), "numba")
PEERS["door"] = ""  # it has none
PEERS["export"] = "vowpalwabbit"


@pytest.mark.parametrize("question", QUESTIONS)
def test_smoke_run(question, tmp_path):
    if question == "drop_in":
        need_packages("torch")
    if question in ("beside", "ctr", "door", "export"):
        need_packages("pyarrow", "scipy", "sklearn")
    out = tmp_path / "results.json"
    peers, options = PEERS[question], ("--json", str(out))
    printed = benchmark.smoke(question, *options, without=peers, PYTHONWARNINGS="error")
    assert "\x1b" not in printed
    left_out = printed.rpartition("Left out, not installed:")[2]  # the list printed after measuring
    assert peers.split(",")[0] in left_out
    found = json.loads(out.read_text(encoding="utf-8"))["questions"][question]
    assert peers.split(",")[0] in ",".join(found["left_out"])
    results = found["results"]
    assert {"adagrad", "adagrad core", "NumPy"} & {cell["variant"] for cell in results}
    for cell in results:
        for key in {"ns", "over_adagrad", "over_limit"} & set(cell):
            assert 0 < cell[key][0] <= cell[key][1] <= cell[key][2]
