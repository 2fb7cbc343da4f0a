"""``adagrad export``: the file of `write_export`, and what it keeps of an earlier one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import command
from adagrad import TableFileError, ctr
from adagrad.serving import Scorer, write_export
from adagrad.serving.delta import diff, patch
from command import invoke

KINDS = {
    "auto": (),
    "fixed": ("--lr", "0.1"),
    "fm": ("--model-type", "fm", "--factors", "2"),
    "ffm": ("--model-type", "ffm", "--factors", "2"),
}
DAYS = command.clicks(12_000)
TODAY = command.clicks(500, seed=1)


@pytest.fixture(scope="module", params=KINDS)
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The model of ten days, and of these and one more."""
    folder = tmp_path_factory.mktemp(request.param)
    command.write(folder / "ten.parquet", DAYS.slice(0, 11_000))
    command.write(folder / "one.parquet", DAYS.slice(11_000))
    old, new = folder / "old", folder / "new"
    command.train(folder / "ten.parquet", old, *KINDS[request.param])
    both = folder / "ten.parquet", folder / "one.parquet"
    how = (*KINDS[request.param], "--bits", 14)
    assert invoke("train", *both, "-l", command.LABEL, "-m", new, *how)[0] == 0
    return [old, new]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_a_day_changes_is_less_than_a_third(
    models: list[Path], dtype: str, tmp_path: Path
) -> None:
    old, new, delta, out = (tmp_path / name for name in ("old", "new", "delta", "out"))
    assert invoke("export", models[0], "-o", old, "--dtype", dtype)[0] == 0
    code, said, err = invoke("export", models[1], "-o", new, "--dtype", dtype, "--mix-like", old)
    assert (code, said) == (0, "")
    assert err.startswith(f"{new}: ")
    assert "0.0 MiB" not in err
    sizes = diff(old, new, delta)
    assert patch(old, delta, out) == sizes
    assert out.read_bytes() == new.read_bytes()
    assert sizes.delta < sizes.new / 3
    exact = Scorer(models[1]).predict_proba(TODAY)[:, 1]
    assert np.abs(Scorer(new).predict_proba(TODAY)[:, 1] - exact).max() < 0.02


def test_an_export_is_exact_unless_it_is_asked_for_less(models: list[Path], tmp_path: Path) -> None:
    assert invoke("export", models[1], "-o", tmp_path / "new")[0] == 0
    write_export(ctr.load(models[1]), tmp_path / "python")
    assert (tmp_path / "new").read_bytes() == (tmp_path / "python").read_bytes()
    expected = ctr.load(models[1]).predict_proba(TODAY)
    assert (Scorer(tmp_path / "new").predict_proba(TODAY) == expected).all()
    code, _, err = invoke("export", models[0], "-o", tmp_path / "new")
    assert (code, err) == (
        1,
        f"Error: --output {tmp_path / 'new'} exists: give --overwrite to replace it\n",
    )
    # The proportions of a model itself change nothing.
    write_export(models[1], tmp_path / "again", mix_like=tmp_path / "new")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "new").read_bytes()


def test_another_model_is_not_one_to_mix_like(models: list[Path], tmp_path: Path) -> None:
    code, _, err = invoke("export", models[1], "-o", tmp_path / "e", "--mix-like", models[0])
    assert code == 1
    assert "old is not an export: adagrad export makes one of a model" in err
    assert not (tmp_path / "e").exists()


def test_commands_that_read_logs_take_an_export(models: list[Path], tmp_path: Path) -> None:
    command.write(tmp_path / "today.parquet", TODAY)
    assert invoke("export", models[1], "-o", tmp_path / "e")[0] == 0
    for line in (("predict",), ("evaluate",), ("evaluate", "--json")):
        of_model, of_export = (
            invoke(line[0], model, tmp_path / "today.parquet", *line[1:])
            for model in (models[1], tmp_path / "e")
        )
        assert of_export == of_model
        assert of_export[0] == 0
    text = command.as_text(TODAY)
    assert invoke("predict", tmp_path / "e", "--format", "tsv", input=text)[0] == 0


def test_an_export_is_inspected(models: list[Path], tmp_path: Path) -> None:
    assert invoke("export", models[1], "-o", tmp_path / "e", "--dtype", "bfloat16")[0] == 0
    code, text, _ = invoke("inspect", tmp_path / "e")
    assert code == 0
    assert "weights     bfloat16\n" in text
    assert f"label       {command.LABEL}\n" in text
    assert "site (string)" in text
    found = json.loads(invoke("inspect", tmp_path / "e", "--json")[1])
    assert found["version"] == Scorer(tmp_path / "e").version
    code, _, err = invoke("inspect", tmp_path / "e", "--log", tmp_path / "today.parquet")
    assert (code, err.partition(":")[2]) == (
        1,
        f" --log needs a model that can learn: {tmp_path / 'e'} is an export, which has weights"
        " alone\n",
    )


def test_an_export_cannot_learn(models: list[Path], tmp_path: Path) -> None:
    assert invoke("export", models[1], "-o", tmp_path / "e")[0] == 0
    with pytest.raises(TableFileError, match="is an export, which holds the weights of a model"):
        ctr.load(tmp_path / "e")
