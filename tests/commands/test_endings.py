"""How commands end: with a status and at most one line, whatever happens to them."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from checks import need_packages

need_packages("click", "rich", "matplotlib", "sklearn", "pyarrow", "safetensors")

import click
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

import command
from adagrad._text import printable
from adagrad.commands import evaluate as evaluate_module
from adagrad.commands.errors import Commands
from command import LABEL, invoke

RUN = (sys.executable, "-m", "adagrad.commands.main")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX streams or signals")
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
NASTY = "a\x1b[31m\x9b\x07\r\t\u202eb"
SHOWN = r"a\x1b[31m\x9b\x07\r\t\u202eb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("endings")
    log = command.write(folder / "log.tsv", command.clicks(3_000))
    command.train(log, folder / "m", "--lr", 0.1)
    return folder


def run(
    *arguments: object, shell: str = "", cwd: Path | None = None, **env: str
) -> tuple[int, str, str]:
    """Run the console script in a process; `shell` redirects its streams."""
    words = " ".join(f"'{word}'" for word in (*RUN, *map(str, arguments)))
    done = subprocess.run(
        ["bash", "-c", f"{words} {shell}"],
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **env},
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def is_one_line(text: str) -> bool:
    return text.startswith("Error: ") and text.count("\n") == 1 and "Traceback" not in text


# -- standard streams -------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize(
    ("arguments", "shell", "message"),
    [
        ("predict m log.tsv", ">&-", "the standard output is closed"),
        ("inspect m", ">&-", "the standard output is closed"),
        ("evaluate m log.tsv", ">&-", "the standard output is closed"),
        ("--help", ">&-", "the standard output is closed"),
        ("predict m --format tsv", "<&-", "the standard input is closed"),
        ("predict m log.tsv", ">/dev/full", "the standard output: No space left on device"),
        ("evaluate m log.tsv", ">/dev/full", "the standard output: No space left on device"),
        ("inspect m", ">/dev/full", "the standard output: No space left on device"),
        ("--version", ">/dev/full", "the standard output: No space left on device"),
    ],
)
def test_streams_that_are_closed_or_full(
    folder: Path, arguments: str, shell: str, message: str
) -> None:
    code, out, err = run(*arguments.split(), shell=shell, cwd=folder)
    assert (code, out) == (1, "")
    assert is_one_line(err)
    assert message in err


@POSIX
def test_a_closed_stderr_loses_the_message_alone(folder: Path, tmp_path: Path) -> None:
    assert run("predict", "none", "log.tsv", shell="2>&-", cwd=folder) == (1, "", "")
    assert run("predict", "none", "log.tsv", shell="2>/dev/full", cwd=folder) == (1, "", "")
    target = tmp_path / "m"
    arguments = ("train", "log.tsv", "-l", LABEL, "-m", target, "--bits", 14, "--lr", 0.1)
    assert run(*arguments, shell="<&- >&- 2>&-", cwd=folder) == (0, "", "")
    assert target.read_bytes() == (folder / "m").read_bytes(), "nothing was printed into the model"


@POSIX
def test_a_reader_that_wants_no_more(folder: Path) -> None:
    for arguments in ("predict m log.tsv", "inspect m", "--help", "train --help"):
        _, out, err = run(*arguments.split(), shell="| head -1", cwd=folder)
        assert err == ""
        assert out.count("\n") == 1


# -- names and values -------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=[])))
def test_printable_text_has_no_controls(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert not CONTROLS.search(shown)
    assert "\n" not in shown
    assert printable(shown) == shown
    assert printable(text, keep="\n").count("\n") == text.count("\n")


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_how_controls_are_shown() -> None:
    assert printable(NASTY + "\n\x00\ud800") == SHOWN + r"\n\x00\ud800"
    assert printable(os.fsdecode(b"\xe9t\xe9 \xff")) == r"\xe9t\xe9 \xff"


def test_controls_in_names_and_values_reach_no_terminal(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = command.clicks(300)
    names = [f"{NASTY}{name}" for name in table.column_names]
    nasty = pa.array([f"{NASTY}{i % 7}\n" for i in range(len(table))])
    table = table.rename_columns(names).append_column(f"{NASTY}v", nasty)
    name = f"{NASTY.replace('/', '')}.parquet"
    parquet.write_table(table, name)
    model = f"{NASTY}m"
    label = ("-l", f"{NASTY}{LABEL}")
    commands: list[tuple[object, ...]] = [
        ("train", name, *label, "-m", model, "--bits", 10, "--report", "r.html"),
        ("train", name, *label, "-m", model, "--bits", 10),
        ("train", name, *label, "-m", model, "--bits", 10, "--resume"),
        ("inspect", model),
        ("inspect", model, "--log", name),
        ("evaluate", model, name),
        ("predict", model, f"{NASTY}none.csv"),
        ("predict", model, folder / "log.tsv"),
        ("diagnose", name, *label, "--picture", f"{NASTY}.png"),
        ("diagnose", name, "-l", f"{NASTY}none"),
        ("train", name, "-l", LABEL, "-m", "new", "--ignore", f"{NASTY}none"),
        ("evaluate", model, name, "-l", f"{NASTY}v"),
        ("demo", f"{NASTY}none"),
        ("demo", f"--{NASTY}"),
        (NASTY,),
    ]
    seen = ""
    for arguments in commands:
        code, out, err = invoke(*arguments)
        assert code in (0, 1, 2)
        assert not CONTROLS.search(out + err), (arguments, out, err)
        seen += out + err
    assert seen.count(SHOWN) > 20, "they are shown, not dropped"
    page = Path("r.html").read_text(encoding="utf-8")
    assert not CONTROLS.search(page)
    assert SHOWN in page


def test_markup_in_names_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "[red]$x_1$<b>"
    table = command.clicks(300).rename_columns(
        [LABEL, *(f"{name}{i}" for i in range(4))],
    )
    parquet.write_table(table, f"{name}.parquet")
    assert invoke("train", f"{name}.parquet", "-l", LABEL, "-m", "m", "--report", "r.html")[0] == 0
    assert "<b>" not in Path("r.html").read_text(encoding="utf-8")
    assert f"{name}0" in invoke("inspect", "m", "--log", f"{name}.parquet")[1]
    code, out, _ = invoke("diagnose", f"{name}.parquet", "-l", LABEL, "--picture", "p.svg")
    assert code == 0
    assert name in out
    assert "$x_1$" in Path("p.svg").read_text(encoding="utf-8") or "x_1" not in out


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes")
@pytest.mark.parametrize("suffix", ["tsv", "parquet", "arrow"])
def test_file_names_that_are_not_utf8(suffix: str, tmp_path: Path) -> None:
    """They are read, written, and shown by their bytes."""
    log = tmp_path / os.fsdecode(b"l\xffg.parquet")
    table = command.clicks(300)
    if suffix == "arrow":
        log = log.with_suffix(".arrow")
        with pa.ipc.new_file(str(tmp_path / "plain"), table.schema) as writer:
            writer.write_table(table)
        (tmp_path / "plain").rename(log)
    elif suffix == "tsv":
        log = command.write(log.with_suffix(".tsv"), table)
    else:
        parquet.write_table(table, tmp_path / "plain")
        (tmp_path / "plain").rename(log)
    model = tmp_path / os.fsdecode(b"m\xff")
    report = tmp_path / os.fsdecode(b"r\xff.html")
    code, _, err = invoke("train", log, "-l", LABEL, "-m", model, "--report", report)
    assert code == 0, err
    assert rf"{tmp_path}/m\xff" in err
    code, out, _ = invoke("inspect", model, "--log", log)
    assert code == 0
    assert r"m\xff" in out
    assert r"l\xffg" in out
    for kind in ("csv", "parquet"):
        scores = tmp_path / os.fsdecode(b"p\xff." + kind.encode())
        for _ in range(2):
            assert invoke("predict", model, log, "-o", scores) == (0, "", "")
        assert scores.exists()
    for more in (["--json", os.fsdecode(b"d\xff.json")], ["--picture", os.fsdecode(b"d\xff.png")]):
        code, out, err = invoke("diagnose", log, "-l", LABEL, more[0], tmp_path / more[1])
        assert code == 0, err
        assert r"d\xff" in out
    missing = tmp_path / os.fsdecode(b"\xff.tsv")
    assert invoke("predict", model, missing) == (
        1,
        "",
        f"Error: {tmp_path}/\\xff.tsv: no such file\n",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes")
def test_names_of_columns_that_are_not_utf8(folder: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff")
    given = ("-l", LABEL, "-m", tmp_path / "new")
    for option in ("--names", "--ignore", "--text"):
        code, _, err = invoke("train", folder / "log.tsv", *given, option, f"{LABEL},{odd}")
        assert (code, err.count("\n")) == (2, 1)
        assert rf"'{LABEL},\udcff' is not UTF-8" in err
    for name in (f"k={odd}", f"{odd}=k"):
        part = tmp_path / name / "part.tsv"
        part.parent.mkdir()
        part.write_bytes((folder / "log.tsv").read_bytes())
        code, _, err = invoke("train", part, *given)
        assert (code, err.count("\n")) == (1, 1)
        assert "is not UTF-8" in err


# -- what is no file --------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("name", ["predict", "evaluate", "inspect"])
def test_a_model_that_is_no_file(folder: Path, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "text").write_text("a model\n")
    more = () if name == "inspect" else (folder / "log.tsv",)
    for path, message in (
        (tmp_path, f"{tmp_path}: Is a directory"),
        (tmp_path / "pipe", "is not a regular file"),
        (os.devnull, "is not a regular file"),
        (tmp_path / "none", "No such file"),
        (tmp_path / "loop", "symbolic links"),
        (tmp_path / "text", str(tmp_path / "text")),
        (folder / "log.tsv", "log.tsv"),
    ):
        code, out, err = invoke(name, path, *more)
        assert (code, out) == (1, "")
        assert is_one_line(err), err
        assert message in err


def test_a_log_that_is_no_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "log.tsv").mkdir()
    for path in (tmp_path / "empty", tmp_path / "log.tsv", tmp_path / "*.csv"):
        for arguments in (
            ("predict", folder / "m", path),
            ("train", path, "-l", LABEL, "-m", tmp_path / "m"),
            ("diagnose", path),
        ):
            code, out, err = invoke(*arguments)
            assert (code, out) == (1, "")
            assert is_one_line(err), err
            assert str(path) in err


TYPES = {
    "struct": pa.array([{"a": 1}] * 64),
    "map": pa.array([[("k", 1)]] * 64, pa.map_(pa.string(), pa.int64())),
    "duration": pa.array([1] * 64, pa.duration("s")),
    "interval": pa.array([pa.MonthDayNano([1, 2, 3])] * 64),
    "union": pa.UnionArray.from_sparse(pa.array([0] * 64, pa.int8()), [pa.array(range(64))]),
    "run ends": pa.RunEndEncodedArray.from_arrays([64], ["a"]),
    "list of structs": pa.array([[{"a": 1}]] * 64),
    "list of lists": pa.array([[[1]]] * 64),
    "view": pa.array(["a"] * 64, pa.string_view()),
    "decimal": pa.array([1] * 64, pa.decimal256(50, 2)),
    "no such zone": pa.array([0] * 64, pa.timestamp("us", "No/Zone")),
}


@pytest.mark.parametrize("place", ["a feature", "the label"])
@pytest.mark.parametrize("kind", TYPES)
def test_types_of_arrow(folder: Path, tmp_path: Path, kind: str, place: str) -> None:
    """Whatever a column is, it is read or refused in one line."""
    column, label = TYPES[kind], pa.array([0, 1] * 32)
    names = (LABEL, "x") if place == "a feature" else ("x", LABEL)
    table = pa.table(dict(zip(names, (label, column), strict=True)))
    path = tmp_path / "log.arrow"
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    for arguments in (
        ("train", path, "-l", LABEL, "-m", tmp_path / "m", "-q", "--bits", 10),
        ("diagnose", path, "-l", LABEL, "--bits", 10),
        ("predict", folder / "m", path, "--keep", "x", "-o", tmp_path / "p.csv"),
    ):
        code, _, err = invoke(*arguments)
        assert code in (0, 1)
        assert not code or is_one_line(err), err
        assert "internal error" not in err


# -- limits, signals and defects --------------------------------------------------------------


def with_error(error: BaseException) -> tuple[int, str]:
    """Return the exit status and stderr of a command that raises an error."""

    @click.group(cls=Commands)
    def group() -> None:
        """Hold one command."""

    @group.command()
    def fail() -> None:
        raise error

    from click.testing import CliRunner

    result = CliRunner().invoke(group, ["fail"])
    return result.exit_code, result.stderr


REPORT_IT = "; ADAGRAD_TRACEBACK=1 shows where it happened; please report it"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 1, "Error: out of memory"),
        (MemoryError("std::bad_alloc"), 1, "Error: out of memory: std::bad_alloc"),
        (pa.ArrowMemoryError("malloc of 9"), 1, "Error: out of memory: malloc of 9"),
        (pa.ArrowInvalid("two\n  lines"), 1, "Error: two lines"),
        (pa.ArrowKeyError("a key"), 1, "Error: a key"),
        (pa.ArrowNotImplementedError("a type"), 1, "Error: a type"),
        (ValueError(NASTY), 1, f"Error: {SHOWN}"),
        (ValueError(), 1, "Error: ValueError"),
        (EOFError("gzip ends"), 1, "Error: gzip ends"),
        (OSError(errno.ENOSPC, "No space left"), 1, "Error: No space left"),
        (OSError(errno.EMFILE, "Too many open files", "f"), 1, "Error: f: Too many open files"),
        (PermissionError(errno.EACCES, "Denied", b"\xff"), 1, r"Error: \xff: Denied"),
        (RuntimeError("can't start new thread"), 1, "Error: cannot start a thread: "),
        (ImportError("libx.so: cannot map"), 1, "Error: cannot import a package: libx.so"),
        (RuntimeError("oh"), 1, f"Error: internal error, RuntimeError: oh{REPORT_IT}"),
        (KeyError("k"), 1, f"Error: internal error, KeyError: 'k'{REPORT_IT}"),
        (AssertionError(), 1, f"Error: internal error, AssertionError: {REPORT_IT}"),
        (RecursionError("deep"), 1, f"Error: internal error, RecursionError: deep{REPORT_IT}"),
        (click.ClickException(NASTY), 1, f"Error: {SHOWN}"),
        (click.UsageError(f"no {NASTY}"), 2, f"Error: no {SHOWN} (see group fail --help)"),
        (KeyboardInterrupt(), 130, "\ninterrupted"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
    ],
    ids=repr,
)
def test_every_error_is_a_line(error: BaseException, code: int, said: str) -> None:
    found, err = with_error(error)
    assert found == code
    assert err.startswith(said)
    assert err.lstrip("\n").count("\n") == bool(said)
    assert not CONTROLS.search(err)


def test_the_errors_of_a_cluster_are_lines() -> None:
    class ActorDiedError(RuntimeError):
        __module__ = "ray.exceptions"

    code, err = with_error(ActorDiedError("The actor died.\n\tclass_name: Shard\n\tpid: 1"))
    assert (code, err) == (1, "Error: The actor died. class_name: Shard pid: 1\n")
    of_worker = ActorDiedError("ray::work()\n  File x, line 1\nValueError: no column")
    of_worker.cause = ValueError("no column")  # type: ignore[attr-defined]
    assert with_error(of_worker) == (1, "Error: no column\n")


def test_the_traceback_is_there_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAGRAD_TRACEBACK", "1")
    _, err = with_error(KeyError("k"))
    assert err.startswith("Traceback (most recent call last):")
    assert err.splitlines()[-1].startswith("Error: internal error, KeyError: 'k'")


def test_warnings_are_lines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(threads: int | None) -> None:
        warnings.simplefilter("always")
        warnings.warn(f"of {NASTY}\nlog", stacklevel=2)

    monkeypatch.setattr(evaluate_module, "use_threads", warn)
    code, _, err = invoke("evaluate", folder / "m", folder / "log.tsv")
    assert (code, err) == (0, f"Warning: of {SHOWN} log\n")


def limited(resource: str, most: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command under a limit, which begins after the imports."""
    code = (
        "import resource, sys; from adagrad.commands import main, train;"
        "import pyarrow, sklearn.linear_model, rich.console;"
        "from adagrad.ctr.training import run;"
        f"resource.setrlimit(resource.RLIMIT_{resource}, ({most}, {most}));"
        "sys.argv[0] = 'adagrad'; main.main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
def test_out_of_memory(folder: Path, tmp_path: Path) -> None:
    arguments = ("train", folder / "log.tsv", "-l", LABEL, "-m", tmp_path / "m", "--bits", 30, "-q")
    done = limited("AS", 3 << 30, *arguments)
    assert done.returncode == 1
    assert is_one_line(done.stderr), done.stderr
    assert done.stderr.startswith("Error: out of memory: ")
    assert not list(tmp_path.iterdir())


@POSIX
def test_too_many_open_files(folder: Path) -> None:
    for name, *arguments in (("inspect", folder / "m"), ("diagnose", folder / "log.tsv")):
        done = limited("NOFILE", 3, name, *arguments)
        assert done.returncode == 1
        assert is_one_line(done.stderr), done.stderr
        assert "open files" in done.stderr


@POSIX
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_end_a_command_quietly(folder: Path, tmp_path: Path, name: str) -> None:
    """While it waits for its input; an output that was begun is gone."""
    arguments = ("predict", folder / "m", "--format", "tsv", "-o", tmp_path / "p.csv")
    with command.slow(*arguments, stdin=subprocess.PIPE) as process:
        command.feed(process, command.as_text(command.clicks(2_000)))
        process.send_signal(getattr(signal, name))
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.returncode == 128 + getattr(signal, name)
    assert said.strip() in ("", "interrupted")
    assert not list(tmp_path.iterdir())


LOSES_A_SIGNAL = """
import signal, sys, time, weakref
from adagrad.commands.errors import Commands

class Thing:
    pass

def lose():
    thing = Thing()
    gone = weakref.ref(thing, lambda _: signal.raise_signal(int(sys.argv[1])))
    del thing
    time.sleep(60)

group = Commands()
group.command("lose")(lose)
group(["lose"])
"""


@POSIX
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_while_an_object_is_destroyed(name: str) -> None:
    """Python drops what the handler raises then."""
    number = getattr(signal, name)
    run = [sys.executable, "-c", LOSES_A_SIGNAL, str(int(number))]
    found = subprocess.run(run, stderr=-1, timeout=30, check=False)
    assert found.returncode == 128 + number
    assert found.stderr.decode().strip() == ("interrupted" if name == "SIGINT" else "")


@POSIX
def test_a_command_outlives_its_terminal_under_nohup(folder: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        arguments = ("train", folder / "log.tsv", "-l", LABEL, "-m", tmp_path / "m", "--lr", 0.1)
        with command.slow(*arguments) as process:
            process.send_signal(signal.SIGHUP)
            assert process.stderr is not None
            process.stderr.read()
        assert process.returncode == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "m").exists()


def test_help_tells_the_exit_status() -> None:
    assert "exit status is 0 for success" in invoke("--help")[1]
