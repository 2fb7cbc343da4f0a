"""Clusters of Gershgorin discs: which discs hang together, and how many eigenvalues they hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adagrad.analysis import GershgorinDiscs, gershgorin_discs
from checks import need_packages

need_packages("scipy")
from scipy.sparse.csgraph import connected_components

entries = st.floats(-1, 1, allow_subnormal=False).map(lambda x: round(x, 3))
matrices = st.integers(1, 7).flatmap(
    lambda d: st.builds(
        lambda a, diagonal: a - np.diag(np.diag(a)) + np.diag(diagonal),
        arrays(np.float64, (d, d), elements=entries),
        arrays(np.float64, d, elements=st.integers(-9, 9)),
    )
)


def as_lists(discs: GershgorinDiscs) -> list[list[int]]:
    return [sorted(cluster.tolist()) for cluster in discs.clusters()]


@given(matrices)
def test_clusters_are_the_discs_that_overlap_directly_or_through_others(a):
    discs = gershgorin_discs(a)
    apart = np.abs(discs.centres[:, np.newaxis] - discs.centres)
    slack = discs.radii[:, np.newaxis] + discs.radii - apart
    assume((np.abs(slack) > 1e-9).all())  # rounding decides whether discs touch
    count, labels = connected_components(slack > 0)
    found = as_lists(discs)
    assert len(found) == count
    assert sorted(map(tuple, found)) == sorted(
        tuple(np.flatnonzero(labels == label)) for label in range(count)
    )
    lefts = [(discs.centres - discs.radii)[cluster].min() for cluster in discs.clusters()]
    assert lefts == sorted(lefts)


@given(matrices, st.floats(0, 1))
def test_a_cluster_holds_as_many_eigenvalues_as_it_has_discs_at_every_moment(a, t):
    discs = gershgorin_discs(a)
    clusters = discs.clusters()
    edges = [
        ((discs.centres - discs.radii)[c].min(), (discs.centres + discs.radii)[c].max())
        for c in clusters
    ]
    assume(all(left[1] + 0.1 < right[0] for left, right in pairwise(edges)))
    center = np.diag(np.diag(a))
    values = np.linalg.eigvals(center + t * (a - center))
    # A multiple eigenvalue is found with a large error, but not one of half the gap.
    distances = np.abs(values[:, np.newaxis] - discs.centres) - discs.radii
    nearest = np.array([distances[:, c].min(axis=1) for c in clusters]).argmin(axis=0)
    assert np.bincount(nearest, minlength=len(clusters)).tolist() == [len(c) for c in clusters]


def test_discs_that_touch_or_lie_inside_others_are_in_their_cluster():
    assert as_lists(GershgorinDiscs(np.array([0.0, 2.0]), np.array([1.0, 1.0]))) == [[0, 1]]
    assert as_lists(GershgorinDiscs(np.array([0.0, 2.5]), np.array([1.0, 1.0]))) == [[0], [1]]
    # The smallest disc ends before the last begins, but lies in a wide one that reaches it.
    assert as_lists(GershgorinDiscs(np.array([3.0, 0.0, 0.5]), np.array([1.0, 2.5, 0.1]))) == [
        [0, 1, 2]
    ]
    assert as_lists(gershgorin_discs([[7.0]])) == [[0]]
    assert as_lists(gershgorin_discs(np.diag([3.0, 1.0, 1.0]))) == [[1, 2], [0]]
