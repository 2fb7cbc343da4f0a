"""The benchmark of quality compares learners example by example, on logs of a folder."""

from __future__ import annotations

import itertools
import json
import math
import sys

import numpy as np
import pytest

import benchmark
from checks import ROOT, need_packages

need_packages("scipy", "sklearn", "pyarrow")

from adagrad.ctr import Examples, LogisticRegression

sys.path.append(str(ROOT))  # bench/ is not part of what is installed

from bench import quality_learners as learners
from bench import quality_logs as logs
from bench.clicks import Clicks

CLICKS = "click,site,size\n" + "".join(
    f"{int(i % 3 == 0)},{'ab'[i % 3 == 0]},{i % 5}\n" for i in range(60)
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shop.csv").write_text(CLICKS)
    (tmp_path / "later.csv").write_text(CLICKS)
    facts = {"file": "shop.csv", "label": "click", "test": "later.csv", "categorical": ["size"]}
    (tmp_path / "logs.json").write_text(json.dumps({"shop": facts}))
    return tmp_path


def few_clicks(n=90):
    rng = np.random.default_rng(0)
    slots = rng.integers(0, 256, 3 * n).astype(np.uint32)
    x = Examples.from_csr(_csr(slots, n))
    return Clicks("few", x, (rng.random(n) < 0.3).astype(np.float32))


def _csr(slots, n):
    import scipy.sparse

    shape, indptr = (n, 256), np.arange(0, 3 * n + 1, 3)
    matrix = scipy.sparse.csr_matrix((np.ones(3 * n, np.float32), slots, indptr), shape=shape)
    matrix.sum_duplicates()
    return matrix


def test_smoke_run(folder, tmp_path):
    out = tmp_path / "quality.json"
    absent = "vowpalwabbit,river"
    options = ("--logs", str(folder), "--json", str(out))
    printed = benchmark.smoke("quality", *options, without=absent, PYTHONWARNINGS="error")
    assert {"river", "vowpalwabbit"} <= set(
        printed.rpartition("installed: ")[2].strip().split(", ")
    )
    results = json.loads(out.read_text(encoding="utf-8"))["questions"]["quality"]["losses"]
    assert {cell["log"] for cell in results} == {"hive", "synthetic", "shop"}
    for cell in results:
        assert math.isfinite(cell["progressive"]["logloss"])
        if cell["learner"] == learners.AUTO:
            assert cell["progressive"]["over_auto"] == cell["progressive"]["error"] == 0
    held_out = {cell["learner"] for cell in results if cell["log"] == "shop" and "held_out" in cell}
    assert {learners.AUTO, learners.FM, learners.FFM, learners.SGD} <= held_out
    assert "shop: adagrad train without options" in printed


def test_a_log_is_encoded_as_described(folder):
    (log,) = logs.in_folder(folder)
    of, test = log.load()
    assert len(of) == len(test) == 60
    assert of.y.mean() == pytest.approx(1 / 3)
    # Sites a and b, and five sizes as ids: in bins, 0 to 4 would be four of them.
    assert len(np.unique(of.x.slots)) == 2 + 5


def test_predictions_are_those_before_learning():
    of = few_clicks()
    model = LogisticRegression()
    margins = learners.margins_of(model, of)
    assert margins[0] == 0
    assert len(margins) == len(of)
    assert learners.nats(margins, of.y).mean() == pytest.approx(model.progressive_["logloss"])


def test_differences_are_paired():
    rng = np.random.default_rng(0)
    base = rng.random(10_000) * 100
    over, error = learners.against(base + rng.normal(0.5, 0.1, len(base)), base)
    assert over == pytest.approx(0.5, abs=0.01)
    assert error == pytest.approx(0.1 / 100, rel=0.1)  # not that of losses up to 100


def test_the_best_setting_is_finite():
    found = {
        "far": learners.Losses(np.array([np.nan, 0.1])),
        "fair": learners.Losses(np.array([0.7, 0.7])),
        "good": learners.Losses(np.array([0.6, 0.7])),
    }
    assert learners.best(found).setting == "good"


def test_rounds_cover_a_log():
    parts = list(learners.rounds(100_000))
    assert parts[0].start == 0
    assert parts[-1].stop == 100_000
    assert all(a.stop == b.start for a, b in itertools.pairwise(parts))
    sizes = np.array([part.stop - part.start for part in parts])
    assert sizes[:256].max() == 1
    assert sizes.max() == 64


def test_values_reach_libffm_and_vowpal_wabbit():
    from bench.clicks import vw_lines

    x = Examples(
        np.array([3, 200], np.uint32),
        np.array([0, *[1] * 6, 2, 2], np.uint32),
        256,
        1,
        values=np.array([1.0, 2.5], np.float32),
        fields=np.array([0, 1], np.uint16),
        n_fields=2,
    )
    of = Clicks("one", x, np.ones(1, np.float32))
    assert list(learners.libffm_lines(of)) == ["1 0:3:1 1:200:2.5\n"]
    assert list(vw_lines(of)) == ["1 | 3:1.0 200:2.5\n"]
