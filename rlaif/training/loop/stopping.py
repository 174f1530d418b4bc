"""When a run is good enough, or too far, before its last step."""

from __future__ import annotations

from rlaif.core.config.trainers import PPOConfig
from rlaif.core.records.steps import Step

Window = list[list[float | None]]
"""Mean score (None where all judges abstained) and KL of the last steps."""


def add_to_window(window: Window, step: Step, length: int) -> Window:
    """Return the window with a step added, and no longer than `length`."""
    scores = [judge.score_mean for judge in step.judges.values() if judge.score_mean is not None]
    score = sum(scores) / len(scores) if scores else None
    return [*window, [score, step.kl]][-length:]


def reason_to_stop(window: Window, config: PPOConfig) -> str | None:
    """Say why to stop, once the window is full; that of a run that was resumed may have been longer."""
    window = window[-config.stop_window :]
    if len(window) < config.stop_window:
        return None
    scores = [score for score, _ in window if score is not None]
    score = sum(scores) / len(scores) if scores else None
    kl = sum(kl or 0.0 for _, kl in window) / len(window)
    if config.stop_score is not None and score is not None and score >= config.stop_score:
        return f"the mean score over {config.stop_window} steps, {score:.3f}, is good enough"
    if config.stop_kl is not None and kl > config.stop_kl:
        return f"the KL over {config.stop_window} steps, {kl:.2f} nats a completion, is too far"
    return None
