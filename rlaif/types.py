"""The old path of the public types, kept until 0.3.0: take them from `rlaif`."""

from rlaif.core.types import Judge, Judgement, Sample, Status, Usage, empty

__all__ = ["Judge", "Judgement", "Sample", "Status", "Usage", "empty"]
