"""What weights of 16 bits cost on the click log that ships with the package: hardly any logloss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("sklearn", "scipy", "pyarrow")

from sklearn.metrics import log_loss

from adagrad.ctr import FactorizationMachine, LogisticRegression
from adagrad.datasets import click_log
from adagrad.serving import Scorer, write_export

TRAINED = 8000  # rows; the rest is held out
MOST = 0.0005  # of the logloss


@pytest.mark.parametrize("model", [LogisticRegression(), FactorizationMachine(lr=0.1)])
def test_16_bits_cost_hardly_any_logloss(model, tmp_path: Path) -> None:
    log = click_log()
    x, y = log.to_csr()[:, np.unique(log.rows)], log.labels
    model.fit(x[:TRAINED], y[:TRAINED])
    loss, bytes_ = {}, {}
    for dtype in ("float32", "bfloat16", "float16"):
        bytes_[dtype] = write_export(model, tmp_path / dtype, dtype)["bytes"]
        p = Scorer(tmp_path / dtype).predict_proba(x[TRAINED:])
        loss[dtype] = log_loss(y[TRAINED:], p[:, 1])
    assert loss["float32"] == log_loss(y[TRAINED:], model.predict_proba(x[TRAINED:])[:, 1])
    for dtype in ("bfloat16", "float16"):
        assert 0 < abs(loss[dtype] / loss["float32"] - 1) < MOST
        assert bytes_[dtype] < 0.55 * bytes_["float32"]
