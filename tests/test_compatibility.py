"""Files that version 0.1 wrote have the same bits when loaded, and training resumes from each."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

import numpy as np
import pytest

import earlier_files
from checks import DATA, assert_same_bits, need_packages

STORED = DATA / "written_by_0.1"
EXTRAS = {
    "table": (),
    "optimizer": (),
    "torch": ("torch",),
    "ray": ("ray", "click", "pyarrow", "sklearn", "safetensors"),
    **dict.fromkeys(
        ("model", "interrupted", "python"), ("click", "pyarrow", "sklearn", "safetensors")
    ),
}
# Models with an l1 of 0.1. They predict with the same bits, and go on without it.
WITH_L1 = ("model-lr", "python-fm")


@functools.cache
def expected() -> dict[str, np.ndarray]:
    with np.load(STORED / "expected.npz") as file:
        return dict(file)


def cases() -> list[object]:
    return [
        pytest.param(name, marks=[pytest.mark.xdist_group("ray")] if name.startswith("ray") else [])
        for name in earlier_files.CASES
    ]


def test_every_stored_case_is_tested() -> None:
    folders = {path.name for path in STORED.iterdir() if path.is_dir()}
    assert folders == set(earlier_files.CASES) == {key.split("/")[0] for key in expected()}


@pytest.mark.parametrize("name", cases())
def test_training_resumes_with_the_expected_bits(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for module in EXTRAS[name.split("-")[0]]:
        need_packages(module)
    if name.startswith("ray"):
        request.getfixturevalue("cluster")
    earlier_files.unpack(STORED / name, tmp_path)
    warned = pytest.warns(UserWarning, match="an earlier version, whose l1 differs")
    with warned if name in WITH_L1 else contextlib.nullcontext():
        found = earlier_files.CASES[name].resume(tmp_path)
    results = {key: array for key, array in expected().items() if key.startswith(f"{name}/")}
    assert {f"{name}/{key}" for key in found} == set(results)
    for key, array in found.items():
        assert_same_bits(array, results[f"{name}/{key}"], f"{name}: {key}")
