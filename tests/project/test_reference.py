"""The reference: every public name is on its page, and every word in the glossary once."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from checks import ROOT, need_packages

PAGES = sorted((ROOT / "docs" / "api").glob("*.rst"))
NEEDED = {"ctr": ["sklearn"], "distributed": ["ray"], "keras": ["keras", "torch"]}
NEEDED |= {"plotting": ["matplotlib"], "textbook": ["matplotlib"], "torch": ["torch"]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_every_public_name(page, monkeypatch):
    need_packages(*NEEDED.get(page.stem, ()))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    text = page.read_text(encoding="utf-8")
    module = importlib.import_module(re.search(r"automodule:: (\S+)", text)[1])
    assert "   :members:\n" in text
    shown = [name for name in module.__all__ if name != "__version__"]
    assert shown
    # What autodoc looks through. A name that `__getattr__` imports on first use has to be in it.
    assert set(shown) <= set(dir(module))
    for name in shown:
        value = getattr(module, name)
        if callable(value):
            assert inspect.getdoc(value)
            assert ":imported-members:" in text or value.__module__ == module.__name__


def test_glossary():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    entries = re.search(r"```{glossary}\n(.*)```", text, re.DOTALL)[1].strip().split("\n\n")
    terms = [[line for line in entry.splitlines() if line[0] != " "] for entry in entries]
    flat = [term for entry in terms for term in entry]
    assert len(flat) == len(set(flat))
    first = [entry[0].lower() for entry in terms]
    assert first == sorted(first)
    assert all("\n  " in entry for entry in entries)
