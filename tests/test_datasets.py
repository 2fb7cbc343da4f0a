"""Reading data sets: the click log that ships, libsvm files, and malformed files."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from adagrad import datasets
from checks import need_packages


@pytest.fixture(autouse=True)
def _sklearn() -> None:
    need_packages("sklearn")


def written(folder: Path, text: str | bytes, name: str = "log.svm") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_click_log() -> None:
    log = datasets.click_log()
    assert len(log) == 10_000
    assert log.labels.sum() == 435
    assert len(np.unique(log.rows)) == 7062
    assert set(np.diff(log.indptr)) == {16, 18}
    assert log.rows.max() == log.table_rows - 1 < 2**24
    assert not log.hashed
    assert {log.indptr.dtype, log.rows.dtype} == {np.dtype(np.int64)}
    assert {log.values.dtype, log.labels.dtype} == {np.dtype(np.float32)}
    first = slice(*log.indptr[:2])
    assert log.rows[first][:3].tolist() == [2383882, 268357, 2243070]
    assert log.values[first][6] == np.float32(0.6931471805599453)


def test_the_click_log_is_an_unchanged_copy_and_the_notice_says_so() -> None:
    digest = hashlib.sha256((datasets.DATA / "adam_test_10000.tsv.gz").read_bytes()).hexdigest()
    assert digest == "59c84887e55577ab2b5f41cb0463ba72382fe2602bf9f4d2a017588105599fe7"
    notice = (datasets.DATA / "NOTICE").read_text()
    assert digest in notice
    assert "Apache License, Version 2.0" in notice


def test_first_examples_share_memory() -> None:
    log = datasets.click_log()
    part = log.first(3)
    assert len(part) == 3
    assert len(part.rows) == part.indptr[-1] == log.indptr[3]
    assert np.shares_memory(part.rows, log.rows)
    assert len(log.first(20_000)) == 10_000


@pytest.mark.parametrize("labels", ["0 1", "-1 +1", "1 2", "-1.0 1"])
def test_libsvm(tmp_path: Path, labels: str) -> None:
    low, high = labels.split()
    log = datasets.libsvm(written(tmp_path, f"{low} 1:0.5 7:2\n{high}\n\n{high} 3:1 # note\n"))
    assert log.name == "log.svm"
    assert log.labels.tolist() == [0, 1, 1]
    assert log.indptr.tolist() == [0, 2, 2, 3]
    assert log.rows.tolist() == [1, 7, 3]
    assert log.values.tolist() == [0.5, 2, 1]
    assert log.table_rows == 8


def test_libsvm_reads_gzip(tmp_path: Path) -> None:
    log = datasets.libsvm(written(tmp_path, gzip.compress(b"0 0:1\n1 1:1\n"), "log.svm.gz"))
    assert log.rows.tolist() == [0, 1]


def test_large_ids_are_hashed(tmp_path: Path) -> None:
    direct = datasets.libsvm(written(tmp_path, f"0 5:1\n1 {2**24 - 1}:1\n"))
    assert direct.rows.tolist() == [5, 2**24 - 1]
    assert (direct.table_rows, direct.hashed) == (2**24, False)
    hashed = datasets.libsvm(written(tmp_path, f"0 5:1\n1 {2**24}:1\n"))
    expected = [(i * 0x9E3779B97F4A7C15 % 2**64) >> 42 for i in (5, 2**24)]
    assert hashed.rows.tolist() == expected
    assert (hashed.table_rows, hashed.hashed) == (2**22, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "log.svm: no examples"),
        ("# nothing\n", "log.svm: no examples"),
        ("0 1:1\n1 2:1\n0 x\n1 y\n", "log.svm, line 3: "),
        ("0 1:1\n1 2:one\n", "log.svm, line 2: .*could not convert"),
        ("zero 1:1\n", "log.svm, line 1: expected 'label id:value ...' with increasing ids: could"),
        ("0 1:1\n1 -2:1\n", "log.svm, line 2: .*Invalid index -2"),
        ("0 1:1\n\n1 2:1 2:1\n", "log.svm, line 3: .*sorted and unique"),
        ("0 1:1\n1 4294967296:1\n", r"log.svm, line 2: .*an id is 2\*\*31 or larger"),
        ("0 1:1\n1 2:nan\n", "log.svm: example 2, id 2: nan is not finite in float32"),
        ("0 1:1e39\n1 2:1\n", "log.svm: example 1, id 1: inf is not finite in float32"),
        ("1 1:1\n1 2:1\n", "every label is 1, "),
        ("0 1:1\n1 1:1\n2 1:1\n", "labels must be .* found 0, 1, 2$"),
        ("3 1:1\n7 1:1\n", "labels must be .* found 3, 7$"),
        ("nan 1:1\n1 1:1\n", "labels must be .* found 1, nan$"),
        (b"\x89PNG\r\n\x1a\n\xff\x00", "log.svm, line 1: "),
    ],
)
def test_libsvm_rejects(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        datasets.libsvm(path)
    assert "\n" not in str(caught.value)


def test_the_malformed_line_of_a_long_gzip_file(tmp_path: Path) -> None:
    lines = [f"{i % 2} {i}:1" for i in range(1000)]
    lines[617] += " oops"
    path = written(tmp_path, gzip.compress("\n".join(lines).encode()), "log.svm.gz")
    with pytest.raises(ValueError, match="line 618: "):
        datasets.libsvm(path)


def test_libsvm_needs_a_readable_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        datasets.libsvm(tmp_path / "none.svm")
    with pytest.raises(IsADirectoryError):
        datasets.libsvm(tmp_path)
    whole = gzip.compress(b"0 1:1\n1 2:1\n" * 100)
    for damaged in (whole[:20], b"plain text", whole[:12] + b"\xff" * 9):
        with pytest.raises(OSError, match=r".+"):
            datasets.libsvm(written(tmp_path, damaged, "log.svm.gz"))


@pytest.mark.parametrize("line", ["1,x 0", "1:,2 0", "1,2", "1,,2 1", "1,2 a"])
def test_malformed_lines_of_the_click_format(line: str) -> None:
    with pytest.raises(ValueError, match=r"here, line 2: expected 'id,id:value,... label', got"):
        datasets._parse(["1,2:0.5\t1\n", line + "\n"], "here")


def test_negative_ids_of_the_click_format() -> None:
    with pytest.raises(ValueError, match="here: id -7 is negative"):
        datasets._parse(["1,-7 0", "2 1"], "here")


def test_a_file_like_those_of_the_libsvm_collection(tmp_path: Path) -> None:
    """Labels of -1 and +1, ids from 1, and categories encoded as ones, as in a9a."""
    rng = np.random.default_rng(0)
    labels = rng.random(2000) < 0.25
    ids = [np.sort(rng.choice(np.arange(1, 124), rng.integers(11, 15), False)) for _ in labels]
    ids[0] = np.array([1, 123])
    lines = [
        f"{'+1' if label else '-1'} {' '.join(f'{i}:1' for i in row)}"
        for label, row in zip(labels, ids, strict=True)
    ]
    text = "\n".join(lines).encode() + b"\n"
    log = datasets.libsvm(written(tmp_path, gzip.compress(text), "a9a.gz"))
    assert log.name == "a9a.gz"
    assert len(log) == 2000
    assert log.labels.tolist() == labels.tolist()
    assert log.table_rows == 124
    assert log.indptr.tolist() == np.cumsum([0, *map(len, ids)]).tolist()
    assert log.rows.tolist() == np.concatenate(ids).tolist()
    assert (log.values == 1).all()
