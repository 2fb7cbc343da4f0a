"""``adagrad tune``: the winner, the command line that trains it, and how a search ends."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa

import command
from command import LABEL, invoke

ROWS = 4_000


def planted(rows: int, seed: int) -> pa.Table:
    """A log in which two columns say nothing alone, and much together."""
    random = np.random.default_rng(seed)
    a, b, c = random.integers(0, 6, (3, rows))
    label = random.random(rows) < np.where((a + b) % 2, 0.6, 0.1)
    return pa.table(
        {
            LABEL: label.astype(np.int64),
            "a,b": pa.array([f"a{x}" for x in a]),
            "b": pa.array([f"b{x}" for x in b]),
            "c": pa.array([f"c{x}" for x in c]),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    command.write(folder / "a log.tsv", planted(ROWS, 0))
    command.write(folder / "later.tsv", planted(ROWS, 1))
    return folder


def test_the_command_line_trains_the_winner(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    how = ("--model-type", "lr", "--ignore", '"a,b",c', "--ignore", "c", "--numeric", "log2-bins")
    for more in (how[:2], how):
        code, out, err = invoke("tune", "a log.tsv", "-l", LABEL, *more, "--trials", 9, "-j", 1)
        assert code == 0, err
        assert "the last 400 of 4,000 rows are held out" in err
        if "--ignore" in more:
            break
        *_, of_default, of_winner, _, line = out.splitlines()
        assert of_default.endswith("  the default")
        assert of_winner.endswith("  --cross 'b*a,b'")
        words = shlex.split(line)
        assert words[:3] == ["adagrad", "train", "a log.tsv"]
        assert words[-2:] == ["--holdout-last", "0.1"]
        words[words.index("model.safetensors")] = str(tmp_path / "m")
        code, _, said = invoke(*words[1:])
        assert code == 0, said
        (validation,) = (x for x in said.splitlines() if x.startswith("validation, pass 1"))
        assert validation.split()[4] == of_winner.split()[1]
        losses = []
        for model in ("m", "usual"):
            if model == "usual":
                command.train("a log.tsv", tmp_path / "usual")
            found = invoke("evaluate", tmp_path / model, "later.tsv")[1].split()
            losses.append(float(found[found.index("logloss") + 1]))
        assert losses[0] < losses[1] - 0.03
    line = out.splitlines()[-1]
    assert " --ignore '\"a,b\",c' --ignore c --numeric log2-bins --holdout-last 0.1" in line


def test_the_number_of_processes_does_not_matter(folder: Path) -> None:
    arguments = ("tune", folder / "a log.tsv", "-l", LABEL, "--trials", 5, "--bits", "12,10")
    several = invoke(*arguments, "--jobs", 2)
    assert several[0] == 0, several[2]
    assert "--bits 12" in several[1].splitlines()[-1]
    assert several == invoke(*arguments, "--jobs", 1)


def test_the_default_wins_where_there_is_nothing_to_find(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 2, 2000)
    log = command.write(tmp_path / "log.tsv", pa.table({LABEL: labels, "x": ["a", "b"] * 1000}))
    code, out, err = invoke("tune", log, "-l", LABEL, "--trials", 4, "-j", 1)
    assert code == 0, err
    assert "No configuration is better than the default by two standard errors." in out
    assert "--model model.safetensors --holdout-last 0.1" in out


def test_ids_of_libsvm(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    ids = random.integers(1, 50, 1000)
    lines = [f"{int(random.random() < id / 99)} {id}:1\n" for id in ids.tolist()]
    (tmp_path / "log.libsvm").write_text("".join(lines), encoding="utf-8")
    arguments = ("tune", tmp_path / "log.libsvm", "-l", "y", "--trials", 4, "-j", 1)
    code, out, err = invoke(*arguments)
    assert code == 0, err
    assert "--model-type fm" in out
    for more, message in (
        (("--model-type", "ffm"), "ffm needs fields"),
        (("--cross", "a*b"), "--cross needs columns"),
    ):
        assert message in invoke(*arguments, *more)[2]


def test_a_log_of_one_label(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(f"{LABEL},x\n" + "0,a\n0,b\n" * 50)
    code, out, err = invoke("tune", tmp_path / "log.csv", "-l", LABEL, "-j", 1)
    assert (code, out) == (1, "")
    assert f"the label '{LABEL}' is 0 in all rows" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-",), "the standard input can be read only once: give a file"),
        (("later.tsv", "--bits", "12.5"), "--bits must be whole numbers of at most 32"),
        (("later.tsv", "--factors", "4,x"), "'4,x' is not a list of numbers"),
        (("later.tsv", "--half-life", "3"), "each number must be at least 64"),
        (("later.tsv", "--model-type", "svm"), "the types are lr, fm and ffm"),
        (("later.tsv", "--cross", "b*none"), "no column 'none'"),
        (("later.tsv", "--holdout-last", "1e-6"), "leaves none to hold out"),
    ],
)
def test_refusals(
    folder: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    code, out, err = invoke("tune", *arguments, "-l", LABEL)
    assert (code > 0, out, message in err) == (True, "", True), err


def in_group(group: int) -> list[str]:
    """Return the processes of a group that have not ended."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = file.read_text().rpartition(")")
            state, _, number = rest.split()[:3]
            if int(number) == group and state != "Z":
                found.append(name)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="lists processes as Linux does")
def test_ctrl_c_ends_all_processes_and_prints_what_is_known(folder: Path, tmp_path: Path) -> None:
    arguments = [folder / "a log.tsv", "-l", LABEL, "--jobs", "2", "--trials", "200"]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, "tune", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert b"configurations" in process.stderr.readline()
        assert process.stderr.readline() == b"scored\n"
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
        out = process.stdout.read()
        assert b"interrupted" in process.stderr.read()
        began = time.monotonic()
    assert process.returncode == 130
    assert b"the default" in out
    while others := in_group(process.pid):
        time.sleep(0.01)
        assert time.monotonic() < began + 60, others
    assert not list(tmp_path.iterdir())


SLOW = """
import sys
from adagrad.commands import main, tune
count = 0
def show(self, score, number, total):
    global count
    if number == 3:
        print("scored", file=sys.stderr, flush=True)
tune._Progress.__call__ = show
if __name__ == "__main__":
    sys.argv[0] = "adagrad"
    main.main()
"""


def test_weights_count_as_they_do_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = planted(1_000, 2)
    weights = np.random.default_rng(3).choice([0.0, 0.5, 3.0], len(log))
    command.write(tmp_path / "log.tsv", log.append_column("w", pa.array(weights)))
    rows = zip(log.to_pylist(), weights, strict=True)
    lines = [f"{2 * row[LABEL] - 1} {w:g} |a {row['a,b']} |b {row['b']}" for row, w in rows]
    (tmp_path / "log.vw").write_text("\n".join([*lines, ""]))
    for name, more in (("log.tsv", ["--weight", "w"]), ("log.vw", [])):
        how = ("-l", LABEL, *more, "--model-type", "lr", "--trials", 2, "-j", 1)
        code, out, err = invoke("tune", name, *how)
        assert code == 0, err
        *_, held_out = (x for x in out.splitlines() if x.endswith("  the default"))
        words = shlex.split(out.splitlines()[-1])
        assert words[7:9] == (["--weight", "w"] if more else ["--holdout-last", "0.1"])
        code, _, said = invoke(*words[1:], "--overwrite")
        assert code == 0, said
        (measured,) = (line for line in said.splitlines() if line.startswith("validation"))
        assert held_out.split()[1] == measured.split()[4]
