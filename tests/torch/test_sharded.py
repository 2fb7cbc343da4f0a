"""adagrad.torch.Adagrad in two processes: DTensor, FSDP2, tensor parallel, ZeRO, replicas.

The cases are functions of `sharded_optimizers`, which both processes run, one after another.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from checks import TESTS, need_packages

need_packages("torch")

SCRIPT = TESTS / "helpers" / "sharded_optimizers.py"
CASES = [
    node.name
    for node in ast.parse(SCRIPT.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.decorator_list
]
pytestmark = [pytest.mark.xdist_group("sharded"), pytest.mark.unsanitized]


@pytest.fixture(scope="module")
def raised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    ranks = [
        subprocess.Popen([sys.executable, SCRIPT, str(rank), folder], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    try:
        errors = [rank.communicate(timeout=300)[1] for rank in ranks]
    finally:
        for rank in ranks:  # one whose peer has failed waits for it
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_sharded(case, raised):
    assert not [of_rank[case] for of_rank in raised if case in of_rank]
