"""score.hpp under the sanitizers: a damaged export is refused in a line, or answers every row."""

from __future__ import annotations

import os
import subprocess

import pytest

import damaged_files
import export_files
import fuzz
import toolchain
from checks import ROOT, need_packages

need_packages("sklearn", "scipy", "pyarrow")

from adagrad.ctr import load
from adagrad.serving import write_export

pytestmark = pytest.mark.unsanitized

KNOWN: list[int] = []
DTYPES = ("float32", "bfloat16", "float16")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("score") / "score_files"
    flags = ("-std=c++17", "-O0", "-g1", "-fsanitize=address,undefined", *toolchain.WARNINGS)
    flags = (*flags, "-fno-sanitize-recover=all")
    source = ROOT / "tests" / "cpp" / "score_files.cpp"
    toolchain.run(toolchain.compiler(), *flags, "-o", path, source)
    return path


def test_damaged_exports(tmp_path, program):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    damaged_files.write_models(good)
    content = []
    for number, path in enumerate(sorted(good.iterdir())):
        write_export(load(path), tmp_path / "export", DTYPES[number % 3])
        content.append((tmp_path / "export").read_bytes())
    seeds = fuzz.seeds(500, KNOWN)
    for number, data in enumerate(content):
        (bad / str(number)).write_bytes(data)
    for number, seed in enumerate(seeds, len(content)):
        data = content[seed // 2 % len(content)]
        found = damaged_files.damaged(data, seed)
        # Most have the checksum of what they hold: the other checks see them, too.
        (bad / str(number)).write_bytes(export_files.resealed(found) if seed % 8 else found)
    done = subprocess.run(
        [program, bad, str(len(content) + len(seeds))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ASAN_OPTIONS": "alloc_dealloc_mismatch=0"},
    )
    assert done.returncode == 0, f"file {len(done.stdout)}: {done.stderr[-2000:]}"
    letters = done.stdout.strip()
    assert len(letters) == len(content) + len(seeds)
    assert letters.startswith("L" * len(content))
    assert letters.count("R") > len(seeds) // 2
