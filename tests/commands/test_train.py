"""``adagrad train``: its model equals that of the library, even after interruptions."""

from __future__ import annotations

import gzip
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa

import command
from adagrad import ctr
from adagrad.ctr.learners import files
from adagrad.ctr.training import curve as curve_module
from command import LABEL, feed, finish, invoke, slow

ROWS = 30_000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return command.write(tmp_path_factory.mktemp("logs") / "log.tsv", command.clicks(ROWS))


@pytest.fixture(scope="module")
def whole(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file of a training without an interruption."""
    path = tmp_path_factory.mktemp("whole") / "m"
    finish("train", log, "-l", LABEL, "--bits", 14, "--lr", 0.1, "-m", path)
    return path


@pytest.fixture
def small_batches() -> Iterator[None]:
    with command.small_batches():
        yield


def train(log: object, model: Path, *more: object, input: bytes | None = None) -> str:
    code, out, err = invoke(
        "train", log, "-l", LABEL, "-m", model, "--bits", 14, *more, input=input
    )
    assert (code, out) == (0, ""), err
    return err


def tensors(path: Path) -> dict[str, bytes]:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("lr", [0.1, "auto"])
def test_the_model_is_that_of_the_library(log: Path, tmp_path: Path, lr: float | str) -> None:
    train(log, tmp_path / "m", "--lr", lr)
    table = command.clicks(ROWS)
    encoder = ctr.HashingEncoder(14, ["site", "ad", "depth", "user"])
    model = ctr.LogisticRegression(lr, encoder=encoder)
    model.fit(table.drop_columns([LABEL]), table.column(LABEL).to_numpy())
    trained = ctr.load(tmp_path / "m")
    assert trained.coef_.tobytes() == model.coef_.tobytes()
    assert trained.intercept_.tobytes() == model.intercept_.tobytes()
    assert trained.lr_ == model.lr_
    assert trained.progressive_ == pytest.approx(model.progressive_, rel=1e-12)
    assert trained.progressive_["auc"] > 0.65


@pytest.mark.usefixtures("small_batches")
def test_the_bits_depend_on_neither_format_nor_threads(log: Path, tmp_path: Path) -> None:
    table = command.clicks(ROWS)
    text = log.read_bytes()
    (tmp_path / "log.tsv.gz").write_bytes(gzip.compress(text))
    folder = tmp_path / "parts"
    folder.mkdir()
    command.write(folder / "1.parquet", table.slice(0, 10_001))
    command.write(folder / "2.parquet", table.slice(10_001))
    train(log, tmp_path / "a", "-t", 1)
    train(tmp_path / "log.tsv.gz", tmp_path / "b", "-t", 3)
    train(folder, tmp_path / "c", "-t", 2)
    train("-", tmp_path / "d", "--format", "tsv", input=text)
    wanted = tensors(tmp_path / "a")
    assert all(tensors(tmp_path / name) == wanted for name in "bcd")


def test_flags_and_times_have_the_bits_of_any_format(tmp_path: Path) -> None:
    table = command.clicks(2000)
    flag = pa.array([i % 3 == 0 for i in range(2000)])
    seconds = pa.array(range(2000)).cast(pa.timestamp("s"))
    halves = [f"{i % 7 + 1:02}-03 12:00:00.{i % 2 * 5}" for i in range(2000)]
    spelled = {
        "True": pa.array(["True" if x else "false" for x in flag.to_pylist()]),
        "T": pa.array([str(x).replace(" ", "T") for x in seconds.to_pylist()]),
        ".5": pa.array([f"2026-{text}" for text in halves]),
    }
    typed = {"True": flag, "T": seconds, ".5": spelled[".5"].cast(pa.timestamp("us"))}
    for name, columns in (("text.tsv", spelled), ("typed.parquet", typed)):
        whole = table
        for column, values in columns.items():
            whole = whole.append_column(column, values)
        command.write(tmp_path / name, whole)
        train(tmp_path / name, tmp_path / f"{name}.m", "--lr", 0.1)
        for other in ("text.tsv", "typed.parquet"):
            if (tmp_path / other).exists():
                said = invoke("predict", tmp_path / f"{name}.m", tmp_path / other)
                assert said[0] == 0, said
    assert tensors(tmp_path / "text.tsv.m") == tensors(tmp_path / "typed.parquet.m")


def test_lines_come_at_powers_of_two(log: Path, tmp_path: Path) -> None:
    lines = train(log, tmp_path / "m", "--lr", 0.1).splitlines()
    table = [line.split() for line in lines[1:] if re.match(r" +[\d,]+  ", line)]
    assert [row[0] for row in table] == ["1,024", "2,048", "4,096", "8,192", "16,384"]
    assert all(0.3 < float(row[1]) < 0.7 for row in table)
    assert f"{ROWS:,} examples in 1 pass" in lines[-1]
    assert train(log, tmp_path / "m", "--quiet") == ""


def test_the_curve_takes_constant_memory(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_batches: None
) -> None:
    monkeypatch.setattr(curve_module, "MAX_POINTS", 16)
    train(log, tmp_path / "m", "--lr", 0.1)
    curve = files.read(tmp_path / "m")[1]["training"]["curve"]
    examples = [point[0] for point in curve]
    assert len(curve) <= 16
    assert examples == sorted(set(examples))
    assert examples[-1] == ROWS


@pytest.mark.parametrize("kind", ["fm", "ffm"])
def test_factorization_machines(log: Path, tmp_path: Path, kind: str) -> None:
    train(log, tmp_path / "m", "--model-type", kind, "-k", 4, "--lr", 0.1)
    model = ctr.load(tmp_path / "m")
    assert model._model.settings.kind == kind
    assert model._model.settings.factors == 4
    assert model.progressive_["normalized_entropy"] < 1


def test_options_reach_the_model(log: Path, tmp_path: Path) -> None:
    options = ["--preset", "torch", "--lr", 0.2, "--l1", 1e-4, "--l2", 1e-5]
    fields = ["--ignore", "user", "--categorical", "depth", "--cross", "site*ad"]
    train(log, tmp_path / "m", *options, *fields)
    model = ctr.load(tmp_path / "m")
    rule = model._model.settings.rule
    assert (rule.lr, rule.eps, rule.eps_position, rule.weight_decay) == (
        0.2,
        1e-10,
        "outside",
        1e-5,
    )
    assert model._model.settings.l1 == 1e-4
    assert model.encoder.fields_ == {
        "site": "categorical",
        "ad": "categorical",
        "depth": "categorical",
    }
    assert list(model.encoder.crosses) == [["site", "ad"]]


def test_passes_and_validation(log: Path, tmp_path: Path) -> None:
    held = command.write(tmp_path / "held.parquet", command.clicks(5_000, seed=1))
    once = train(log, tmp_path / "m", "--validate", held)
    twice = train(log, tmp_path / "n", "--validate", held, "--passes", 2)
    lines = re.findall(r"^(?:progressive|validation).*$", twice, re.M)
    assert len(lines) == 3
    assert lines[0] in once, "a second pass does not count as progressive"
    assert lines[1] in once
    assert ctr.load(tmp_path / "n").n_examples_ == 2 * ROWS
    code, out, _ = invoke("evaluate", tmp_path / "n", held)
    assert code == 0
    assert lines[2].split()[4] in out


def test_early_stopping_keeps_the_best(tmp_path: Path, small_batches: None) -> None:
    log = command.write(tmp_path / "log.tsv", command.clicks(3_000))
    held = command.write(tmp_path / "held.parquet", command.clicks(3_000, seed=1))
    options = ("--lr", 0.5, "--validate", held, "--passes", 20, "--checkpoint-every", 640)
    said = train(log, tmp_path / "m", *options, "--early-stop", 2)
    losses = [float(line.split()[4]) for line in said.splitlines() if "validation, pass" in line]
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 2 < 20
    assert f"the model is that of pass {best}, the best" in said
    train(log, tmp_path / "best", *options[:-4], "--passes", best)
    assert tensors(tmp_path / "m") == tensors(tmp_path / "best")
    tables = command.clicks(3_000), command.clicks(3_000, seed=1)
    encoder = ctr.HashingEncoder(14, ["site", "ad", "depth", "user"])
    model = ctr.LogisticRegression(0.5, encoder=encoder, passes=20)
    (x, y), validation = ((t.drop_columns([LABEL]), t.column(LABEL).to_numpy()) for t in tables)
    model.fit(x, y, validation=validation)
    assert ctr.load(tmp_path / "m").coef_.tobytes() == model.coef_.tobytes()
    # A resumed training continues from the best model, and so repeats the passes after it.
    before = (tmp_path / "m").read_bytes()
    train(log, tmp_path / "m", *options, "--early-stop", 2, "--resume")
    assert (tmp_path / "m").read_bytes() == before


def test_libsvm_ids_are_slots_where_they_fit(tmp_path: Path) -> None:
    import scipy.sparse

    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(1000, size=(3000, 4)), axis=1)
    y = (rng.random(3000) < np.where(ids[:, 0] < 100, 0.7, 0.2)).astype(int)
    big = 2**40 + ids[:, :1]
    lines = (
        f"{2 * label - 1} " + " ".join(f"{i}:0.5" for i in (*row, *far))
        for label, row, far in zip(y.tolist(), ids.tolist(), big.tolist(), strict=True)
    )
    (tmp_path / "log.svm").write_text("\n".join(lines) + "\n")
    train(tmp_path / "log.svm", tmp_path / "m", "--lr", 0.1)
    hashed = np.array(
        [[(i * 0x9E3779B97F4A7C15 % 2**64) >> 50 for i in row] for row in big.tolist()]
    )
    columns = np.concatenate([ids, hashed], axis=1)
    matrix = scipy.sparse.csr_matrix(
        (np.full(columns.size, 0.5), columns.ravel(), np.arange(3001) * 5), shape=(3000, 1 << 14)
    )
    model = ctr.LogisticRegression(0.1).fit(matrix, y)
    assert ctr.load(tmp_path / "m").coef_.tobytes() == model.coef_.tobytes()
    code, out, err = invoke("predict", tmp_path / "m", tmp_path / "log.svm")
    assert code == 0, err
    np.testing.assert_allclose(
        np.array(out.split(), float), model.predict_proba(matrix)[:, 1], rtol=1e-6
    )


# -- stopping and resuming -------------------------------------------------------------------------


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
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint(
    log: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
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
    ("lr", "rows", "learned"), [(0.1, 100, 64), (0.1, 70_100, 70_080), ("auto", 5_000, 4_992)]
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
    assert (
        "starts from the first row" if lr == "auto" else "the same stream from its first row"
    ) in said
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
        (["--skip-bad"], "was trained without --skip-bad, not with --skip-bad"),
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


# -- mistakes -------------------------------------------------------------------------------------


def mistake(*arguments: object) -> str:
    code, out, err = invoke("train", *arguments)
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("Error: ")
    return last.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.tsv"], "none.tsv: no such file"),
        (["log.tsv", "--columns", "nope"], "log.tsv, line 1: no column 'nope'; the columns are"),
        (
            ["log.tsv", "--ignore", "nope"],
            "--ignore: no column 'nope'; the columns are click",
        ),
        (["log.tsv", "--ignore", "sit"], "depth, user; did you mean 'site'?"),
        (["log.tsv", "--ignore", "click"], "--ignore: 'click' is the label"),
        (
            ["log.tsv", "--ignore", "site,ad,depth,user"],
            "no feature column is left; the columns are click",
        ),
        (
            ["log.svm", "--ignore", "ids"],
            "--ignore and --columns need columns, but libsvm logs have ids",
        ),
        (["log.tsv", "--cross", "site*site"], "the cross ('site', 'site') has a field twice"),
        (["log.tsv", "--categorical", "dept"], "--categorical: no column 'dept'; the columns are"),
        (["log.tsv", "--categorical", "dept"], "site, ad, depth, user; did you mean 'depth'?"),
        (["log.tsv", "-l", "clik"], "no column 'clik'; the columns are c0, c1, c2, c3, c4, as the"),
        (["log.tsv", "-l", "clik"], "first line, click, site, ad, depth, user, has no such name; "),
        (["log.tsv", "-l", "clik"], "did you mean 'click'?"),
        (["-", "--passes", "3"], "--passes 3: the standard input can be read only once"),
        (["log.tsv", "--preset", "fbgemm_rowwise", "--model-type", "fm"], "one accumulator a row"),
        (
            ["log.tsv", "--early-stop", "2"],
            "--early-stop needs --validate and --passes of 2 or more",
        ),
        (["log.tsv", "--lr", "-1"], "lr must not be negative, got -1.0"),
        (["log.tsv", "--preset", "nope"], "there is no preset 'nope'"),
        (["log.tsv", "--cross", "site*nope"], "the cross ('site', 'nope') has 'nope'"),
        (["log.tsv", "--factors", "4"], "--factors needs --model-type fm or ffm"),
        (
            ["log.svm", "--model-type", "ffm"],
            "--model-type ffm needs fields, which libsvm logs do not have",
        ),
        (["log.tsv", "--report", "no/r.html"], "--report no/r.html: there is no directory no"),
        (["log.tsv", "--validate", "none.tsv"], "none.tsv: no such file"),
        (["empty.tsv"], "empty.tsv"),
        (["header.tsv"], "header.tsv: no examples"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command.write(Path("log.tsv"), command.clicks(200))
    Path("log.svm").write_text("1 1:1\n0 2:1\n")
    Path("empty.tsv").touch()
    Path("header.tsv").write_text("click\tsite\n")
    assert message in mistake("-l", LABEL, "-m", "m", *arguments)
    assert not Path("m").exists()


BROKEN = {
    5: (b"1\tsite1\tad1\n", "expected 5 columns"),
    700: (b"2\tsite1\tad1\t1\tu\n", "the label is '2', not 0 or 1"),
    1500: (b"1\tsite\xff\tad1\t1\tu\n", "UTF-8"),
    2000: (b"\n", "empty"),
}


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_row_stops_with_its_line(log: Path, tmp_path: Path, line: int) -> None:
    lines = log.read_bytes().splitlines(keepends=True)[:3000]
    row, reason = BROKEN[line]
    lines.insert(line - 1, row)
    path = tmp_path / "bad.tsv"
    path.write_bytes(b"".join(lines))
    arguments = ("-l", LABEL, "-m", tmp_path / "m", "--bits", 14, "--lr", 0.1)
    said = mistake(path, *arguments, "--checkpoint-every", 640)
    assert said.startswith(f"{path}, line {line}: ")
    assert line == 5 or reason in said
    whole = (line - 2) // 640 * 640
    assert (tmp_path / "m").exists() == (whole > 0)
    if whole:
        assert ctr.load(tmp_path / "m").n_examples_ == whole


@pytest.mark.usefixtures("small_batches")
def test_broken_rows_are_counted_and_left_out(log: Path, tmp_path: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)[:3000]
    good = tmp_path / "good.tsv"
    good.write_bytes(b"".join(lines))
    for line in sorted(BROKEN):
        lines.insert(line - 1, BROKEN[line][0])
    bad = tmp_path / "bad.tsv"
    bad.write_bytes(b"".join(lines))
    train(good, tmp_path / "a", "--lr", 0.1)
    said = train(bad, tmp_path / "b", "--lr", 0.1, "--skip-bad")
    assert "4 broken rows skipped: " in said
    assert tensors(tmp_path / "a") == tensors(tmp_path / "b")


def test_a_truncated_gzip_is_an_error(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tsv.gz"
    path.write_bytes(gzip.compress(log.read_bytes())[:-5000])
    for more in ([], ["--skip-bad"]):
        said = mistake(path, "-l", LABEL, "-m", tmp_path / "m", "--bits", 14, *more)
        assert str(path) in said
    assert not (tmp_path / "m").exists()


def test_an_ignored_column_may_hold_what_it_likes(tmp_path: Path) -> None:
    table = command.clicks(2000)
    text = command.as_text(table).replace(b"\tuser3\n", b"\t\xff\n")
    (tmp_path / "log.tsv").write_bytes(text)
    assert "UTF-8" in mistake(tmp_path / "log.tsv", "-l", LABEL, "-m", tmp_path / "m")
    train(tmp_path / "log.tsv", tmp_path / "m", "--ignore", "user")


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in KiB on Linux")
def test_memory_does_not_grow_with_the_log(tmp_path: Path, log: Path) -> None:
    code = (
        "import resource, sys; from adagrad.commands.group import adagrad;"
        "adagrad(sys.argv[1:], standalone_mode=False);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for copies in (6, 18):
        paths = [log] * copies
        process = subprocess.run(
            [sys.executable, "-c", code, "train", *paths, "-l", LABEL, "-m", tmp_path / "m"],
            capture_output=True,
            check=True,
            timeout=120,
        )
        peaks.append(int(process.stdout))
    assert peaks[1] < peaks[0] * 1.15 + 8192, peaks
