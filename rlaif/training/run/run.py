"""A run file, from its prompts to the model that is kept and the numbers that show what became of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rlaif.core.config.run import RunConfig
from rlaif.core.config.sections import GenerationSection, PPOSection, TrainingSection
from rlaif.core.config.trainers import GroupConfig, PPOConfig, refuse_biased
from rlaif.core.errors import InputError, RlaifError
from rlaif.core.records.evaluation import EvaluationRecord
from rlaif.core.records.samples import SampleRow
from rlaif.core.system import provenance
from rlaif.core.system.devices import computes_on
from rlaif.core.system.distributed import refuse_misfit, refuse_unknown_trackers
from rlaif.core.system.files import make_folder, write_atomically
from rlaif.core.system.signals import Interruption
from rlaif.core.types import Judge
from rlaif.data.prompts import Parts, load_parts, refuse_missing
from rlaif.evaluation.conclusion import pairs_of_samples, print_figures
from rlaif.evaluation.roles import Role, doubtful, refuse_other_name, roles_of
from rlaif.judges.asking import Poll
from rlaif.judges.quickstart import quickstart
from rlaif.judges.registry import load_judge
from rlaif.judges.remote.limits import Budget
from rlaif.judges.rewards import Rewards, refuse_lacking
from rlaif.judges.scoring import call_judge
from rlaif.judges.session import Session
from rlaif.policy.loading import load
from rlaif.policy.tokenizer import read_tokenizer
from rlaif.report import report
from rlaif.training.loop.online import OnlineTrainer
from rlaif.training.ppo.trainer import PPOTrainer
from rlaif.training.run import run_folder
from rlaif.training.run.guard.guard import Guard
from rlaif.training.run.measurement import Evaluation
from rlaif.training.run.run_file import open_run
from rlaif.training.run.spending import Spending
from rlaif.training.trl.trainer import GroupTrainer, refuse_unfit


def train(run: str | Path | RunConfig, sets: Iterable[str] = (), *, resume: bool = False) -> dict[str, Any]:
    """
    Measure a model, train it by a run file, and measure it again.

    Args:
        run: its path, or what was read of it.
        sets: changes, as `--set` gives them: `training.steps=20`.
        resume: go on from the newest whole checkpoint in the output folder.

    Returns:
        What evaluation.json says.

    Raises:
        InputError: a key, the data, a judge or the model is wrong; before a step is made.
        RlaifError: a judge stayed down, the budget is spent, memory or disk ran out.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was done is kept.

    """
    notes: list[str] = []
    config = open_run(run, sets, notes.append)
    if not config.output:
        raise InputError("output: is missing; name the folder of the run")
    output, budget = Path(config.output), Budget(config.budget.usd, config.budget.calls)
    # From the cheap to the dear: what is wrong with a card or the data is told before a model is made or loads.
    if not resume:
        run_folder.refuse_taken(output)
    config = quickstart.resolve(config, lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
    if resume:
        run_folder.refuse_other_run(config, output)
    refuse_misfit(config.training.batch_size)
    args = args_of(config)
    refuse_biased(args)
    if isinstance(args, GroupConfig):
        refuse_unfit(args, config.policy.model, config.policy.revision)
    refuse_missing(config.data)
    judges = judges_of(config, Session(budget), resume=resume)
    if config.trackers:
        refuse_unknown_trackers(config.trackers)
    tokenizer = read_tokenizer(config.policy.model, config.policy.revision)
    parts = parts_of(config, tokenizer, judges)
    for judge in judges.all:
        call_judge(judge, [])
    make_folder(output, "--output")
    trainer = trainer_of(config, judges.rewards, tokenizer, parts.train)
    if trainer.processes.is_main:
        write_atomically(output / "run.yaml", run_folder.format_yaml(config))
        provenance.write(output / "environment.jsonl", str(trainer.processes.device))
    for note in (*notes, *parts.notes, *_first_notes(parts, judges)):
        trainer.view.say(note)
    with Spending(budget, output / "spending.jsonl").watch(trainer):
        return _measure_train_measure(config, trainer, parts, judges, output, resume).to_json()


def _measure_train_measure(
    config: RunConfig, trainer: OnlineTrainer, parts: Parts, judges: Judges, output: Path, resume: bool
) -> EvaluationRecord:
    """Measure, train, measure."""
    evaluation = Evaluation(parts.test, judges.roles, config.evaluation.completions_per_prompt, output)
    guard = Guard(parts.guard, judges.watching, config.guard, output) if config.guard.judges else None
    trainer.callbacks = (*filter(None, [guard]), *trainer.callbacks)
    with _say_what_is_kept("nothing was trained yet; --resume goes on") as poll:
        evaluation.measure_before(trainer, poll)
    trainer.train(resume_from_checkpoint=resume)
    model = output / "model"
    with _say_what_is_kept(
        f"the trained model is in {model}; --resume measures it", trainer.interruption.wished
    ) as poll:
        kept = guard.best.step if guard else trainer.progress.step
        told = evaluation.measure_after(trainer, kept, poll, guard.checks if guard else ())
    with _say_what_is_kept(f"the numbers are in {output / 'evaluation.json'}; `rlaif report {output}` writes the page"):
        if trainer.processes.is_main:
            _show(told, evaluation.rows(), model, trainer.policy.is_seq2seq, report.write([output]))
    return told


# --- the parts of a run -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judges:
    """
    The judges of a run.

    Args:
        rewards: what is learned from.
        training: the judges in it.
        roles: all that measure, each once.

    """

    rewards: Rewards
    training: Sequence[Judge]
    roles: Sequence[Role]

    @property
    def all(self) -> list[Judge]:
        """Every judge once."""
        return [role.judge for role in self.roles]

    @property
    def watching(self) -> list[Role]:
        """The judges of the guard, and those that are learned from, whose rise it watches."""
        own = {judge.name for judge in self.training}
        return [role for role in self.roles if role.used_for_selection or role.name in own]


def judges_of(config: RunConfig, session: Session, *, resume: bool) -> Judges:
    """
    Make the judges of a run; none of them loads a model yet.

    A run of 0.1.0 may have the training judge under another name, which was said, and can be resumed.
    """
    training = load_judge(config.judge, session=session)
    guards = [load_judge(card, session=session) for card in config.guard.judges]
    evaluating = [load_judge(card, session=session) for card in config.evaluation.judges]
    if not resume:
        refuse_other_name([training], [*guards, *evaluating])
    rewards = Rewards(training, reward=config.reward)
    return Judges(rewards, [training], roles_of([training], guards, evaluating))


def parts_of(config: RunConfig, tokenizer: Any, judges: Judges) -> Parts:
    """Read the prompts, and refuse those that lack what a judge reads."""
    parts = load_parts(
        config.data,
        tokenizer,
        guard_prompts=config.guard.num_prompts if config.guard.judges else 0,
        test_prompts=config.evaluation.num_prompts,
    )
    for prompts in (parts.train, parts.guard, parts.test):
        for judge in judges.all:
            refuse_lacking(judge, prompts)
    return parts


def trainer_of(config: RunConfig, rewards: Rewards, tokenizer: Any, prompts: list[Any]) -> OnlineTrainer:
    """Make the trainer of a run."""
    policy = config.policy
    loaded = load(
        policy.model,
        revision=policy.revision,
        dtype=policy.dtype,
        lora=policy.lora,
        load_in_4bit=policy.load_in_4bit,
        device=computes_on(),
        tokenizer=tokenizer,
    )
    kind = PPOTrainer if config.algorithm == "ppo" else GroupTrainer
    return kind(loaded, rewards, args_of(config), prompts, merge=policy.merge)


def args_of(config: RunConfig) -> PPOConfig:
    """Return the trainer's settings: the same keys, flat."""
    kinds = ((config.training, TrainingSection), (config.ppo, PPOSection), (config.generation, GenerationSection))
    sections = {field.name: getattr(section, field.name) for section, kind in kinds for field in fields(kind)}
    if config.algorithm != "ppo":
        sections |= {"algorithm": config.algorithm, "num_generations": config.group.num_generations}
    return (PPOConfig if config.algorithm == "ppo" else GroupConfig)(
        **sections,
        output_dir=str(config.output),
        seed=config.seed,
        reward=config.reward,
        dtype=config.policy.dtype,
        critic=config.policy.critic,
        gradient_checkpointing=config.policy.gradient_checkpointing,
        save_steps=config.checkpoints.every,
        save_total_limit=config.checkpoints.keep,
        stop_score=config.stop.score,
        stop_window=config.stop.window,
        stop_kl=config.stop.kl,
        report_to=config.trackers,
    )


# --- what people see ----------------------------------------------------------------------------------------------


def _first_notes(parts: Parts, judges: Judges) -> list[str]:
    counts = f"{len(parts.train)} prompts to train on, {len(parts.guard)} for the guard, {len(parts.test)} to test on"
    said = [counts, *(f"warning: {line}" for line in doubtful(judges.roles, judges.training))]
    if all(role.kind == "training" for role in judges.roles):
        said.append(
            "warning: no judge is held out, so that the numbers will be no evidence; name one in evaluation.judges"
        )
    watching = [role for role in judges.roles if role.used_for_selection]
    if not watching:
        said.append("warning: nothing guards the training: the last model is kept; name a judge in guard.judges")
    elif all(role.kind == "training" for role in watching):
        said.append(
            "warning: no judge of the guard is held out: what fools the judge that is learned from fools the guard too"
        )
    return said


def _show(told: EvaluationRecord, rows: Sequence[SampleRow], model: Path, is_seq2seq: bool, page: Path) -> None:
    """Print the numbers, three pairs of samples, the answer in words, and how to load the model."""

    def say(*lines: str) -> None:
        print(*lines, sep="\n", file=sys.stderr, flush=True)  # noqa: T201

    say("")
    print_figures(told)
    say("", *pairs_of_samples(rows, 3))
    say("", told.answer, f"all of it, to open in a browser: {page}", "")
    say(f"the model is in {model}; to load it:", "", *format_loading_code(model, is_seq2seq))


def format_loading_code(model: Path, is_seq2seq: bool) -> list[str]:
    """Return three lines of Python that load a model that was trained; an adapter with the model that it is of."""
    auto = "AutoModelForSeq2SeqLM" if is_seq2seq else "AutoModelForCausalLM"
    return [
        f"from transformers import {auto}, AutoTokenizer",
        f"model = {auto}.from_pretrained({str(model)!r})",
        f"tokenizer = AutoTokenizer.from_pretrained({str(model)!r})",
    ]


@contextmanager
def _say_what_is_kept(what: str, wished: bool = False) -> Iterator[Poll]:
    """
    Say what is kept where a measurement ends early; the first signal ends it as soon as nothing can be lost.

    Args:
        what: is kept.
        wished: whether a signal has come before, when it could not end anything.

    """
    with Interruption() as interruption:
        interruption.wished = wished
        try:
            yield interruption.poll
        except InputError:
            raise
        except (RlaifError, KeyboardInterrupt) as error:
            error.args = ("; ".join(filter(None, (str(error), what))),)
            raise
