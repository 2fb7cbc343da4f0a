"""Files of tables, learners and checkpoints, and damage to them that JSON readers may miss.

Run as a script, ``damaged_files.py KIND FOLDER``, it reads a damaged file for each seed in a JSON
list on the standard input, with limited memory, and prints what went wrong as JSON.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import copy
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fuzz

KINDS = ("table", "model", "checkpoint")
SPARE = 64 << 20  # bytes that reading may take besides twice the file
SECONDS = 1.0

_DEEP, _TWICE = "@DEEP@", "@TWICE@"
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 8, 255, 256, 65_535, 65_536, 2**31, 2**32, 2**53),
    *(2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**13, 10**30, 10**400),
    *(0.5, -0.0, 1e-300, 1e308, float("nan"), float("inf"), -float("inf"), 1e400),
    *("", "x" * 100_000, "\ud800", "\x00\n\x1b[31m", "\u0663", "9" * 5000, "NaN", "1e400", "-1"),
    *([], {}, [[]], [None], [1, 2, 3], ["a"], {"a": 1}, {"": None}, [0] * 1000, _DEEP),
    *("float16", "F64", "categorical", "value", "ffm", "<U9999", "|O", "<f8", "element", "row"),
)


class _Json(dict[str, Any]):
    """JSON inside a string of JSON, under the key "json"."""


def mutated(data: bytes, seed: int) -> bytes:
    """Return a copy of a file with one to three values of its JSON changed.

    A value is replaced by an odd one or by another of the file, doubled, removed, or given twice.
    """
    rng = np.random.default_rng([seed, 1])
    is_plain = data[:1] == b"{"
    length = 0 if is_plain else int.from_bytes(data[:8], "little")
    text = data if is_plain else data[8 : 8 + length]
    tree = {"": _unfolded(json.loads(text))}
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(tree))
        if not places:
            break
        at, key = places[int(rng.integers(len(places)))]
        _change(at, key, places, rng)
    new = _folded(tree.get("")).encode("utf-8", "surrogatepass")
    if is_plain:
        return new
    unit = 4096 if (8 + length) % 4096 == 0 else 8  # where the data of this kind of file start
    new = new.ljust(-(-(8 + len(new)) // unit) * unit - 8)
    return len(new).to_bytes(8, "little") + new + data[8 + length :]


def _unfolded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unfolded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unfolded(inner) for inner in value]
    if isinstance(value, str) and value[:1] in "[{":
        return _Json(json=_unfolded(json.loads(value))) if value else value
    return value


def _folded(value: Any) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, _Json):
            return json.dumps(plain(value.get("json")))
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    text = json.dumps(plain(value), separators=(",", ":")).replace(_TWICE, "")
    return re.sub(rf'\\*"{_DEEP}\\*"', "[" * 3000 + "]" * 3000, text)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = range(len(value)) if isinstance(value, list) else list(value)
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _change(at: Any, key: Any, places: list[tuple[Any, Any]], rng: np.random.Generator) -> None:
    old, how = at[key], int(rng.integers(0, 8))
    other, other_key = places[int(rng.integers(len(places)))]
    if how <= 2:
        at[key] = copy.deepcopy(_ODD[int(rng.integers(len(_ODD)))])
    elif how == 3:
        at[key] = copy.deepcopy(other[other_key])
    elif how == 4:
        del at[key]
    elif how == 5 and isinstance(at, dict) and not isinstance(at, _Json) and key:
        at[key + _TWICE] = old
    elif how == 5 and isinstance(at, list):
        at.append(old)
    elif isinstance(old, bool) or not isinstance(old, (int, float, str)):
        at[key] = [old]
    elif isinstance(old, str):
        at[key] = _damaged_text(old, rng)
    else:
        at[key] = [old + 1, old - 1, -old, 2 * old, old * 10**9, str(old)][int(rng.integers(6))]


def _damaged_text(text: str, rng: np.random.Generator) -> str:
    seed = int(rng.integers(2**32))
    if len(text) > 40:
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass
        else:
            return base64.b64encode(fuzz.damaged(raw, seed)).decode()
    return fuzz.damaged(text.encode("utf-8", "surrogatepass"), seed).decode(
        "utf-8", "surrogateescape"
    )


def damaged(data: bytes, seed: int) -> bytes:
    """Return a damaged copy of a file: of its bytes or of its JSON, in turn."""
    is_json = data[:1] == b"{" or data[8:9] == b"{"
    return mutated(data, seed) if is_json and seed % 2 else fuzz.damaged(data, seed)


# Good files


def write_tables(folder: Path) -> None:
    from adagrad import Rule, Table

    Table(40, init="normal", seed=1).save(folder / "a")
    rule = Rule(lr=0.5, lr_decay=0.1, on_nonfinite="skip", accumulator="row", clip_value=1.0)
    Table(30, 4, rule, "bfloat16", init="uniform", seed=2**64 - 1).save(folder / "b")
    Table(20, 3, dtype="float64").save(folder / "c")


def write_models(folder: Path) -> None:
    import pyarrow as pa

    from adagrad import Rule
    from adagrad.ctr import (
        FactorizationMachine,
        FieldAwareFactorizationMachine,
        HashingEncoder,
        LogisticRegression,
    )
    from adagrad.ctr.learners import files
    from adagrad.ctr.training.columns import schema_to_text
    from adagrad.ctr.training.options import Options

    x, y = rows(), np.arange(100) % 2
    fields = HashingEncoder(8, ["a", "b", "c"], crosses=[("a", "b")], wide=["a"])
    many = [f"f{j}" for j in range(9)]
    learners = {
        "lr": LogisticRegression(lr=0.1, encoder=HashingEncoder(bits=8)),
        "lr-wide": LogisticRegression(lr=0.1, encoder=HashingEncoder(bits=16)),
        "lr-auto": LogisticRegression(half_life=100.0, encoder=HashingEncoder(bits=8)),
        "lr-l1": LogisticRegression(lr=0.1, l1=0.01, encoder=HashingEncoder(bits=8)),
        "lr-rule": LogisticRegression(rule=Rule(lr=0.3, lr_decay=1e-3), fit_intercept=False),
        "fm": FactorizationMachine(2, lr=0.1, encoder=fields),
        "fm-auto": FactorizationMachine(3, lr="auto"),
        "ffm": FieldAwareFactorizationMachine(2, lr=0.1, encoder=HashingEncoder(bits=8)),
        "ffm-parts": FieldAwareFactorizationMachine(2, encoder=HashingEncoder(bits=10)),
    }
    for name, learner in learners.items():
        if name == "ffm-parts":
            of_fields = dict.fromkeys(many, x["a"])
            learner.fit(of_fields, np.array(["no", "yes"])[y])
        elif learner.encoder is not None:
            learner.fit(x, y)
        else:
            learner.fit(np.arange(1300.0).reshape(100, 13) % 7, y)
        learner.save(folder / name)
    schema = pa.schema([("a", pa.string()), ("b", pa.int64()), ("c", pa.float64())])
    options = Options("click", ignore=("d",), cross=(("a", "b"),), categorical=("a",))
    progress = {"log": [["a.csv", 100, "0123456789abcdef"]], "pass": 1, "rows": 0}
    metrics = {"logloss": 0.5, "normalized_entropy": float("nan"), "auc": 0.5, "calibration": 1.0}
    state = {
        **{"options": options.to_json(), "schema": schema_to_text(schema), **progress},
        **{"curve": [[100.0, 50.0, 60.0, 50.0, 0.5]], "validation": [metrics]},
        "skipped": {"bad label": 2},
    }
    files.write(folder / "trained", learners["fm"], {"training": state})
    columns = {"label": "click", "schema": schema_to_text(schema)}
    files.write(folder / "columns", learners["lr"], {"columns": columns})


def write_checkpoints(folder: Path) -> None:
    from adagrad import Rule
    from adagrad.ctr.learners.progressive import Progressive
    from adagrad.distributed import _checkpoint, _manifest
    from adagrad.distributed._slices import make_slice, save_slice

    def slices(name: str) -> Callable[[Path], None]:
        def save(where: Path) -> None:
            for first, last in ((0, 30), (30, 50)):
                save_slice(where, name, first, make_slice(first, last, dim=2, rule=Rule(lr=0.2)))

        return save

    numbers = {"rows": 50, "shards": 2, "steps": 0, "skipped": 0, "decays": 0}
    _manifest.write(folder / "sharded", numbers, slices(_manifest.NAME))
    where = _checkpoint.prepare(folder / "training", 3)
    slices("linear")(where)
    scores = Progressive()
    scores.add(np.zeros(9, np.float32), np.ones(9, np.float32))
    at = _checkpoint.Checkpoint(str(where), 1, 3, 0, 64, 128, scores, [[64.0, 1.0, 2.0, 3.0, 0.5]])
    _checkpoint.write(folder / "training", at, PLAN)


PLAN = {"settings": {"kind": "lr", "n_slots": 50}, "label": "click", "staleness": 1}
WRITE = {"table": write_tables, "model": write_models, "checkpoint": write_checkpoints}


def rows() -> dict[str, Any]:
    """The columns that the models learn from."""
    numbers = np.arange(100)
    return {"a": [f"v{n % 7}" for n in numbers], "b": numbers % 13, "c": numbers * 0.5}


# Reading


def read_table(path: Path) -> None:
    from adagrad import Table

    at = np.arange(3)
    table = Table.load(path)
    found = table.gather(at)
    with contextlib.suppress(ValueError):  # float32 may not be able to hold the rule
        table.step(at, np.zeros_like(found))
    for mode in ("r", "r+"):
        with Table.open(path, mode) as table:
            assert table.gather(at).shape == found.shape


def read_model(path: Path) -> None:
    from adagrad.ctr.learners import files
    from adagrad.ctr.training.start import Start
    from adagrad.ctr.training.state import carried, trained_with

    learner, extra = files.read(path)
    carried(path, learner, extra)
    assert learner.progressive_
    with contextlib.suppress(ValueError):  # the file may say nothing of its columns
        trained_with(path, learner, extra)
        Start.read(path, {"label": "label"})
    x: Any = rows() if learner.encoder is not None else np.ones((3, learner.n_features_in_))
    # Other names or kinds of columns are no damage that a file can show.
    with contextlib.suppress(TypeError, ValueError):
        learner.predict(x)
        learner.uncertainty(x)
        learner.partial_fit(x, learner.classes_[np.arange(len(learner.predict(x))) % 2])


def read_checkpoint(path: Path) -> None:
    from adagrad.distributed import _checkpoint, _manifest
    from adagrad.distributed._slices import load_slice

    root = next(folder for folder in path.parents if folder.name in ("sharded", "training"))
    if root.name == "sharded":
        folder, numbers = _manifest.read(root)
        load_slice(folder, _manifest.NAME, 0, numbers["rows"])
        return
    plan = _checkpoint.plan_in(root)
    assert plan is not None
    found = _checkpoint.read(root, plan)
    assert found is not None
    assert found.folder is not None
    load_slice(found.folder, "linear", 0, 50)
    found.progressive.metrics()


READ = {"table": read_table, "model": read_model, "checkpoint": read_checkpoint}


def _put(path: Path, data: bytes) -> None:
    """Replace the content of a file, without the wait for the disk that follows a truncation."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def main(kind: str, name: str) -> None:
    import resource
    import warnings

    from adagrad import TableFileError

    warnings.simplefilter("ignore")  # of numbers that overflow in a damaged model
    folder, read = Path(name), READ[kind]
    good = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in good:
        read(path)
    content = {path: path.read_bytes() for path in good}
    page = resource.getpagesize()
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * page
    limits = resource.getrlimit(resource.RLIMIT_AS)
    counts: dict[str, float] = {"inputs": 0, "refused": 0, "slowest": 0.0}
    wrong: list[str] = []
    at = folder.parent / f"{folder.name}.seed"  # says which input has ended the process
    at.touch()
    for seed in json.load(sys.stdin):
        path = good[seed // 2 % len(good)]
        found = damaged(content[path], seed)
        _put(path, found)
        _put(at, f"{seed} {path.name}".encode())
        resource.setrlimit(resource.RLIMIT_AS, (held + 2 * len(found) + SPARE, limits[1]))
        start = time.process_time()
        try:
            read(path)
        except TableFileError as error:
            counts["refused"] += 1
            if len(str(error)) > 1000 or not str(error).isprintable():
                wrong.append(f"seed {seed}, {path.name}: the message is {str(error)[:2000]!r}")
        except Exception as error:
            wrong.append(f"seed {seed}, {path.name}: {type(error).__name__}: {error!s:.300}")
        seconds = time.process_time() - start
        resource.setrlimit(resource.RLIMIT_AS, limits)
        counts["slowest"] = max(counts["slowest"], seconds)
        if seconds > SECONDS:
            wrong.append(f"seed {seed}, {path.name}: {seconds:.2f} s")
        _put(path, content[path])
        counts["inputs"] += 1
    counts["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**counts, "wrong": wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])
