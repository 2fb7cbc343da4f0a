"""From columns to examples: each value becomes a slot of a hashed table, with a weight.

`HashingEncoder` makes `Examples`, which the learners visit. Reading logs and learning do not belong
here.
"""
