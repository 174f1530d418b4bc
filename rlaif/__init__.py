"""
rlaif: fine-tune a language model against AI judges, and prove the change.

Three jobs: swap judge backends by config, detoxify a model, benchmark reward sources. The public names are here
and load on first use, so that `import rlaif` imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlaif.adapters import load_judge
    from rlaif.before_after import evaluate
    from rlaif.benchmark import bench
    from rlaif.config import GroupConfig, PPOConfig
    from rlaif.errors import InputError, JudgeBug, RlaifError
    from rlaif.evaluation.library import measurement
    from rlaif.group import GroupTrainer
    from rlaif.reward_func import as_reward_func
    from rlaif.scoring import score
    from rlaif.trainer import PPOTrainer
    from rlaif.types import Judge, Judgement, Sample, Status, Usage

__version__ = "0.1.0"

_HOMES = {
    "load_judge": "adapters",
    "evaluate": "before_after",
    "bench": "benchmark",
    "measurement": "evaluation.library",
    "GroupConfig": "config",
    "PPOConfig": "config",
    "InputError": "errors",
    "JudgeBug": "errors",
    "RlaifError": "errors",
    "GroupTrainer": "group",
    "as_reward_func": "reward_func",
    "score": "scoring",
    "PPOTrainer": "trainer",
    "Judge": "types",
    "Judgement": "types",
    "Sample": "types",
    "Status": "types",
    "Usage": "types",
}

__all__ = [
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
    "evaluate",
    "load_judge",
    "measurement",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rlaif' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rlaif.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
