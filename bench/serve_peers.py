"""Servers to compare with, as people write them: FastAPI around scikit-learn, or around VW.

`write` trains their models; uvicorn serves ``bench.serve_peers:scikit_learn`` and ``:vw``.
"""

from __future__ import annotations

import os
import pickle
from functools import cache
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]

FOLDER = "BENCH_SERVE"  # the environment variable with the folder of the models


def write(folder: Path, rows: Rows, y: Any) -> None:
    """Train the models of the peers that are installed, and write them to a folder."""
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import SGDClassifier

    hasher = FeatureHasher(2**22)
    model = SGDClassifier(loss="log_loss").fit(hasher.transform(map(_as_text, rows)), y)
    (folder / "scikit-learn").write_bytes(pickle.dumps((hasher, model)))
    try:
        from vowpalwabbit import Workspace
    except ImportError:
        return
    path = folder / "vw"
    with Workspace(f"--quiet -b 22 --loss_function logistic --link logistic -f {path}") as vw:
        for row, label in zip(rows, y, strict=True):
            vw.learn(f"{1 if label else -1} {_line(row)}")


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose values are categories."""
    return {name: str(value) for name, value in row.items()}


def _line(row: dict[str, Any]) -> str:
    return "| " + " ".join(f"{name}={value}" for name, value in row.items())


@cache
def _scikit_learn() -> tuple[Any, Any]:
    found = pickle.loads((Path(os.environ[FOLDER]) / "scikit-learn").read_bytes())
    return found[0], found[1]


@cache
def _vw() -> Any:
    from vowpalwabbit import Workspace

    return Workspace(f"--quiet -t -i {Path(os.environ[FOLDER]) / 'vw'}")


def _application(predict: Any) -> Any:
    from fastapi import Body, FastAPI

    application = FastAPI()

    @application.post("/predict")
    async def answer(rows: Rows = Body()) -> Any:  # noqa: B008
        return {"probabilities": predict(rows)}

    answer.__annotations__["rows"] = Rows
    return application


def scikit_learn() -> Any:
    """Return the application around scikit-learn."""
    hasher, model = _scikit_learn()
    return _application(
        lambda rows: model.predict_proba(hasher.transform(map(_as_text, rows)))[:, 1].tolist()
    )


def vw() -> Any:
    """Return the application around Vowpal Wabbit."""
    model = _vw()
    return _application(lambda rows: [model.predict(_line(row)) for row in rows])
