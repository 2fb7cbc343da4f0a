"""The click learners: estimators, the models they train, and their files.

`estimator` puts scikit-learn's interface on a `trainer`, which trains a `model`. Examples come from
``adagrad.ctr.encoding``; logs and loops over them belong in ``adagrad.ctr.training``.
"""
