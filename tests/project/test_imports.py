"""Imports of the package itself, which the import linter cannot tell from those of `_core`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import adagrad

PACKAGE = Path(adagrad.__file__).parent
# They stand above the public names that they take from the package.
ABOVE = {
    "commands",
    "ctr",
    "demo.py",
    "distributed",
    "keras",
    "plotting",
    "textbook",
    "torch",
}
MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in {*ABOVE, "__init__.py"}
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_lower_module_imports_the_package(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.module != "adagrad", f"line {node.lineno}"
        elif isinstance(node, ast.Import):
            assert "adagrad" not in [name.name for name in node.names], f"line {node.lineno}"
