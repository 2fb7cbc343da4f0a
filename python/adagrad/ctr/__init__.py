"""Click-through rate learners: from click logs to a calibrated model."""
