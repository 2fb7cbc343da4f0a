"""``adagrad train --resume``: an interrupted training ends with the bits of a whole one."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import command
from adagrad import ctr
from command import LABEL, ROWS, feed, finish, invoke, slow, tensors, train


@pytest.fixture(scope="module")
def whole(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file of a training without an interruption."""
    path = tmp_path_factory.mktemp("whole") / "m"
    finish("train", log, "-l", LABEL, "--bits", 14, "--lr", 0.1, "-m", path)
    return path


KILLED = ("--lr", 0.1, "--checkpoint-every", 1, "--passes", 2)


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_killed_at_any_moment_and_resumed(log: Path, tmp_path: Path) -> None:
    arguments = ("train", log, "-l", LABEL, "--bits", 14, *KILLED)
    finish(*arguments, "-m", tmp_path / "whole")
    chance = random.Random(4)
    kills = 0
    for _ in range(3):
        process = slow(*arguments, "-m", tmp_path / "m", "--resume", "-t", 1 + kills % 2)
        assert process.stderr is not None
        process.stderr.readline()  # it has begun
        process.stderr.readline()
        time.sleep(chance.random() * 0.3)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        process.stderr.close()
    assert kills >= 2, "the log must be long enough to be killed in"
    finish(*arguments, "-m", tmp_path / "m", "--resume")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not list(tmp_path.glob(".*")), "nothing is left behind but what a kill cannot clear away"


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_saves_a_checkpoint(log: Path, whole: Path, tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    arguments = ("train", log, "-l", LABEL, "--bits", 14, "--lr", 0.1, "-m", tmp_path / "m")
    process = slow(*arguments)
    assert process.stderr is not None
    for line in process.stderr:
        if b"4,096" in line:
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    said = re.search(
        r"interrupted: ([\d,]+) examples saved in .*; continue with --resume", err.decode()
    )
    assert said is not None, err
    examples = int(said[1].replace(",", ""))
    assert ctr.load(tmp_path / "m").n_examples_ == examples < ROWS
    assert examples % 640 == 0
    finish(*arguments, "--resume")
    assert (tmp_path / "m").read_bytes() == whole.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize(
    ("lr", "rows", "learned"), [(0.1, 100, 64), (0.1, 70_100, 70_080), ("auto", 25_000, 24_960)]
)
def test_a_signal_while_waiting_for_a_pipe(
    tmp_path: Path, log: Path, lr: float | str, rows: int, learned: int
) -> None:
    """All complete lines that have arrived are learned, down to a multiple of 64 examples."""
    arguments = ("-l", LABEL, "--bits", 14, "--lr", lr, "--format", "tsv")
    header, *lines = log.read_bytes().splitlines(keepends=True)
    lines = (lines * 3)[:80_000]
    with slow("train", "-", *arguments, "-m", tmp_path / "m", stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        feed(process, header + b"".join(lines[:rows]) + b"1\tsite1\tad")
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
    assert process.returncode == 130, said
    assert f"interrupted: {learned:,} examples saved in {tmp_path / 'm'}" in said
    assert "continue with --resume and the same stream from its first row" in said
    learner = ctr.load(tmp_path / "m")
    assert learner.n_examples_ == learned
    some = header + b"".join(lines[:learned])
    train("-", tmp_path / "some", *arguments[4:], input=some)
    assert tensors(tmp_path / "m") == tensors(tmp_path / "some")
    every = header + b"".join(lines)
    train("-", tmp_path / "m", *arguments[4:], "--resume", input=every)
    train("-", tmp_path / "whole", *arguments[4:], input=every)
    assert tensors(tmp_path / "m") == tensors(tmp_path / "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("input", [b"click\tsi", b"click\tsite\n" + b"1\ta\n" * 63])
def test_a_signal_before_the_first_round(tmp_path: Path, input: bytes) -> None:
    arguments = ("train", "-", "-l", LABEL, "-m", tmp_path / "m", "--lr", 0.1, "--quiet")
    with slow(*arguments, stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        feed(process, input)
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read().decode()
    assert process.returncode == 128 + signal.SIGTERM
    assert said.strip() == "interrupted before the first batch was learned: nothing to save"
    assert not (tmp_path / "m").exists()


@pytest.mark.usefixtures("small_batches")
def test_resuming_what_is_complete_or_not_begun(log: Path, tmp_path: Path) -> None:
    said = train(log, tmp_path / "m", "--resume", "--lr", 0.1)
    assert said.startswith(f"{tmp_path / 'm'} does not exist yet: starting from the first row")
    before = (tmp_path / "m").read_bytes()
    assert "is complete: 30,000 examples" in train(log, tmp_path / "m", "--resume", "--lr", 0.1)
    assert (tmp_path / "m").read_bytes() == before
    train(log, tmp_path / "m", "--resume", "--lr", 0.1, "--passes", 2)
    train(log, tmp_path / "two", "--lr", 0.1, "--passes", 2)
    assert (tmp_path / "m").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--lr", "0.2"], "was trained with --lr 0.1, not with --lr 0.2"),
        (["--ignore", "user"], "was trained without --ignore, not with --ignore user"),
    ],
)
def test_resuming_with_other_options(
    log: Path, tmp_path: Path, change: list[str], message: str
) -> None:
    arguments = ("train", log, "-l", LABEL, "-m", tmp_path / "m", "--bits", 14, "--lr", 0.1)
    assert invoke(*arguments)[0] == 0
    before = (tmp_path / "m").read_bytes()
    code, out, err = invoke(*arguments, "--resume", *change)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert message in err
    assert (tmp_path / "m").read_bytes() == before


def test_resuming_with_another_log(log: Path, tmp_path: Path) -> None:
    train(log, tmp_path / "m", "--lr", 0.1)
    other = command.write(tmp_path / "log.tsv", command.clicks(500))
    code, _, err = invoke(
        "train", other, "-l", LABEL, "-m", tmp_path / "m", "--bits", 14, "--lr", 0.1, "--resume"
    )
    assert code == 1
    assert "was trained on another log: log.tsv (" in err
    assert err.endswith(": give --overwrite instead of --resume to train from the first row\n")


def test_resuming_with_a_log_of_the_same_size(tmp_path: Path) -> None:
    """A log whose first or last rows have changed is another log."""
    first = command.write(tmp_path / "log.tsv", command.clicks(5_000))
    train(first, tmp_path / "m", "--lr", 0.1)
    text = first.read_bytes()
    arguments = ("train", first, "-l", LABEL, "-m", tmp_path / "m", "--bits", 14, "--lr", 0.1)
    for at in (text.index(b"site"), text.rindex(b"site")):
        first.write_bytes(text[:at] + b"SITE" + text[at + 4 :])
        code, _, err = invoke(*arguments, "--resume")
        assert code == 1
        assert f"was trained on another log: log.tsv ({len(text)} bytes, ends " in err
    first.write_bytes(text)
    assert invoke(*arguments, "--resume")[0] == 0


def test_resuming_from_a_model_that_lost_its_encoder(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "m"
    train(log, path, "--bits", 14, "--lr", 0.1)
    content = path.read_bytes()
    head = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:head])
    params = json.loads(header["__metadata__"]["params"])
    header["__metadata__"]["params"] = json.dumps(params | {"encoder": None})
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[head:])
    given = ("--bits", 14, "--lr", 0.1, "--passes", 2, "--resume")
    code, _, err = invoke("train", log, "-l", LABEL, "-m", path, *given)
    assert (code, err.count("\n")) == (1, 1), err
    assert "is corrupted" in err
    assert "no encoder" in err
