"""``adagrad train --init``: a model learns log after log, with the bits of one run over all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa

import command
from adagrad import ctr
from command import LABEL, clicks, invoke, tensors, write

LOG = clicks(12_000)
ENDS = (5_003, 5_014, 9_001)  # rounds have 8 examples there, and 16 later
DAYS = [LOG.slice(a, b - a) for a, b in zip((0, *ENDS), (*ENDS, len(LOG)), strict=True)]
KINDS = {
    "auto": (),
    "half-life": ("--half-life", 700),
    "rate": ("--lr", 0.1),
    "l1": ("--lr", 0.1, "--l1", 0.3),
    "preset": ("--lr", 0.05, "--preset", "keras"),
    "values": ("--numeric", "value", "--cross", "site*ad"),
    "fm": ("--model-type", "fm", "--factors", 2),
    "ffm": ("--model-type", "ffm", "--bits", 10, "--lr", 0.1, "--seed", 3),
}


def learn(*arguments: object) -> str:
    """Train, and return what the command printed."""
    code, out, err = invoke("train", *arguments)
    assert (code, out) == (0, ""), err
    return err


def refused(*arguments: object) -> str:
    """Train in vain, and return the one line that says why."""
    code, out, err = invoke("train", *arguments, "-q")
    assert (code, out, err.count("\n")) == (1, "", 1), err
    return err


def history(model: Path) -> list[dict]:
    code, out, err = invoke("inspect", model, "--json")
    assert code == 0, err
    return json.loads(out)["history"]


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("days")
    return [write(folder / f"day{k}.tsv", day) for k, day in enumerate(DAYS)]


@pytest.fixture
def first(days: list[Path], tmp_path: Path) -> Path:
    """A model of the first day, at a fixed rate."""
    learn(days[0], "-l", LABEL, "-m", tmp_path / "m", "--bits", 12, "--lr", 0.1, "-q")
    return tmp_path / "m"


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("kind", KINDS)
def test_day_after_day_has_the_bits_of_one_run(days: list[Path], tmp_path: Path, kind: str) -> None:
    model, whole = tmp_path / "m", tmp_path / "whole"
    options = ("-l", LABEL, "--bits", 12, *KINDS[kind], "-q")
    learn(days[0], "-m", model, *options)
    for number, day in enumerate(days[1:]):
        again = options if number == 1 else ("-q",)  # the options may be repeated
        learn(day, "--init", model, "-m", model, *again)
    learn(*days, "-m", whole, *options)
    assert tensors(model) == tensors(whole)
    assert ctr.load(model).n_examples_ == len(LOG)
    assert [run["examples"] for run in history(model)] == [len(day) for day in DAYS]
    assert not list(tmp_path.glob("*.checkpoint"))


@pytest.mark.parametrize("name", ["day.parquet", "day.csv"])
def test_the_format_and_the_types_of_a_day_do_not_matter(
    days: list[Path], first: Path, tmp_path: Path, name: str
) -> None:
    """A day is read with the columns and the types of the model."""
    day = DAYS[1].select(["user", "depth", "ad", LABEL, "site"])
    if name == "day.parquet":
        narrow = day.column("depth").cast(pa.int8())
        write(tmp_path / name, day.set_column(1, "depth", narrow).append_column("new", narrow))
    else:
        text = command.as_text(day.append_column("new", day.column("ad")))
        (tmp_path / name).write_bytes(text.replace(b"\t", b","))
    said = learn(tmp_path / name, "--init", first, "-m", tmp_path / "one")
    assert "not read, because they are no features of the model: new\n" in said
    learn(days[1], "--init", first, "-m", tmp_path / "other", "-q")
    assert tensors(tmp_path / "one") == tensors(tmp_path / "other")
    schemas = [_training(tmp_path / name)["schema"] for name in ("one", "m")]
    assert schemas[0] == schemas[1], "so that a log of a wide type may follow"


def _training(model: Path) -> dict:
    from adagrad.ctr.learners import files

    return files.read(model)[1]["training"]


def test_a_log_of_ids(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [
        f"{'+-'[a % 2]}1 {a}:1 {a + b}:0.5\n" for a, b in rng.integers(1, 99, (3_000, 2)).tolist()
    ]
    for name, some in (("one", rows[:1_501]), ("two", rows[1_501:])):
        (tmp_path / f"{name}.libsvm").write_text("".join(some))
    logs = [tmp_path / "one.libsvm", tmp_path / "two.libsvm"]
    options = ("-l", LABEL, "--bits", 10, "-q")
    learn(*logs, "-m", tmp_path / "whole", *options)
    learn(logs[0], "-m", tmp_path / "m", *options)
    learn(logs[1], "--init", tmp_path / "m", "-m", tmp_path / "m", "-q")
    assert tensors(tmp_path / "m") == tensors(tmp_path / "whole")


# -- interruptions --------------------------------------------------------------------------------


def broken(day: pa.Table, path: Path) -> bytes:
    """Write a day whose row 2,000 is broken, and return the day as it should be."""
    text = command.as_text(day)
    lines = text.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2_000], b"oops\n", *lines[2_001:]]))
    return text


@pytest.mark.usefixtures("small_batches")
def test_a_model_is_replaced_only_when_all_is_learned(first: Path, tmp_path: Path) -> None:
    day, before = tmp_path / "day.tsv", first.read_bytes()
    whole = broken(DAYS[2], day)
    beside = tmp_path / "m.checkpoint"
    arguments = (day, "--init", first, "-m", first)
    said = refused(*arguments)
    learned = -(5_003 + 1_999) % -64 + 1_999  # up to the last round
    assert f"{learned:,} examples before it are saved in {beside}: repair it" in said
    assert first.read_bytes() == before
    assert ctr.load(beside).n_examples_ == 5_003 + learned
    assert f"{beside} holds a training that began from {first} and was interrupted" in refused(
        *arguments
    )
    day.write_bytes(whole)
    said = learn(*arguments, "--resume")
    assert f"resuming from {beside}: {5_003 + learned:,} examples learned\n" in said
    assert not beside.exists()
    (tmp_path / "again").write_bytes(before)
    os.utime(tmp_path / "again", (0, 0))
    learn(day, "--init", tmp_path / "again", "-m", tmp_path / "again", "-q")
    assert tensors(first) == tensors(tmp_path / "again")
    assert history(tmp_path / "again")[0]["when"] == "1970-01-01T00:00:00Z"

    complete = first.read_bytes()
    said = learn(*arguments, "--resume")
    assert f"{first} is complete: 8,990 examples learned\n" in said
    assert first.read_bytes() == complete, (
        "a job that is repeated after a crash learns no day twice"
    )
    assert "has learned this log before, in run 2, and learns it once more" in learn(*arguments)


def test_each_day_comes_through_a_pipe(days: list[Path], first: Path) -> None:
    """The standard input has no name by which a day would be known as learned."""
    for day in days[1:3]:
        arguments = ("train", "-", "--init", first, "-m", first, "--resume")
        code, _, said = invoke(*arguments, input=day.read_bytes())
        assert code == 0, said
        assert "complete" not in said
        assert "before" not in said
    assert ctr.load(first).n_examples_ == sum(map(len, DAYS[:3]))


def test_a_log_of_an_earlier_run_is_noticed(days: list[Path], first: Path) -> None:
    learn(days[1], "--init", first, "-m", first, "-q")
    said = learn(days[0], "--init", first, "-m", first, "--resume")
    assert "has learned this log before, in run 1, and learns it once more" in said


@pytest.mark.parametrize("same", [False, True], ids=["another", "the same"])
def test_a_model_that_was_replaced_meanwhile_stays(
    days: list[Path], first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """Two jobs at once, as cron starts them: neither loses what the other has learned."""
    from adagrad.ctr.training.checkpoint import Checkpoint

    learn(days[1], "--init", first, "-m", tmp_path / "new", "-q")
    meanwhile = first if same else tmp_path / "new"
    other = meanwhile.read_bytes()
    write_checkpoint = Checkpoint.write

    def write_and_replace(self: Checkpoint, *state: object) -> None:
        write_checkpoint(self, *state)
        (tmp_path / "other").write_bytes(other)
        (tmp_path / "other").replace(first)

    monkeypatch.setattr(Checkpoint, "write", write_and_replace)
    arguments = (days[2], "--init", first, "-m", first)
    if same:
        learn(*arguments, "-q")
        assert ctr.load(first).n_examples_ == 5_003 + len(DAYS[2])
    else:
        assert f"{first} was replaced while this training went on" in refused(*arguments)
        assert first.read_bytes() == other
    assert not (tmp_path / "m.checkpoint").exists(), "so that the job may be repeated"


@pytest.mark.usefixtures("small_batches")
def test_another_file_resumes_if_it_began_from_the_same_model(
    days: list[Path], first: Path, tmp_path: Path
) -> None:
    day, new, other = tmp_path / "day.tsv", tmp_path / "new", tmp_path / "other"
    whole = broken(DAYS[2], day)
    refused(day, "--init", first, "-m", new)
    before = new.read_bytes()
    day.write_bytes(whole)
    learn(days[0], "-l", LABEL, "-m", other, "--bits", 12, "--lr", 0.2, "-q")
    alone = (day, "-l", LABEL, "--bits", 12, "--lr", 0.1)
    for arguments, said in (
        ((day, "--init", other, "-m", new, "--lr", 0.1), f"from another model, not from {other}"),
        ((*alone, "-m", new), f"{new} began from another model: repeat the --init of the first"),
        ((day, "--init", new, "-m", other), "holds a training that has stopped after"),
        ((days[1], "--init", first, "-m", other), "began from no other model, not from"),
    ):
        assert said in refused(*arguments, "--resume")
        assert new.read_bytes() == before
    learn(day, "--init", first, "-m", new, "--resume", "-q")
    learn(day, "--init", first, "-m", tmp_path / "whole", "-q")
    assert new.read_bytes() == (tmp_path / "whole").read_bytes()
    assert "exists: give --overwrite to replace it" in refused(day, "--init", first, "-m", new)
    learn(day, "--init", first, "-m", new, "--overwrite", "-q")
    assert new.read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.usefixtures("small_batches")
def test_several_passes_and_the_best_of_them(days: list[Path], first: Path, tmp_path: Path) -> None:
    more = ("--passes", 3, "--validate", days[3], "--early-stop", 1, "-q")
    learn(days[2], "--init", first, "-m", tmp_path / "new", *more)
    learn(days[2], "--init", first, "-m", first, *more)
    assert tensors(first) == tensors(tmp_path / "new")
    state = _training(first)
    assert 1 <= len(state["validation"]) <= 3
    assert [run["passes"] for run in history(first)] == [1, state["pass"]]


def test_a_day_whose_labels_are_ordered(days: list[Path], first: Path, tmp_path: Path) -> None:
    """What was learned before stays: a sample of the day is learned on top of it."""
    day = write(tmp_path / "day.tsv", DAYS[2].sort_by([(LABEL, "ascending")]))
    said = learn(day, "--init", first, "-m", tmp_path / "new")
    assert "the labels are ordered" in said
    losses = []
    for model in (first, tmp_path / "new"):
        _, out, _ = invoke("evaluate", model, days[3], "--json")
        losses.append(json.loads(out)["logloss"])
    assert losses[1] < losses[0]
    assert ctr.load(tmp_path / "new").n_examples_ == 5_003 + len(DAYS[2])


# -- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--bits", 14), "with --bits 12, not with --bits 14: leave --bits out"),
        (("--lr", "auto"), "with --lr 0.1, not with --lr auto"),
        (("--l1", 0.1), "with --l1 0.0, not with --l1 0.1"),
        (("--model-type", "fm"), "with --model-type lr, not with --model-type fm"),
        (("--label", "ad"), f"with --label {LABEL}, not with --label ad"),
        (("--ignore", "user"), "without --ignore, not with --ignore user"),
        (("--cross", "site*ad"), "without --cross, not with --cross site*ad"),
        (("--numeric", "value"), "with --numeric log2-bins, not with --numeric value"),
        (("--half-life", 900), "without --half-life, not with --half-life 900"),
        (("--ray", "local"), "--init does not work with --ray"),
    ],
)
def test_options_that_contradict_the_model(
    days: list[Path], first: Path, given: tuple[object, ...], said: str
) -> None:
    before = first.read_bytes()
    assert said in refused(days[1], "--init", first, "-m", first, *given)
    assert first.read_bytes() == before


def test_options_that_a_run_may_change(days: list[Path], first: Path, tmp_path: Path) -> None:
    learn(days[1], "--init", first, "-m", first, "--lr", 0.05, "--skip-bad", "-q")
    learner = ctr.load(first)
    assert learner.lr_ == learner.lr == 0.05
    assert history(first)[1]["options"] == {"lr": 0.05, "skip_bad": True}
    learn(days[2], "--init", first, "-m", first, "-q")
    assert ctr.load(first).lr == 0.05
    assert history(first)[2]["options"] == {"skip_bad": False}
    code, out, _ = invoke("inspect", first, "-n", 0)
    assert code == 0
    assert "2  day1.tsv; with --lr" in out


@pytest.mark.parametrize("name", ["nothing", "day0.tsv"])
def test_what_is_no_model(days: list[Path], tmp_path: Path, name: str) -> None:
    said = refused(days[1], "--init", days[0].with_name(name), "-m", tmp_path / "m")
    assert f"{name}: No such file" in said or f"{name} is not a safetensors file" in said
    assert not list(tmp_path.iterdir())


def test_a_model_that_exists_is_not_lost(days: list[Path], first: Path) -> None:
    said = refused(days[1], "-l", LABEL, "-m", first)
    assert f"or --init {first} as well to learn these logs on top of it\n" in said


def test_a_report_must_not_replace_the_model(days: list[Path], first: Path, tmp_path: Path) -> None:
    said = refused(days[1], "--init", first, "-m", tmp_path / "new", "--report", first)
    assert f"--report {first} would replace {first}, an input" in said
    (tmp_path / "link").symlink_to(first)
    learn(days[1], "--init", first, "-m", tmp_path / "link", "-q")
    assert (tmp_path / "link").is_symlink()
    assert ctr.load(first).n_examples_ == 5_014
