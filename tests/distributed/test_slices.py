"""Slices of a table have the bits of the whole, row by row; no test here needs a cluster."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adagrad
from adagrad import Rule, Table, _core
from adagrad.distributed import _manifest
from adagrad.distributed._ranges import starts
from adagrad.distributed._slices import load_slice, make_slice, save_slice
from checks import assert_same_bits, wide_range
from tables import IDS, POLICIES, STATES, STORAGES

ROWS = 23
DECAYED = Rule(weight_decay=0.01, weight_decay_mode="decoupled", weight_decay_rows="all")
RULES = {"textbook": Rule(), "lr_decay": Rule(lr_decay=0.1), "all rows decay": DECAYED}


def real(table):
    return np.float64 if table.dtype == "float64" else np.float32


def assert_same_tables(slices, whole):
    for cut in ("weights", "state"):
        of_slices = np.concatenate([getattr(table, cut) for table in slices])
        assert_same_bits(of_slices, np.ascontiguousarray(getattr(whole, cut)), cut)


def step_slices(slices, cuts, rows, g, duplicates):
    """Take a step of all slices, as a caller that splits it does."""
    order, bounds = _core.bucket(rows, cuts)
    for k, table in enumerate(slices):
        at = order[bounds[k] : bounds[k + 1]]
        rate = table.rule.lr_at(table.steps + 1)
        given = (rows[at] - rows.dtype.type(cuts[k]), g[at], table.rule._compiled, rate)
        table._core.step(*given, duplicates, False, table.seed, table.steps + 1, 0, positions=at)
        table.steps += 1


@given(data=st.data())
def test_slices_are_parts_of_the_whole(data):
    storage = STORAGES[data.draw(st.sampled_from(sorted(STORAGES)))]
    options = {
        "rule": data.draw(st.sampled_from(sorted(RULES)).map(RULES.get)),
        "state": data.draw(st.sampled_from(STATES)),
        "init": data.draw(st.sampled_from(["zeros", "normal", "uniform"])),
        "seed": data.draw(st.integers(0, 2**64 - 1)),
        "dim": data.draw(st.sampled_from([1, 2, 5, 17])),
        **storage,
    }
    policy = data.draw(st.sampled_from(POLICIES))
    cuts = starts(ROWS, data.draw(st.integers(1, ROWS)))
    whole = Table(ROWS, **options)
    slices = [make_slice(*ends, **options) for ends in itertools.pairwise(cuts.tolist())]
    assert_same_tables(slices, whole)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    for step in range(3):
        n = int(rng.integers(0, 20))
        rows = rng.choice(ROWS, n, replace=policy != "unique")
        rows = rows.astype(data.draw(st.sampled_from(IDS)))
        g = wide_range(rng, (n,) if whole.dim == 1 else (n, whole.dim), real(whole))
        whole.step(rows, g, policy)
        step_slices(slices, cuts, rows, g, policy)
        assert_same_tables(slices, whole)
        for table in [*slices, whole]:
            table.decay(0.9, 1e-3 * step)
        assert_same_tables(slices, whole)


@pytest.mark.parametrize("policy", ["sequential", "each"])
@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_threads_keep_the_positions_of_a_part(policy, dim, count, fine_grain, rng):
    options = {"dim": dim, "dtype": "bfloat16", "state_dtype": "bfloat16"}
    whole, cuts = Table(5000, **options), starts(5000, 3)
    slices = [make_slice(*ends, **options) for ends in itertools.pairwise(cuts.tolist())]
    rows = rng.integers(0, 5000, 20_000)
    g = wide_range(rng, (20_000,) if dim == 1 else (20_000, dim), np.float32)
    whole.step(rows, g, policy, threads=1)
    before = adagrad.get_num_threads()
    adagrad.set_num_threads(count)
    try:
        step_slices(slices, cuts, rows, g, policy)
    finally:
        adagrad.set_num_threads(before)
    assert_same_tables(slices, whole)


def test_a_slice_stays_one_when_it_is_copied_pickled_or_saved(tmp_path):
    table = make_slice(5, 9, dtype="float16", init="normal", seed=3)
    table.save(tmp_path / "slice")
    others = [copy.copy(table), pickle.loads(pickle.dumps(table)), Table.load(tmp_path / "slice")]
    with Table.open(tmp_path / "slice") as mapped:
        for other in [table, *others, mapped]:
            other.step(np.arange(4), np.full(4, 0.3, np.float32))
            assert_same_bits(other.gather(np.arange(4)), table.gather(np.arange(4)))
    plain = Table(4, dtype="float16", init="normal", seed=3)
    assert (plain.gather(np.arange(4)) != table.gather(np.arange(4))).any()


@pytest.mark.parametrize(
    ("first", "last", "error", "message"),
    [
        (-1, 5, ValueError, "first must be from 0"),
        (5, 5, ValueError, "last must be from 6"),
        (0.0, 5, TypeError, "first must be an integer"),
        (0, True, TypeError, "last must be an integer"),
    ],
)
def test_bad_ends(first, last, error, message):
    with pytest.raises(error, match=message):
        make_slice(first, last)


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("rows", [1000, 1001, 2**40 + 1, 2**63 - 1])
def test_ranges_are_even(rows, shards):
    cuts = starts(rows, shards)
    assert cuts.dtype == np.int64
    assert (cuts[0], cuts[-1]) == (0, rows)
    assert set(np.diff(cuts).tolist()) <= {rows // shards, -(-rows // shards)}


def test_more_shards_than_rows():
    with pytest.raises(ValueError, match=r"shards must be at most .*, got 4"):
        starts(3, 4)


@pytest.mark.parametrize("dtype", IDS)
@pytest.mark.parametrize("shards", [1, 2, 3, 8, 100])
def test_buckets_are_stable(dtype, shards, rng):
    cuts = starts(1000, shards)
    for n in (0, 1, 7, 10_000):  # without and with the GIL
        rows = rng.integers(0, 1000, n).astype(dtype)
        order, bounds = _core.bucket(rows, cuts)
        shard = np.searchsorted(cuts, rows.astype(np.int64), "right") - 1
        assert order.tolist() == np.argsort(shard, kind="stable").tolist()
        assert bounds.tolist() == np.searchsorted(np.sort(shard), np.arange(shards + 1)).tolist()


def test_buckets_of_uneven_ranges_and_of_huge_ids():
    cuts = np.array([0, 1, 2, 2**62, 2**63 - 1])
    rows = np.array([2**63 - 2, 2**62, 2**62 - 1, 2, 1, 0], np.uint64)
    order, bounds = _core.bucket(rows, cuts)
    assert order.tolist() == [5, 4, 2, 3, 0, 1]
    assert bounds.tolist() == [0, 1, 2, 4, 6]


@pytest.mark.parametrize(
    ("rows", "starts", "error", "message"),
    [
        (np.array([0, 9, 10]), [0, 5, 10], IndexError, r"rows\[2\] = 10 is out of range"),
        (np.array([0, -1]), [0, 5, 10], IndexError, r"rows\[1\] = -1 is out of range"),
        (np.full(9000, 2**64 - 1, "u8"), [0, 10], IndexError, r"rows\[0\] = 18446744073709551615"),
        (np.array([0.0]), [0, 10], TypeError, "rows has dtype"),
        (np.array([[0]]), [0, 10], ValueError, r"rows must have shape \[n\]"),
        ([0], [0, 10], TypeError, r"rows must be a numpy.ndarray"),
        (np.array([0]), [0, 5, 5], ValueError, r"starts\[2\] = 5, but the starts"),
        (np.array([0]), [1, 5], ValueError, r"starts\[0\] = 1, but the starts"),
        (np.array([0]), [0], ValueError, r"starts must have shape"),
    ],
)
def test_bad_buckets(rows, starts, error, message):
    with pytest.raises(error, match=message):
        _core.bucket(rows, np.array(starts))


@pytest.mark.parametrize(
    ("positions", "error", "message"),
    [
        (np.zeros(1, np.int64), ValueError, r"positions has shape \(1,\)"),
        (np.zeros(2, np.uint64), TypeError, "positions has dtype uint64; int64"),
    ],
)
def test_bad_positions_change_nothing(positions, error, message):
    table = Table(2, dtype="bfloat16")
    with pytest.raises(error, match=message):
        table._core.step(
            np.arange(2),
            np.ones(2, "f4"),
            table.rule._compiled,
            0.1,
            "each",
            False,
            0,
            1,
            1,
            positions=positions,
        )
    assert not table.weights.any()


def save_table(folder, shards, changes=None, name="w", **options):
    """Save a table of ROWS rows in slices, the second one with changes."""
    for k, ends in enumerate(itertools.pairwise(starts(ROWS, shards).tolist())):
        other = (changes or {}) if k == 1 else {}
        table = make_slice(*ends, **(options | other.get("options", {})))
        table.steps, table.decays, table.skipped = 7, 2, k
        for counter, value in other.get("counters", {}).items():
            setattr(table, counter, value)
        save_slice(folder, name, ends[0], table)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("saved", "loaded"), [(1, 4), (4, 1), (3, 3), (5, 7)])
def test_any_slices_are_loaded_from_any(saved, loaded, storage, tmp_path):
    options = {"init": "normal", "seed": 5, "dim": 3, **STORAGES[storage]}
    save_table(tmp_path, saved, **options)
    whole = Table(ROWS, **options)
    whole.steps = 7
    cuts = starts(ROWS, loaded)
    slices = [load_slice(tmp_path, "w", *ends) for ends in itertools.pairwise(cuts.tolist())]
    assert_same_tables(slices, whole)
    assert {(table.steps, table.decays, table.seed) for table in slices} == {(7, 2, 5)}
    assert sum(table.skipped for table in slices) == sum(range(saved))
    rows = np.arange(ROWS)
    g = np.full((ROWS, 3), 0.3, real(whole))
    whole.step(rows, g, "each")
    step_slices(slices, cuts, rows, g, "each")
    assert_same_tables(slices, whole)


def test_a_slice_is_a_table_file(tmp_path):
    table = make_slice(4, 9, init="uniform", seed=1)
    path = save_slice(tmp_path, "w", 4, table)
    assert path.name == f"w-{4:020}-{9:020}.safetensors"
    assert_same_bits(Table.load(path).weights, table.weights)
    with pytest.raises(ValueError, match="first is 3, but the slice begins at row 4"):
        save_slice(tmp_path, "w", 3, table)
    table.close()
    with pytest.raises(ValueError, match="closed"):
        save_slice(tmp_path, "w", 4, table)
    assert load_slice(tmp_path, "w", 4, 9).rows == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"dim": 2}}, "has dim 2, but .* has 1"),
        ({"options": {"dtype": "float64"}}, "has dtype float64"),
        ({"options": {"dim": 1, "state": "row"}}, "has state row, but .* element"),
        ({"options": {"rule": Rule(lr=7.0)}}, 'has rule .*"lr": 7.0'),
        ({"options": {"seed": 8}}, "has seed 8, but .* 0"),
        ({"counters": {"steps": 8}}, "has steps 0*8, but .* 0*7"),
        ({"counters": {"decays": 1}}, "has decays 0*1, but .* 0*2"),
    ],
)
def test_slices_of_different_tables(changes, message, tmp_path):
    save_table(tmp_path, 3, changes)
    path = rf"w-{7:020}-{15:020}\.safetensors "
    with pytest.raises(adagrad.TableFileError, match=path + message):
        load_slice(tmp_path, "w", 0, ROWS)
    assert load_slice(tmp_path, "w", 0, 7).rows == 7  # other slices are not read


def test_slices_that_are_missing_or_overlap(tmp_path):
    save_table(tmp_path, 3)
    middle = tmp_path / f"w-{7:020}-{15:020}.safetensors"
    aside = middle.rename(tmp_path / "aside")
    with pytest.raises(adagrad.TableFileError, match="no file has the rows 7 to 14"):
        load_slice(tmp_path, "w", 0, ROWS)
    with pytest.raises(adagrad.TableFileError, match="no file has the rows 23 to 24"):
        load_slice(tmp_path, "w", 16, 25)
    with pytest.raises(adagrad.TableFileError, match="no file has the rows 0 to 22"):
        load_slice(tmp_path, "v", 0, ROWS)
    table = make_slice(6, 15)
    table.steps, table.decays = 7, 2
    path = save_slice(tmp_path, "w", 6, table)
    with pytest.raises(adagrad.TableFileError, match=rf"{path} overlaps .* in rows 6 to 6"):
        load_slice(tmp_path, "w", 0, ROWS)
    path.unlink()
    aside.rename(tmp_path / f"w-{7:020}-{16:020}.safetensors")
    with pytest.raises(adagrad.TableFileError, match="has rows 7 to 14, but its name says 7 to 15"):
        load_slice(tmp_path, "w", 7, 15)


def test_a_slice_that_is_truncated(tmp_path):
    save_table(tmp_path, 3)
    path = tmp_path / f"w-{7:020}-{15:020}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(adagrad.TableFileError, match=f"{path} is truncated"):
        load_slice(tmp_path, "w", 0, ROWS)


# The directory of a sharded table, and imports: without a cluster


def save_sharded(folder, shards=3):
    numbers = {"rows": ROWS, "shards": shards, "steps": 7, "skipped": 3, "decays": 2}
    _manifest.write(folder, numbers, lambda to: save_table(to, shards, name="table"))
    return numbers


def test_a_directory_is_replaced_whole(tmp_path):
    folder = tmp_path / "made" / "here"
    numbers = save_sharded(folder)
    (folder / "slices-of-mine").mkdir()
    first, found = _manifest.read(folder)
    assert found == numbers
    (folder / f"slices-{0:016x}").mkdir()  # left by a process that was killed
    save_sharded(folder, 2)
    second, found = _manifest.read(folder)
    assert found == {**numbers, "shards": 2}
    assert {path.name for path in folder.iterdir()} == {
        *(second.name, "sharded.json", "slices-of-mine"),
    }
    assert first != second


def test_slices_that_do_not_cover_the_table_are_refused(tmp_path):
    numbers = save_sharded(tmp_path)
    with pytest.raises(adagrad.TableFileError, match="no file has the rows 0 to"):
        _manifest.write(tmp_path, numbers, lambda _: None)
    assert _manifest.read(tmp_path)[1] == numbers
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "adagrad.Table"}, "is not the manifest of a sharded table"),
        ({"format_version": "2"}, "has format version '2'; this adagrad reads 1"),
        ({"slices": "../slices-0000000000000000"}, "slices is '../slices"),
        ({"slices": f"slices-{0:016x}"}, "names the folder slices-0*, which does not exist"),
        ({"rows": "23"}, "rows is '23'"),
        ({"rows": True}, "rows is True"),
        ({"rows": 22}, "has 22 rows, but .* ends at 23"),
        ({"rows": 24}, "no file has the rows 23 to 23"),
        ({"steps": 8}, "has steps 8, but .* 7"),
        ({"decays": 0}, "has decays 0, but .* 2"),
        ({"skipped": -1}, "skipped is -1"),
        ({"shards": None}, "shards is None"),
    ],
)
def test_bad_manifests(changes, message, tmp_path):
    save_sharded(tmp_path)
    path = tmp_path / "sharded.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(adagrad.TableFileError, match=rf"(sharded\.json|table-\*).*{message}"):
        _manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\xff", "null"])
def test_manifests_that_are_not_json(text, tmp_path):
    save_sharded(tmp_path)
    (tmp_path / "sharded.json").write_text(text, encoding="latin-1")
    with pytest.raises(adagrad.TableFileError, match=r"sharded\.json"):
        _manifest.read(tmp_path)


def run(program):
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_nothing_else_imports_ray():
    modules = "adagrad, adagrad.ctr, adagrad.distributed, adagrad.distributed._slices"
    modules += ", adagrad.distributed._manifest"
    assert run(f"import sys, {modules}; print('ray' in sys.modules)") == "False\n"


def test_ray_that_is_missing():
    program = """
import sys
sys.modules["ray"] = None
import adagrad.distributed
try:
    from adagrad.distributed import ShardedTable
except ImportError as error:
    print(error)
print(hasattr(adagrad.distributed, "tables"))
"""
    error = "adagrad.distributed needs Ray: pip install 'adagrad[ray]'"
    assert run(program) == f"{error}\nFalse\n"
