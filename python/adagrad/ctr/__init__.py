"""Click learners: from logs to a calibrated model, in one pass, on every core."""
