"""The click learners: estimators, the models they train, and their files.

`estimator` puts scikit-learn's interface on a `model`, which learns from examples in order.
Examples come from ``adagrad.ctr.encoding``; logs and loops over them belong in
``adagrad.ctr.training``.
"""
