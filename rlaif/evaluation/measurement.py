"""Old path of the class that scripts written by `rlaif.measurement` import, kept until 0.3.0."""

from rlaif.evaluation.hf_module import JudgeMeasurement

__all__ = ["JudgeMeasurement"]
