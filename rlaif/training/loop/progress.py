"""How far a run is, beside its weights. All that is random follows from seed and step, and needs no state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rlaif.core.config.trainers import PPOConfig
from rlaif.core.records.steps import Step
from rlaif.judges.shaping import RunningMoments
from rlaif.training.loop.kl_control import AdaptiveKL, FixedKL
from rlaif.training.loop.stopping import Window, add_to_window


@dataclass(kw_only=True)
class Progress:
    """
    What any trainer counts.

    Args:
        step: whole steps that were done.

    """

    step: int = 0

    def facts(self) -> Mapping[str, object]:
        """Return what a checkpoint says beside the step, as JSON holds it."""
        return {}

    def load_facts(self, facts: Mapping[str, Any]) -> None:
        """Put back what `facts` returned."""


@dataclass(kw_only=True)
class OnlineProgress(Progress):
    """
    What a trainer counts that learns from rewards of its own completions.

    Args:
        kl_coef: reward lost per nat of KL from the reference, and how it is controlled.
        spent: USD that judges cost, so far as prices are known.
        moments: of all rewards.
        window: score and KL of the last steps, for the stop rules.

    """

    kl_coef: FixedKL | AdaptiveKL
    spent: float = 0.0
    moments: RunningMoments = field(default_factory=RunningMoments)
    window: Window = field(default_factory=list)

    def add(self, step: Step, args: PPOConfig) -> None:
        """Take the metrics of a step into account."""
        self.spent += step.usd or 0.0
        assert step.kl_k1 is not None
        self.kl_coef.update(step.kl_k1, args.batch_size)
        self.window = add_to_window(self.window, step, args.stop_window)

    def facts(self) -> Mapping[str, object]:
        """Return what a checkpoint says beside the step, as JSON holds it."""
        return {
            "kl_coef": self.kl_coef.value, "spent": self.spent, "moments": asdict(self.moments), "window": self.window,
        }  # fmt: skip

    def load_facts(self, facts: Mapping[str, Any]) -> None:
        """Put back what `facts` returned."""
        self.spent, self.kl_coef.value = facts["spent"], facts["kl_coef"]
        self.moments, self.window = RunningMoments(**facts["moments"]), facts["window"]
