"""Names on the command line of the benchmarks."""

from __future__ import annotations

import sys

import pytest

from checks import ROOT

sys.path.append(str(ROOT))  # bench/ is not part of what is installed

from bench import __main__ as bench_main


@pytest.mark.parametrize(
    ("name", "hint"), [("dens", "did you mean 'dense'"), ("compar", "'compare'"), ("zzz", "--help")]
)
def test_misspelled_names_get_the_nearest(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", name])
    with pytest.raises(SystemExit) as ended:
        bench_main.main()
    assert ended.value.code == 2
    assert hint in capsys.readouterr().err
