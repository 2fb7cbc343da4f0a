"""score.hpp under the sanitizers: a damaged model is refused as documented, or scored.

What Python reads, it reads too.
"""

from __future__ import annotations

import os
import subprocess

import pytest

import damaged_files
import fuzz
import toolchain
from checks import ROOT, need_packages

need_packages("sklearn", "scipy", "pyarrow")

from adagrad import TableFileError
from adagrad.ctr import LogisticRegression, load

pytestmark = pytest.mark.unsanitized

KNOWN: list[int] = []


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("score") / "score_files"
    flags = ("-std=c++17", "-O1", "-g", "-fsanitize=address,undefined", *toolchain.WARNINGS)
    flags = (*flags, "-fno-sanitize-recover=all")
    source = ROOT / "tests" / "cpp" / "score_files.cpp"
    toolchain.run(toolchain.compiler(), *flags, "-o", path, source)
    return path


def test_damaged_models(tmp_path, program):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    damaged_files.write_models(good)
    content = [path.read_bytes() for path in sorted(good.iterdir())]
    seeds = fuzz.seeds(300, KNOWN)
    read_by_python = []
    for number, seed in enumerate([None, *seeds]):
        data = content[(seed or 0) // 2 % len(content)]
        path = bad / str(number)
        path.write_bytes(data if seed is None else damaged_files.damaged(data, seed))
        try:
            is_logistic = isinstance(load(path), LogisticRegression)
        except TableFileError:
            is_logistic = False
        read_by_python.append(is_logistic)
    done = subprocess.run(
        [program, bad, str(len(read_by_python))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ASAN_OPTIONS": "alloc_dealloc_mismatch=0"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    letters = done.stdout.strip()
    assert len(letters) == len(read_by_python)
    assert {*letters} == {"L", "R"}
    wrong = [n for n, read in enumerate(read_by_python) if read and letters[n] != "L"]
    assert wrong == [], [seeds[n - 1] for n in wrong]
