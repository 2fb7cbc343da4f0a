"""The text of a diagnosis: the table and the paragraph that ``adagrad diagnose`` prints.

Numbers come from `verdict`; nothing is computed here beyond units and rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adagrad._text import counted, printable, three_digits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from adagrad.ctr.diagnosis.conditioning import Spectrum
    from adagrad.ctr.diagnosis.occupancy import Estimate
    from adagrad.ctr.diagnosis.verdict import Diagnosis, Rate

__all__ = ["in_words", "show"]

WIDTH = 100
MOST_NAMES = 20

_KINDS = {
    "categorical": "categories",
    "log2-bins": "log2 bins",
    "value": "values",
    None: "nothing, since the first rows have no value",
}

Row = tuple[str, str, str]  # name, value, explanation


def in_words(kinds: Mapping[str, str | None]) -> str:
    """Describe which columns became features, and how: "a, b as categories; c as values"."""
    groups: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        groups.setdefault(_KINDS[kind], []).append(name)
    return "; ".join(f"{_shortened(group)} as {what}" for what, group in groups.items())


def _shortened(columns: list[str]) -> str:
    shown = ", ".join(columns[:MOST_NAMES])
    left = len(columns) - MOST_NAMES
    return f"{shown} and {left:,} more" if left > 0 else shown


def show(console: Console, name: str, features: str, of: Diagnosis) -> None:
    """Print the findings and the verdict: as a table on a terminal, else as lines.

    Parameters
    ----------
    console : rich.console.Console
    name : str
        Name of the log.
    features : str
        What its features are; see `in_words`.
    of : Diagnosis
    """
    positive = "" if of.positive is None else f", {100 * of.positive:.3g} % of them positive"
    console.print(
        f"{printable(name)}: {counted(of.rows, 'row')}{positive}", markup=False, soft_wrap=True
    )
    console.print(f"features: {printable(features)}\n", markup=False, soft_wrap=True)
    rows = [*_frequencies(of), *_curvature(of), *_suggestions(of)]
    if console.is_terminal:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(style="dim")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    else:
        for what, value, note in rows:
            line = f"{what:<26}{value:<20}  {note}"
            console.print(line, markup=False, soft_wrap=True)
    console.print()
    console.width = min(console.width, WIDTH)
    console.print(of.verdict.text, markup=False, soft_wrap=not console.is_terminal)


def _frequencies(of: Diagnosis) -> list[Row]:
    counted = "counted exactly" if of.features.error == 0 else "estimated, ± standard error"
    slope = ("Zipf slope", "-", "needs 20 features")
    if of.zipf_slope is not None:
        how = "log count over log rank, least squares over ranks 10 to 1,000"
        slope = ("Zipf slope", f"{of.zipf_slope:.2f}", how)
    low, middle, high = map(three_digits, of.scales)
    return [
        ("features", _with_error(of.features, 1, ",.0f"), counted),
        ("entries per row", three_digits(of.entries / of.rows), "values other than 0"),
        ("seen once", _with_error(of.seen_once, 100, ".1f", " %"), "of the features"),
        (
            "seen 10 times or fewer",
            _with_error(of.rare, 100, ".1f", " %"),
            "of the features, with "
            f"{_with_error(of.rare_entries, 100, '.1f', ' %')} of the entries",
        ),
        slope,
        (
            "gradient scales differ",
            f"{three_digits(of.scale_ratio)} : 1",
            f"99 % quantile {high}, median {middle}, 1 % quantile {low}: root mean square of the"
            " gradient of the logloss at w = 0",
        ),
    ]


def _curvature(of: Diagnosis) -> list[Row]:
    at = of.conditioning
    every = "all" if of.sample_stride == 1 else f"one in {of.sample_stride:,}"
    frequent = "feature" if at.features == 1 else f"{at.features} most frequent features"
    where = f"{counted(at.rows, 'row')} ({every}) and their {frequent}"
    zeros = at.features - at.rank
    rank = f"; without {counted(zeros, 'eigenvalue')} that {'is' if zeros == 1 else 'are'} 0"
    rank = rank if zeros else ""
    return [
        ("condition number", three_digits(at.before.condition), f"of X'X / n, {where}{rank}"),
        ("  rescaled", three_digits(at.after.condition), "to a diagonal of ones"),
        ("eigenvalues", _range(at.before.eigenvalues[-at.rank :]), _discs(at.before)),
        ("  rescaled", _range(at.after.eigenvalues[-at.rank :]), _discs(at.after)),
    ]


def _suggestions(of: Diagnosis) -> list[Row]:
    bits, (wide, mixed, narrow) = of.table.bits, map(_bytes, of.table.bytes.values())
    sharing = "every id is its own slot"
    if of.table.sharing:
        sharing = (
            f"{100 * of.table.sharing:.1f} % of the n features share one of m = 2^{bits} slots:"
            " 1 - (1 - 1/m)^(n-1)"
        )
    rate = ("suggested lr", "-", f"not found: {of.no_rate}")
    if of.rate is not None:
        note = (
            f"best of 8 on the first {of.rate.rows:,} rows, normalized entropy {_entropy(of.rate)}"
        )
        rate = ("suggested lr", f"{of.rate.lr:g}", note)
    return [
        ("suggested table", f"{bits} bits", sharing),
        (
            "  its memory",
            wide,
            f"params and accumulators in float32; {mixed} with params in bfloat16, {narrow} with"
            " both in bfloat16",
        ),
        rate,
    ]


def _entropy(rate: Rate) -> str:
    entropy = rate.normalized_entropy
    text = f"{entropy:.4f}" if entropy < 100 else three_digits(entropy)
    if entropy < 1:
        return text
    hint = "" if entropy < 2 else "; are the columns scaled?"
    return f"{text}, no better than the base rate{hint}"


def _with_error(x: Estimate, factor: float, form: str, unit: str = "") -> str:
    error = f" ± {factor * x.error:{form}}" if x.error else ""
    return f"{factor * x.value:{form}}{error}{unit}"


def _discs(spectrum: Spectrum) -> str:
    # The discs may reach below 0, but no eigenvalue of X'X does.
    low, high = max(spectrum.discs.lower, 0.0), spectrum.discs.upper
    return f"bounds by Gershgorin's discs: {_range([low, high])}"


def _range(values: Any) -> str:
    return f"{three_digits(values[0])} to {three_digits(values[-1])}"


def _bytes(size: int) -> str:
    units = ["KiB", "MiB", "GiB"]
    power = min(max(size.bit_length() - 1, 10) // 10, 3)
    return f"{three_digits(size / 1024**power)} {units[power - 1]}"
