"""The list of tests of other packages that fail here: it does not grow, and it is not out of date.

`conftest` runs the tests that are listed, and reports those that pass.
"""

from __future__ import annotations

# How many tests of each peer are listed. A number here may fall, and may not rise.
AT_MOST = {
    "scikit_learn": 10,
    "scikit_learn_learners": 30,
    "torch_embedding": 1,
    "torch_optim": 1,
}


def test_the_list_does_not_grow(deselected):
    assert {peer: len(tests) for peer, tests in deselected.items()} == AT_MOST


def test_every_entry_has_a_reason_and_names_a_test(deselected, collected):
    for peer, tests in deselected.items():
        assert all(reason.endswith(".") for reason in tests.values())
        if peer in collected:  # its file was chosen, and what it imports is installed
            assert tests.keys() <= collected[peer]
