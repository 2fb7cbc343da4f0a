"""Conditioning, suggestions and verdicts of a diagnosis, on data with planted properties."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import scipy.sparse

from checks import need_packages

need_packages("matplotlib", "sklearn")

from matplotlib.text import Text

from adagrad import analysis, plotting
from adagrad.ctr import LogisticRegression
from adagrad.ctr.diagnosis import Diagnoser, diagnosis, verdict
from adagrad.ctr.diagnosis.conditioning import conditioning
from adagrad.ctr.diagnosis.counting import nonzero
from adagrad.ctr.diagnosis.occupancy import expected_sharing
from adagrad.ctr.encoding.examples import Examples
from checks import ROOT
from diagnoses import diagnosed, planted, sparse

# -- conditioning -----------------------------------------------------------------------------


def of_dense(x):
    matrix = scipy.sparse.csr_matrix(x)
    rows, ids, values = nonzero(Examples.from_csr(matrix))
    return conditioning(rows, ids.astype(np.int64), values, matrix.shape)


def test_conditioning_is_that_of_analysis():
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(400, 12)) * 10.0 ** rng.integers(-2, 3, 12)).astype(np.float32)
    found = of_dense(x)
    gram = x.T.astype(np.float64) @ x.astype(np.float64) / 400
    scaled = analysis.jacobi_precondition(gram)
    assert (found.rows, found.features, found.rank) == (400, 12, 12)
    assert found.before.condition == pytest.approx(analysis.condition_number(gram), rel=1e-6)
    assert found.after.condition == pytest.approx(analysis.condition_number(scaled))
    assert found.gain > 100
    for spectrum, matrix in ((found.before, gram), (found.after, scaled)):
        discs = analysis.gershgorin_discs(matrix)
        assert spectrum.discs.lower == pytest.approx(discs.lower, rel=1e-6)
        assert spectrum.discs.upper == pytest.approx(discs.upper)
        assert spectrum.discs.contain(spectrum.eigenvalues, slack=1e-9).all()


def test_directions_without_data_are_left_out():
    # The columns of two one-hot fields have the same sum, so one direction has no curvature.
    rng = np.random.default_rng(6)
    x = np.hstack([np.eye(5)[rng.integers(0, 5, 300)], np.eye(4)[rng.integers(0, 4, 300)]])
    found = of_dense(np.hstack([x, np.zeros((300, 1))]))
    assert (found.features, found.rank) == (9, 8)
    values = np.linalg.svd(x, compute_uv=False) ** 2
    assert found.before.condition == pytest.approx(values[0] / values[7])
    assert analysis.condition_number(x.T @ x) > 1e12


# -- suggestions --------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [3, 100, 5_000])
def test_the_suggested_table_is_the_smallest_large_enough(features):
    matrix = scipy.sparse.vstack([scipy.sparse.identity(features)] * 2, format="csr")
    table = diagnosed(matrix).table
    assert table.sharing == expected_sharing(features, 1 << table.bits) <= 0.1
    assert table.bits == 8 or expected_sharing(features, 1 << (table.bits - 1)) > 0.1
    assert [size >> table.bits for size in table.bytes.values()] == [8, 6, 4]


def test_ids_that_are_slots_share_none():
    matrix = scipy.sparse.identity(1000, format="csr")
    table = diagnosed(matrix, ids_are_slots=True).table
    assert (table.bits, table.sharing) == (10, 0.0)
    far = scipy.sparse.csr_matrix((np.ones(2), ([0, 1], [5, 1 << 24])), shape=(2, (1 << 24) + 1))
    assert diagnosed(far, ids_are_slots=True).table.bits == 8  # hashing two ids is cheaper


def test_the_quality_is_that_of_a_first_model():
    matrix, y = sparse(3_000, 500, 6, 1.3, seed=7)
    y[np.flatnonzero(matrix[:, 3].toarray())] = 1.0
    found = diagnosed(matrix, y, batch=700)
    model = LogisticRegression().fit(matrix, y)
    assert found.quality.rows == 3_000
    assert found.quality.logloss == pytest.approx(model.progressive_["logloss"], rel=1e-4)
    assert found.positive == pytest.approx(y.mean())


def test_the_quality_is_from_the_first_rows(monkeypatch):
    monkeypatch.setattr(diagnosis, "FIRST_ROWS", 1000)
    matrix, y = sparse(3_000, 500, 6, 1.3, seed=8)
    assert diagnosed(matrix, y, batch=700).quality == diagnosed(matrix[:1000], y[:1000]).quality


def test_without_both_classes_there_is_no_quality():
    matrix, y = sparse(500, 100, 5, 1.3)
    full, bare = diagnosed(matrix, y), diagnosed(matrix, no_label="none was given")
    one = diagnosed(matrix, np.zeros_like(y))
    assert full.quality is not None
    assert (bare.quality, bare.no_quality, bare.positive) == (None, "none was given", None)
    assert (one.quality, one.no_quality) == (None, "every label of the first 500 rows is 0")
    assert bare.verdict == full.verdict == one.verdict


# -- verdicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "helps", "words"),
    [
        ("rare", True, "Most features are rare: 99 % occur once .* use AdaGrad"),
        ("thin", False, "little to learn"),
        ("scales", True, "AdaGrad will help"),
        ("correlated", False, "depend on each other"),
        ("even", False, "Any optimizer will do"),
    ],
)
def test_verdict(kind, helps, words):
    found = diagnosed(planted(kind)).verdict
    assert (found.kind, found.helps) == (kind, helps)
    assert re.search(words, found.text)


def test_few_rows_make_nothing_rare():
    found = diagnosed(planted("rare")[:50])
    assert found.rare.value >= 0.9
    assert found.verdict.kind != "rare"
    assert "based on only 50 rows" in found.verdict.text


def test_numbers_that_are_not_finite_are_null_in_json():
    tree = {"a": math.inf, "b": {"c": math.nan, "d": 1.5, "e": "x"}}
    assert verdict._finite_or_none(tree) == {"a": None, "b": {"c": None, "d": 1.5, "e": "x"}}


def test_more_features_than_the_table_can_tell():
    x = Examples.from_csr(scipy.sparse.identity(20_000, format="csr"))
    diagnoser = Diagnoser(bits=10)
    diagnoser.add(x, None)
    with pytest.raises(ValueError, match=r"more features than 2\^10 places can count"):
        diagnoser.result()


@pytest.mark.parametrize("kind", ["rare", "thin", "scales", "correlated", "even"])
def test_the_figure_shows_the_numbers(kind):
    found = diagnosed(planted(kind))
    figure = plotting.diagnosis_figure(found, "a $file_ with a long name" * 5)
    top, middle, bottom = figure.axes
    assert top.lines[0].get_xydata()[0].tolist() == [1, found.counts[0]]
    assert middle.lines[0].get_ydata().tolist() == found.rms.tolist()
    rank = found.conditioning.rank
    before = found.conditioning.before.eigenvalues[-rank:][::-1]
    assert bottom.lines[0].get_ydata().tolist() == before.tolist()
    figure.draw_without_rendering()
    width, height = figure.canvas.get_width_height()
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert 0 <= box.x0 <= box.x1 <= width
        assert 0 <= box.y0 <= box.y1 <= height
    assert figure.get_size_inches()[0] <= 5.6
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 9.5


def test_the_page_lists_the_verdicts():
    page = (ROOT / "docs" / "diagnose.md").read_text(encoding="utf-8")
    kinds = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert kinds == ["rare", "thin", "scales", "correlated", "even"]
    assert all(f'``"{kind}"``' in verdict.Verdict.__doc__ for kind in kinds)
