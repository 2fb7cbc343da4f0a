"""``adagrad train --report``: the numbers in its pictures, and its layout in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors", "matplotlib")

import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

import command
from adagrad import ctr
from adagrad.ctr.learners import files
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.training import pictures
from adagrad.ctr.training.curve import is_point, mixed_at
from adagrad.ctr.training.insight import calibration_groups, feature_text
from adagrad.ctr.training.pictures import gains
from command import LABEL, invoke

SECTIONS = [
    "result",
    "learning-curves",
    "experts",
    "calibration",
    "gains-and-lift",
    "frequency-and-uncertainty",
    "strongest-features",
    "contributions",
    "collisions",
    "settings",
]


class Page(HTMLParser):
    """The unclosed tags, sections, identifiers and links of a page."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sections: list[str | None] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag == "section":
            self.sections.append(given.get("id"))
        if given.get("id"):
            self.ids.append(str(given["id"]))
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    table = command.clicks(30_000)
    long = table.column("ad").to_pylist()
    long[0] = "<script>" + "long" * 60
    table = table.set_column(2, "ad", [long])
    log = command.write(folder / "log.parquet", table)
    held = command.write(folder / "held.parquet", command.clicks(4_000, seed=1))
    arguments = ("train", log, "-l", LABEL, "-m", folder / "m.safetensors", "--bits", 14)
    code, _, err = invoke(*arguments, "--validate", held, "--report", folder / "r.html")
    assert code == 0, err
    assert f"Report: {folder / 'r.html'}" in err
    return folder / "r.html"


def test_the_page_is_valid_and_self_contained(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text
    parsed = Page(text)
    assert parsed.open == []
    assert parsed.sections == SECTIONS
    assert "script" not in parsed.tags
    assert len(parsed.ids) == len(set(parsed.ids))
    assert parsed.tags.count("svg") == 12
    assert all(link.startswith("#") and link[1:] in parsed.ids for link in parsed.links)
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    assert all(word in text for word in ("validation, pass 1", "--bits", "site=site"))


def section(page: Path, name: str) -> str:
    """Return the text of a section, without its pictures."""
    text = page.read_text(encoding="utf-8")
    found = re.search(f'<section id="{name}">(.*?)</section>', text, re.DOTALL)
    assert found
    return re.sub("<[^>]*>", " ", re.sub(r"<svg.*?</svg>", "", found[1], flags=re.DOTALL))


def test_calibration_by_tenths(page: Path) -> None:
    model = ctr.load(page.with_name("m.safetensors"))
    held = pq.read_table(page.with_name("held.parquet"))
    p = model.predict_proba(held)[:, 1]
    y = held.column(LABEL).to_numpy()
    groups = np.array_split(np.argsort(p, kind="stable"), 10)
    lines = section(page, "calibration").split("ratio")[-1].split("%")
    numbers = np.array([float(word) for line in lines for word in line.split()]).reshape(10, 5)
    np.testing.assert_array_equal(numbers[:, 0], np.arange(1, 11))
    np.testing.assert_allclose(numbers[:, 1], 400, atol=5)
    np.testing.assert_allclose(
        numbers[:, 2], [100 * p[group].mean() for group in groups], rtol=0.01
    )
    np.testing.assert_allclose(numbers[:, 3], [100 * y[group].mean() for group in groups], atol=0.8)


def test_contributions(page: Path) -> None:
    text = section(page, "contributions")
    assert "the first 20,000 rows once with all columns" in text
    rises = {name: float(re.search(rf" {name} +([+-][.0-9]+)", text)[1]) for name in ("site", "ad")}  # type: ignore[index]
    assert rises["site"] > 0.001


def test_a_libsvm_log_and_a_tiny_one(tmp_path: Path) -> None:
    lines = [f"{i % 3 == 0:d} {1 + i % 7}:1 {10 + i % 5}:2" for i in range(40)]
    (tmp_path / "log.svm").write_text("\n".join(lines) + "\n")
    code, _, err = invoke(
        *("train", tmp_path / "log.svm", "-l", "y", "-m", tmp_path / "m"),
        *("--report", tmp_path / "r.html"),
    )
    assert code == 0, err
    sections = [name for name in SECTIONS if name not in ("contributions", "collisions")]
    assert Page((tmp_path / "r.html").read_text(encoding="utf-8")).sections == sections


@pytest.mark.parametrize("label", [0, 1])
def test_labels_that_are_all_alike(tmp_path: Path, label: int) -> None:
    lines = [f"{label} {1 + i % 7}:1 {10 + i % 5}:1" for i in range(600)]
    (tmp_path / "log.svm").write_text("\n".join(lines) + "\n")
    code, _, err = invoke(
        *("train", tmp_path / "log.svm", "-l", "y", "-m", tmp_path / "m"),
        *("--report", tmp_path / "r.html"),
    )
    assert code == 0, err
    assert "learning-curves" in Page((tmp_path / "r.html").read_text(encoding="utf-8")).sections


def test_a_fixed_rate_has_no_experts(tmp_path: Path) -> None:
    log = command.write(tmp_path / "log.parquet", command.clicks(3_000))
    arguments = ("train", log, "-l", LABEL, "-m", tmp_path / "m", "--bits", 14, "--lr", 0.1)
    code, _, err = invoke(*arguments, "--report", tmp_path / "r.html")
    assert code == 0, err
    expected = [name for name in SECTIONS if name != "experts"]
    expected[expected.index("frequency-and-uncertainty")] = "frequency-and-learning-rate"
    assert Page((tmp_path / "r.html").read_text(encoding="utf-8")).sections == expected


def test_experts(page: Path) -> None:
    """The table has what the model says of its experts; the pictures end there."""
    path = page.with_name("m.safetensors")
    model = ctr.load(path)
    text = section(page, "experts")
    for expert in model.experts_:
        numbers = re.escape(f"{expert['weight']:+.3f} {expert['logloss']:.5f}").replace(r"\ ", " +")
        assert re.search(rf"{expert['name']} .*{numbers}", text), expert
    assert re.search(rf"mixture +{model._model.mixture.logloss():.5f}", text)
    assert re.search(rf"guarded +{model.progressive_['logloss']:.5f}", text)
    _, extra = files.read(path)
    curve = extra["training"]["curve"]
    weights, losses = mixed_at(curve[-1])
    assert weights == [expert["weight"] for expert in model.experts_]
    assert losses[:-1] == [expert["logloss"] for expert in model.experts_]
    assert losses[-1] == model._model.mixture.logloss()
    assert len(curve) > 10
    assert all(mixed_at(point)[0] != weights for point in curve[:-1])


def test_points_of_other_trainings(tmp_path: Path) -> None:
    """A curve may begin with points that say nothing of experts, as those of version 0.1."""
    plain = [[4.0 * k, 1.0 * k, 2.0 * k, 1.0 * k, 0.5] for k in range(1, 9)]
    mixed = [[*point, *np.linspace(0, 0.4, 5), *np.linspace(0.5, 0.6, 6)] for point in plain]
    assert all(map(is_point, plain + mixed))
    assert not any(is_point(point[:size]) for point in mixed for size in (0, 4, 6, 10, 15))
    assert pictures.curves(plain[:4] + mixed[4:]) == pictures.curves(plain)
    assert pictures.experts(plain[:4] + mixed[4:]) == pictures.experts(mixed[4:])
    assert pictures.experts(mixed[4:]).count("<svg") == 2


def test_a_training_that_was_resumed_without_points_of_experts() -> None:
    assert pictures.experts([[4.0, 1.0, 2.0, 1.0, 0.5]]) == ""


def test_a_curve_of_one_point_is_no_picture() -> None:
    point = [3.0, 0.0, 2.0, 1.0, np.nan]
    assert "too few examples" in pictures.curves([point])
    assert "<svg" not in pictures.curves([point])
    assert pictures.experts([[*point, *np.linspace(0, 0.4, 5), *np.linspace(0.5, 0.6, 6)]]) == ""
    # Labels that are all alike have a logloss only.
    assert pictures.curves([point, [6.0, 0.0, 3.0, 1.0, np.nan]]).count("<svg") == 1


def test_a_log_without_positives_has_no_gains() -> None:
    progressive = Progressive()
    progressive.add(np.linspace(-2, 1, 50, dtype=np.float32), np.zeros(50, np.float32))
    assert pictures.lift(progressive) == "<p>There are no positives.</p>"
    assert pictures.reliability(progressive).count("<svg") == 1


def test_a_phone_shows_legible_text(page: Path) -> None:
    for svg in re.findall(r"<svg.*?</svg>", page.read_text(encoding="utf-8"), re.DOTALL):
        box = re.search(r'viewBox="0 0 ([.0-9]+) ', svg)
        assert box
        sizes = [float(size) for size in re.findall(r"font-size: ([.0-9]+)px", svg)]
        assert "DejaVu" not in svg
        assert sizes
        assert min(sizes) * 360 / float(box[1]) >= 11


def test_features_as_text() -> None:
    assert feature_text([("site", "a"), ("site*ad", ("b", None))]) == "site=a | site*ad=b*(missing)"
    assert (
        feature_text([("user", 1), ("user", None), ("ad", 2)]) == "user=1 | user=(missing) | 1 more"
    )


def board(rows: int = 20_000) -> tuple[Progressive, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    margins = rng.normal(-2, 1.5, rows).astype(np.float32)
    y = (rng.random(rows) < 1 / (1 + np.exp(-margins))).astype(np.float32)
    progressive = Progressive()
    progressive.add(margins, y)
    return progressive, margins.astype(np.float64), y


def test_calibration_groups() -> None:
    progressive, margins, y = board()
    predicted, observed, weight = calibration_groups(progressive, 10)
    groups = np.array_split(np.argsort(margins, kind="stable"), 10)
    p = 1 / (1 + np.exp(-margins))
    np.testing.assert_allclose(weight, 2000, rtol=0.01)
    np.testing.assert_allclose(predicted, [p[group].mean() for group in groups], rtol=5e-3)
    np.testing.assert_allclose(observed, [y[group].mean() for group in groups], atol=2e-3)


def test_the_area_under_the_gains_is_the_auc() -> None:
    progressive, margins, y = board()
    shown, hit = gains(progressive)
    assert (shown[0], hit[0], shown[-1], hit[-1]) == (0, 0, 1, 1)
    area = float(np.sum(np.diff(shown) * (hit[1:] + hit[:-1]) / 2))
    share = float(y.mean())
    auc = (area - share / 2) / (1 - share)
    assert auc == pytest.approx(roc_auc_score(y, margins), abs=1e-3)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_in_a_browser(page: Path, tmp_path: Path, width: int) -> None:
    probe = (
        "<script>addEventListener('load', () => { const w = document.documentElement;"
        "const wide = [...document.querySelectorAll('svg, p, h1, h2, figure')].filter("
        "e => e.getBoundingClientRect().right > innerWidth + 1).length;"
        "const text = [...document.querySelectorAll('svg')].filter("
        "e => e.getBoundingClientRect().height < 100).length;"
        "w.setAttribute('data-found', [w.scrollWidth > innerWidth, wide, text].join()); })"
        "</script></body>"
    )
    copy = tmp_path / "probe.html"
    # A browser window has a minimum width, but a frame can be as narrow as a phone.
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<iframe src='probe.html' width={width} height=900></iframe><script>"
        "addEventListener('load', () => document.body.append('found ' + document.querySelector("
        "'iframe').contentDocument.documentElement.dataset.found))</script>"
    )
    process = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--window-size=1400,1000", frame.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "found false,0,0" in process.stdout, process.stdout[-300:]
