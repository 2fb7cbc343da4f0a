"""What is shipped: the source distribution, and the installed one, which came out of a wheel.

.ci/run builds the sdist once, the wheel from the sdist, and runs the suite on that wheel from the
unpacked sdist: so both halves of this file then look at what `python -m build` made.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest

import adagrad
import toolchain
from adagrad import _core
from checks import need, need_packages

ROOT = toolchain.ROOT
TOP = {
    ".clang-format",
    ".clang-tidy",
    ".gitignore",
    "CHANGELOG.md",
    "CMakeLists.txt",
    "CMakePresets.json",
}
TOP |= {"CITATION.cff", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "README.md"}
TOP |= {"SECURITY.md", "pyproject.toml"}
# What building the documentation leaves in its folder.
BUILT = (ROOT / "docs" / "_build", ROOT / "docs" / "textbook")
FOLDERS = ("bench", "cpp", "docs", "examples", "python", "tests")


def sources(folder: Path) -> set[str]:
    """Files below a folder, without what running and building leave behind."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.suffix not in (".so", ".pyc")
        and not any(path.is_relative_to(built) for built in BUILT)
    }


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> dict[str, int]:
    """Sizes of the files of the sdist, by path."""
    path = os.environ.get("ADAGRAD_SDIST")
    if path is None:
        needed = ("build", "scikit_build_core")
        need_packages(*needed)
        out = tmp_path_factory.mktemp("sdist")
        build = (sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir")
        toolchain.run(*build, out, ROOT)
        (path,) = out.iterdir()
    with tarfile.open(path) as archive:
        files = {member.name: member.size for member in archive if member.isfile()}
    top = f"adagrad-{adagrad.__version__}/"
    assert all(name.startswith(top) for name in files)
    return {name.removeprefix(top): size for name, size in files.items()}


@pytest.fixture(scope="module")
def installed() -> set[str]:
    """Paths of the installed distribution, as the wheel recorded them."""
    try:
        distribution = metadata.distribution("adagrad")
    except metadata.PackageNotFoundError:
        need(False, "an installed adagrad")
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    need(not origin.get("dir_info", {}).get("editable"), "an adagrad that is not editable")
    return {path.as_posix() for path in distribution.files or []}


def test_sdist_has_every_source_and_nothing_else(sdist):
    expected = {f"{folder}/{name}" for folder in FOLDERS for name in sources(ROOT / folder)}
    assert set(sdist) == expected | TOP | {"PKG-INFO"}


def test_sdist_is_small(sdist):
    assert sum(sdist.values()) < 9_000_000
    data = {name for name in sdist if name.startswith("python/adagrad/data/")}
    assert {Path(name).name for name in data} == {
        "LICENSE-Apache-2.0",
        "NOTICE",
        "adam_test_10000.tsv.gz",
        "airfoil_mxnet.npz",
        "airfoil_self_noise.tsv.gz",
    }


def with_included(files):
    """The files and all that they include by a relative path."""
    found, left = set(), list(files)
    while left:
        path = left.pop().resolve()
        if path not in found:
            found.add(path)
            names = re.findall(r'^#include "(.*)"', path.read_text(encoding="utf-8"), re.MULTILINE)
            left += [path.parent / name for name in names]
    return found


def test_wheel_has_the_package_and_nothing_else(installed):
    package = {
        f"adagrad/{name}"
        for name in sources(ROOT / "python" / "adagrad")
        if not name.endswith("ruff.toml")
    }
    folders = (ROOT / "cpp" / "adagrad", ROOT / "cpp" / "score")
    headers = {
        f"adagrad/include/{path.relative_to(ROOT / 'cpp')}"
        for path in with_included(path for folder in folders for path in folder.iterdir())
    }
    module = f"adagrad/{Path(_core.__file__).name}"
    found = {
        path for path in installed if path.startswith("adagrad/") and "__pycache__" not in path
    }
    assert {"adagrad/py.typed", "adagrad/_core.pyi", "adagrad/data/NOTICE"} < package
    assert "adagrad/include/adagrad/loops.hpp" in headers
    assert found == package | headers | {module}


def test_wheel_has_the_licences(installed):
    licences = f"adagrad-{adagrad.__version__}.dist-info/licenses"
    assert {path for path in installed if path.startswith(licences)} == {
        f"{licences}/LICENSE",
        f"{licences}/python/adagrad/data/LICENSE-Apache-2.0",
        f"{licences}/python/adagrad/data/NOTICE",
    }


def test_headers_are_where_get_include_says(installed):
    for header in ROOT.glob("cpp/adagrad/*.hpp"):
        assert (Path(adagrad.get_include()) / "adagrad" / header.name).read_bytes() == (
            header.read_bytes()
        )


def test_the_versions_agree(installed):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    written = re.findall(r'^version = "(.*)"$', text, re.MULTILINE)
    assert written == [adagrad.__version__] == [_core.__version__] == [metadata.version("adagrad")]


def test_the_build_asks_for_what_cmake_looks_for():
    """An installed pybind11 would hide that an isolated build finds none."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = re.search(r'^requires = \[.*"pybind11>=([\d.]+)"', text, re.MULTILINE)
    wanted = re.search(r"find_package\(pybind11 ([\d.]+) ", (ROOT / "CMakeLists.txt").read_text())
    assert asked[1] == wanted[1]


def test_numpy_is_the_only_dependency(installed):
    needed = [line for line in metadata.requires("adagrad") or [] if "extra ==" not in line]
    assert [re.match(r"\w+", line)[0] for line in needed] == ["numpy"]
