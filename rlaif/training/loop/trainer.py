"""What every trainer does around its learning: act, have it judged, tell of it, and keep what a run goes on from."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from rlaif.core.config.trainers import PPOConfig
from rlaif.core.errors import InputError, RlaifError
from rlaif.core.schema import check, reason_of, short_repr
from rlaif.core.seeds import seed_of
from rlaif.core.system.devices import memory
from rlaif.core.system.distributed import Processes
from rlaif.core.system.files import append, cut_back, finite
from rlaif.core.system.signals import Interruption
from rlaif.data.prompts import Prompt, prompts_of
from rlaif.judges.asking import refuse_unasked
from rlaif.judges.rewards import Pending, Rewards, SourceReward
from rlaif.policy.generation.transformers import Sampling
from rlaif.policy.loading import load_any
from rlaif.policy.model import Policy
from rlaif.training.loop.batches import Batches
from rlaif.training.loop.checkpoint.checkpoint import save, tidy
from rlaif.training.loop.display import View
from rlaif.training.loop.kl_control import AdaptiveKL, FixedKL
from rlaif.training.loop.progress import HasState, Progress, restore, state_of, state_to_resume
from rlaif.training.loop.rollout import Rollout, act
from rlaif.training.loop.step_metrics import flat, spread, verdict_metrics
from rlaif.training.loop.stopping import add_to_window, reason_to_stop


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
    What trainers have in common: all but how they learn.

    The arguments are those of TRL's GRPOTrainer. `args.output_dir` gets metrics.jsonl, checkpoints/ and model/.

    Args:
        model: hub id or folder of a model or of a LoRA adapter, or a model.
        reward_funcs: a judge, a card, a function of TRL's contract (`prompts, completions, completion_ids, **columns`
            -> `list[float | None]`), or a list of these. A row with a None weighs nothing.
        args: the keys of `training`, `ppo` and `generation`, and what is around them.
        train_dataset: rows with a `prompt` (text or messages), a list of texts, or prompts.
        processing_class: the tokenizer, where it is not the model's own.
        peft_config: a peft `LoraConfig` trains an adapter; the model with it off is the reference.
        callbacks: see each step.
        merge: merge a LoRA adapter into the model that is written.

    Raises:
        InputError: an argument is wrong; before a model loads, where that can be known.

    """

    settings: type[PPOConfig] = PPOConfig
    """Of what kind `args` are."""

    learner: HasState

    def __init__(
        self,
        model: Any,
        reward_funcs: Any,
        args: PPOConfig | None = None,
        train_dataset: Any = None,
        processing_class: Any = None,
        peft_config: Any = None,
        callbacks: Sequence[Callback] | None = None,
        merge: bool = False,
    ) -> None:
        self.args = args = _check_args(args, self.settings)
        self._refuse(model)
        self.callbacks = _callbacks(callbacks)
        self.output = Path(args.output_dir)
        self.rewards = (
            reward_funcs
            if isinstance(reward_funcs, Rewards)
            else Rewards(reward_funcs, args.reward_weights, args.reward)
        )
        _refuse_no_rows(train_dataset)
        self.processes = Processes(args.judge_patience, args.report_to, args.output_dir)
        self.share = self.processes.share(args.batch_size)
        torch.manual_seed(seed_of(args.seed, "adapter"))
        loaded = load_any(model, processing_class, peft_config, args.dtype, self.processes.device)
        self.policy = Policy(
            loaded, temperature=args.temperature, critic=args.critic, gradient_checkpointing=args.gradient_checkpointing
        ).to(self.processes.device)
        self.processes.broadcast_from_main(list(self.policy.weights().values()))
        self.prompts, self.notes = _prompts(train_dataset, self.policy.tokenizer, args.max_prompt_tokens)
        self.rewards.refuse_lacking(self.prompts)
        self.policy.refuse_unfit([len(prompt.ids) for prompt in self.prompts], args.max_new_tokens)
        self.batches = Batches(len(self.prompts), self.prompts_a_step, args.seed)
        self.learner = self._learner()
        self.progress = Progress(
            AdaptiveKL(args.kl_coef, args.target, args.horizon) if args.adap_kl_ctrl else FixedKL(args.kl_coef)
        )
        self.sampling = Sampling(args.max_new_tokens, args.min_new_tokens, args.temperature, args.top_p)
        self.merge = merge
        self.stopped: str | None = None
        self.interruption = Interruption()
        self.view = View(args.steps, speaks=self.processes.is_main)

    def train(self, resume_from_checkpoint: bool | str | Path | None = None) -> None:
        """
        Train, and write the model to `output_dir/model`.

        Args:
            resume_from_checkpoint: true goes on from the newest whole checkpoint of `output_dir`, a path from the
                one that it is, or from the newest one in that folder.

        Raises:
            InputError: `output_dir` holds another run.
            RlaifError: a judge stayed down, the budget is spent, memory or disk ran out; a checkpoint was written
                if the weights were whole.
            KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written.

        """
        self._begin(resume_from_checkpoint)
        with self.interruption, self.view, self.processes.track(flat(asdict(self.args))):
            with self._checkpoint_on_failure(at_work=False):
                for callback in self.callbacks:
                    callback.on_begin(self)
            self._steps()
            self._end()

    def _refuse(self, model: Any) -> None:  # noqa: B027, most refuse nothing
        """Raise `InputError` where this trainer cannot do what is asked of it, before a model loads."""

    @abstractmethod
    def _learner(self) -> HasState:
        """Make what learns from the policy's completions."""

    @abstractmethod
    def _steps(self) -> None:
        """Make the steps that are left, each ended by `_end_of_step`."""

    @property
    def prompts_a_step(self) -> int:
        """Different prompts that a step completes, over all processes."""
        return self.args.batch_size

    def rows(self, step: int) -> list[int]:
        """Return the places in `prompts` of what this process completes in a step."""
        return self.batches.rows_of(step, self.share)

    # --- a step -----------------------------------------------------------------------------------------------------

    def act(self, step: int) -> tuple[Rollout, Pending]:
        """Complete the prompts of a step; its seed differs by step and process, so that no two sample alike."""
        prompts = [self.prompts[row] for row in self.rows(step)]
        torch.manual_seed(seed_of(self.args.seed, step, self.processes.rank))
        with memory("acting", "training.batch_size, generation.max_new_tokens or training.micro_batch_tokens"):
            return act(
                self.policy,
                prompts,
                self.rewards,
                self.sampling,
                micro_batch_tokens=self.args.micro_batch_tokens,
                poll=self.interruption.poll,
            )

    def wait_for_rewards(self, pending: Pending) -> list[list[SourceReward]]:
        """Wait for the verdicts, or raise where a judge stays down or the budget is spent."""
        verdicts = pending.result(patience=self.args.judge_patience, poll=self.interruption.poll)
        for source, said in zip(self.rewards.sources, verdicts, strict=True):
            refuse_unasked(source.name, said, self.args.judge_patience)
        return verdicts

    def _first(self, rewards_B: Tensor, judged_B: Tensor) -> None:
        """Say how the rewards of a run's first step are spread."""
        if not self.progress.step:
            self.view.first(*spread(self.processes.gather(rewards_B.masked_fill(~judged_B, torch.nan))))

    def _line(
        self,
        step: int,
        about: dict[str, Any],
        verdicts: Sequence[Sequence[SourceReward]],
        update: dict[str, Any],
        start: float,
    ) -> dict[str, Any]:
        """Return the metrics of a step, of its rollout, its judges and its update."""
        judges, usd = verdict_metrics(self.rewards.sources, verdicts, self.processes.device, self.processes.reduce)
        return {
            "step": step, "samples": step * self.args.batch_size, **about, "judges": judges,
            "kl_coef": self.progress.kl_coef.value, **update, "usd": usd, "seconds": time.perf_counter() - start,
            "alarms": [],
        }  # fmt: skip

    def stop(self, why: str) -> None:
        """End the run after this step."""
        self.stopped = self.stopped or why

    def _end_of_step(self, metrics: dict[str, Any]) -> None:
        """Write the line of a step, show it, and write a checkpoint where one is due."""
        progress, args = self.progress, self.args
        progress.step = metrics["step"]
        progress.spent += metrics["usd"] or 0.0
        progress.kl_coef.update(metrics["kl_k1"], args.batch_size)
        progress.window = add_to_window(progress.window, metrics, args.stop_window)
        if why := reason_to_stop(progress.window, args):
            self.stop(why)
        with self._checkpoint_on_failure():
            try:
                for callback in self.callbacks:
                    callback.on_step(self, metrics)
            finally:
                self._write(metrics)  # before its checkpoint, as always: a kill in between leaves no step without one
        self.view.step(metrics, progress.spent)
        wished = self.processes.any(self.interruption.wished)
        if progress.step % args.save_steps == 0 or wished or self.stopped or progress.step == args.steps:
            self.save_checkpoint()
        with self.processes.raise_on_all_ranks():
            if wished:
                raise KeyboardInterrupt(self._where_kept())

    def _write(self, metrics: dict[str, Any]) -> None:
        if self.processes.is_main:
            append(self.output / "metrics.jsonl", json.dumps(finite(metrics), allow_nan=False))
        self.processes.log(flat(finite(metrics)), self.progress.step)

    # --- what is kept -----------------------------------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Write what the run goes on from: the state after the last whole step."""
        with self.processes.raise_on_all_ranks():
            if self.processes.is_main:
                state = state_of(self.progress, self.policy, self.learner, self.args, self.processes.count)
                save(self.output / "checkpoints", state, keep=self.args.save_total_limit)

    def save_model(self, folder: str | Path) -> None:
        """Write the policy so that transformers or peft loads it alone."""
        with self.processes.raise_on_all_ranks():
            if self.processes.is_main:
                try:
                    self.policy.save(Path(folder), merge=self.merge)
                except (OSError, SafetensorError) as error:
                    said = f"{folder}: the model cannot be written: {reason_of(error)}; {self._where_kept()}"
                    raise RlaifError(said) from error

    def _begin(self, resume: bool | str | Path | None) -> None:
        """Make the output folder, or go on from what lies there."""
        metrics = self.output / "metrics.jsonl"
        if metrics.exists() and not resume:
            raise InputError(
                f"{self.output}: holds a run already; go on with it by --resume (resume_from_checkpoint=True), "
                "or name another folder by --output (output_dir)"
            )
        self.rewards.load()
        if resume:
            folder = self.output / "checkpoints" if resume is True else Path(resume)
            state = state_to_resume(
                folder, self.args, self.processes.count, self.policy, needed=resume is not True, say=self.view.say
            )
            if state is not None:
                restore(state, self.progress, self.policy, self.learner)
                self.view.begin_at(self.progress.step)
        # A run that had stopped does not make a step more; of an object that has trained before, nothing else is left.
        self.stopped = reason_to_stop(self.progress.window, self.args)
        self.processes.wait()
        with self.processes.raise_on_all_ranks():
            if self.processes.is_main:
                try:
                    self.output.mkdir(parents=True, exist_ok=True)
                    cut_back(metrics, self.progress.step)
                    metrics.touch()
                    if (checkpoints := self.output / "checkpoints").is_dir():
                        tidy(checkpoints)  # a run that has ended saves none, which would do so
                except OSError as error:
                    raise InputError(f"{metrics}: cannot be written: {error.strerror}; name another folder") from None

    @contextmanager
    def _checkpoint_on_failure(self, *, at_work: bool = True) -> Iterator[None]:
        """Write a checkpoint where something ends the run while the weights are those of the last step."""
        try:
            with self.processes.raise_on_all_ranks():
                try:
                    yield
                except InputError as error:
                    if not (at_work and self.progress.step):
                        raise
                    raise RlaifError(str(error)) from error  # it was right when work began: a key was revoked
        except InputError:
            raise
        except (RlaifError, KeyboardInterrupt) as error:
            self.save_checkpoint()
            error.args = ("; ".join(filter(None, (str(error), self._where_kept()))),)
            raise

    def _where_kept(self) -> str:
        return f"step {self.progress.step} is kept in {self.output / 'checkpoints'}; --resume goes on from it"

    def _end(self) -> None:
        if self.stopped:
            self.view.say(f"stopped after step {self.progress.step}: {self.stopped}")
        for callback in self.callbacks:
            callback.on_end(self)
        self.save_model(self.output / "model")


def _check_args(args: PPOConfig | None, kind: type[PPOConfig]) -> PPOConfig:
    if args is not None and not isinstance(args, kind):
        raise InputError(f"args: should be a rlaif.{kind.__name__}, not {short_repr(args)}")
    return check(kind, asdict(args or kind()), "args")


def _callbacks(callbacks: Sequence[Callback] | None) -> tuple[Callback, ...]:
    listed = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
    for callback in listed:
        if not isinstance(callback, Callback):
            raise InputError(f"callbacks: should be of rlaif.training.ppo.trainer.Callback, not {short_repr(callback)}")
    return tuple(listed)


def _refuse_no_rows(dataset: Any) -> None:
    if not isinstance(dataset, Iterable) or isinstance(dataset, str):
        raise InputError(f"train_dataset: should be rows with a `prompt`, not {short_repr(dataset)}")


def _prompts(dataset: Any, tokenizer: Any, max_tokens: int | None) -> tuple[Sequence[Prompt], tuple[str, ...]]:
    if isinstance(dataset, list | tuple) and dataset and isinstance(dataset[0], Prompt):
        return dataset, ()
    return prompts_of(dataset, tokenizer, max_prompt_tokens=max_tokens)
