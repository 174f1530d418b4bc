"""
The measurement of a run: the same prompts, seeds and decoding before and after, by every judge there is.

`samples.jsonl` holds what was answered and what was said of it, `evaluation.json` what follows from that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.records.evaluation import EvaluationRecord
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.record import ABSENT
from rlaif.core.records.samples import SampleRow, SampleSide
from rlaif.core.system.files import read_jsonl, to_json, to_json_line, write_atomically
from rlaif.data.columns import toxicity_of_prompt
from rlaif.data.prompts import Prompt
from rlaif.evaluation.conclusion import answer
from rlaif.evaluation.measure import measure
from rlaif.evaluation.roles import Role
from rlaif.evaluation.summary import figures
from rlaif.training.loop.online import OnlineTrainer
from rlaif.training.run.measure_options import measure_options


class Evaluation:
    """
    Before and after.

    Args:
        prompts: of the test part.
        roles: all judges, each with its part in the run.
        completions_per_prompt: answers to each prompt.
        folder: of the run.

    """

    def __init__(
        self, prompts: Sequence[Prompt], roles: Sequence[Role], completions_per_prompt: int, folder: Path
    ) -> None:
        self._prompts = [prompt for prompt in prompts for _ in range(completions_per_prompt)]
        self._roles = roles
        self._per_prompt = completions_per_prompt
        self._samples, self._told = folder / "samples.jsonl", folder / "evaluation.json"

    def measure_before(self, trainer: OnlineTrainer, poll: Callable[[], None]) -> None:
        """Measure the model before training, unless an earlier start of the run has done so."""
        if self._rows() is None:
            trainer.view.say(f"measuring {len(self._prompts)} completions before training")
            sides = self._measure(trainer, poll, as_reference=True)
            self._write(trainer, sides, [None] * len(sides))
            with trainer.processes.raise_on_all_ranks():
                poll()  # a signal during the last call of a judge has met no other poll, and training would begin

    def measure_after(
        self, trainer: OnlineTrainer, kept_step: int, poll: Callable[[], None], checks: Sequence[GuardCheck] = ()
    ) -> EvaluationRecord:
        """
        Measure the model that is kept, and return what evaluation.json says.

        Args:
            trainer: with that model.
            kept_step: after which step it was so; 0 is before training.
            poll: called now and then, and may raise.
            checks: of the guard, which say why a training was rejected.

        """
        rows = self._rows()
        assert rows is not None, "nothing was measured before training"
        trainer.view.say(f"measuring {len(self._prompts)} completions after training")
        sides = self._measure(trainer, poll)
        rows = self._write(trainer, [row.before for row in rows], sides)
        told = figures(rows, self._roles)
        told = replace(told, steps=trainer.progress.step, kept_step=kept_step, seed=trainer.args.seed)
        told = replace(told, answer=answer(told, checks))
        if trainer.processes.is_main:
            write_atomically(self._told, to_json(told.to_json()))
        return told

    def rows(self) -> list[SampleRow]:
        """Return the lines of samples.jsonl."""
        return self._rows() or []

    def _measure(
        self, trainer: OnlineTrainer, poll: Callable[[], None], *, as_reference: bool = False
    ) -> list[SampleSide]:
        how = measure_options(trainer, "test", poll)
        judges = [role.judge for role in self._roles]
        return measure(trainer.policy, self._prompts, judges, how, trainer.processes, as_reference=as_reference)

    def _write(
        self, trainer: OnlineTrainer, before: Sequence[SampleSide], after: Sequence[SampleSide | None]
    ) -> list[SampleRow]:
        rows = [
            SampleRow(
                prompt=prompt.text,
                index=i % self._per_prompt,
                prompt_toxicity=ABSENT if (toxicity := toxicity_of_prompt(prompt.columns)) is None else toxicity,
                before=b,
                after=a,
            )
            for i, (prompt, b, a) in enumerate(zip(self._prompts, before, after, strict=True))
        ]
        with trainer.processes.raise_on_all_ranks():
            if trainer.processes.is_main:
                write_atomically(self._samples, "".join(f"{to_json_line(row.to_json())}\n" for row in rows))
        return rows

    def _rows(self) -> list[SampleRow] | None:
        """Return what was measured of these prompts by these judges before, None where there is none."""
        try:
            with self._samples.open("rb") as file:
                lines = list(read_jsonl(file))
        except OSError:
            return None
        try:  # it is written whole, so that a file with a line that is no row is not ours
            rows = [SampleRow.from_json(line.row, keep_unknown=True) for line in lines]
        except InputError:
            return None
        wanted = {role.name for role in self._roles}
        asked = [row.prompt for row in rows] == [prompt.text for prompt in self._prompts]
        judged = all(wanted <= row.before.judgements.keys() for row in rows)
        return rows if asked and judged else None
