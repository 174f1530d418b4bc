"""
The guard: held-out judges look at the policy every few steps, sound an alarm, and choose the model that is kept.

What is learned from can be fooled; what only measures shows it. A look answers the guard prompts, always with the same
seeds, and compares with the look before training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any

from rlaif.core.config.sections import GuardSection
from rlaif.core.errors import InputError, RlaifError
from rlaif.core.records.samples import SampleSide
from rlaif.core.seeds import seed_of
from rlaif.core.system.files import cut_back, finite, read_rows, write_atomically
from rlaif.core.types import toxicity_of
from rlaif.data.prompts import Prompt
from rlaif.evaluation.measure import MeasureOptions, measure
from rlaif.evaluation.roles import Role
from rlaif.evaluation.side_effects import completions, fluency, length
from rlaif.evaluation.summary import mean_score
from rlaif.stats.text import distinct, word_count
from rlaif.training.loop.checkpoint.weights import WeightsFolder
from rlaif.training.loop.trainer import Callback, Trainer

RISEN = 0.01
"""By how much the training score has to be higher than before training, for an alarm."""

FOLLOWS = 0.1
"""From which gain of the training score on a held-out score has to follow: below, noise is as large."""

Look = dict[str, Any]
"""A line of guard.jsonl."""


class Guard(Callback):
    """
    Looks at the policy before training, every few steps and at the end; keeps the best; warns or stops.

    Best is the highest mean of the held-out scores among the looks within all bands; the model before training is one
    of them, so that a run that only did harm changes nothing. The looks are lines of `guard.jsonl`.

    Args:
        prompts: of the guard part.
        roles: the judges that watch, and those that are learned from.
        section: how often, how far, and what then.
        folder: of the run.

    """

    def __init__(self, prompts: Sequence[Prompt], roles: Sequence[Role], section: GuardSection, folder: Path) -> None:
        self._prompts, self._section = prompts, section
        self._roles = roles
        self._path = folder / "guard.jsonl"
        self._weights = WeightsFolder(folder / "best")
        self.looks: list[Look] = []

    # --- the run's moments ------------------------------------------------------------------------------------------

    def on_begin(self, trainer: Trainer) -> None:
        """Look at the model before training, or go on from the looks of a run that is resumed."""
        step = trainer.progress.step
        with trainer.processes.raise_on_all_ranks():
            if trainer.processes.is_main:
                cut_back(self._path, step)
        trainer.processes.wait()
        self.looks = read_rows(self._path)
        if step and not self._can_go_on():
            raise InputError(
                f"{self._path}: what the guard saw before step {step}, or its weights in {self._path.parent / 'best'}, "
                "is missing; the run cannot go on: begin another one in another folder"
            )
        if not step:
            self.looks = []
            self._look(trainer, 0, as_reference=True)
        elif self._is_due(trainer) and self.looks[-1]["step"] < step:
            self._tell(trainer, self._look(trainer, step))  # what ended the run came before its look
        else:
            self._act_on(trainer, self.looks[-1])  # a run that the guard had ended has ended

    def on_step(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        """Look where it is time, and tell what was seen."""
        if not self._is_due(trainer):
            return
        _add(self._look(trainer, metrics["step"]), metrics)

    def on_end(self, trainer: Trainer) -> None:
        """Put the weights of the best look back: they are what is kept."""
        best = self.best
        if best["step"] != trainer.progress.step:
            trainer.policy.load_weights(self._weights.read(best["step"]))
            trainer.view.say(
                f"kept: the model of step {best['step']}, the best by the guard ({_scores(best)}), not the last"
                if best["step"]
                else "kept: the model as it was before training: the guard saw none that was better within its bands"
            )

    def _tell(self, trainer: Trainer, look: Look) -> None:
        """Add a look to the line of its step, which was written without."""
        path = trainer.output / "metrics.jsonl"
        with trainer.processes.raise_on_all_ranks():
            if trainer.processes.is_main:
                rows = read_rows(path)
                for row in rows:
                    if row["step"] == look["step"]:
                        _add(look, row)
                write_atomically(path, "".join(map(_line, rows)))

    def _can_go_on(self) -> bool:
        return any(look["fit"] for look in self.looks) and self.best["step"] in self._weights.steps()

    def _is_due(self, trainer: Trainer) -> bool:
        step = trainer.progress.step
        is_last = step == trainer.args.steps or bool(trainer.stopped)
        return step > 0 and (step % self._section.every == 0 or is_last)

    # --- a look -----------------------------------------------------------------------------------------------------

    @property
    def best(self) -> Look:
        """The look whose model is to be kept: the earliest of the best."""
        return _best(self.looks)

    def _look(self, trainer: Trainer, step: int, *, as_reference: bool = False) -> Look:
        """Answer the guard prompts, compare with the first look, and act on what is seen."""
        args = trainer.args
        how = MeasureOptions(
            trainer.sampling, seed_of(args.seed, "guard"), len(trainer.share), args.micro_batch_tokens,
            args.judge_patience, trainer.interruption.poll,
        )  # fmt: skip
        judges = [role.judge for role in self._roles]
        sides = measure(trainer.policy, self._prompts, judges, how, trainer.processes, as_reference=as_reference)
        look = self._make_look(step, sides)
        self.looks.append(look)
        self._keep(trainer, look)
        self._act_on(trainer, look)
        return look

    def _act_on(self, trainer: Trainer, look: Look) -> None:
        """Sound the alarms of the last look, and end the run where they, or a lack of progress, ask for it."""
        for alarm in look["alarms"]:
            trainer.view.say(f"ALARM at step {look['step']}: {alarm}")
        if look["alarms"] and self._section.on_alarm == "stop":
            trainer.stop(f"alarm of the guard: {look['alarms'][0]}")
        waited = len(self.looks) - 1 - self.looks.index(self.best)
        if self._section.patience is not None and waited >= self._section.patience:
            trainer.stop(f"the guard saw no better model than that of step {self.best['step']} in {waited} looks")

    def _make_look(self, step: int, sides: Sequence[SampleSide]) -> Look:
        """Return the line of a look: its figures, times those of the first look, and what is wrong with them."""
        first = self.looks[0] if self.looks else None
        texts = completions(sides)
        look: Look = {"step": step, "judges": {}, "tokens": length(sides), "fluency": fluency(sides)}
        for role in self._roles:
            mean = mean_score(sides, role.name)
            look["judges"][role.name] = {
                "role": role.kind,
                "score_mean": mean,
                **({"toxicity_mean": toxicity_of(role.measures, mean)} if toxicity_of(role.measures, 0.0) else {}),
                "abstained": sum(side.judgements[role.name].score is None for side in sides),
            }
        watching = [look["judges"][role.name]["score_mean"] for role in self._watching]
        look["score"] = None if None in watching else fmean(watching)
        words = min(word_count(texts), word_count(first["completions"] if first else texts))
        now, then = distinct(texts, 2, words), distinct(first["completions"] if first else texts, 2, words)
        look["distinct_2"] = _ratio(now, then)
        look["length"] = _ratio(look["tokens"], (first or look)["tokens"])
        look["perplexity"] = _ratio(look["fluency"], (first or look)["fluency"])
        faults = self._faults(look) if first else []
        risen = first is not None and self._gain(look) > RISEN
        look["alarms"] = [
            f"the training score rose by {self._gain(look):.3f}, while {fault}" for fault in faults if risen
        ]
        look["fit"] = first is None or (look["score"] is not None and not faults)
        if first is None and look["score"] is None:
            silent = ", ".join(role.name for role in self._watching)
            raise RlaifError(f"guard.judges: {silent} abstained on all guard prompts: nothing can be chosen by them")
        return look | {"completions": texts}

    def _faults(self, look: Look) -> list[str]:
        """Say which figures have left their bands."""
        section, faults = self._section, []
        for role in self._watching:
            now, first = look["judges"][role.name]["score_mean"], self.looks[0]["judges"][role.name]["score_mean"]
            scores = [seen["judges"][role.name]["score_mean"] for seen in self.looks if seen["fit"]]
            best, gain = max(score for score in scores if score is not None), self._gain(look)
            if now is None:
                faults.append(f"{role.name} abstained on all guard prompts")
            elif now < best - section.score_drop:
                faults.append(f"the score of {role.name} fell to {now:.3f}, from {best:.3f}")
            elif gain >= FOLLOWS and now - first < section.follow * gain:
                faults.append(f"that of {role.name} did not follow: {first:.3f}, now {now:.3f}")
        bands = {"distinct_2": (section.distinct_2, inf), "length": section.length, "perplexity": section.perplexity}
        for name, (low, high) in bands.items():
            measurable = self.looks[0][name] is not None  # one-word answers have no distinct-2 to lose
            if measurable and (low, high) != (0, inf) and ((ratio := look[name]) is None or not low <= ratio <= high):
                band = f"{low:g} and more" if high == inf else f"{low:g} to {high:g}"
                faults.append(f"{name.replace('_', '-')} is {_times(ratio)} of before (band: {band})")
        return faults

    def _gain(self, look: Look) -> float:
        """Return by how much the training score is higher than before training; 0 where it is not known."""
        gains = []
        for role in self._roles:
            now, first = (seen["judges"][role.name]["score_mean"] for seen in (look, self.looks[0]))
            if role.kind == "training" and now is not None and first is not None:
                gains.append(now - first)
        return fmean(gains) if gains else 0.0

    @property
    def _watching(self) -> list[Role]:
        return [role for role in self._roles if role.used_for_selection]

    # --- what is kept -----------------------------------------------------------------------------------------------

    def _keep(self, trainer: Trainer, look: Look) -> None:
        """Write the weights of a best look and then its line, so that each line that is fit has its weights."""
        with trainer.processes.raise_on_all_ranks():
            if trainer.processes.is_main:
                if self.best is look:
                    self._weights.write(look["step"], trainer.policy.weights())
                write_atomically(self._path, "".join(map(_line, self.looks)))
                self._weights.keep_only(self._steps_to_keep(trainer))

    def _steps_to_keep(self, trainer: Trainer) -> set[int]:
        """Name the steps whose weights may be wanted: the best, and the best as of a checkpoint to go on from."""
        places = (trainer.output / "checkpoints").glob("*step-*")  # those too that are being replaced
        resumable = {int(found[1]) for path in places if (found := re.search(r"step-(\d+)", path.name))}
        up_to = [[look for look in self.looks if look["step"] <= step] for step in resumable]
        return {_best(looks)["step"] for looks in [self.looks, *up_to]}


def _best(looks: Sequence[Look]) -> Look:
    return max((look for look in looks if look["fit"]), key=lambda look: look["score"])


def _add(look: Look, metrics: dict[str, Any]) -> None:
    """Add a look to the metrics of its step."""
    metrics["guard"] = {key: look[key] for key in ("judges", "score", "distinct_2", "length", "perplexity")}
    metrics["alarms"] += look["alarms"]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(finite(dict(row)), allow_nan=False) + "\n"


def _ratio(now: float | None, first: float | None) -> float | None:
    return None if now is None or not first else now / first


def _times(ratio: float | None) -> str:
    return "not known" if ratio is None else f"{ratio:.2f}"


def _scores(look: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {said['score_mean']:.3f}" for name, said in look["judges"].items() if said["score_mean"] is not None
    )
