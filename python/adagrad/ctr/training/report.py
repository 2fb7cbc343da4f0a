"""``adagrad train --report``: one self-contained page about a training.

Pictures are SVG by matplotlib, inside the page. The page loads nothing and has no script. Its
numbers come from `Progressive` and from a sample of the log.
"""

from __future__ import annotations

import dataclasses
import html
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from adagrad import __version__
from adagrad._atomic import writing
from adagrad._text import broken_rows, counted, metric_texts, printable
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.training import insight, pictures
from adagrad.ctr.training.contribution import contributions
from adagrad.ctr.training.options import option_name, option_text
from adagrad.ctr.training.sample import order_text

if TYPE_CHECKING:
    import pyarrow as pa

    from adagrad.ctr.encoding.examples import Examples
    from adagrad.ctr.learners.progressive import Progressive
    from adagrad.ctr.training.run import Training

__all__ = ["write_report"]

SAMPLE_ROWS = 20_000
TOP_FEATURES = 20


def write_report(path: str | os.PathLike[str], training: Training, *, seconds: float) -> None:
    """Write the page.

    Parameters
    ----------
    path : str or PathLike
        The HTML file.
    training : Training
        The training, after its last pass.
    seconds : float
        How long it took.
    """
    scores = training.board or training.progressive
    assert scores is not None
    of = "the held-out log" if training.board else "the first pass, before learning"
    sections = [
        _section("Result", _results(training, seconds)),
        *_quality(training, scores, of),
        *([] if training.sample is None else _sampled(training, training.sample)),
        _section("Settings", _settings(training)),
    ]
    page = PAGE.format(
        title=_escaped(f"{training.path.name}: {counted(training.examples, 'example')}"),
        style=STYLE,
        body="\n".join(sections),
        version=__version__,
    )
    with writing(path) as file:
        file.write(page.encode())


# -- sections -----------------------------------------------------------------------------------


def _results(training: Training, seconds: float) -> str:
    assert training.progressive is not None
    rows = [("progressive, first pass", training.progressive.metrics())]
    rows += [
        (f"validation, pass {number}", metrics)
        for number, metrics in enumerate(training.validation, start=1)
    ]
    body = [[name, *metric_texts(metrics)] for name, metrics in rows]
    notes = [
        f"{counted(training.examples, 'example')} learned in"
        f" {counted(training.pass_number, 'pass', 'passes')} and {seconds:,.1f} s",
        f"{100 * training.progressive.rate:.3g} % of the first pass are positive",
    ]
    if training.options.has_weights:
        notes.append("metrics, and the sizes of tenths and groups, are weighted")
    if training.skipped:
        notes.append(broken_rows(training.skipped))
    if training.ordered is not None:
        notes.append(order_text(training.ordered))
    return _table(["", "logloss", "NE", "AUC", "calibration"], body) + _paragraph(
        "; ".join(notes) + "."
    )


def _quality(training: Training, scores: Progressive, of: str) -> list[str]:
    return [
        _section(
            "Learning curves",
            pictures.curves(training.curve),
            "The model predicts every example before it learns from it. NE, normalized entropy, is"
            " the logloss divided by that of always predicting the share of positives; below 1 is"
            " better than that. The pale line covers only the examples since the previous point.",
        ),
        *_experts(training),
        _section(
            "Calibration",
            _beside(pictures.reliability(scores), _deciles(scores)),
            f"Mean prediction and share of positives in {pictures.GROUPS} groups of equal size,"
            f" from the predictions on {of}. On the dashed line predictions are right on average:"
            " of the ads predicted at 3 %, 3 of 100 are clicked. The table has tenths of the"
            " examples, least likely first.",
        ),
        _section(
            "Gains and lift",
            pictures.lift(scores),
            "Gains: the share of all positives that the most likely examples contain. Lift: how"
            " many times more frequent positives are among them than on average. From the"
            f" predictions on {of}.",
        ),
    ]


def _experts(training: Training) -> list[str]:
    rows = insight.expert_rows(training.estimator._model)
    if not rows:
        return []
    table = _table([*insight.EXPERT_HEADS], rows)
    body = pictures.experts(training.curve) + table
    has_pairs = training.estimator._model.pair_mixing is not None
    about = insight.ABOUT_EXPERTS + (insight.ABOUT_PAIRS if has_pairs else "")
    return [_section("Experts", body, about)]


def _deciles(scores: Progressive) -> str:
    rows = [[f"{number}", *texts] for number, texts in enumerate(insight.deciles(scores), start=1)]
    return _table(["tenth", "examples", "predicted", "observed", "ratio"], rows)


def _sampled(training: Training, sample: pa.RecordBatch) -> list[str]:
    """Return the sections that need rows of the log."""
    sample = sample.slice(0, SAMPLE_ROWS)
    x = training.encoder.transform(sample)
    found = insight.sampled_slots(training.estimator._model, x)
    names = insight.features_in_sample(training.encoder, sample)
    rows = f"the first {len(x):,} rows of this run"
    sections = [
        _frequency(found, rows),
        _section(
            "Strongest features",
            _features(found, names),
            f"The {TOP_FEATURES} features with the largest absolute weight in {rows}. Features"
            " separated by | share a slot.",
        ),
    ]
    if isinstance(training.encoder, HashingEncoder):
        sections += _columns(training, sample, x)
        sections.append(
            _section(
                "Collisions",
                _collisions(training.encoder, sample),
                f"The share of distinct values in {rows} whose slot also holds another value, of"
                " any field, and the share to expect by chance.",
            )
        )
    return sections


def _frequency(found: insight.Slots, rows: str) -> str:
    if found.accumulators is None:
        return _section(
            "Frequency and uncertainty",
            pictures.rates(found, "variance of the weight"),
            f"Each dot is a feature in {rows}: how often it occurs there, and the variance of its"
            " weight in the Bayesian expert. It starts at 0.1 and falls with every example.",
        )
    return _section(
        "Frequency and learning rate",
        pictures.rates(found, "effective learning rate"),
        f"Each dot is a feature in {rows}: how often it occurs there, and the learning rate of"
        " its next step. Rare features keep a large rate; that of common features falls.",
    )


def _columns(training: Training, sample: pa.RecordBatch, x: Examples) -> list[str]:
    assert isinstance(training.encoder, HashingEncoder)
    y = sample.column(training.options.label).to_numpy()
    weights, _ = training.estimator._model.linear()
    found = contributions(training.encoder, x, y, weights)
    if found is None:
        return []
    rows = [[*one.texts()] for one in found.columns]
    table = _table(["without", "rise in logloss", "± 1 σ"], rows)
    return [_section("Contributions", _beside(pictures.contributed(found), table), found.text())]


def _features(found: insight.Slots, names: dict[int, list[tuple[str, Any]]]) -> str:
    assert found.counts is not None
    order = np.argsort(-np.abs(found.weights), kind="stable")[:TOP_FEATURES]
    rows = [
        [
            insight.feature_text(names.get(int(found.slots[at]), [])),
            f"{found.weights[at]:+.3f}",
            f"{found.rates[at]:.2g}",
            f"{found.counts[at]:,}",
        ]
        for at in order.tolist()
    ]
    measure = "variance" if found.accumulators is None else "rate"
    return _table(["feature", "weight", measure, "count"], rows)


def _collisions(encoder: HashingEncoder, sample: pa.RecordBatch) -> str:
    rows = [
        [
            name,
            f"{int(numbers['values']):,}",
            f"{100 * numbers['shared']:.2f} %",
            f"{100 * numbers['expected']:.2f} %",
        ]
        for name, numbers in encoder.collisions(sample).items()
    ]
    return _table(["field", "distinct values", "share a slot", "by chance"], rows)


def _settings(training: Training) -> str:
    settings = training.estimator._model.settings
    rule = settings.rule
    rows = [["model", type(training.estimator).__name__]]
    rows += [["lr", "auto" if rule is None else f"{rule.lr:g}"]]
    rows += [["slots", f"{settings.n_slots:,}"]]
    if rule is not None:
        rows += [["eps", f"{rule.eps:g}"]]
    for field in dataclasses.fields(training.options):
        value = getattr(training.options, field.name)
        if field.name != "lr" and value not in (None, (), False):  # 0 and 0.0 equal False
            rows.append([option_name(field.name), "yes" if value is True else option_text(value)])
    rows.append(["passes", f"{training.pass_number}"])
    rows.append(["log", ", ".join(training.log.paths[:20])])
    return _table(["", ""], rows, words=True)


# -- HTML -----------------------------------------------------------------------------------------


def _table(heads: list[str], rows: list[list[str]], words: bool = False) -> str:
    head = "".join(f"<th>{_escaped(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{_escaped(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    kind = ' class="words"' if words else ""
    head = "" if words else f"<thead><tr>{head}</tr></thead>"
    return f'<div class="scroll"><table{kind}>{head}<tbody>{body}</tbody></table></div>'


def _beside(figures: str, table: str) -> str:
    """Return pictures with a table in the place of one more."""
    return f"{figures.removesuffix('</div>')}<figure>{table}</figure></div>"


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _paragraph(text: str) -> str:
    return f"<p>{_escaped(text)}</p>"


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
figure table { font-size: .82rem; }
figure th, figure td { padding: .2rem .3rem; }
figure td:first-child { min-width: 2.5rem; }
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
