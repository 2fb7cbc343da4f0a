"""Manifests and archives of a checkpoint are read whole or refused."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from checks import need_packages

need_packages("sklearn", "scipy", "pyarrow")

import damaged_files
from adagrad import TableFileError
from adagrad.distributed import _checkpoint, _manifest


@pytest.fixture
def folder(tmp_path):
    damaged_files.write_checkpoints(tmp_path)
    return tmp_path


def changed(path, **values):
    found = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: x for name, x in found.items() if x != "missing"}))


@pytest.mark.parametrize(
    "values",
    [
        *({"rows": x} for x in (-1, 2**63, 1.5, "50", None, True, float("nan"), "missing", 49)),
        *({"slices": x} for x in ("..", "/etc", "slices-0000000000000000", None, "missing")),
        *({"steps": 1}, {"format": []}, {"format_version": 1}),
    ],
    ids=str,
)
def test_a_manifest(folder, values):
    _manifest.read(folder / "sharded")
    path = folder / "sharded" / "sharded.json"
    changed(path, **values)
    with pytest.raises(TableFileError, match=r"sharded.json|no file has the rows"):
        _manifest.read(folder / "sharded")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"a": "\xff"}', b"[" * 99_999, b"5" * 5000])
def test_a_manifest_that_is_not_one(folder, text):
    for name in ("sharded/sharded.json", "training/training.json"):
        (folder / name).write_bytes(text)
    with pytest.raises(TableFileError, match=r"sharded.json (is corrupted|is not the manifest)"):
        _manifest.read(folder / "sharded")
    with pytest.raises(TableFileError, match=r"training.json is (corrupted|damaged)"):
        _checkpoint.read(folder / "training", damaged_files.PLAN)


def test_a_manifest_that_is_too_long(folder):
    with (folder / "sharded" / "sharded.json").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(
        TableFileError, match="it has 1099511627776 bytes, expected 1048576 or less"
    ):
        _manifest.read(folder / "sharded")


@pytest.mark.parametrize(
    "values",
    [
        *({"folder": x} for x in ("../batch", "/", "", None, 5, "batch-3", "missing")),
        *({"rows": x} for x in (-1, 2**64, 0.5, "64", None, float("inf"), "missing")),
        *({"curve": x} for x in (None, {}, [1], [[1, 2]], [["a"] * 5], "missing")),
        *({"plan": x} for x in (None, [], {"lr": float("nan")}, "missing")),
        *({"version": x} for x in (2, "1", None)),
    ],
    ids=str,
)
def test_a_checkpoint(folder, values):
    where = folder / "training"
    assert _checkpoint.read(where, damaged_files.PLAN).rows == 64
    changed(where / "training.json", **values)
    with pytest.raises(TableFileError, match=r"training.json"):
        _checkpoint.read(where, damaged_files.PLAN)


def test_the_scores_of_a_checkpoint(folder):
    where = folder / "training"
    (path,) = where.glob("batch-*/progress.npz")
    good = dict(np.load(path))
    huge = np.lib.format.magic(1, 0) + b"v\0" + b"{'descr': '<f8', 'fortran_order': False, "
    huge += b"'shape': (1000000000000,), }".ljust(77) + b"\n"
    for name, array in (
        ("progressive.sums", good["progressive.sums"][:3]),
        ("progressive.bins", good["progressive.bins"].astype("f4")),
        ("progressive.sums", np.array([{}], object)),
        ("progressive.sums", huge),
        ("progressive.bins", bytes(1 << 26)),
    ):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, value in {**good, name: array}.items():
                with archive.open(f"{key}.npy", "w") as file:
                    if isinstance(value, bytes):
                        file.write(value)
                    else:
                        np.lib.format.write_array(file, value)
        with pytest.raises(TableFileError, match=r"progress.npz is damaged"):
            _checkpoint.read(where, damaged_files.PLAN)
    for data in (b"", b"PK\3\4", b"x" * 999):
        path.write_bytes(data)
        with pytest.raises(TableFileError, match=r"progress.npz is damaged"):
            _checkpoint.read(where, damaged_files.PLAN)
    path.unlink()
    with pytest.raises(TableFileError, match=r"progress.npz does not exist"):
        _checkpoint.read(where, damaged_files.PLAN)
