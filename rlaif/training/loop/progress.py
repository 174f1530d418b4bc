"""What a run goes on from: the state of a trainer as tensors and facts, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from rlaif.core.config.trainers import PPOConfig
from rlaif.core.errors import InputError
from rlaif.core.schema import short_repr
from rlaif.judges.shaping import RunningMoments
from rlaif.policy.model import Policy
from rlaif.training.loop.checkpoint.checkpoint import TrainingState, newest
from rlaif.training.loop.kl_control import AdaptiveKL, FixedKL
from rlaif.training.loop.stopping import Window

MAY_CHANGE = frozenset({
    "steps", "save_steps", "save_total_limit", "stop_score", "stop_window", "stop_kl", "report_to", "output_dir",
    "judge_patience",
})  # fmt: skip
"""What a resumed run may have otherwise: nothing that has acted on the steps before."""


class HasState(Protocol):
    """What changes a policy, and has a state that a run goes on from."""

    def state(self) -> Mapping[str, Tensor]:
        """Return the state of the optimizer."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` returned."""
        ...


@dataclass
class Progress:
    """
    How far a run is, beside its weights. All that is random follows from seed and step, and needs no state.

    Args:
        kl_coef: the coefficient, and how it is steered.
        step: whole steps that were done.
        spent: USD, so far as prices are known.
        moments: of all rewards.
        window: the last steps, for the stop rules.

    """

    kl_coef: FixedKL | AdaptiveKL
    step: int = 0
    spent: float = 0.0
    moments: RunningMoments = field(default_factory=RunningMoments)
    window: Window = field(default_factory=list)


def state_of(progress: Progress, policy: Policy, learner: HasState, args: PPOConfig, processes: int) -> TrainingState:
    """Return the state after the last whole step."""
    facts = {
        "args": asdict(args), "processes": processes, "kl_coef": progress.kl_coef.value, "spent": progress.spent,
        "moments": asdict(progress.moments), "window": progress.window,
    }  # fmt: skip
    return TrainingState(progress.step, {"weights": policy.weights(), "optimizer": learner.state()}, facts)


def restore(state: TrainingState, progress: Progress, policy: Policy, learner: HasState) -> None:
    """Put a state back."""
    facts = state.facts
    progress.step, progress.spent, progress.kl_coef.value = state.step, facts["spent"], facts["kl_coef"]
    progress.moments = RunningMoments(**facts["moments"])
    progress.window = facts["window"]
    policy.load_weights(state.tensors["weights"])
    learner.load_state(state.tensors["optimizer"])


def state_to_resume(
    folder: Path, args: PPOConfig, processes: int, policy: Policy, *, needed: bool, say: Callable[[str], None]
) -> TrainingState | None:
    """
    Return the newest whole checkpoint in a folder, None where there is none, and say what was passed over.

    The folder may be that of the run, or the checkpoint itself.

    Raises:
        InputError: it is of a run with other settings, or there is none and one is needed.

    """
    inside = folder / "checkpoints"
    state, broken = newest(inside if inside.is_dir() else folder)
    for line in broken:
        say(line)
    if state is not None:
        refuse_other_run(state.facts, args, processes, folder)
        refuse_other_model(state.tensors["weights"], policy, folder)
    elif needed:
        raise InputError(f"{folder}: holds no whole checkpoint")
    else:
        say(f"{folder}: holds no checkpoint yet; beginning at the first step")
    return state


def refuse_other_run(facts: Mapping[str, Any], args: PPOConfig, processes: int, folder: Path) -> None:
    """Raise `InputError` where a checkpoint is of a run with other settings."""
    own, theirs = asdict(args), facts["args"]
    for key in sorted(own.keys() - MAY_CHANGE):
        if own[key] != theirs.get(key):
            raise InputError(
                f"{folder}: is of a run with {key} = {short_repr(theirs.get(key))}, not {short_repr(own[key])}; "
                "go on with the same, or begin another one in another folder"
            )
    if facts["processes"] != processes:
        raise InputError(
            f"{folder}: is of a run with {facts['processes']} processes, not {processes}; "
            "each has its own part of the batches: launch as many"
        )


def refuse_other_model(weights: Mapping[str, Tensor], policy: Policy, folder: Path) -> None:
    """Raise `InputError` where a checkpoint's weights are not those of this policy."""
    theirs = {name: list(tensor.shape) for name, tensor in weights.items()}
    own = {name: list(tensor.shape) for name, tensor in policy.weights().items()}
    for name in own | theirs:
        if own.get(name) != theirs.get(name):
            raise InputError(
                f"{folder}: is of a run of another model or adapter: the size of {name} is "
                f"{theirs.get(name, 'missing')} in it, and {own.get(name, 'missing')} here; "
                "go on with the same, or begin another one in another folder"
            )
