"""The options of the commands that read logs, and the logs opened as the options say."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adagrad._text import listed
from adagrad.commands.terminal import echo

if TYPE_CHECKING:
    from adagrad.ctr.logs.log import Log

__all__ = [
    "LIBSVM_LABEL",
    "LogCommand",
    "check_required",
    "crossed",
    "feature_options",
    "log_options",
    "multi_option",
    "names_option",
    "open_features",
    "parse_delimiter",
    "parse_multi",
    "reader_options",
    "repeated",
    "use_threads",
]

LIBSVM_LABEL = "label"
"""The name of the label of a libsvm log, where it has none, if no option gives one."""

F = TypeVar("F", bound=Callable[..., Any])

REPEATED = "adagrad.repeated"

DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


class LogCommand(click.Command):
    """A command that says so if an option that is not repeatable is given twice.

    The last value counts. A command that does not print `repeated` itself ends with it.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, and note the options that are given twice."""
        try:
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click forgets it for an option without its argument
            raise
        once = [
            x for x in given if isinstance(x, click.Option) and not x.multiple and not x.is_flag
        ]
        ctx.meta[REPEATED] = sorted({x.opts[-1] for x in once if once.count(x) > 1})
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        result = super().invoke(ctx)
        for line in repeated(ctx):
            echo(line, err=True)
        return result


def repeated(ctx: click.Context) -> list[str]:
    """Return what to say about options that are given more than once, at the first call."""
    return [
        f"{name} is given more than once: the last counts" for name in ctx.meta.pop(REPEATED, ())
    ]


def parse_names(text: str) -> list[str]:
    """Return the names in a list with commas.

    A name with a comma is enclosed in double quotes, as in a line of CSV. An empty text is one
    empty name.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"{text!r} is not UTF-8, as names of columns are") from None
    try:
        return next(csv.reader([text]), None) or [""]
    except csv.Error:
        raise click.BadParameter(f"{text!r}: put a name with a line break in quotes") from None


def names_option(*flags: str, help: str) -> Callable[[F], F]:
    """Return an option that takes names with commas between them, and may be repeated."""

    def joined(
        context: click.Context, option: click.Parameter, lists: tuple[str, ...]
    ) -> tuple[str, ...] | None:
        if not lists:
            return None
        return tuple(dict.fromkeys(itertools.chain.from_iterable(map(parse_names, lists))))

    return click.option(*flags, multiple=True, callback=joined, metavar="A,B,...", help=help)


def parse_header(text: str) -> tuple[str, ...]:
    """Return the names of all columns, which must differ."""
    names = tuple(parse_names(text))
    twice = sorted({name for name in names if names.count(name) > 1})
    if "" in names:
        raise click.BadParameter(f"a name is empty in {text!r}")
    if twice:
        raise click.BadParameter(f"two columns have the name {listed(twice, 3)}")
    return names


def parse_delimiter(text: str) -> str:
    r"""Return a delimiter as it is typed: a character, ``tab``, ``\t``, ``\x01`` or ``^A``."""
    if text.lower() in DELIMITERS:
        return DELIMITERS[text.lower()]
    if escape := re.fullmatch(r"\\+(t|x[0-9a-fA-F]{2}|[0-7]{3})", text):
        text = f"\\{escape[1]}".encode().decode("unicode_escape")
    elif control := re.fullmatch(r"\^([A-Z])", text):
        text = chr(ord(control[1]) - ord("A") + 1)
    if len(text) == 1 and text.isascii() and not text.isalnum() and text not in '"\r\n':
        return text
    raise click.BadParameter(
        f"{text!r} is not one character between columns: give one, such as ';', or tab (or '\\t'),"
        " or '\\x01'"
    )


def parse_multi(text: str) -> tuple[str, str]:
    r"""Return the column and the separator of ``COLUMN=SEP``; SEP may be a word, or ``\t``.

    Raises
    ------
    ValueError
        One of them is missing.
    """
    name, _, separator = text.rpartition("=")
    if not separator and name.endswith("="):  # the separator is an equals sign
        name, separator = name[:-1], "="
    if not name or not separator:
        raise ValueError(
            f"--multi {text}: give a column and what separates its values, such as 'genres=|'"
        )
    if separator.lower() in DELIMITERS:
        return name, DELIMITERS[separator.lower()]
    if re.fullmatch(r"\\+(t|x[0-9a-fA-F]{2}|[0-7]{3})|\^[A-Z]", separator):
        return name, parse_delimiter(separator)
    return name, separator


def log_options(command: F) -> F:
    """Add the options that say how to read a log."""
    for option in reversed(
        [
            click.option(
                "--format",
                "file_format",
                type=click.Choice(
                    ["csv", "tsv", "jsonl", "parquet", "arrow", "libsvm", "libffm", "vw"]
                ),
                help="Format of the log. Of vw, Vowpal Wabbit's text, and libffm, a namespace or a"
                " field is a column, hashed as all columns are.  [default: by the suffix or the"
                " content]",
            ),
            click.option(
                "--delimiter",
                type=parse_delimiter,
                metavar="CHAR",
                help="Character between the columns of a CSV or TSV file; tab or '\\t' is a tab,"
                " '\\x01' the character 1.  [default: a comma for CSV, a tab for TSV]",
            ),
            click.option(
                "--names",
                type=parse_header,
                metavar="A,B,...",
                help="Names of all columns of a CSV or TSV file without a header."
                "  [default: c0,c1,...]",
            ),
            click.option(
                "--skip-bad",
                is_flag=True,
                help="Skip and count broken rows. Empty lines at the end of a file are not broken."
                "  [default: stop at the first one]",
            ),
            click.option(
                "-t",
                "--threads",
                type=click.IntRange(1, 1024),
                metavar="N",
                help="Number of threads. It does not change the result.  [default: one per CPU]",
            ),
        ]
    ):
        command = option(command)
    return command


def multi_option(command: F) -> F:
    """Add ``--multi``."""
    return click.option(
        "--multi",
        multiple=True,
        metavar="COLUMN=SEP",
        help="Split the text in this column into several values, such as 'genres=|'; SEP may be"
        " tab, comma, semicolon, pipe or space. The model splits later logs alike. Repeatable.",
    )(command)


def feature_options(command: F) -> F:
    """Add the options that choose the feature columns and those that are text or ids."""
    for option in reversed(
        [
            names_option(
                "--columns",
                help="Use only these columns as features.  [default: all columns but the label]",
            ),
            names_option(
                "--ignore",
                help="Do not use these columns as features. '' is a column without a name.",
            ),
            names_option(
                "--text",
                help="Read these columns as text in all files, so that 007 is not 7 and text may"
                " follow numbers.  [default: by the values of CSV and TSV files and the"
                " types of others]",
            ),
            names_option(
                "--categorical",
                help="Treat the numbers in these columns as ids, so that each distinct number is a"
                " feature. Implies --text.  [default: columns of integers that look like ids]",
            ),
            names_option(
                "--numbers",
                help="Treat the integers in these columns as numbers, encoded as --numeric says,"
                " also if fractions follow.  [default: columns of integers that look like counts]",
            ),
            multi_option,
            names_option(
                "--calendar",
                help="Use the hour of day, day of week and hour of week of the moments in these"
                " columns: dates, timestamps, ISO texts, Unix seconds or YYMMDDHH.  [default:"
                " moments are not features]",
            ),
        ]
    ):
        command = option(command)
    return command


def reader_options(given: dict[str, Any], logs: Sequence[str]) -> dict[str, Any]:
    """Return ``--format``, ``--delimiter`` and ``--names`` as keywords of `open_log`.

    Raises
    ------
    ValueError
        An option does not fit the format of one of the logs.
    """
    from adagrad.ctr.logs.sources import STDIN, find

    format_, files = given["file_format"], [log for log in logs if log != STDIN]
    for name in ("delimiter", "names"):
        if given[name] is None:
            continue
        formats = {format_: STDIN} if STDIN in logs else {}
        formats |= {
            source.format: source.path for source in (find(files, format_) if files else [])
        }
        for found, path in formats.items():
            if found not in ("csv", "tsv", None):
                raise ValueError(f"--{name} is for CSV and TSV logs, but {path} is {found}")
    return {"format": format_, "delimiter": given["delimiter"], "header": given["names"]}


def check_required(
    logs: Sequence[str],
    label: str | None,
    model: Any,
    how: dict[str, Any],
    *,
    begins: bool = False,
) -> None:
    """Raise if ``adagrad train`` lacks a log, a label or a model; name the possible labels.

    A training that begins from a model has the label of the model.
    """
    from adagrad.ctr.logs.opening import open_log
    from adagrad.ctr.logs.sources import NAMELESS_LABEL, STDIN

    if not logs:
        raise click.UsageError("no LOG is given: adagrad train LOG... --label COLUMN --model FILE")
    if label is None and not begins:
        which = "give the column to predict as -l COLUMN"
        if STDIN in logs:
            raise click.UsageError(f"--label is missing: {which}")
        with open_log(logs, label=None, **how) as log:
            if log.sources[0].format in NAMELESS_LABEL:
                raise click.UsageError("--label is missing: give any name for it, such as -l label")
            names = listed(log.schema.names, 50)
        raise click.UsageError(f"--label is missing: {which}; the columns of {logs[0]} are {names}")
    if model is None:
        raise click.UsageError(
            "--model is missing: give the file to write, such as -m model.safetensors"
        )


def crossed(crosses: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the columns of each ``--cross``; a name may contain ``*`` itself.

    Raises
    ------
    ValueError
        A part is not a feature, or the text can be split in two ways.
    """
    from adagrad.ctr.logs.mistakes import missing_columns

    known = set(names)

    def ways(parts: list[str]) -> list[tuple[str, ...]]:
        if not parts:
            return [()]
        return [
            (name, *rest)
            for end in range(1, len(parts) + 1)
            if (name := "*".join(parts[:end])) in known
            for rest in ways(parts[end:])
        ]

    found = []
    for text in crosses:
        parts = text.split("*")
        several = [way for way in ways(parts) if len(way) > 1]
        if not several:
            if len(parts) == 1 or text in known:
                raise ValueError(f"--cross {text}: name two columns or more, as A*B")
            odd = next((part for part in parts if part not in known), text)
            raise ValueError(f"--cross {text}: {missing_columns([odd], names)}")
        if len(several) > 1:
            shown = " or ".join(" and ".join(map(repr, way)) for way in several[:2])
            raise ValueError(f"--cross {text} may mean {shown}: rename a column")
        found.append(several[0])
    return tuple(found)


def use_threads(threads: int | None) -> None:
    """Set the number of threads of the kernels; None means one per CPU that is available."""
    import adagrad
    from adagrad._cpus import available_cpus

    adagrad.set_num_threads(threads or available_cpus())


def open_features(
    logs: Sequence[str],
    label: str | None,
    columns: Sequence[str] | None,
    ignore: Sequence[str],
    text: Sequence[str],
    multi: Sequence[str] = (),
    *,
    weight: str | None = None,
    negative_rate: str | None = None,
    **how: Any,
) -> Log:
    """Open a log with the columns that ``--columns`` and ``--ignore`` leave.

    Ignored columns are not even parsed, so that broken values in them do no harm.
    """
    from adagrad.ctr.logs.opening import open_log
    from adagrad.ctr.logs.sources import find

    if columns and ignore:
        raise ValueError("--columns and --ignore exclude each other: --columns ignores all others")
    targets: dict[str, Any] = {"label": label, "weight": weight, "negative_rate": negative_rate}
    for role, name in targets.items():
        what = role.replace("_", " ")
        if columns and name in columns:
            raise ValueError(f"--columns: {name!r} is the {what}, which is never a feature")
        if name is not None and name in ignore:
            raise ValueError(f"--ignore: {name!r} is the {what}, which is never a feature")
    if find(logs, how["format"])[0].format == "libsvm":
        if ignore or columns:
            raise ValueError("--ignore and --columns need columns, but libsvm logs have ids")
        if multi:
            raise ValueError("--multi needs columns, but libsvm logs have ids")
        text = ()
    separators = dict(map(parse_multi, multi))
    for name in separators:
        if name in targets.values() or name in ignore:
            raise ValueError(f"--multi: {name!r} is not a feature")
    how["multi"] = separators
    return open_log(logs, **targets, columns=columns, ignore=ignore, text=text, **how)
