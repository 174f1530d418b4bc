"""
rlaif: fine-tune a language model against AI judges, and prove the change.

Three jobs: swap judge backends by config, detoxify a model, benchmark reward sources. The public names are here
and load on first use, so that `import rlaif` imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlaif.benchmark.bench import bench
    from rlaif.core.config.trainers import GroupConfig, PPOConfig
    from rlaif.core.errors import InputError, JudgeBug, RlaifError
    from rlaif.core.types import Judge, Judgement, Sample, Status, Usage, empty
    from rlaif.core.version import __version__
    from rlaif.evaluation.compare.evaluate import evaluate
    from rlaif.evaluation.hf import measurement
    from rlaif.judges.cards.card import Card
    from rlaif.judges.registry import load_judge
    from rlaif.judges.reward_func import as_reward_func
    from rlaif.judges.scoring import score
    from rlaif.training.loop.trainer import Callback
    from rlaif.training.ppo.trainer import PPOTrainer
    from rlaif.training.run.run import train
    from rlaif.training.trl.trainer import GroupTrainer

_HOMES = {
    "__version__": "core.version",
    "Callback": "training.loop.trainer",
    "Card": "judges.cards.card",
    "empty": "core.types",
    "load_judge": "judges.registry",
    "evaluate": "evaluation.compare.evaluate",
    "bench": "benchmark.bench",
    "measurement": "evaluation.hf",
    "GroupConfig": "core.config.trainers",
    "PPOConfig": "core.config.trainers",
    "InputError": "core.errors",
    "JudgeBug": "core.errors",
    "RlaifError": "core.errors",
    "GroupTrainer": "training.trl.trainer",
    "as_reward_func": "judges.reward_func",
    "score": "judges.scoring",
    "PPOTrainer": "training.ppo.trainer",
    "train": "training.run.run",
    "Judge": "core.types",
    "Judgement": "core.types",
    "Sample": "core.types",
    "Status": "core.types",
    "Usage": "core.types",
}

__all__ = [
    "Callback",
    "Card",
    "GroupConfig",
    "GroupTrainer",
    "InputError",
    "Judge",
    "JudgeBug",
    "Judgement",
    "PPOConfig",
    "PPOTrainer",
    "RlaifError",
    "Sample",
    "Status",
    "Usage",
    "__version__",
    "as_reward_func",
    "bench",
    "empty",
    "evaluate",
    "load_judge",
    "measurement",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rlaif' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rlaif.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
