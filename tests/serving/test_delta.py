"""``adagrad diff`` and ``adagrad patch``: the new file byte for byte, from the right old one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import command
from adagrad import TableFileError
from adagrad.serving import _difference
from adagrad.serving.delta import diff, patch
from adagrad.tables.tensors import ITEM_BYTES
from command import invoke

KINDS = {
    "auto": (),
    "fixed": ("--lr", "0.1"),
    "fm": ("--model-type", "fm", "--factors", "2"),
    "ffm": ("--model-type", "ffm", "--factors", "2", "--lr", "0.1"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of each kind of model."""
    folder = tmp_path_factory.mktemp("delta")
    table = command.clicks(4000)
    command.write(folder / "one.parquet", table.slice(0, 3000))
    command.write(folder / "two.parquet", table.slice(3000))
    for name, how in KINDS.items():
        command.train(folder / "one.parquet", folder / f"{name}.old", *how)
        shutil.copy(folder / f"{name}.old", folder / f"{name}.new")
        logs = folder / "one.parquet", folder / "two.parquet"
        code, _, err = invoke(
            *("train", *logs, "-l", command.LABEL, "-m", folder / f"{name}.new"),
            *("--bits", 14, "--overwrite", *how),
        )
        assert code == 0, err
    diff(folder / "auto.old", folder / "auto.new", folder / "delta")
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", [("old", "new"), ("new", "old"), ("old", "old")], ids=str)
def test_the_patched_file_is_the_new_one(
    folder: Path, kind: str, names: tuple[str, str], tmp_path: Path
) -> None:
    old, new = (folder / f"{kind}.{name}" for name in names)
    sizes = diff(old, new, tmp_path / "delta")
    assert patch(old, tmp_path / "delta", tmp_path / "out") == sizes
    assert (tmp_path / "out").read_bytes() == new.read_bytes()
    assert (sizes.old, sizes.new) == (old.stat().st_size, new.stat().st_size)
    assert sizes.delta == (tmp_path / "delta").stat().st_size < sizes.new
    if old == new:
        assert sizes.delta < 4000


def test_two_kinds_of_models(folder: Path, tmp_path: Path) -> None:
    diff(folder / "fixed.old", folder / "ffm.new", tmp_path / "delta")
    patch(folder / "fixed.old", tmp_path / "delta", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (folder / "ffm.new").read_bytes()


@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(sorted(ITEM_BYTES)),
    rows=st.sampled_from([0, 1, 2, 7, 300, 4096, 9000]),
    columns=st.integers(1, 3),
    kind=st.sampled_from(["none", "bits", "near", "equal"]),
)
@settings(max_examples=40)
def test_any_bits_come_back(seed: int, dtype: str, rows: int, columns: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    bits = np.dtype(f"<u{ITEM_BYTES[dtype]}")
    new = rng.integers(0, 256, (rows, columns * bits.itemsize), np.uint8).view(bits)
    old = {
        "none": None,
        "bits": rng.integers(0, 256, (rows, columns * bits.itemsize), np.uint8).view(bits),
        "near": new + rng.integers(0, 3, new.shape).astype(bits),
        "equal": new,
    }[kind]
    out = _difference.Blocks()
    _difference.encode(out, dtype, new, old)
    blocks = _difference.BlockReader(memoryview(b"".join(out.parts)))
    found = _difference.decode(blocks, dtype, rows, columns, old)
    blocks.finish()
    assert (found == new).all()


def test_floats_that_drift_cost_less_than_their_bits() -> None:
    rng = np.random.default_rng(0)
    old = rng.normal(0, 0.1, (50_000, 1)).astype(np.float32)
    new = (old * 1.05 + rng.normal(0, 1e-5, old.shape)).astype(np.float32)
    out = _difference.Blocks()
    _difference.encode(out, "F32", new.view(np.uint32), old.view(np.uint32))
    assert sum(map(len, out.parts)) < 0.55 * new.nbytes


def test_another_old_file_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TableFileError, match=r"starts from another file than .*fixed\.old: from"):
        patch(folder / "fixed.old", folder / "delta", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_job_that_runs_again_patches_the_new_file(folder: Path, tmp_path: Path) -> None:
    """As it does if it stopped between the servers and the machine that trains."""
    new = (folder / "auto.new").read_bytes()
    patch(folder / "auto.new", folder / "delta", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == new


def test_a_damaged_delta_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "delta").read_bytes()
    out = tmp_path / "out"
    out.write_bytes(b"mine")
    rng = np.random.default_rng(0)
    start = 8 + int.from_bytes(whole[:8], "little")
    damaged = [whole[:-1], whole + b"\0", whole[: start - 5], whole[:7], b""]
    for at in [*range(start, start + 60, 3), *rng.integers(start, len(whole), 60).tolist()]:
        damaged.append(
            whole[:at] + bytes([whole[at] ^ 1 << int(rng.integers(8))]) + whole[at + 1 :]
        )
    for data in damaged:
        (tmp_path / "delta").write_bytes(data)
        with pytest.raises(TableFileError):
            patch(folder / "auto.old", tmp_path / "delta", out)
    assert out.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["delta", "out"]


def _with_metadata(path: Path, to: Path, **changes: str) -> None:
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] |= changes
    text = json.dumps(header).encode()
    to.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format_version": "2"}, "written by another adagrad .format '2'.*upgrade"),
        ({"format": "adagrad.ctr"}, "is not a delta of adagrad diff"),
        ({"new": '{"size": 1e99, "sha256": ""}'}, "is corrupted: its metadata: the size"),
        ({"new": f'{{"size": {2**62}, "sha256": "{"0" * 64}"}}'}, "would make a file of 4611686"),
        ({"old": "[" * 100_000}, "nested too deeply"),
        ({"old": "7"}, "is corrupted: its metadata"),
    ],
)
def test_a_hostile_header_is_refused(
    folder: Path, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    _with_metadata(folder / "delta", tmp_path / "delta", **changes)
    with pytest.raises(TableFileError, match=said):
        patch(folder / "auto.old", tmp_path / "delta", tmp_path / "out")


def test_a_file_of_another_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TableFileError, match=r"one\.parquet is not a safetensors file"):
        diff(folder / "auto.old", folder / "one.parquet", tmp_path / "delta")
    assert not (tmp_path / "delta").exists()


def test_the_commands(folder: Path, tmp_path: Path) -> None:
    old, new, delta, out = folder / "auto.old", folder / "auto.new", tmp_path / "d", tmp_path / "o"
    code, said, err = invoke("diff", old, new, "-o", delta)
    assert (code, said) == (0, "")
    assert err.startswith(f"{delta}: 0.")
    assert err.endswith(f" % of {new}\n")
    assert invoke("patch", old, delta, "-o", out) == (0, "", "")
    assert out.read_bytes() == new.read_bytes()
    for line in (("diff", old, new, "-o", delta), ("patch", old, delta, "-o", out)):
        code, _, err = invoke(*line)
        assert (code, err) == (
            1,
            f"Error: --output {line[-1]} exists: give --overwrite to replace it\n",
        )
        assert invoke(*line, "--overwrite")[0] == 0
    code, _, err = invoke("patch", old, delta, "-o", old, "--overwrite")
    assert (code, err) == (1, f"Error: --output {old} would replace {old}, an input\n")


def test_damaged_content_of_a_block_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content that is compressed as it should be, but that `diff` would not write."""
    old, new, delta, out = folder / "auto.old", folder / "auto.new", tmp_path / "d", tmp_path / "o"
    put, rng = _difference.Blocks.put, np.random.default_rng(0)

    def damage(blocks: _difference.Blocks, data: bytes | np.ndarray) -> None:
        nonlocal damaged
        content = bytearray(data if isinstance(data, bytes) else np.ascontiguousarray(data))
        if content and rng.random() < 0.1:
            damaged = True
            at = int(rng.integers(len(content)))
            content[at : at + 8] = rng.bytes(min(8, len(content) - at))
        put(blocks, bytes(content))

    for _ in range(20):
        damaged = False
        with monkeypatch.context() as patched:
            patched.setattr(_difference.Blocks, "put", damage)
            diff(old, new, delta)
        if damaged:
            with pytest.raises(TableFileError, match="is corrupted: "):
                patch(old, delta, out)
            assert not out.exists()


def test_a_file_that_grew_out_of_all_proportion(tmp_path: Path) -> None:
    def write(name: str, count: int) -> Path:
        zeros = {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}
        text = json.dumps({"rows": zeros}).encode()
        data = len(text).to_bytes(8, "little") + text + bytes(4 * count)
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    with pytest.raises(ValueError, match=r"more than 100 times as large .*: ship the file itself"):
        diff(write("old", 1), write("new", 1 << 20), tmp_path / "delta")
