"""The guard: held-out judges check the policy every few steps, raise alarms, and choose the model that is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlaif.core.config.sections import GuardSection
from rlaif.core.errors import InputError
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.steps import add_guard
from rlaif.data.prompts import Prompt
from rlaif.evaluation.roles import Role
from rlaif.training.loop.online import OnlineTrainer
from rlaif.training.loop.trainer import Callback, Trainer
from rlaif.training.run.guard.check import Checker
from rlaif.training.run.guard.files import GuardFiles, best_of, step_guard


class Guard(Callback):
    """
    Checks the policy before training, every few steps and at the end; keeps the best model; warns or stops.

    Best is the highest mean of the held-out scores among the checks within all bands; the model before training is one
    of them, so that a run that only did harm changes nothing. The checks are lines of `guard.jsonl`.

    Args:
        prompts: of the guard part.
        roles: the judges that watch, and those that are learned from.
        section: how often it checks, the bands, and what an alarm does.
        folder: of the run.

    """

    def __init__(self, prompts: Sequence[Prompt], roles: Sequence[Role], section: GuardSection, folder: Path) -> None:
        self._section = section
        self._checker = Checker(prompts, roles, section)
        self._files = GuardFiles(folder)
        self.checks: list[GuardCheck] = []

    @property
    def best(self) -> GuardCheck:
        """The check whose model is to be kept: the earliest of the best."""
        return best_of(self.checks)

    def on_begin(self, trainer: Trainer) -> None:
        """Check the model before training, or read the checks of a run that is resumed."""
        step = trainer.progress.step
        self.checks = self._files.read_checks(step, trainer.processes)
        if not step:
            self.checks = []
            self._check(trainer, 0)
            return
        if not self._can_continue():
            raise InputError(
                f"{self._files.path}: what the guard saw before step {step}, or its weights in {self._files.best}, "
                "is missing; the run cannot go on: begin another one in another folder"
            )
        if self._is_due(trainer) and self.checks[-1].step < step:  # the run ended before this check was made
            self._files.add_to_metrics(self._check(trainer, step), trainer.processes)
        else:
            self._act_on_last(trainer)  # a run that the guard had ended makes no further step

    def on_step(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        """Make the check that is due, and add it to the metrics of the step."""
        if self._is_due(trainer):
            check = self._check(trainer, trainer.progress.step)
            add_guard(metrics, step_guard(check), check.alarms)

    def on_end(self, trainer: Trainer) -> None:
        """Put the weights of the best check back: they are what is kept."""
        best = self.best
        if best.step != trainer.progress.step:
            trainer.policy.load_weights(self._files.read_weights(best.step))
            trainer.view.say(
                f"kept: the model of step {best.step}, the best by the guard ({_format_scores(best)}), not the last"
                if best.step
                else "kept: the model as it was before training: the guard saw none that was better within its bands"
            )

    def _can_continue(self) -> bool:
        return any(check.fit for check in self.checks) and self._files.has_weights(self.best.step)

    def _is_due(self, trainer: Trainer) -> bool:
        step = trainer.progress.step
        is_last = step == trainer.args.steps or bool(trainer.stopped)
        return step > 0 and (step % self._section.every == 0 or is_last)

    def _check(self, trainer: Trainer, step: int) -> GuardCheck:
        """Check the policy as it is after a step, write the check, and act on it."""
        assert isinstance(trainer, OnlineTrainer), "the guard samples as the trainer does"
        sides = self._checker.measure(trainer, as_reference=not step)
        planned = math.ceil(trainer.args.steps / self._section.every)
        check = self._checker.check(step, sides, self.checks, planned)
        self.checks.append(check)
        self._files.write(self.checks, trainer.policy.weights(), trainer.processes)
        self._act_on_last(trainer)
        return check

    def _act_on_last(self, trainer: Trainer) -> None:
        """Sound the alarms of the last check, and end the run where they, or a lack of progress, ask for it."""
        last, best = self.checks[-1], self.best
        for alarm in last.alarms:
            trainer.view.say(f"ALARM at step {last.step}: {alarm}")
        if last.alarms and self._section.on_alarm == "stop":
            trainer.stop(f"alarm of the guard: {last.alarms[0]}")
        waited = len(self.checks) - 1 - self.checks.index(best)
        if self._section.patience is not None and waited >= self._section.patience:
            trainer.stop(f"the guard saw no better model than that of step {best.step} in {waited} checks")


def _format_scores(check: GuardCheck) -> str:
    return ", ".join(
        f"{name} {judge.score_mean:.3f}" for name, judge in check.judges.items() if judge.score_mean is not None
    )
