"""The text of a diagnosis: the table and the paragraph that ``adagrad diagnose`` prints.

Numbers come from `verdict`; nothing is computed here beyond units and rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from adagrad._text import counted, listed, printable, three_digits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from adagrad.ctr.diagnosis.conditioning import Spectrum
    from adagrad.ctr.diagnosis.occupancy import Estimate
    from adagrad.ctr.diagnosis.verdict import Diagnosis, Quality

__all__ = ["in_words", "show", "type_name"]

WIDTH = 100

_KINDS = {
    "categorical": "categories",
    "log2-bins": "log2 bins",
    "value": "values",
    "calendar": "hour of day, day of week and hour of week",
    None: "nothing, since the first rows have no value",
}

_TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    "text": lambda kind: kind in (pa.string(), pa.large_string(), pa.string_view()),
    "date": pa.types.is_date,
    "time": pa.types.is_time,
    "timestamp": pa.types.is_timestamp,
    "duration": pa.types.is_duration,
    "decimal": pa.types.is_decimal,
    "empty": pa.types.is_null,
}

Row = tuple[str, str, str]  # name, value, explanation


def in_words(kinds: Mapping[str, str | None], types: Mapping[str, pa.DataType]) -> str:
    """Describe which columns became features, and how.

    For example "a, b (text), c (int64) as categories; d (float64) as values".
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for name, kind in kinds.items():
        groups.setdefault(_KINDS[kind], {}).setdefault(type_name(types[name]), []).append(name)
    return "; ".join(
        ", ".join(f"{listed(names)} ({name})" for name, names in of_type.items()) + f" as {what}"
        for what, of_type in groups.items()
    )


def type_name(kind: pa.DataType) -> str:
    """Return the type of the values of a column, by the name that a user knows."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return type_name(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return type_name(kind.value_type)
    if types.is_nested(kind) and hasattr(kind, "value_type"):
        return f"lists of {type_name(kind.value_type)}"
    if types.is_floating(kind):
        return f"float{kind.bit_width}"
    for name, belongs in _TYPES.items():
        if belongs(kind):
            return name
    return str(kind)


def show(
    console: Console, name: str, features: str, of: Diagnosis, decided: Sequence[str] = ()
) -> None:
    """Print the findings and the verdict: as a table on a terminal, else as lines.

    Parameters
    ----------
    console : rich.console.Console
    name : str
        Name of the log.
    features : str
        What its features are; see `in_words`.
    decided : sequence of str, default ()
        Lines about the columns whose kind the first rows have decided.
    of : Diagnosis
    """
    positive = "" if of.positive is None else f", {100 * of.positive:.3g} % of them positive"
    console.print(
        f"{printable(name)}: {counted(of.rows, 'row')}{positive}", markup=False, soft_wrap=True
    )
    for line in (f"features: {features}", *decided):
        console.print(printable(line), markup=False, soft_wrap=True)
    console.print()
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
    quality = ("normalized entropy", "-", f"not known: {of.no_quality}")
    if of.quality is not None:
        note = f"of logistic regression on the first {of.quality.rows:,} rows{_doubt(of.quality)}"
        quality = ("normalized entropy", f"{of.quality.normalized_entropy:.4f}", note)
    return [
        ("suggested table", f"{bits} bits", sharing),
        (
            "  its memory",
            wide,
            f"params and accumulators in float32; {mixed} with params in bfloat16, {narrow} with"
            " both in bfloat16",
        ),
        quality,
    ]


def _doubt(quality: Quality) -> str:
    return "" if quality.normalized_entropy < 1 else ", no better than the base rate"


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
