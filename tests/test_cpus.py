"""The processors that a process may use."""

from __future__ import annotations

import os

import pytest

import adagrad
from adagrad._cpus import available_cpus

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cgroups(tmp_path, lines, files):
    """Write what the kernel shows of cgroups; return where."""
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    proc = tmp_path / "proc"
    proc.write_text("".join(f"{line}\n" for line in lines))
    return proc, tmp_path / "cgroup"


@pytest.fixture
def many_cpus(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("lines", "files", "cpus"),
    [
        (["0::/"], {"cpu.max": "150000 100000\n"}, 2),
        (["0::/"], {"cpu.max": "max 100000\n"}, 64),
        (["0::/"], {"cpu.max": "5000 100000\n"}, 1),
        (["0::/"], {}, 64),
        # The limit of a service, and a tighter one of the slice above it.
        (
            ["0::/a.slice/b.service"],
            {"a.slice/b.service/cpu.max": "800000 100000", "a.slice/cpu.max": "300000 100000"},
            3,
        ),
        # In a container, the path of the host is not mounted.
        (["0::/docker/4711"], {"cpu.max": "400000 100000"}, 4),
        (
            ["5:cpu,cpuacct:/docker/4711", "0::/"],
            {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        (
            ["2:cpu:/"],
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            64,
        ),
        (["3:cpuset:/", "0::/"], {"cpu.max": "garbage"}, 64),
        (["0::/"], {"cpu.max": "100000 0"}, 64),
    ],
)
def test_quotas(many_cpus, tmp_path, lines, files, cpus):
    assert available_cpus(*cgroups(tmp_path, lines, files)) == cpus


def test_the_affinity_counts(tmp_path):
    assert available_cpus(tmp_path / "none", tmp_path) == CPUS
    assert 1 <= available_cpus() <= CPUS


def test_a_quota_leaves_fewer_than_the_affinity(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    proc, root = cgroups(tmp_path, ["0::/"], {"cpu.max": "800000 100000"})
    assert available_cpus(proc, root) == 2


def test_it_is_shown(capsys):
    adagrad.show_config()
    assert f" of {available_cpus()} available" in capsys.readouterr().out
