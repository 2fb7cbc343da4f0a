"""Command lines in help texts and pages: parsed as the command would, or run."""

from __future__ import annotations

import gzip
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from click import Context

import command


def blocks(text: str) -> list[str]:
    """Return the blocks of console input in a page."""
    return re.findall(r"```console\n(.*?)```", text, re.DOTALL)


def lines(text: str) -> Iterator[str]:
    """Yield the command lines in a text: lines after ``$`` if there are any, else all."""
    joined = re.sub(r"\\\n\s*", "", text).splitlines()
    prompted = [line[2:] for line in joined if line.startswith("$ ")]
    for line in prompted or joined:
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def calls(line: str) -> Iterator[list[str]]:
    """Yield the words after ``adagrad`` of each call in a command line."""
    for part in re.split(r"\s(?:&&|\||;)\s", line):
        words = shlex.split(part, comments=True)
        if words[:1] == ["adagrad"]:
            yield words[1:]


def arguments(words: list[str]) -> list[str]:
    """Return the words up to a redirection."""
    ends = [words.index(mark) for mark in ("<", ">") if mark in words]
    return words[: min(ends, default=len(words))]


def parse(line: str) -> list[Context]:
    """Parse each call of ``adagrad`` in a command line; an unknown option raises."""
    found = []
    for words in calls(line):
        name, *rest = arguments(words)
        found.append(command.command.commands[name].make_context(name, rest))
    return found


def run(line: str) -> str:
    """Run a call of ``adagrad`` in the working directory, and return what it prints.

    The line may begin with ``zcat FILE |``, and may end with ``< FILE`` or ``> FILE``.
    """
    words, data = shlex.split(line, comments=True), None
    if words[0] == "zcat":
        data, words = gzip.decompress(Path(words[1]).read_bytes()), words[3:]
    if "<" in words:
        data = Path(words[words.index("<") + 1]).read_bytes()
    assert words[0] == "adagrad", line
    code, out, err = command.invoke(*arguments(words)[1:], input=data)
    assert code == 0, (line, err)
    if ">" in words:
        Path(words[words.index(">") + 1]).write_text(out, encoding="utf-8")
    return out + err
