"""The click learners: estimators, the model that they train, and its files."""
