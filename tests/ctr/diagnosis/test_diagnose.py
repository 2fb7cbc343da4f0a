"""``adagrad diagnose``: counts and estimates against exact ones, planted verdicts, output."""

from __future__ import annotations

import gzip
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from checks import need_packages

need_packages("click", "matplotlib", "pyarrow", "rich", "sklearn")

from rich.console import Console

from adagrad import analysis, plotting
from adagrad.commands._progress import Reading
from adagrad.commands.diagnose import _shipped
from adagrad.ctr import LogisticRegression
from adagrad.ctr.diagnosis import Diagnoser, diagnosis, findings
from adagrad.ctr.diagnosis.conditioning import conditioning
from adagrad.ctr.diagnosis.counting import FeatureTable, RowSample, nonzero
from adagrad.ctr.diagnosis.occupancy import Occupancy, expected_sharing
from adagrad.ctr.diagnosis.words import in_words, show
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.logs import open_log
from checks import ROOT
from command import LABEL, as_text, clicks, invoke, write


def sparse(rows: int, features: int, per_row: int, power: float, seed: int = 0):
    """Ones, and some zeros and other values, with Zipf frequencies."""
    rng = np.random.default_rng(seed)
    ids = (rng.zipf(power, (rows, per_row)) - 1) % features
    values = rng.choice([1.0, 1.0, 0.0, 2.5], size=ids.size)
    matrix = scipy.sparse.csr_matrix(
        (values, (np.repeat(np.arange(rows), per_row), ids.ravel())), shape=(rows, features)
    )
    return matrix, (rng.random(rows) < 0.3).astype(np.float32)


def diagnosed(matrix, y=None, batch: int = 1 << 20, **options):
    diagnoser = Diagnoser(**{"bits": 16, **options})
    x = Examples.from_csr(matrix)
    for start in range(0, len(x), batch):
        part = slice(start, start + batch)
        diagnoser.add(x[part], None if y is None else y[part])
    return diagnoser.result()


# -- counting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [300, 10_000])
def test_counts_are_exact_while_there_is_room(batch):
    matrix, _ = sparse(2_000, 20_000, 6, 1.4)
    found = diagnosed(matrix, batch=batch)
    entries = matrix.copy()
    entries.eliminate_zeros()
    counts = np.bincount(entries.indices, minlength=20_000)
    counts = counts[counts > 0]
    assert found.entries == entries.nnz
    assert found.features == (len(counts), 0.0)
    assert found.seen_once == ((counts == 1).mean(), 0.0)
    assert found.rare == ((counts <= 10).mean(), 0.0)
    assert found.rare_entries == (counts[counts <= 10].sum() / entries.nnz, 0.0)
    assert sorted(counts)[-1] == found.counts[0]
    gradients = entries.toarray() / 2
    rms = np.sqrt((gradients[:, gradients.any(axis=0)] ** 2).mean(axis=0))
    np.testing.assert_allclose(found.scales, np.quantile(rms, [0.01, 0.5, 0.99]), rtol=1e-12)
    assert found.ranks[0] == 1
    assert found.ranks[-1] == len(counts)


def test_the_gradient_scale_is_that_of_the_logloss_at_zero():
    matrix, y = sparse(500, 200, 5, 1.3)
    found = diagnosed(matrix, y)
    x = matrix.toarray()
    gradient = (1 / (1 + np.exp(-x @ np.zeros(200))) - y)[:, None] * x
    rms = np.sqrt((gradient**2).mean(axis=0))
    assert found.scales[2] == pytest.approx(np.quantile(rms[rms > 0], 0.99))


def test_zipf_slope():
    counts = np.array([round(1e6 * rank**-0.8) for rank in range(1, 3001)])
    assert diagnosis._zipf_slope(counts) == pytest.approx(-0.8, abs=1e-3)
    assert diagnosis._zipf_slope(counts[:19]) is None
    steeper = np.where(np.arange(3000) < 1000, counts, 1)  # after the last rank that is fitted
    assert diagnosis._zipf_slope(steeper) == diagnosis._zipf_slope(counts)


@pytest.mark.parametrize("load", [0.6, 1.5, 2.5])
def test_estimates_are_within_their_errors_when_the_table_is_full(load):
    rng = np.random.default_rng(1)
    for _ in range(10):
        table = FeatureTable(12)
        n = int(load * table.size)
        counts = np.minimum(rng.zipf(1.7, n), 500)
        ids = rng.choice(1 << 32, n, replace=False).astype(np.uint32)
        entries = rng.permutation(np.repeat(ids, counts))
        for part in np.array_split(entries, 7):
            table.add(part, None)
        assert not table.is_exact
        assert table.counts.sum() == counts.sum()
        for estimate, truth in (
            (table.features(), n),
            (table.share(1), (counts == 1).mean()),
            (table.share(10), (counts <= 10).mean()),
            (table.occurrences(10), counts[counts <= 10].sum()),
        ):
            assert estimate.error > 0
            assert abs(estimate.value - truth) < 4 * estimate.error


def test_consecutive_ids_are_hashed_as_if_at_random():
    table = FeatureTable(14)
    table.add(np.arange(20_000, dtype=np.uint32), None)
    features = table.features()
    assert not table.is_exact
    assert abs(features.value - 20_000) < 4 * features.error
    assert features.error < 200


def test_squares_move_with_their_features():
    rng = np.random.default_rng(2)
    table = FeatureTable(10)
    ids = np.arange(900, dtype=np.uint32)
    values = rng.normal(size=900).astype(np.float32)
    table.add(ids[:400], None)
    table.add(ids[400:450], values[400:450])
    assert table.is_exact
    assert table.squares[table.places(ids[:400])].tolist() == [1.0] * 400
    table.add(ids[450:], values[450:])
    assert not table.is_exact
    expected = np.where(ids < 400, 1.0, values.astype(np.float64) ** 2)
    places = table.places(ids)
    np.testing.assert_allclose(
        table.squares, np.bincount(places, expected, minlength=1024), rtol=1e-12
    )
    assert table.counts.tolist() == np.bincount(places, minlength=1024).tolist()


def test_standard_errors_are_the_spread_over_hashes():
    rng = np.random.default_rng(3)
    size, n = 1 << 10, 1500
    counts = np.minimum(rng.zipf(1.6, n), 1000)
    found = []
    for _ in range(400):
        slots = np.bincount(rng.integers(0, size, n), counts, size).astype(np.int64)
        occupancy = Occupancy(np.bincount(np.minimum(slots, 11), minlength=12)[:11], size)
        estimates = occupancy.features(), occupancy.share(1), occupancy.share(10)
        found.append([*np.ravel(estimates), *occupancy.occurrences(10)])
    values, errors = np.array(found)[:, ::2], np.array(found)[:, 1::2]
    truth = [n, (counts == 1).mean(), (counts <= 10).mean(), counts[counts <= 10].sum()]
    assert (abs(values.mean(axis=0) - truth) < 4 * values.std(axis=0) / 20).all()
    np.testing.assert_allclose(errors.mean(axis=0), values.std(axis=0), rtol=0.15)


def test_expected_sharing():
    for n, m in ((1, 8), (5, 8), (1000, 4096)):
        assert expected_sharing(n, m) == pytest.approx(1 - (1 - 1 / m) ** (n - 1))
    slots = np.random.default_rng(4).integers(0, 1 << 14, 10_000)
    shared = (np.bincount(slots)[slots] > 1).mean()
    assert shared == pytest.approx(expected_sharing(10_000, 1 << 14), abs=0.02)


@pytest.mark.parametrize("batch", [17, 64, 1000])
def test_the_sample_is_every_so_manieth_row(batch):
    x = Examples.from_csr(scipy.sparse.csr_matrix(np.arange(1, 1001)[:, None]))
    sample = RowSample(rows=50, entries=10_000)
    for start in range(0, 1000, batch):
        sample.add(x[start : start + batch])
    assert sample.stride == 16
    assert sample.examples().values.tolist() == list(range(1, 1001, 16))
    few = RowSample(rows=50, entries=10)
    few.add(x)
    assert len(few.examples()) == 8


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
    # Two one-hot fields: their columns have the same sum, which is one direction of no curvature.
    rng = np.random.default_rng(6)
    x = np.hstack([np.eye(5)[rng.integers(0, 5, 300)], np.eye(4)[rng.integers(0, 4, 300)]])
    found = of_dense(np.hstack([x, np.zeros((300, 1))]))
    assert (found.features, found.rank) == (9, 8)
    values = np.linalg.svd(x, compute_uv=False) ** 2
    assert found.before.condition == pytest.approx(values[0] / values[7])
    assert analysis.condition_number(x.T @ x) > 1e12


# -- suggestions --------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [3, 100, 5_000])
def test_the_table_is_the_smallest_that_is_large_enough(features):
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


def test_the_rate_is_that_of_lr_auto():
    matrix, y = sparse(3_000, 500, 6, 1.3, seed=7)
    y[np.flatnonzero(matrix[:, 3].toarray())] = 1.0
    found = diagnosed(matrix, y, batch=700)
    model = LogisticRegression(lr="auto").fit(matrix, y)
    assert found.rate.lr == model.lr_
    assert found.rate.rows == 3_000
    assert found.rate.logloss == pytest.approx(model.progressive_["logloss"], rel=1e-4)
    assert found.positive == pytest.approx(y.mean())


def test_the_rate_is_from_the_first_rows(monkeypatch):
    monkeypatch.setattr(diagnosis, "SWEEP_EXAMPLES", 1000)
    matrix, y = sparse(3_000, 500, 6, 1.3, seed=8)
    assert diagnosed(matrix, y, batch=700).rate == diagnosed(matrix[:1000], y[:1000]).rate


def test_without_labels_of_both_kinds_there_is_no_rate():
    matrix, y = sparse(500, 100, 5, 1.3)
    full, bare = diagnosed(matrix, y), diagnosed(matrix, no_label="none was given")
    one = diagnosed(matrix, np.zeros_like(y))
    assert full.rate is not None
    assert (bare.rate, bare.no_rate, bare.positive) == (None, "none was given", None)
    assert (one.rate, one.no_rate) == (None, "every label of the first 500 rows is 0")
    assert bare.verdict == full.verdict == one.verdict


# -- verdicts -----------------------------------------------------------------------------------


def planted(kind: str):
    rng = np.random.default_rng(9)
    n = 2_000
    dense = rng.normal(size=(n, 8))
    if kind == "even":
        return scipy.sparse.csr_matrix(dense)
    if kind == "scales":
        return scipy.sparse.csr_matrix(dense * 10.0 ** np.arange(-4, 4))
    if kind == "correlated":
        return scipy.sparse.csr_matrix(dense[:, :1] + 0.01 * dense)
    fresh = scipy.sparse.csr_matrix((np.ones(n), (np.arange(n), np.arange(n))))  # an id a row
    if kind == "thin":
        return fresh
    common = np.eye(6)[rng.integers(0, 6, (n, 5))].reshape(n, 30)
    return scipy.sparse.hstack([fresh, common], format="csr")


@pytest.mark.parametrize(
    ("kind", "helps", "words"),
    [
        ("rare", True, "Most features are rare: 99 % are seen once .* use AdaGrad"),
        ("thin", False, "little to learn"),
        ("scales", True, "AdaGrad will help"),
        ("correlated", False, "depend on each other"),
        ("even", False, "any optimizer does"),
    ],
)
def test_verdict(kind, helps, words):
    verdict = diagnosed(planted(kind)).verdict
    assert (verdict.kind, verdict.helps) == (kind, helps)
    assert re.search(words, verdict.text)


def test_few_rows_make_nothing_rare():
    found = diagnosed(planted("rare")[:50])
    assert found.rare.value >= 0.9
    assert found.verdict.kind != "rare"
    assert "50 rows, which are few" in found.verdict.text


# -- the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return write(tmp_path_factory.mktemp("log") / "log.parquet", clicks(4_000))


def as_json(tmp_path, *arguments, **options):
    code, _, errors = invoke("diagnose", *arguments, "--json", tmp_path / "d.json", **options)
    assert code == 0, errors
    return json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))


def test_json(log, tmp_path):
    found = as_json(tmp_path, log, "-l", LABEL)
    assert list(found) == [
        *("log", "numbers", "rows", "entries", "entries_per_row", "positive", "features"),
        *("seen_once", "seen_ten_times_or_fewer", "entries_of_rare_features", "zipf_slope"),
        *("gradient_scale", "conditioning", "table", "rate", "no_rate", "verdict", "skipped"),
    ]
    table = clicks(4_000)
    site, ad, user = (table.column(name).to_pylist() for name in ("site", "ad", "user"))
    # two bins an octave: [2^k, 1.5 * 2^k) and the rest
    depth = [math.frexp(x)[1] * 2 + (math.frexp(x)[0] >= 0.75) for x in table["depth"].to_pylist()]
    counts = [np.unique(c, return_counts=True)[1] for c in (site, ad, user, depth)]
    counts = np.concatenate(counts)
    assert found["numbers"] == "log2-bins"
    assert (found["rows"], found["entries"]) == (4_000, 16_000)
    assert found["features"] == {"value": len(counts), "standard_error": 0.0}
    assert found["seen_once"]["value"] == (counts == 1).mean()
    assert found["rate"]["rows"] == 4_000
    assert found["verdict"]["kind"] == "rare"


def test_every_way_in_gives_the_same(log, tmp_path):
    text = as_text(clicks(4_000))
    (tmp_path / "log.tsv.gz").write_bytes(gzip.compress(text))
    expected = as_json(tmp_path, log, "-l", LABEL)
    for given, options in (
        ((tmp_path / "log.tsv.gz",), {}),
        (("-", "--format", "tsv"), {"input": text}),
    ):
        found = as_json(tmp_path, *given, "-l", LABEL, **options)
        assert {**found, "log": ""} == {**expected, "log": ""}


def test_libsvm(tmp_path):
    matrix, y = sparse(600, 80, 5, 1.3)
    lines = []
    for i, label in enumerate(y.astype(int)):
        row = matrix[i].sorted_indices()
        entries = zip(row.indices.tolist(), row.data.tolist(), strict=True)
        lines.append(" ".join([str(2 * label - 1), *(f"{k}:{v:g}" for k, v in entries)]) + "\n")
    (tmp_path / "a.svm").write_text("".join(lines))
    found = as_json(tmp_path, tmp_path / "a.svm")
    assert found["table"] == {**found["table"], "bits": 8, "sharing": 0.0}
    assert found["features"]["value"] == diagnosed(matrix).features.value
    assert found["rate"]["lr"] == diagnosed(matrix, y).rate.lr


def test_numbers_are_values_where_all_are_numbers(tmp_path):
    x = np.random.default_rng(10).normal(size=(500, 3))
    lines = ["a,b,c,y", *(",".join(map(str, [*row, 3.5 * sum(row)])) for row in x.tolist())]
    path = tmp_path / "dense.csv"
    path.write_text("\n".join(lines) + "\n")
    found = as_json(tmp_path, path, "--label", "y")
    assert found["numbers"] == "value"
    assert found["features"]["value"] == 3
    assert found["verdict"]["kind"] == "even"
    assert found["rate"] is found["positive"] is None
    assert found["no_rate"].startswith("the label is neither 0/1 nor -1/+1 (")
    condition = found["conditioning"]["before"]["condition_number"]
    x32 = x.astype(np.float32).astype(np.float64)
    assert condition == pytest.approx(analysis.condition_number(x32, gram=True), rel=1e-6)
    # without a label its column is one more feature, the sum of the others
    found = as_json(tmp_path, path)
    assert (found["features"]["value"], found["no_rate"]) == (4, "no --label")
    assert as_json(tmp_path, path, "--ignore", "y")["features"]["value"] == 3
    assert as_json(tmp_path, path, "--numeric", "log2-bins")["features"]["value"] > 20


def test_a_target_is_left_out_however_it_is_named(tmp_path):
    path = tmp_path / "dense.csv"
    lines = [f"{i % 7 - 3},{i % 5 - 2},{i / 3}\n" for i in range(300)]
    path.write_text("".join(lines))
    for given in (("--label", "c2"), ("--names", "a,b,y", "--label", "y")):
        found = as_json(tmp_path, path, *given)
        assert (found["rows"], found["features"]["value"]) == (300, 2)
    path.write_text("a,b,y\n" + "".join(lines))
    found = as_json(tmp_path, path, "--columns", "b", "--label", "y")
    assert (found["rows"], found["features"]["value"]) == (300, 1)
    assert as_json(tmp_path, path, "--ignore", "a", "-l", "y")["features"]["value"] == 1


def test_a_first_row_in_place_of_names_is_noticed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{i % 7},x{i % 3}\n" for i in range(300)))
    _, out, errors = invoke("diagnose", path)
    assert "299 rows" in out
    assert errors.startswith("the first line names the columns, 0 among them: without a header")
    _, out, errors = invoke("diagnose", path, "--names", "a,b")
    assert "300 rows" in out
    assert errors == ""


def test_columns_of_numbers_that_are_ids(tmp_path):
    path = tmp_path / "ids.csv"
    path.write_text("user,x\n" + "".join(f"{i % 50},{i % 3}.5\n" for i in range(300)))
    found = as_json(tmp_path, path, "--categorical", "user")
    assert (found["numbers"], found["features"]["value"]) == ("value", 51)


def test_ids_of_libsvm_may_be_large(tmp_path):
    path = tmp_path / "a.svm"
    path.write_text(f"1 7:1 {2**31 + 5}:1\n0 7:1 {2**31 + 5}:2 {2**40}:1 {2**63 - 1}:1\n" * 60)
    found = as_json(tmp_path, path)
    assert found["features"]["value"] == 4
    assert found["gradient_scale"]["q99"] > 0.5


@pytest.mark.parametrize(
    ("scale", "words"), [(1.0, "no better than the base rate"), (1e6, "are the columns scaled?")]
)
def test_a_rate_that_does_no_good_says_so(tmp_path, scale, words):
    rng = np.random.default_rng(11)
    path = tmp_path / "noise.csv"
    numbers, labels = scale * rng.normal(size=(300, 2)), rng.random(300) < 0.5
    rows = [f"{a},{b},{y}\n" for (a, b), y in zip(numbers, labels, strict=True)]
    path.write_text("a,b,y\n" + "".join(rows))
    _, out, _ = invoke("diagnose", path, "-l", "y")
    assert re.search(f"normalized entropy [0-9]+.*{re.escape(words)}$", out, re.MULTILINE)


def test_numbers_that_are_not_finite_are_null_in_json():
    tree = {"a": math.inf, "b": {"c": math.nan, "d": 1.5, "e": "x"}}
    assert findings._plain(tree) == {"a": None, "b": {"c": None, "d": 1.5, "e": "x"}}


def test_the_bar(log):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with open_log(log, label=LABEL) as stream, Reading(console, stream) as show_position:
        for _ in stream:
            show_position(stream.position)
            task = show_position._bar.tasks[0]
        assert task.completed == task.total == log.stat().st_size
    assert "4,000 rows" in out.getvalue()


def test_estimates_are_shown_with_their_error(log):
    code, out, _ = invoke("diagnose", log, "-b", 11)
    assert code == 0
    lines = {line[:24].strip(): line for line in out.splitlines()}
    assert re.search(r" [\d,]+ ± \d+ +estimated", lines["features"])
    assert "not found: no --label" in lines["suggested lr"]


def test_picture(log, tmp_path):
    for name, start in (("d.png", b"\x89PNG"), ("d.svg", b"<?xml")):
        code, out, _ = invoke("diagnose", log, "-l", LABEL, "--picture", tmp_path / name)
        assert code == 0
        assert f"Picture: {tmp_path / name}" in out
        assert (tmp_path / name).read_bytes().startswith(start)
    assert (tmp_path / "d.svg").stat().st_size < 500_000


@pytest.mark.parametrize("kind", ["rare", "thin", "scales", "correlated", "even"])
def test_the_figure_shows_the_numbers(kind):
    found = diagnosed(planted(kind))
    figure = plotting.diagnosis_figure(found, "a $file_ with a long name" * 5)
    left, middle, right = figure.axes
    assert left.lines[0].get_xydata()[0].tolist() == [1, found.counts[0]]
    assert middle.lines[0].get_ydata().tolist() == found.rms.tolist()
    rank = found.conditioning.rank
    before = found.conditioning.before.eigenvalues[-rank:][::-1]
    assert right.lines[0].get_ydata().tolist() == before.tolist()
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert 0 <= box.x0 <= box.x1 <= width
        assert 0 <= box.y0 <= box.y1 <= height


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        ("a.csv", None, (), "a.csv: no such file"),
        ("a.csv", "", (), "a.csv, line 1: the file is empty"),
        ("a.csv", "x,y\n", ("-l", "y"), "a.csv: no rows"),
        ("a.svm", "", (), "a.svm: no rows"),
        ("a.svm", "1\n0\n", (), "a.svm: no row has a value that is not 0"),
        ("a.csv", "x,y\n3,1\n3,0\n", ("-l", "y"), "a.csv: all features are constant, in 2 rows"),
        (
            "a.csv",
            "x,y\n3,1\n4,0\n",
            ("-l", "z"),
            "no column 'z'; the columns are c0, c1, as the first line, x, y, has no such name",
        ),
        ("a.csv", "x,y\n3,a\n4,b\n", ("-l", "y"), "the label is 'a', not 0 or 1, -1 or +1"),
        ("a.csv", "y\n1\n0\n", ("-l", "y"), "a.csv: no column is a feature"),
        ("a.csv", "x\n1\n2\n", ("--ignore", "z"), "--ignore: no column 'z'"),
        ("a.csv", "x\n1\n2\n", ("--categorical", "z"), "--categorical: the log has no column 'z'"),
        ("a.svm", "1 1:2\n0 x:3\n", (), "a.svm, line 2: 'x:3' is not id:value"),
        ("a.bin", "1", (), "the suffix does not tell the format"),
        ("a.tsv.gz", "plain", (), "a.tsv.gz"),
        ("a.parquet", "plain", (), "a.parquet"),
        ("a.csv", "x\n1\n2\n", ("--picture", "no/d.png"), "there is no directory no"),
        ("a.csv", "x\n1\n2\n", ("--picture", "d.doc"), "the name must end in one of"),
        ("a.csv", "x\n1\n2\n", ("--json", "no/d.json"), "--json no/d.json: there is no directory"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, name, content, arguments, message):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_text(content)
    code, out, errors = invoke("diagnose", name, *arguments)
    assert code == 1
    assert out == ""
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_a_column_of_numbers_that_ends(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "1.5,2\n" * 300_000 + "abc,3\n")
    code, _, errors = invoke("diagnose", path)
    assert code == 1
    assert "line 300002: column 'x': 'abc' cannot be read as double" in errors
    code, _, errors = invoke("diagnose", path, "--skip-bad")
    assert "all features are constant, in 300,000 rows; 1 broken row skipped" in errors


def with_a_stray(rows: int) -> str:
    """Numbers, of which the last but one is none."""
    lines = [f"{i % 2},{i % 7 + 0.5},{i % 5}\n" for i in range(rows)]
    return "y,f1,f2\n" + "".join(lines) + "1,abc,3\n0,2.5,1\n"


def test_a_text_among_numbers_is_noticed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(with_a_stray(70_000))  # in the second batch
    code, out, errors = invoke("diagnose", path, "-l", "y")
    assert code == 0
    assert "features: f1 as categories; f2 as log2 bins\n" in out
    assert errors == (
        f"{path}: column 'f1' was read as text, though 70,001 of its first 70,002 values are"
        " numbers: row 70,001 has 'abc': each of its values is a category\n"
    )
    code, out, errors = invoke("diagnose", path, "-l", "y", "--numeric", "value")
    assert (code, out) == (1, "")
    assert "row 70,001 has 'abc': mend it, or give --categorical" in errors
    code, _, errors = invoke("diagnose", path, "-l", "y", "--categorical", "f1")
    assert (code, errors) == (0, "")


def test_texts_and_long_ids_are_not_doubted(tmp_path):
    path = tmp_path / "a.csv"
    lines = [f"{10**20 + i},{i if i % 5 else 'x'},{i % 3}\n" for i in range(300)]
    path.write_text("id,some,n\n" + "".join(lines))
    code, out, errors = invoke("diagnose", path)
    assert (code, errors) == (0, "")
    assert "features: id, some as categories; n as log2 bins\n" in out


def test_the_columns_that_are_features_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b,y\n" + "".join(f"{i % 7},{i % 3},{i % 2}\n" for i in range(300)))
    assert "\nfeatures: a, b, y as values\n" in invoke("diagnose", path)[1]
    assert "\nfeatures: a, b as values\n" in invoke("diagnose", path, "-l", "y")[1]
    _, out, _ = invoke("diagnose", path, "-l", "y", "--categorical", "a")
    assert "\nfeatures: a as categories; b as values\n" in out
    wide = {f"c{i}": "value" for i in range(1022)}
    assert in_words(wide).endswith("c18, c19 and 1,002 more as values")


@pytest.mark.parametrize("option", ["label", "columns", "ignore", "categorical", "numeric"])
def test_options_for_columns_are_refused_where_there_are_none(tmp_path, option):
    path = tmp_path / "a.svm"
    path.write_text("1 1:2\n0 2:3\n")
    value = "value" if option == "numeric" else "3"
    for file, why in ((path, "of which libsvm logs have none"), (None, "none is given")):
        code, out, errors = invoke("diagnose", *[file] * (file is not None), f"--{option}", value)
        assert (code, out) == (1, "")
        assert re.fullmatch(rf"Error: --{option} .*{why}\n", errors)


def test_one_is_singular(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n3,1\n")
    assert "all features are constant, in 1 row\n" in invoke("diagnose", path)[2]
    path.write_text("x,y\n1,1\n0,0\n0,1\n0,0\n")
    _, out, _ = invoke("diagnose", path, "-l", "y")
    assert "4 rows (all) and their feature\n" in out
    path.write_text("x,z\n" + "1,1\n0,0\n" * 60)
    _, out, _ = invoke("diagnose", path)
    assert "2 most frequent features; 1 eigenvalue is 0 and left out" in out


def test_a_target_on_the_standard_input_is_an_error():
    code, _, errors = invoke("diagnose", "-", "--label", "y", input=b"x,y\n1,2.5\n2,3.5\n")
    assert code == 1
    assert "the label is '2.5', not 0 or 1, -1 or +1" in errors


def test_more_features_than_the_table_can_tell():
    x = Examples.from_csr(scipy.sparse.identity(20_000, format="csr"))
    diagnoser = Diagnoser(bits=10)
    diagnoser.add(x, None)
    with pytest.raises(ValueError, match=r"more features than 2\^10 places can tell"):
        diagnoser.result()


# -- the page -----------------------------------------------------------------------------------


def test_the_page_shows_a_true_run():
    page = (ROOT / "docs" / "diagnose.md").read_text(encoding="utf-8")
    shown = re.search(r"\$ adagrad diagnose --picture diagnose.png\n(.*?)```", page, re.DOTALL)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=100, highlight=False)
    found = _shipped(22)
    show(console, found.name, found.features, found.diagnosis)
    lines = [line.rstrip() for line in out.getvalue().rstrip().splitlines()]
    assert shown.group(1).splitlines() == [*lines, "Picture: diagnose.png"]


def test_without_a_terminal_there_is_a_line_for_each_number():
    code, out, _ = invoke("diagnose")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "click log that ships: 10,000 rows, 4.35 % of them positive"
    assert lines[1] == "features: ids with their values"
    assert len(lines) == 3 + 13 + 2
    assert "\x1b" not in out
    for line in lines[3:16]:
        assert re.fullmatch(r".{24}  \S.*  \S.*", line)


def test_the_page_lists_the_verdicts():
    page = (ROOT / "docs" / "diagnose.md").read_text(encoding="utf-8")
    kinds = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert kinds == ["rare", "thin", "scales", "correlated", "even"]
    assert all(f'``"{kind}"``' in findings.Verdict.__doc__ for kind in kinds)
