"""Where the commands write: never over an input, and over nothing else without a word."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from checks import need_packages

need_packages("click", "rich", "matplotlib", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa
from pyarrow import csv, parquet

import command
from command import LABEL, invoke

TRAIN = ("-l", LABEL, "--bits", 10, "--lr", 0.1, "--quiet")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs links, pipes or permissions")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: bytes) -> Path:
    """A working directory with a log, a held-out log, a model, and notes of the user."""
    monkeypatch.chdir(tmp_path)
    command.write(Path("log.tsv"), command.clicks(300))
    command.write(Path("held.tsv"), command.clicks(200, seed=1))
    Path("m").write_bytes(trained)
    Path("notes.txt").write_text("do not touch\n")
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a model."""
    folder = tmp_path_factory.mktemp("trained")
    log = command.write(folder / "log.tsv", command.clicks(300))
    assert invoke("train", log, "-m", folder / "m", *TRAIN)[0] == 0
    return (folder / "m").read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(*arguments: object) -> str:
    """Run a command that must fail with one line and leave every file as it is."""
    before = contents(Path())
    code, out, err = invoke(*arguments)
    assert (code, out) == (1, ""), err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1, err
    assert contents(Path()) == before
    return err.removeprefix("Error: ")


def done(*arguments: object) -> None:
    code, _, err = invoke(*arguments)
    assert code == 0, err


# Each line names what would be lost.
INPUTS = [
    ("train log.tsv -m log.tsv", "log.tsv, a file of the log"),
    ("train log.tsv -m ./log.tsv", "log.tsv, a file of the log"),
    ("train log.tsv -m LINK", "log.tsv, a file of the log"),
    ("train log.tsv -m HARD", "log.tsv, a file of the log"),
    ("train log.tsv --validate held.tsv -m held.tsv", "held.tsv, a file of the log"),
    ("train l*.tsv -m new --report log.tsv", "log.tsv, a file of the log"),
    ("train log.tsv --validate h*.tsv -m new --report held.tsv", "held.tsv, a file of the log"),
    ("predict m log.tsv -o log.tsv", "log.tsv, a file of the log"),
    ("predict m LINK.tsv -o log.tsv", "LINK.tsv, a file of the log"),
    ("predict m.tsv log.tsv -o m.tsv", "m.tsv, an input"),
    ("diagnose log.tsv --json log.tsv", "log.tsv, a file of the log"),
    ("demo pic.png -o pic.png", "pic.png, an input"),
]


@POSIX
@pytest.mark.parametrize("more", [[], ["--overwrite"]], ids=["", "overwrite"])
@pytest.mark.parametrize(("line", "lost"), INPUTS)
def test_an_input_is_never_an_output(
    folder: Path, line: str, lost: str, more: list[str], trained: bytes
) -> None:
    for link in ("LINK", "LINK.tsv"):
        Path(link).symlink_to("log.tsv")
    Path("HARD").hardlink_to("log.tsv")
    Path("m.tsv").write_bytes(trained)
    Path("pic.png").write_text("0 1:1\n1 2:1\n")
    name, *arguments = line.split()
    extra = TRAIN if name == "train" else ()
    said = refused(name, *arguments, *extra, *more)
    assert f"would replace {lost}" in said


@POSIX
def test_an_input_by_another_case_where_case_does_not_matter(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that ignores case finds LOG.tsv, which is the same file."""
    status = Path.stat

    def ignoring_case(path: Path, **options: bool) -> os.stat_result:
        found = [name for name in os.listdir() if name.casefold() == str(path).casefold()]  # noqa: PTH208
        return status(Path(found[0]) if found else path, **options)

    monkeypatch.setattr(Path, "stat", ignoring_case)
    assert "would replace" in refused("train", "log.tsv", "-m", "LOG.tsv", *TRAIN)


def test_two_outputs_are_two_files(folder: Path) -> None:
    said = refused("train", "log.tsv", "-m", "new", "--report", "./new", *TRAIN)
    assert "--report new is the file of --model as well" in said
    said = refused("train", "log.tsv", "-m", "new", "--report", "NEW", *TRAIN)
    assert "as well" in said, "they are one file on some systems"
    said = refused("diagnose", "log.tsv", "--json", "a.png", "--picture", "a.png")
    assert "--picture a.png is the file of --json as well" in said


@POSIX
def test_two_outputs_through_a_link(folder: Path) -> None:
    Path("link").symlink_to("new")
    said = refused("train", "log.tsv", "-m", "new", "--report", "link", *TRAIN)
    assert "as well" in said


@pytest.mark.parametrize(
    "line",
    [
        "predict m LOGS -o LOGS/scores.csv",
        "predict m LOGS -o LOGS/sub/scores.csv",
        "predict m LOGS/*.tsv -o LOGS/scores.tsv",
        "train LOGS -m LOGS/m.parquet",
        "train LOGS/**/*.tsv -m LOGS/sub/deep/m.tsv",
        "train LOGS/**/*.tsv -m LOGS/m.tsv",
        "predict m LOGS/** -o LOGS/sub/deep/scores.csv",
        "predict m LOGS/* -o LOGS/sub/deep/scores.csv",
        "predict m FOLDER/LOGS/* -o LOGS/sub/scores.csv",
    ],
)
def test_what_the_next_run_would_read(folder: Path, line: str) -> None:
    Path("LOGS/sub/deep").mkdir(parents=True)
    Path("log.tsv").rename("LOGS/log.tsv")
    name, *arguments = line.replace("FOLDER", f"file://{folder}").split()
    said = refused(name, *arguments, *(TRAIN if name == "train" else ()))
    assert re.search("would be read as a part of .*LOGS", said)


def test_a_log_of_files_without_a_suffix_includes_every_output(folder: Path) -> None:
    Path("LOGS").mkdir()
    Path("log.tsv").rename("LOGS/part-0")
    said = refused("train", "LOGS", "-m", "LOGS/m.safetensors", *TRAIN)
    assert "would be read as a part of LOGS" in said
    done("train", "LOGS", "-m", "LOGS/.m.safetensors", *TRAIN)


@POSIX
@pytest.mark.parametrize("log", ["LINK", "LINK/*.tsv", "LINK/**/*.tsv"])
def test_what_the_next_run_would_read_through_a_link(folder: Path, log: str) -> None:
    Path("LOGS").mkdir()
    Path("log.tsv").rename("LOGS/log.tsv")
    Path("LINK").symlink_to("LOGS")
    said = refused("predict", "m", log, "-o", "LOGS/scores.tsv")
    assert "would be read as a part of LINK" in said


def test_what_the_next_run_would_not_read(folder: Path) -> None:
    Path("LOGS").mkdir()
    Path("log.tsv").rename("LOGS/log.tsv")
    done("train", "LOGS", "-m", "LOGS/m", *TRAIN)
    for _ in range(2):
        done("predict", "m", "LOGS", "-o", "LOGS/_scores.csv")
        done("predict", "m", "LOGS/*.tsv", "-o", "LOGS/scores.csv.parquet")
        Path("LOGS/scores.csv.parquet").unlink()


@pytest.mark.parametrize("what", ["m", "notes.txt", "empty"])
def test_a_model_replaces_nothing_unless_told(folder: Path, what: str) -> None:
    Path("empty").touch()
    said = refused("train", "log.tsv", "-m", what, *TRAIN)
    assert f"--model {what} exists: give --overwrite to replace it, --resume" in said
    done("train", "log.tsv", "-m", what, *TRAIN, "--overwrite")
    done("predict", what, "log.tsv", "-o", "p.csv")
    done("train", "log.tsv", "-m", what, *TRAIN, "--resume")


def test_resume_needs_a_model(folder: Path) -> None:
    refused("train", "log.tsv", "-m", "notes.txt", *TRAIN, "--resume")


def test_resume_is_no_permission_for_a_report(folder: Path) -> None:
    said = refused("train", "log.tsv", "-m", "m", "--report", "notes.txt", *TRAIN, "--resume")
    assert "--report notes.txt exists and is not a report that adagrad wrote" in said


OWN = [
    ("predict m log.tsv -o X.csv", "table of predictions"),
    ("predict m log.tsv -o X.tsv", "table of predictions"),
    ("predict m log.tsv -o X.parquet", "table of predictions"),
    ("predict m log.tsv -o X.csv --keep user", "table of predictions"),
    ("train log.tsv -m NEW --report X.html", "report"),
    ("diagnose log.tsv --json X.json", "file of a diagnosis"),
    ("diagnose log.tsv --picture X.png", "picture"),
    ("diagnose log.tsv --picture X.svg", "picture"),
    ("diagnose log.tsv --picture X.pdf", "picture"),
    ("demo -o X.png", "picture"),
]


@pytest.mark.parametrize(("line", "kind"), OWN)
def test_an_output_replaces_only_its_earlier_version(folder: Path, line: str, kind: str) -> None:
    name, *arguments = line.split()
    extra = (*TRAIN, "--overwrite") if name == "train" else ()
    target = Path(next(word for word in arguments if word.startswith("X")))
    done(name, *arguments, *extra)
    first = target.read_bytes()
    extra = TRAIN if name == "train" else ()
    if name == "train":
        Path("NEW").unlink()
    done(name, *arguments, *extra)  # as every night
    assert target.read_bytes()[:8] == first[:8]
    mine = {
        "a log": Path("log.tsv").read_bytes().replace(b"\t", b","),
        "text": b"matplotlib, prediction, <footer>adagrad \n",
        "model": Path("m").read_bytes(),
        "JSON": b'{"log": 1}',
        "a picture": b"\x89PNG\r\n\x1a\n of mine",
        "a page": b"<!doctype html>\n<p>mine</p>\n",
        "a parquet file": parquet_bytes(),
    }
    for content in mine.values():
        target.write_bytes(content)
        if name == "train":
            Path("NEW").unlink(missing_ok=True)
        said = refused(name, *arguments, *extra)
        assert f"{target} exists and is not a {kind} that adagrad wrote: give --overwrite" in said
    done(name, *arguments, *extra, "--overwrite")
    assert target.read_bytes()[:8] == first[:8]


def parquet_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"prediction": [1.0], "mine": [1]}), sink)
    return sink.getvalue().to_pybytes()


def test_a_page_of_an_earlier_version_is_known(folder: Path) -> None:
    Path("r.html").write_text(
        "<!doctype html>\n<title>m</title>\n<footer>adagrad 0.1.0</footer>\n</body>\n</html>\n"
    )
    done("train", "log.tsv", "-m", "new", "--report", "r.html", *TRAIN)
    assert b"Learning curves" in Path("r.html").read_bytes()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train LOG -m none/m", "cannot write --model none/m: there is no directory none"),
        ("train LOG -m notes.txt/m", "there is no directory notes.txt"),
        ("train LOG -m new --report none/r.html", "there is no directory none"),
        ("train LOG -m DIR", "Is a directory"),
        ("train LOG -m " + "n" * 300, "File name too long"),
        ("predict m LOG -o scores.txt", "the name must end in .parquet, .csv or .tsv"),
        ("predict m LOG -o scores", "the name must end in .parquet, .csv or .tsv"),
        ("predict m LOG -o none/p.csv", "there is no directory none"),
        ("predict m LOG -o DIR.csv", "Is a directory"),
        ("diagnose LOG --picture a.txt", "the name must end in"),
        ("diagnose LOG --json none/a.json", "there is no directory none"),
        ("demo -o a.doc", "the name must end in"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_read(
    folder: Path, line: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log does not even exist, and nobody asks for it."""
    monkeypatch.setattr("adagrad.ctr.logs.sources.find", None)
    Path("DIR").mkdir()
    Path("DIR.csv").mkdir()
    name, *arguments = line.replace("LOG", "log.tsv").split()
    code, out, err = invoke(name, *arguments, *(TRAIN if name == "train" else ()))
    assert code in (1, 2)  # click refuses a directory as a mistake in the usage
    assert out == ""
    assert message in err or "is a directory" in err


@POSIX
def test_a_loop_of_links(folder: Path) -> None:
    Path("loop").symlink_to("loop")
    assert "loop" in refused("train", "log.tsv", "-m", "loop", *TRAIN)


@POSIX
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to drop")
@pytest.mark.parametrize("case", ["read-only file", "read-only folder", "sticky folder"])
def test_no_permission(case: str) -> None:
    """A user without rights is refused before the training; root may write everywhere."""
    # Not below tmp_path, whose parents may be closed to other users.
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        _check_no_permission(Path(place), case)


def _check_no_permission(place: Path, case: str) -> None:
    target = place / "new"
    if case == "read-only file":
        target.write_text("keep")
        place.chmod(0o777)
        target.chmod(0o444)
    elif case == "read-only folder":
        place.chmod(0o555)
    else:
        target.write_text("keep")
        target.chmod(0o666)
        place.chmod(0o1777)
    code = f"""if True:
        import os
        from adagrad._atomic import check_writable
        os.setgid(12345); os.setuid(12345)
        try:
            check_writable({str(target)!r})
        except PermissionError as error:
            print(error.filename)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"{target}\n"
    assert [path.name for path in place.iterdir()] == ([target.name] if target.exists() else [])


@POSIX
def test_mode_owner_and_links_are_kept(folder: Path) -> None:
    done("predict", "m", "log.tsv", "-o", "p.csv")
    assert stat.S_IMODE(Path("p.csv").stat().st_mode) == 0o666 & ~umask()
    Path("p.csv").chmod(0o640)
    if os.geteuid() == 0:
        os.chown("p.csv", 12345, 23456)
    before = Path("p.csv").stat()
    Path("link.csv").symlink_to("p.csv")
    done("predict", "m", "held.tsv", "-o", "link.csv")
    after = Path("p.csv").stat()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert Path("link.csv").is_symlink()
    assert csv.read_csv("p.csv").num_rows == 200


def umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def test_a_file_beside_the_output_is_not_touched(folder: Path) -> None:
    """Even one with a name that a temporary file might have."""
    names = [".p.csv.partial", "p.csv.tmp", ".adagrad-notes.tmp", ".adagrad-0123456789abcdeX.tmp"]
    for name in names:
        Path(name).write_text("mine")
    done("predict", "m", "log.tsv", "-o", "p.csv")
    assert all(Path(name).read_text() == "mine" for name in names)


def test_a_failure_leaves_the_earlier_version(folder: Path) -> None:
    done("predict", "m", "log.tsv", "-o", "p.csv")
    with Path("log.tsv").open("ab") as file:
        file.write(b"broken\n")
    said = refused("predict", "m", "log.tsv", "-o", "p.csv")
    assert "log.tsv, line 302" in said


@POSIX
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_pipe_is_written_directly(folder: Path, suffix: str) -> None:
    name = f"pipe.{suffix}"
    os.mkfifo(name)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path(name).read_bytes()))
    reader.start()
    done("predict", "m", "log.tsv", "-o", name)
    reader.join(timeout=30)
    done("predict", "m", "log.tsv", "-o", f"file.{suffix}")
    assert stat.S_ISFIFO(Path(name).stat().st_mode)
    assert got == [Path(f"file.{suffix}").read_bytes()]


@POSIX
def test_devices_are_written_directly(folder: Path) -> None:
    before = Path(os.devnull).stat()
    done("predict", "m", "log.tsv", "-o", os.devnull)
    done("train", "log.tsv", "-m", "new", "--report", os.devnull, *TRAIN)
    assert Path(os.devnull).stat().st_ino == before.st_ino
    said = refused("train", "log.tsv", "-m", os.devnull, *TRAIN, "--overwrite")
    assert "a model needs a regular file" in said


@POSIX
def test_the_standard_output_by_name(folder: Path) -> None:
    """What the shell has appended to stays, too."""
    Path("all.csv").write_text("before\n")
    with Path("all.csv").open("ab") as out:
        run = [sys.executable, "-m", "adagrad.commands.main", "predict", "m", "log.tsv"]
        subprocess.run([*run, "-o", "/dev/stdout"], stdout=out, check=True, timeout=60)
    lines = Path("all.csv").read_text().splitlines()
    assert lines[:2] == ["before", '"prediction"']
    assert len(lines) == 302


@POSIX
def test_the_standard_streams_may_not_be_an_input_and_an_output(folder: Path) -> None:
    run = [sys.executable, "-m", "adagrad.commands.main", "predict", "m"]
    before = contents(folder)
    for arguments, name in (
        (["log.tsv"], "log.tsv, a file of the log"),
        (["--format", "tsv"], "the standard input"),
    ):
        with Path("log.tsv").open("rb") as log, Path("log.tsv").open("ab") as out:
            found = subprocess.run(
                [*run, *arguments], stdin=log, stdout=out, stderr=-1, timeout=60, check=False
            )
        assert found.returncode == 1
        assert found.stderr.decode() == f"Error: the standard output is {name}\n"
    with Path("log.tsv").open("rb") as log:
        found = subprocess.run(
            [*run, "--format", "tsv", "-o", "log.tsv", "--overwrite"],
            **{"stdin": log, "stderr": -1, "timeout": 60, "check": False},
        )
    assert b"would replace the standard input" in found.stderr
    assert contents(folder) == before


@POSIX
@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("evaluate m held.tsv", "held.tsv"),
        ("evaluate m held.tsv", "m"),
        ("inspect m", "m"),
        ("inspect m --log held.tsv", "held.tsv"),
        ("diagnose held.tsv -l click", "held.tsv"),
    ],
)
def test_nothing_is_appended_to_an_input(folder: Path, line: str, file: str) -> None:
    before = contents(folder)
    run = [sys.executable, "-m", "adagrad.commands.main", *line.split()]
    with Path(file).open("ab") as out:
        found = subprocess.run(run, stdout=out, stderr=-1, timeout=60, check=False)
    assert found.returncode == 1
    assert found.stderr.decode().startswith(f"Error: the standard output is {file}, a")
    assert contents(folder) == before


def test_a_checkpoint_of_a_cluster(folder: Path) -> None:
    from click import ClickException

    from adagrad.commands.outputs import Output, check_checkpoint

    place = folder / "m.checkpoint"
    check_checkpoint(place, ["log.tsv"], [], overwrite=False, resume=False)
    place.mkdir()
    check_checkpoint(place, ["log.tsv"], [], overwrite=False, resume=False)
    (place / "training.json").write_text(json.dumps({}))
    with pytest.raises(ClickException, match=r"of another training: give --resume .*--overwrite"):
        check_checkpoint(place, ["log.tsv"], [], overwrite=False, resume=False)
    check_checkpoint(place, ["log.tsv"], [], overwrite=True, resume=False)
    check_checkpoint(place, ["log.tsv"], [], overwrite=False, resume=True)
    with pytest.raises(ClickException, match="is in the directory of the checkpoint"):
        check_checkpoint(place, [str(place / "log.tsv")], [], overwrite=True, resume=True)
    for path in (place, place / "page.html", Path("m.checkpoint/page.html")):
        page = Output("--report", path, "report")
        with pytest.raises(ClickException, match=r"--report .* is in the directory of the check"):
            check_checkpoint(place, ["log.tsv"], [page], overwrite=True, resume=True)
    with pytest.raises(ClickException, match="needs a directory of that name"):
        check_checkpoint(folder / "notes.txt", ["log.tsv"], [], overwrite=True, resume=True)
