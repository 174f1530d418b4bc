"""
The loop of a training run: steps, callbacks, checkpoints, resuming. It does not know how a step learns, or from what.

`OnlineTrainer` adds completions and their rewards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rlaif.core.errors import InputError, RlaifError
from rlaif.core.records.steps import AnyStep
from rlaif.core.schema import reason_of, short_repr
from rlaif.core.system.devices import memory
from rlaif.core.system.distributed import Processes
from rlaif.core.system.signals import Interruption
from rlaif.policy.model import Policy
from rlaif.training.loop.batches import Batches
from rlaif.training.loop.checkpointer import Checkpointer, HasState
from rlaif.training.loop.display import View
from rlaif.training.loop.metrics_file import MetricsFile
from rlaif.training.loop.progress import Progress
from rlaif.training.loop.settings import TrainerSettings
from rlaif.training.loop.step_metrics import flat


class Callback:
    """What watches a run, on every process. It may add to the metrics of a step, and ask the trainer to stop."""

    def on_begin(self, trainer: Trainer) -> None:
        """See the policy before the first step of this process: the state of a resumed run is back."""

    def on_step(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        """See a step that is done."""

    def on_end(self, trainer: Trainer) -> None:
        """See the policy after the last step: its weights, as this leaves them, are those that are kept."""


class Trainer(ABC):
    """
    Makes steps, each on a batch, until there are enough, and writes metrics.jsonl, checkpoints/ and model/.

    A trainer of an algorithm says how a step is made (`make_step`), what its optimizer is (`make_learner`) and
    what it counts (`make_progress`).

    Args:
        args: the settings of the run.
        policy: the model that is trained, on the device of its process.
        batches: which rows a step takes.
        processes: of the run.
        callbacks: see each step, in this order.
        merge: merge a LoRA adapter into the model that is written.

    Raises:
        InputError: an argument is wrong.

    """

    learner: HasState
    progress: Progress

    def __init__(
        self,
        args: TrainerSettings,
        policy: Policy,
        batches: Batches,
        processes: Processes,
        callbacks: Sequence[Callback] = (),
        *,
        merge: bool = False,
    ) -> None:
        self.args, self.policy, self.batches, self.processes = args, policy, batches, processes
        self.callbacks = tuple(callbacks)
        self.merge = merge
        self.output = Path(args.output_dir)
        self.share = processes.share(args.batch_size)
        self.learner, self.progress = self.make_learner(), self.make_progress()
        self.checkpoints = Checkpointer(self.output, args, processes, policy, self.learner, self.progress)
        self.metrics_file = MetricsFile(self.output, processes)
        self.view = View(args.steps, speaks=processes.is_main)
        self.interruption = Interruption()
        self.stopped: str | None = None

    def train(self, resume_from_checkpoint: bool | str | Path | None = None) -> None:
        """
        Train, and write the model to `output_dir/model`.

        Args:
            resume_from_checkpoint: true resumes from the newest whole checkpoint of `output_dir`, a path from the
                one that it is, or from the newest one in that folder.

        Raises:
            InputError: `output_dir` holds another run.
            RlaifError: a judge stayed down, the budget is spent, memory or disk ran out; a checkpoint was written
                if the weights were whole.
            KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written.

        """
        self._begin(resume_from_checkpoint)
        with self.interruption, self.view, self.processes.track(flat(asdict(self.args))):
            with self.checkpoints.save_on_failure(at_work=False):
                for callback in self.callbacks:
                    callback.on_begin(self)
            self._make_steps()
            self._end()

    def stop(self, why: str) -> None:
        """End the run after this step."""
        self.stopped = self.stopped or why

    def save_checkpoint(self) -> None:
        """Write what a run resumes from: the state after the last whole step."""
        self.checkpoints.save()

    def save_model(self, folder: str | Path) -> None:
        """Write the policy so that transformers or peft loads it alone."""
        with self.processes.raise_on_all_ranks():
            if self.processes.is_main:
                try:
                    with memory("loading the written model again, to compare it", "what else uses the memory"):
                        self.policy.save(Path(folder), merge=self.merge)
                except (OSError, SafetensorError) as error:
                    why = f"{reason_of(error)}; {self.checkpoints.where_kept}"
                    raise RlaifError(f"{folder}: the model cannot be written: {why}") from error

    # --- what an algorithm adds ---------------------------------------------------------------------------------------

    @abstractmethod
    def make_learner(self) -> HasState:
        """Make the optimizer of the policy."""

    def make_progress(self) -> Progress:
        """Make what is counted beside the weights."""
        return Progress()

    @abstractmethod
    def make_step(self, step: int) -> None:
        """Make a step, counted from 1, and end it by `end_step`."""

    def _load(self) -> None:  # noqa: B027, most have nothing to load
        """Load what the steps need beside the policy, before the first one."""

    def _reason_to_stop(self) -> str | None:
        """Say why no further step is to be made, or None."""
        return None

    # --- the loop -----------------------------------------------------------------------------------------------------

    def _begin(self, resume: bool | str | Path | None) -> None:
        """Make the output folder, or put back what a run in it resumes from."""
        if not resume:
            self.metrics_file.refuse_taken()
        self._load()
        if resume:
            self.checkpoints.resume(resume, self.view.say)
            self.view.begin_at(self.progress.step)
        # A run that had stopped makes no further step; of an object that has trained before, nothing else is left.
        self.stopped = self._reason_to_stop()
        self.processes.wait()
        with self.processes.raise_on_all_ranks():
            if self.processes.is_main:
                try:
                    self.metrics_file.begin_at(self.progress.step)
                    self.checkpoints.tidy()
                except OSError as error:
                    why = f"cannot be written: {error.strerror}; name another folder"
                    raise InputError(f"{self.metrics_file}: {why}") from None

    def _make_steps(self) -> None:
        """Make the steps that are left."""
        while self._has_steps_left():
            self.make_step(self.progress.step + 1)

    def _has_steps_left(self) -> bool:
        return self.progress.step < self.args.steps and not self.stopped

    def end_step(self, step: AnyStep, summary: Sequence[str]) -> None:
        """
        Write the line of a step, show it, and write a checkpoint where one is due.

        Args:
            step: its metrics; callbacks get them as a mapping, to which they may add.
            summary: what is shown of them.

        """
        self.progress.step, metrics = step.step, step.to_json()
        with self.checkpoints.save_on_failure():
            try:
                for callback in self.callbacks:
                    callback.on_step(self, metrics)
            finally:  # before its checkpoint, as always: a kill in between leaves no step without a line
                self.metrics_file.write(metrics, self.progress.step)
        self.view.step(step.step, step.samples, step.seconds, summary)
        interrupted = self.processes.any(self.interruption.wished)
        is_due = self.progress.step % self.args.save_steps == 0 or not self._has_steps_left()
        if is_due or interrupted:
            self.save_checkpoint()
        with self.processes.raise_on_all_ranks():
            if interrupted:
                raise KeyboardInterrupt(self.checkpoints.where_kept)

    def _end(self) -> None:
        if self.stopped:
            self.view.say(f"stopped after step {self.progress.step}: {self.stopped}")
        for callback in self.callbacks:
            callback.on_end(self)
        self.save_model(self.output / "model")


def check_callbacks(callbacks: Sequence[Callback] | Callback | None) -> tuple[Callback, ...]:
    """Return callbacks as a tuple, or raise `InputError` where one is none."""
    listed = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
    for callback in listed:
        if not isinstance(callback, Callback):
            raise InputError(f"callbacks: should be of rlaif.training.ppo.trainer.Callback, not {short_repr(callback)}")
    return tuple(listed)
