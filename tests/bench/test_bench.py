"""The benchmarks run without their optional peers, and name what they left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from checks import ROOT, need_packages

QUESTIONS = (
    "dense",
    "rows",
    "table",
    "wide",
    "bags",
    "embedding",
    "threads",
    "precision",
    "coalesce",
    "ctr",
    "keras_fit",
    "drop_in",
    "call",
)

# The peers cannot be imported, as where they are not installed.
RUN = """
import runpy, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
sys.argv = ["bench", *sys.argv[2:]]
runpy.run_module("bench", run_name="__main__")
"""


# SciPy, which the learners need, looks into torch where that is there at all; adagrad.torch is made
# of it.
PEERS = dict.fromkeys(QUESTIONS, "torch,numba,fbgemm_gpu")
PEERS |= {"ctr": "vowpalwabbit,numba", "keras_fit": "keras", "drop_in": "numba"}


@pytest.mark.parametrize("question", QUESTIONS)
def test_quick_run(question, tmp_path):
    if question == "drop_in":
        need_packages("torch")
    out = tmp_path / "results.json"
    options = ("--quick", "--budget", "0.01", "--json", str(out))
    done = subprocess.run(
        [sys.executable, "-c", RUN, PEERS[question], question, *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    left_out = done.stdout.rpartition("Left out, not installed:")[2]  # the one after measuring
    assert PEERS[question].split(",")[0] in left_out
    results = json.loads(out.read_text(encoding="utf-8"))["results"]
    assert {"adagrad", "adagrad core", "NumPy"} & {cell["variant"] for cell in results}
    assert all(0 < c["ns_q1"] <= c["ns_median"] <= c["ns_q3"] for c in results)
