"""Logs of Vowpal Wabbit and libffm on the command line, from training to predictions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from adagrad.ctr import load
from command import invoke, train

N = 600


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Write the same rows in several formats: a user and an ad, which decide together."""
    rng = np.random.default_rng(0)
    user, ad, price = rng.integers(0, 5, N), rng.integers(0, 4, N), rng.integers(1, 5, N) / 4
    click = ((user + ad) % 2 == 0) ^ (rng.random(N) < 0.05)
    rows = list(zip(click.tolist(), user.tolist(), ad.tolist(), price.tolist(), strict=True))
    folder = tmp_path_factory.mktemp("logs")
    vw = (
        f"{2 * y - 1} {1 + k % 2} 'r{k}|user u{u} |ad a{a} price:{x}\n"
        for k, (y, u, a, x) in enumerate(rows)
    )
    (folder / "a.vw").write_text("".join(vw))
    ffm = (f"{int(y)} 0:{u}:1 1:{a}:1 1:100:{x}\n" for y, u, a, x in rows)
    (folder / "a.ffm").write_text("".join(ffm))
    maps = pa.map_(pa.string(), pa.float32())
    table = pa.table(
        {
            "y": click,
            "importance": [1.0 + k % 2 for k in range(N)],
            "user": pa.array([[(f"u{u}", 1.0)] for u in user], maps),
            "ad": pa.array([[(f"a{a}", 1.0), ("price", x)] for _, _, a, x in rows], maps),
        }
    )
    parquet.write_table(table, folder / "a.parquet")
    return folder


@pytest.mark.parametrize("kind", ["lr", "fm", "ffm"])
@pytest.mark.parametrize("name", ["a.vw", "a.ffm"])
def test_every_model_learns(logs, tmp_path, kind, name):
    """A cross, or factors, find what single columns do not say."""
    cross = ["--cross", "user*ad" if name == "a.vw" else "0*1"] if kind == "lr" else []
    model = tmp_path / "m"
    train(logs / name, model, "-l", "y", "--model-type", kind, "-b", 12, "--passes", 5, *cross)
    assert load(model).progressive_["logloss"] < 0.66
    code, out, _ = invoke("evaluate", model, logs / name, "--json")
    assert code == 0
    assert '"auc": 0.9' in out


def test_the_bits_are_those_of_parquet(logs, tmp_path):
    train(logs / "a.vw", tmp_path / "vw", "-l", "y", "-b", 12, "--cross", "user*ad")
    weight = ["--weight", "importance"]
    train(logs / "a.parquet", tmp_path / "pq", "-l", "y", "-b", 12, "--cross", "user*ad", *weight)
    np.testing.assert_array_equal(load(tmp_path / "vw").coef_, load(tmp_path / "pq").coef_)
    of_vw = invoke("predict", tmp_path / "vw", logs / "a.vw")
    assert of_vw == invoke("predict", tmp_path / "vw", logs / "a.parquet")
    rows = [{"user": {"u1": 1}, "ad": {"a2": 1, "price": 0.25}}]
    lines = b"|user u1 |ad a2 price:0.25\n"
    _, out, _ = invoke("predict", tmp_path / "vw", "--format", "vw", input=lines)
    assert float(out) == pytest.approx(load(tmp_path / "vw").predict_proba(rows)[0, 1], rel=1e-6)


def test_tags_and_columns(logs, tmp_path):
    out = train(logs / "a.vw", tmp_path / "m", "-l", "y", "-b", 12, "--ignore", "user")
    assert "weight: importance" in out
    assert "features: ad (map<string, float>) as categories" in out
    table = tmp_path / "p.csv"
    assert invoke("predict", tmp_path / "m", logs / "a.vw", "-o", table, "--keep", "tag")[0] == 0
    assert csv.read_csv(table).column("tag").to_pylist()[:3] == ["r0", "r1", "r2"]


def test_a_log_of_vw_is_converted(logs, tmp_path):
    assert invoke("convert", logs / "a.vw", "-o", tmp_path / "a.parquet")[0] == 0
    got = parquet.read_table(tmp_path / "a.parquet")
    expected = parquet.read_table(logs / "a.parquet")
    for name in ("importance", "user", "ad"):
        assert got.column(name).to_pylist() == expected.column(name).to_pylist()
