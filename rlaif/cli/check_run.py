"""`rlaif check RUN.yaml`: check the run file, data and judges, and forecast the run. Writes nothing to its folder."""

from __future__ import annotations

import tempfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rlaif.cli.output import forecast
from rlaif.cli.output.summary import say
from rlaif.cli.probing import FaultList, ProbedJudge, probe_all, read_cards
from rlaif.core.config.run import RunConfig
from rlaif.core.config.trainers import GroupConfig, refuse_biased
from rlaif.core.errors import InputError
from rlaif.core.system.devices import computes_on
from rlaif.core.system.distributed import Processes, refuse_misfit, refuse_unknown_trackers
from rlaif.core.types import Judge
from rlaif.data.prompts import Parts, refuse_missing
from rlaif.evaluation.roles import doubtful, refuse_other_name, roles_of
from rlaif.judges.cards.card import CardRef
from rlaif.judges.cards.overrides import Overrides
from rlaif.judges.quickstart import quickstart
from rlaif.judges.rewards import Rewards
from rlaif.judges.session import Session
from rlaif.policy.tokenizer import read_tokenizer
from rlaif.training.run import run_folder
from rlaif.training.run.forecast.calls import JudgeUse, scale_estimate, stand_ins, uses_of
from rlaif.training.run.forecast.machine import free, resident
from rlaif.training.run.forecast.memory import MemoryEstimate, memory_of
from rlaif.training.run.forecast.pace import dry_step, seconds_a_text, stand_in_reward, whole_run
from rlaif.training.run.run import Judges, args_of, parts_of, trainer_of
from rlaif.training.run.run_file import open_run
from rlaif.training.trl.trainer import refuse_unfit


def check_run(path: Path, more: Sequence[str], sets: Sequence[str], quick: bool) -> int:
    """
    Check a run file, print the findings, and return the exit status.

    Args:
        path: path of the run file.
        more: names or paths of further judge cards to probe.
        sets: overrides of keys of the run file, `KEY=VALUE`.
        quick: skip the training step that measures time, so that the policy is not loaded.

    Raises:
        InputError: the run file is wrong, or two judges have one name.

    """
    notes: list[str] = []
    config = quickstart.resolve(open_run(path, sets, notes.append), say)
    faults = FaultList()
    refs: list[CardRef] = [config.judge, *config.guard.judges, *config.evaluation.judges, *more]
    read = read_cards(refs, Overrides(), Session(fresh=True), faults)
    judges = _judges_of(config, read, faults)
    faults.passes(refuse_misfit, config.training.batch_size)
    faults.passes(refuse_unknown_trackers, config.trackers)
    readable = faults.passes(refuse_missing, config.data)
    prepared = faults.attempt(RunForecast, config, judges) if readable else None
    if prepared:
        faults.passes(prepared.refuse_algorithm)
    memory = faults.attempt(prepared.memory) if prepared else None
    probe_all(_each_once(read), faults)
    whole = all(one.judge for one in read)
    forecast.print_warnings([*notes, *_warnings(config, judges, whole), *(prepared.parts.notes if prepared else ())])
    if prepared is None:
        return faults.worst
    forecast.print_parts(prepared.parts)
    prepared.print_calls()
    if memory:
        forecast.print_memory(memory, free(computes_on()), computes_on())
    if config.algorithm != "ppo":
        forecast.say(
            f"{config.algorithm}: the memory is estimated for PPO, which also has a value head; no step was timed"
        )
    if quick or faults.worst or config.algorithm != "ppo":
        return faults.worst
    latencies = {one.judge.identity: one.latency for one in _each_once(read) if one.judge}
    faults.attempt(prepared.print_time, latencies)
    return faults.worst


class RunForecast:
    """
    A run whose prompts have been read. The policy is not loaded.

    Args:
        config: the run file.
        judges: the judges whose cards are valid.

    """

    def __init__(self, config: RunConfig, judges: Judges) -> None:
        self.config, self.judges = config, judges
        self.tokenizer = read_tokenizer(config.policy.model, config.policy.revision)
        self.parts: Parts = parts_of(config, self.tokenizer, judges)

    def refuse_algorithm(self) -> None:
        """Raise `InputError` if the algorithm cannot train this model or does not support a key of the run file."""
        args = args_of(self.config)
        refuse_biased(args)
        if isinstance(args, GroupConfig):
            refuse_unfit(args, self.config.policy.model, self.config.policy.revision)

    def memory(self) -> MemoryEstimate:
        """Estimate the peak memory. Raises `InputError` if it exceeds what is free."""
        Processes()  # imports what a trainer imports, which takes memory too
        device = computes_on()
        lengths = [len(prompt.ids) for part in (self.parts.train, self.parts.test) for prompt in part]
        memory = memory_of(self.config, self.tokenizer, lengths, self.judges.all, device)
        # The estimate includes this process, whose memory is not free any more.
        available = free(device) + (resident() if device.type == "cpu" else 0)
        if memory.total > available:
            raise InputError(
                f"policy.model: {self.config.policy.model} would take about {forecast.gib(memory.total)} GiB of memory "
                f"({memory.phase}), and {forecast.gib(available)} are free; lower training.micro_batch_tokens or "
                "training.batch_size, set policy.gradient_checkpointing: true or policy.lora, or take a smaller model"
            )
        return memory

    @property
    def uses(self) -> list[JudgeUse]:
        """How many completions each judge will score, and for what purpose."""
        return uses_of(
            self.config,
            self.judges.training,
            [role.judge for role in self.judges.watching],
            self.judges.all,
            guard_prompts=len(self.parts.guard),
            test_prompts=len(self.parts.test),
        )

    def print_calls(self) -> None:
        """Print the calls, tokens and cost of remote judges, and warn if the budget is too small."""
        samples = stand_ins(self.parts.train, self.tokenizer, self.config.generation.max_new_tokens)
        remote = [(use, scale_estimate(use, samples)) for use in self.uses if use.judge.remote]
        if remote:
            forecast.print_calls(remote, self.config.budget)

    def print_time(self, latencies: Mapping[Hashable, float]) -> None:
        """Time one step of the run's trainer in a temporary folder, and print the time that the run will take."""
        training = self.judges.training
        spends = any(judge.remote for judge in training)
        rewards = Rewards(stand_in_reward) if spends else self.judges.rewards
        with tempfile.TemporaryDirectory() as folder:
            config = replace(self.config, output=folder, trackers=[])
            step = dry_step(trainer_of(config, rewards, self.tokenizer, self.parts.train))
        measured: dict[Hashable, float] = {}

        def seconds_per_text(judge: Judge) -> float:
            if judge.identity not in measured:
                measured[judge.identity] = seconds_a_text(judge, step.samples, latencies[judge.identity])
            return measured[judge.identity]

        guard, test = len(self.parts.guard), len(self.parts.test)
        parts = whole_run(self.config, step, self.uses, seconds_per_text, guard=guard, test=test)
        waiting = sum(seconds_per_text(judge) for judge in training) * self.config.training.batch_size
        forecast.print_time(self.config, step, waiting, parts, spends=spends)


def _judges_of(config: RunConfig, read: Sequence[ProbedJudge], faults: FaultList) -> Judges:
    """Return the judges whose cards are valid; a constant reward stands in for an invalid training judge."""
    count = len(config.guard.judges)
    training, guards, evaluating = (
        read[:1],
        read[1 : 1 + count],
        read[1 + count : 1 + count + len(config.evaluation.judges)],
    )
    own, watching, measuring = ([one.judge for one in some if one.judge] for some in (training, guards, evaluating))
    faults.passes(refuse_other_name, own, [*watching, *measuring])
    rewards = faults.attempt(Rewards, own or stand_in_reward, reward=config.reward)
    return Judges(rewards or Rewards(stand_in_reward), own, roles_of(own, watching, measuring))


def _each_once(read: Sequence[ProbedJudge]) -> list[ProbedJudge]:
    """Leave out repeated judges: a judge of the guard may also be one of the evaluation."""
    met: dict[Hashable, ProbedJudge] = {}
    return [one for one in read if met.setdefault(one.judge.identity if one.judge else repr(one.ref), one) is one]


def _warnings(config: RunConfig, judges: Judges, whole: bool) -> list[str]:
    """Return warnings: settings that are valid but may not be intended. `whole`: all cards are valid."""
    warnings = doubtful(judges.roles, judges.training)
    if whole and not any(role.kind == "held_out" for role in judges.roles):
        warnings.append("no judge is held out: the numbers will be no evidence; name one in evaluation.judges")
    if not config.guard.judges:
        warnings.append("nothing guards the training: the last model will be kept; name a judge in guard.judges")
    try:
        run_folder.refuse_taken(Path(str(config.output)))
    except InputError as error:
        warnings.append(str(error))
    return [f"warning: {line}" for line in warnings]
