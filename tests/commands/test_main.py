"""The command line: what it prints, what it refuses, and which packages it needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adagrad.commands import requirements
from checks import need_packages

need_packages("click", "rich", "matplotlib", "sklearn")

from click.testing import CliRunner

from adagrad.commands.group import adagrad as command


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(command, ["demo", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def numbers(text: str) -> list[str]:
    """Return the rows of the table without their last column, the speed."""
    learners = re.findall(r"^((?:AdaGrad|constant|global|base)[- ].*\.\d{3})\b.*$", text, re.M)
    assert len(learners) == 4
    return learners


def test_the_demo_on_the_shipped_log(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    process = subprocess.run(
        [sys.executable, "-m", "adagrad.commands.main", "demo", "--output", str(target)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=True,
        timeout=120,
    )
    assert process.stderr == ""
    assert not set(map(ord, process.stdout)) & (set(range(32)) - {10})
    assert "10,000 examples, 435 of them positive" in process.stdout
    assert target.read_bytes().startswith(b"\x89PNG")
    logloss = [float(line.split()[-4]) for line in numbers(process.stdout)]
    assert logloss[0] == min(logloss)
    assert logloss[0] == pytest.approx(0.172, abs=0.001)


def test_the_demo_on_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    rng = np.random.default_rng(0)
    with (tmp_path / "log[bold].svm").open("w") as file:
        for ids in rng.integers(0, 50, size=(200, 5)):
            label = int(rng.random() < (0.2 if ids[0] < 25 else 0.8))
            file.write(f"{label} " + " ".join(f"{i}:1" for i in sorted(set(ids.tolist()))) + "\n")
    arguments = (tmp_path / "log[bold].svm", "--lr", 0.25, "-o", tmp_path / "out [x].svg")
    code, out, err = invoke(*arguments)
    assert (code, err) == (0, "")
    assert out.startswith("log[bold].svm: 200 examples")
    assert re.search(r"^AdaGrad +0\.25 ", out, re.M)
    assert "first 100 of these examples" in out
    assert len(numbers(out)) == 4, "a narrow terminal must not cost digits"
    assert numbers(invoke(*arguments)[1]) == numbers(out), "every run gives the same numbers"
    assert str(tmp_path / "out [x].svg") in out
    assert (tmp_path / "out [x].svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.svm"], "cannot read none.svm: No such file or directory"),
        (["."], "cannot read .: Is a directory"),
        (["empty.svm"], "empty.svm: no examples"),
        (
            ["bad.svm"],
            "bad.svm, line 2: expected 'label id:value ...' with increasing ids: "
            "invalid literal for int() with base 10: b'x'",
        ),
        (
            ["table.csv"],
            "table.csv, line 1: expected 'label id:value ...' with increasing ids: "
            "could not convert string to float: b'a,b'; for a table, use adagrad diagnose",
        ),
        (["one.svm"], "one.svm: every label is 1, but learning needs examples of both classes"),
        (["-o", "none/a.png"], "cannot write --output none/a.png: there is no directory none"),
        (["-o", "folder.png"], "cannot write --output folder.png: Is a directory"),
        (["--lr", "0"], "--lr must be above 0 and finite in float32, got 0"),
        (["--lr", "1e300"], "--lr must be above 0 and finite in float32, got 1e+300"),
        (["--lr", "1e-300"], "--lr must be above 0 and finite in float32, got 1e-300"),
        (["--lr", "nan"], "--lr must be above 0 and finite in float32, got nan"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.svm").touch()
    Path("bad.svm").write_text("0 1:1\n1 x:1\n")
    Path("table.csv").write_text("a,b\n1,2\n")
    Path("one.svm").write_text("1 1:1\n1 2:1\n")
    Path("folder.png").mkdir()
    before = sorted(tmp_path.iterdir())
    assert invoke(*arguments) == (1, "", f"Error: {message}\n")
    assert sorted(tmp_path.iterdir()) == before


def test_an_unknown_kind_of_picture_is_refused_before_training() -> None:
    code, out, err = invoke("--output", "picture.txt")
    assert (code, out) == (1, "")
    assert err.startswith("Error: cannot write --output picture.txt: the name must end in .")
    assert ".png" in err


def test_version_and_help() -> None:
    import adagrad

    runner = CliRunner()
    assert adagrad.__version__ in runner.invoke(command, ["--version"]).stdout
    assert "demo" in runner.invoke(command, ["--help"]).stdout


@pytest.mark.parametrize("arguments", [["--version"], ["demo"]])
def test_without_the_extras_one_line_says_what_to_install(arguments: list[str]) -> None:
    missing = "click" if arguments == ["--version"] else "matplotlib sklearn"
    code = (
        "import sys; from adagrad.commands import main as cli;"
        f"sys.modules.update(dict.fromkeys({missing!r}.split()));"
        f"sys.argv = ['adagrad', *{arguments!r}]; cli.main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    wanted = {
        "--version": "adagrad needs click: pip install 'adagrad[ctr]'\n",
        "demo": "adagrad demo needs matplotlib, scikit-learn: pip install 'adagrad[ctr]'\n",
    }
    assert (process.returncode, process.stdout, process.stderr) == (1, "", wanted[arguments[0]])


def test_require_accepts_what_is_there() -> None:
    requirements.require("adagrad demo", "json", "click")


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("adagrad, adagrad.commands.main, adagrad.datasets", "click rich matplotlib sklearn scipy"),
        ("adagrad.commands", "rich matplotlib sklearn scipy"),
        ("adagrad.plotting", "matplotlib.pyplot"),
    ],
)
def test_imports_stay_light(imported: str, absent: str) -> None:
    code = f"import sys, {imported}; print(set({absent!r}.split()) & set(sys.modules))"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert process.stdout == "set()\n"
