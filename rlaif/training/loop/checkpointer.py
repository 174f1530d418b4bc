"""Writes what a run resumes from, and reads it back: the state of a trainer as tensors and facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor

from rlaif.core.errors import InputError, RlaifError
from rlaif.core.schema import short_repr
from rlaif.core.system.distributed import Processes
from rlaif.policy.model import Policy
from rlaif.training.loop.checkpoint.checkpoint import TrainingState, newest, save, tidy
from rlaif.training.loop.progress import Progress
from rlaif.training.loop.settings import TrainerSettings

MAY_CHANGE = frozenset({
    "steps", "save_steps", "save_total_limit", "stop_score", "stop_window", "stop_kl", "report_to", "output_dir",
    "judge_patience",
})  # fmt: skip
"""Settings that a resumed run may have otherwise: none of them has acted on the steps before."""


class HasState(Protocol):
    """What changes a policy, and has a state that a run resumes from."""

    def state(self) -> Mapping[str, Tensor]:
        """Return the state of the optimizer."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` returned."""
        ...


@dataclass(frozen=True)
class Checkpointer:
    """
    The checkpoints of a run, in `OUTPUT/checkpoints`.

    Args:
        output: folder of the run.
        args: of the trainer; a resumed run needs the same, but for `MAY_CHANGE`.
        processes: of the run. The main one writes.
        policy: whose weights are kept.
        learner: whose optimizer's state is kept.
        progress: how far the run is; `resume` sets it.

    """

    output: Path
    args: TrainerSettings
    processes: Processes
    policy: Policy
    learner: HasState
    progress: Progress

    @property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        return self.output / "checkpoints"

    @property
    def where_kept(self) -> str:
        """The end of a message of what ended the run."""
        return f"step {self.progress.step} is kept in {self.folder}; --resume goes on from it"

    def save(self) -> None:
        """Write a checkpoint of the state after the last whole step."""
        with self.processes.raise_on_all_ranks():
            if self.processes.is_main:
                facts = {"args": asdict(self.args), "processes": self.processes.count, **self.progress.facts()}
                tensors = {"weights": self.policy.weights(), "optimizer": self.learner.state()}
                state = TrainingState(self.progress.step, tensors, facts)
                save(self.folder, state, keep=self.args.save_total_limit)

    @contextmanager
    def save_on_failure(self, *, at_work: bool = True) -> Iterator[None]:
        """
        Write a checkpoint where what is done inside ends the run; the weights have to be those of the last step.

        Args:
            at_work: whether steps are being made: an input that is wrong now was right when they began.

        """
        try:
            with self.processes.raise_on_all_ranks():
                try:
                    yield
                except InputError as error:
                    if not (at_work and self.progress.step):
                        raise
                    raise RlaifError(str(error)) from error  # such as a key that was revoked
        except InputError:
            raise
        except (RlaifError, KeyboardInterrupt) as error:
            self.save()
            error.args = ("; ".join(filter(None, (str(error), self.where_kept))),)
            raise

    def resume(self, source: Literal[True] | str | Path, say: Callable[[str], None]) -> None:
        """
        Put back the newest whole checkpoint, and say what was passed over.

        Args:
            source: true is the folder of the run itself, where there may be none yet; a path is that of a checkpoint,
                of a folder of checkpoints, or of a run.
            say: shows a line.

        Raises:
            InputError: it is of a run with other settings, or there is none where one was named.

        """
        folder = self.folder if source is True else Path(source)
        inside = folder / "checkpoints"
        state, broken = newest(inside if inside.is_dir() else folder)
        for line in broken:
            say(line)
        if state is None:
            if source is not True:
                raise InputError(f"{folder}: holds no whole checkpoint")
            say(f"{folder}: holds no checkpoint yet; beginning at the first step")
            return
        refuse_other_run(state, self.args, self.processes.count, folder)
        refuse_other_model(state.tensors["weights"], self.policy, folder)
        self.progress.step = state.step
        self.progress.load_facts(state.facts)
        self.policy.load_weights(state.tensors["weights"])
        self.learner.load_state(state.tensors["optimizer"])

    def tidy(self) -> None:
        """Remove what a killed process left half written; a run that has ended saves no checkpoint, which would."""
        if self.folder.is_dir():
            tidy(self.folder)


def refuse_other_run(state: TrainingState, args: TrainerSettings, processes: int, folder: Path) -> None:
    """Raise `InputError` where a checkpoint is of a run with other settings."""
    own = asdict(args)
    # A release that did not have a key did what its default says.
    theirs = {**{field.name: field.default for field in fields(args)}, **state.facts["args"]}
    for key in sorted(own.keys() - MAY_CHANGE):
        if own[key] != theirs[key]:
            raise InputError(
                f"{folder}: is of a run with {key} = {short_repr(theirs[key])}, not {short_repr(own[key])}; "
                "go on with the same, or begin another one in another folder"
            )
    if state.facts["processes"] != processes:
        raise InputError(
            f"{folder}: is of a run with {state.facts['processes']} processes, not {processes}; "
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
