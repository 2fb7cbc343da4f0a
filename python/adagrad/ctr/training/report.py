"""``adagrad train --report``: one self-contained page about a training.

Pictures are SVG by matplotlib, inside the page; nothing comes from elsewhere, and there is no
script. What is drawn is computed here from `Progressive` and a sample of the log.
"""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adagrad import __version__
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.training import insight, pictures

if TYPE_CHECKING:
    from adagrad.ctr.training.run import Training

__all__ = ["write_report"]

SAMPLE_ROWS = 20_000


def write_report(path: str | os.PathLike[str], training: Training, *, seconds: float) -> None:
    """Write the page.

    Parameters
    ----------
    path : str or PathLike
        An HTML file.
    training : Training
        After its last pass.
    seconds : float
        How long it took.
    """
    board = training.board or training.progressive
    assert board is not None
    where = "the held-out log" if training.board else "progressive predictions of the first pass"
    sample = training.sample
    sections = [
        _section("Result", _results(training, seconds)),
        _section(
            "Learning curves",
            pictures.curves(training.curve),
            "Every example is predicted before it is learned from. NE, normalized entropy, is the"
            " logloss over that of always predicting the share of positives: below 1 is better."
            " Pale: only the examples since the point before.",
        ),
        _section(
            "Calibration",
            pictures.reliability(board),
            f"Mean prediction against the share of positives in {pictures.GROUPS} groups of equal"
            f" size, on {where}. On the line, 3 of 100 ads predicted at 3 % are clicked.",
        ),
        _section(
            "Gains and lift",
            pictures.lift(board),
            f"If only the likeliest examples were shown: the share of all positives among them,"
            f" and how many times more frequent positives are than on average. On {where}.",
        ),
    ]
    if sample is not None:
        sample = sample.slice(0, SAMPLE_ROWS)
        x = training.encoder.transform(sample)
        found = insight.in_sample(training.estimator._model, x)
        names = insight.names(training.encoder, sample)
        rows = f"the first {len(x):,} rows of this run"
        sections += [
            _section(
                "Frequency and learning rate",
                pictures.rates(found),
                f"Each dot is a feature of {rows}: how often it occurs there, and the rate of its"
                " next step. What is rare goes on learning, what is common settles.",
            ),
            _section("Strongest features", _features(found, names), f"Of {rows}, by weight."),
        ]
        if isinstance(training.encoder, HashingEncoder):
            sections.append(
                _section(
                    "Collisions",
                    _collisions(training.encoder, sample),
                    f"Of the distinct values in {rows}: how many share their slot with another"
                    " value of any field, and how many would by chance.",
                )
            )
    sections.append(_section("Settings", _settings(training)))
    title = f"{training.path.name}: {training.examples:,} examples"
    page = PAGE.format(
        title=html.escape(title), style=STYLE, body="\n".join(sections), version=__version__
    )
    Path(path).write_text(page, encoding="utf-8")


# -- tables -------------------------------------------------------------------------------------


def _results(training: Training, seconds: float) -> str:
    assert training.progressive is not None
    rows = [("progressive, first pass", training.progressive.metrics())]
    rows += [
        (f"validation, pass {number}", metrics)
        for number, metrics in enumerate(training.validation, start=1)
    ]
    names = ("logloss", "normalized_entropy", "auc", "calibration")
    body = [[name, *(f"{metrics[key]:.4f}" for key in names)] for name, metrics in rows]
    sums = training.progressive.sums
    passes = "one pass" if training.pass_number == 1 else f"{training.pass_number} passes"
    notes = [
        f"{training.examples:,} examples learned in {passes}",
        f"{100 * training.progressive.rate:.3g} % of {int(sums[0]):,} positive",
        f"{seconds:,.1f} s",
    ]
    if training.skipped:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(training.skipped.items()))
        notes.append(f"broken rows skipped: {kinds}")
    return _table(["", "logloss", "NE", "AUC", "calibration"], body) + _paragraph(
        "; ".join(notes) + "."
    )


def _features(found: insight.Slots, names: dict[int, list[tuple[str, Any]]]) -> str:
    assert found.counts is not None
    order = np.argsort(-np.abs(found.weights), kind="stable")[:20]
    rows = [
        [
            insight.label(names.get(int(found.slots[at]), [])),
            f"{found.weights[at]:+.3f}",
            f"{found.rates[at]:.2g}",
            f"{found.counts[at]:,}",
        ]
        for at in order.tolist()
    ]
    return _table(["feature", "weight", "rate", "count"], rows)


def _collisions(encoder: HashingEncoder, sample: Any) -> str:
    rows = [
        [
            name,
            f"{int(numbers['values']):,}",
            f"{100 * numbers['shared']:.2f} %",
            f"{100 * numbers['expected']:.2f} %",
        ]
        for name, numbers in encoder.collisions(sample).items()
    ]
    return _table(["field", "values", "share a slot", "by chance"], rows)


def _settings(training: Training) -> str:
    from dataclasses import asdict

    settings = training.estimator._model.settings
    rule = settings.rule
    rows = [["model", type(training.estimator).__name__], ["lr", f"{rule.lr:g}"]]
    rows += [["slots", f"{settings.n_slots:,}"], ["eps", f"{rule.eps:g}"]]
    for name, value in asdict(training.options).items():
        if value not in (None, (), False) and name not in ("lr",):
            text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            rows.append(["--" + name.replace("_", "-"), text])
    rows.append(["passes", f"{training.pass_number}"])
    rows.append(["log", ", ".join(training.log.paths[:20])])
    return _table(["", ""], rows, words=True)


def _table(heads: list[str], rows: list[list[str]], words: bool = False) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    kind = ' class="words"' if words else ""
    head = "" if words else f"<thead><tr>{head}</tr></thead>"
    return f'<div class="scroll"><table{kind}>{head}<tbody>{body}</tbody></table></div>'


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _section(title: str, body: str, text: str = "") -> str:
    name = title.lower().replace(" ", "-")
    words = _paragraph(text) if text else ""
    return f'<section id="{name}"><h2>{html.escape(title)}</h2>{words}{body}</section>'


STYLE = """
:root { color-scheme: light dark; --blue: light-dark(#0072b2, #56b4e9); }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 72rem;
  background: light-dark(#ffffff, #16181c); color: light-dark(#1d2127, #e4e6ea); }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; margin: .5rem 0 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .25rem; }
p { margin: .25rem 0 .75rem; max-width: 46rem; color: light-dark(#4a505a, #a9afb9); }
.pictures { display: grid; gap: .5rem 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }
figure { margin: 0; max-width: 32rem; }
svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { text-align: right; padding: .25rem .6rem;
  border-bottom: 1px solid light-dark(#dfe2e7, #34383f); }
th:first-child, td:first-child, .words td { text-align: left; padding-left: 0; }
td:first-child, .words td { overflow-wrap: anywhere; min-width: 6rem; }
th { font-weight: 600; }
@media (max-width: 30rem) { table { font-size: .82rem; } th, td { padding: .25rem .3rem; }
  td:first-child, .words td { min-width: 4.5rem; } }
footer { margin: 2.5rem 0 1rem; color: light-dark(#4a505a, #a9afb9); font-size: .85rem; }
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
<footer>adagrad {version}</footer>
</body>
</html>
"""
