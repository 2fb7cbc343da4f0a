"""adagrad_score.h, and the examples in other languages: the probabilities that Python predicts."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolchain
from checks import ROOT, need, need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa

import command
from adagrad.ctr import FieldAwareFactorizationMachine, HashingEncoder
from adagrad.serving import Scorer, write_export

# One process compiles the library.
pytestmark = [pytest.mark.unsanitized, pytest.mark.xdist_group("languages")]

EXAMPLES = ROOT / "examples" / "score"
INCLUDE = ("-I", ROOT / "cpp")
CPP = ("-std=c++17", "-ffp-contract=off", *toolchain.WARNINGS, *INCLUDE)
C = ("-std=c11", "-pedantic", *toolchain.WARNINGS, *INCLUDE)
ROWS = 200
NODE_HEADERS = Path("/usr/include/node")

Run = Callable[[Path, bytes], list[float]]


def _clicks(rows: int, seed: int) -> pa.Table:
    """Texts beyond ASCII, integers, real numbers and moments; some of each are missing."""
    rng = np.random.default_rng(seed)

    def some(values: list[Any]) -> pa.Array:
        return pa.array(values, mask=rng.random(rows) < 0.1)

    moments = np.datetime64("2026-01-01T00:00:00", "s") + rng.integers(0, 10**6, rows)
    return pa.table(
        {
            "site": some([f"sité {k}" for k in rng.zipf(1.5, rows) % 100]),
            "ad": some(rng.integers(-3, 50, rows).tolist()),
            "price": some(np.round(rng.lognormal(size=rows), 3).tolist()),
            "at": some([str(moment) for moment in moments]),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of columns of single values, and one with lists; rows and what Python predicts."""
    folder = tmp_path_factory.mktemp("languages")
    rng = np.random.default_rng(0)
    for name in ("plain", "lists"):
        table, today = _clicks(1000, 1), _clicks(ROWS, 2)
        if name == "lists":
            table, today = (_with_tags(one) for one in (table, today))
        encoder = HashingEncoder(12, calendar=["at"], crosses=[("site", "ad")])
        model = FieldAwareFactorizationMachine(factors=2, lr=0.1, encoder=encoder)
        model.fit(table, rng.integers(0, 2, 1000)).save(folder / f"{name}.model")
        write_export(folder / f"{name}.model", folder / f"{name}.score")
        expected = Scorer(folder / f"{name}.score").predict_proba(today)[:, 1]
        assert (expected == model.predict_proba(today)[:, 1]).all()
        np.save(folder / f"{name}.npy", expected)
        rows = "".join(json.dumps(row) + "\n" for row in today.to_pylist())
        (folder / f"{name}.jsonl").write_text(rows, encoding="utf-8")
    (folder / "plain.tsv").write_bytes(command.as_text(_clicks(ROWS, 2)))
    return folder


def _with_tags(table: pa.Table) -> pa.Table:
    tags = [[f"t{k}" for k in range(i % 4)] for i in range(len(table))]
    return table.append_column("tags", pa.array(tags))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "libadagrad_score.so"
    source = ROOT / "cpp" / "score" / "adagrad_score.cpp"
    flags = (*CPP, "-fvisibility=hidden", "-shared", "-fPIC")
    toolchain.run(toolchain.compiler(), *flags, source, "-o", path)
    return path


def _outputs(folder: Path, rows: str, *words: object) -> np.ndarray:
    """What a program prints for rows."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    with (folder / rows).open("rb") as file:
        done = subprocess.run(
            [*map(str, words)], stdin=file, capture_output=True, check=False, env=environment
        )
    assert done.returncode == 0, done.stderr
    return np.array(done.stdout.split(), np.float64)


def test_cpp(folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "score"
    toolchain.run(toolchain.compiler(), *CPP, EXAMPLES / "score.cpp", "-o", program)
    found = _outputs(folder, "plain.tsv", program, folder / "plain.score")
    assert (found == np.load(folder / "plain.npy")).all()


def _linked(library: Path) -> tuple[str, ...]:
    return "-L", str(library.parent), f"-Wl,-rpath,{library.parent}", "-ladagrad_score"


def test_c(folder: Path, library: Path, tmp_path: Path) -> None:
    program = tmp_path / "score"
    cc = toolchain.tool("gcc", "clang", "cc")
    toolchain.run(cc, *C, EXAMPLES / "score.c", "-o", program, *_linked(library))
    found = _outputs(folder, "plain.tsv", program, folder / "plain.score")
    assert (found == np.load(folder / "plain.npy")).all()


def test_rust(folder: Path, library: Path, tmp_path: Path) -> None:
    rustc = toolchain.tool("rustc")
    flags = ("--edition", "2021", "-D", "warnings", "-L", library.parent)
    run = ("-C", f"link-arg=-Wl,-rpath,{library.parent}", "-o", tmp_path / "score")
    toolchain.run(rustc, *flags, *run, EXAMPLES / "score.rs")
    found = _outputs(folder, "plain.tsv", tmp_path / "score", folder / "plain.score")
    assert (found == np.load(folder / "plain.npy")).all()


def test_javascript(folder: Path, library: Path, tmp_path: Path) -> None:
    node = toolchain.optional_tool("node")
    if not (NODE_HEADERS / "node_api.h").exists():
        pytest.skip("the headers of Node.js are missing")
    (tmp_path / "score.js").write_bytes((EXAMPLES / "score.js").read_bytes())
    flags = (*C, "-shared", "-fPIC", "-isystem", NODE_HEADERS)
    cc = toolchain.tool("gcc", "clang", "cc")
    addon = (EXAMPLES / "addon.c", "-o", tmp_path / "score.node")
    toolchain.run(cc, *flags, *addon, *_linked(library))
    for name in ("plain", "lists"):
        words = (node, tmp_path / "score.js", folder / f"{name}.score")
        found = _outputs(folder, f"{name}.jsonl", *words)
        assert (found == np.load(folder / f"{name}.npy")).all()


# -- the C interface itself ----------------------------------------------------------------------


class _Content(ctypes.Union):
    _fields_ = (
        *(("integer", ctypes.c_int64), ("natural", ctypes.c_uint64)),
        *(("real", ctypes.c_double), ("real32", ctypes.c_float)),
        *(("text", ctypes.c_char_p), ("items", ctypes.c_void_p)),
    )


class _Value(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("size", ctypes.c_size_t), ("content", _Content))


def _value(x: Any) -> _Value:
    if x is None:
        return _Value(0)
    if isinstance(x, int):
        return _Value(2, 0, _Content(integer=x))
    if isinstance(x, float):
        return _Value(4, 0, _Content(real=x))
    if isinstance(x, str):
        return _Value(6, len(x.encode()), _Content(text=x.encode()))
    items = (_Value * len(x))(*map(_value, x))
    found = _Value(7, len(x), _Content(items=ctypes.addressof(items)))
    found.kept = items
    return found


@pytest.fixture
def api(library: Path) -> ctypes.CDLL:
    api = ctypes.CDLL(str(library))
    for name in ("open", "open_memory"):
        getattr(api, f"adagrad_score_{name}").restype = ctypes.c_void_p
    for name in ("column_name", "column_type", "kind", "label", "version"):
        getattr(api, f"adagrad_score_{name}").restype = ctypes.c_char_p
    for name in ("columns", "predict", "margins"):
        getattr(api, f"adagrad_score_{name}").restype = ctypes.c_size_t
    return api


def _opened(api: ctypes.CDLL, path: Path) -> ctypes.c_void_p:
    error = ctypes.create_string_buffer(b"?", 200)
    model = ctypes.c_void_p(
        api.adagrad_score_open(os.fsencode(path), error, ctypes.c_size_t(len(error)))
    )
    assert (error.value, bool(model)) == (b"", True)
    return model


def test_what_a_model_says_of_itself(api: ctypes.CDLL, folder: Path) -> None:
    assert api.adagrad_score_abi() == 1
    model, scorer = _opened(api, folder / "lists.score"), Scorer(folder / "lists.score")
    count = api.adagrad_score_columns(model)
    columns = {
        api.adagrad_score_column_name(model, i).decode(): api.adagrad_score_column_type(
            model, i
        ).decode()
        for i in map(ctypes.c_size_t, range(count))
    }
    assert columns == scorer.columns
    assert api.adagrad_score_column_name(model, ctypes.c_size_t(count)) is None
    assert api.adagrad_score_kind(model) == b"ffm"
    assert api.adagrad_score_label(model) == b""
    assert api.adagrad_score_version(model) == scorer.version.encode()
    api.adagrad_score_close(model)
    api.adagrad_score_close(None)


def test_threads_share_a_model(api: ctypes.CDLL, folder: Path) -> None:
    model = _opened(api, folder / "lists.score")
    lines = (folder / "lists.jsonl").read_text(encoding="utf-8").splitlines()
    values = [[_value(x) for x in json.loads(line).values()] for line in lines]
    rows = (_Value * (ROWS * len(values[0])))(*(value for row in values for value in row))

    def predict(_: int) -> bool:
        found = np.empty(ROWS)
        to = found.ctypes.data_as(ctypes.c_void_p)
        n = api.adagrad_score_predict(model, rows, ctypes.c_size_t(ROWS), to, None, 0)
        return n == ROWS and bool((found == np.load(folder / "lists.npy")).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(predict, range(20)))
    margins = np.empty(ROWS, np.float32)
    to = margins.ctypes.data_as(ctypes.c_void_p)
    assert api.adagrad_score_margins(model, rows, ctypes.c_size_t(ROWS), to, None, 0) == ROWS
    assert 1 / (1 + np.exp(-margins)) == pytest.approx(np.load(folder / "lists.npy"), rel=1e-6)


def test_a_row_that_cannot_be_encoded(api: ctypes.CDLL, folder: Path) -> None:
    model = _opened(api, folder / "plain.score")
    good, bad = ["a", 1, 0.5, None], ["a", 1, "dear", None]
    rows = (_Value * 12)(*map(_value, (*good, *bad, *good)))
    found = (ctypes.c_double * 3)(7, 7, 7)
    for size, said in (
        (200, b"row 1: column 'price' is not a number"),
        (9, b"row 1: c"),
        (0, b"?"),
    ):
        error = ctypes.create_string_buffer(b"?", 200)
        n = api.adagrad_score_predict(
            model, rows, ctypes.c_size_t(3), found, error, ctypes.c_size_t(size)
        )
        assert (n, error.value) == (1, said)
        assert found[0] != 7 == found[1]


def test_a_file_that_is_no_export(api: ctypes.CDLL, folder: Path) -> None:
    data = (folder / "plain.score").read_bytes()
    (folder / "short").write_bytes(data[:-1])
    cases = {"nothing": b"cannot be opened", "short": b"is truncated", "plain.model": b""}
    for name, said in cases.items():
        error = ctypes.create_string_buffer(200)
        path = os.fsencode(folder / name)
        assert not api.adagrad_score_open(path, error, ctypes.c_size_t(200))
        assert error.value.startswith(path)
        assert said in error.value


def test_a_model_in_memory(api: ctypes.CDLL, folder: Path) -> None:
    data = np.frombuffer((folder / "plain.score").read_bytes(), np.uint8)
    memory = np.empty(len(data) // 8 + 1, np.uint64).view(np.uint8)[: len(data)]
    memory[:] = data
    error = ctypes.create_string_buffer(200)
    for size, succeeds in ((len(data), True), (len(data) - 1, False), (0, False)):
        model = api.adagrad_score_open_memory(
            memory.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_size_t(size),
            error,
            ctypes.c_size_t(200),
        )
        assert (bool(model), error.value == b"") == (succeeds, succeeds)
        api.adagrad_score_close(ctypes.c_void_p(model))


def test_the_library_exports_its_interface_alone(library: Path) -> None:
    need(sys.platform == "linux", "Linux")
    lines = toolchain.run(toolchain.tool("nm"), "-D", "--defined-only", "-C", library).splitlines()
    names = {line.split(maxsplit=2)[2] for line in lines if line.split()[1] in "TDB"}
    header = (ROOT / "cpp" / "adagrad" / "adagrad_score.h").read_text(encoding="utf-8")
    assert {name for name in names if name.startswith("adagrad_score_")} == names
    assert all(f"{name}(" in header for name in names)
