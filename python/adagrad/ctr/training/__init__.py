"""Training from logs to model files: the loop behind ``adagrad train``, its options and report."""
