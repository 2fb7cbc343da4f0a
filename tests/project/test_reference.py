"""The API reference: no page is empty, and no public name is left out."""

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
