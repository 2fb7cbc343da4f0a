"""What a log says about the learner that it needs: rare features, conditioning, table size."""

from adagrad.ctr.diagnosis.diagnosis import Diagnoser, Diagnosis

__all__ = ["Diagnoser", "Diagnosis"]
