"""Checks a comparison of two models, endpoints or saved completions before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rlaif.core.config.run import read_run
from rlaif.core.config.sections import GenerationSection
from rlaif.core.errors import InputError
from rlaif.core.records.evaluation import BeforeAfter, EvaluationRecord, EvaluationSettings
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.record import ABSENT
from rlaif.core.records.samples import SampleRow
from rlaif.core.schema import check
from rlaif.core.types import Estimate, Judge, Sample, estimate_of
from rlaif.data.prompts import Prompt
from rlaif.data.rows import RowSource
from rlaif.evaluation.compare.comparison import SIDES, Comparison
from rlaif.evaluation.compare.endpoint import EndpointModel
from rlaif.evaluation.compare.finished import judges_of_run
from rlaif.evaluation.compare.prompts import EvaluationPrompt, places_of, questions_of
from rlaif.evaluation.compare.request import MICRO_BATCH_TOKENS, PATIENCE, EvaluationRequest
from rlaif.evaluation.compare.run import run_comparison
from rlaif.evaluation.compare.sides import Answerer, EndpointSide, ModelSide, SavedCompletions, answerer_of
from rlaif.evaluation.measure import MeasureOptions
from rlaif.evaluation.roles import Role, doubtful, roles_of
from rlaif.judges.rewards import refuse_lacking
from rlaif.judges.session import Session
from rlaif.policy.generation.protocol import Sampling


class PreparedComparison:
    """
    The two sides of a comparison, their prompts and their judges, all checked.

    Args:
        request: what to compare.
        judges: judges that score the completions.
        session: budget and verdict store of the judges.

    Raises:
        InputError: the request cannot be fulfilled. Raised before a model is loaded.

    """

    def __init__(self, request: EvaluationRequest, judges: Sequence[Judge], session: Session) -> None:
        if request.before is None or request.after is None:
            raise InputError("name two models with --before and --after, or the folder of a finished run")
        request.refuse_small()
        self._request, self._session = request, session
        self._generation = check(GenerationSection, dict(request.generation), "generation")
        self.how = MeasureOptions(
            Sampling(**asdict(self._generation)), request.seed, request.batch_size, MICRO_BATCH_TOKENS, PATIENCE
        )
        for_saved = request.columns if request.data is None else {}
        before, after = (
            answerer_of(ref, where, key=request.api_key_env, columns=for_saved)
            for ref, where in ((request.before, "--before"), (request.after, "--after"))
        )
        independent = ModelSide(str(request.reference), "--reference") if request.reference is not None else None
        questions, self.notes = self._read_questions(before, after, independent)
        places, left_out = places_of(questions, (before, after), request.completions_per_prompt, request.seeds)
        self.notes += left_out
        self.comparison = Comparison(before, after, questions, places, independent)
        self.roles = self._roles_of(after, judges)
        for judge in judges:
            refuse_lacking(judge, [Prompt(question.text, (), question.columns) for question in questions])
        self._endpoints = {
            name: EndpointModel(side, self.how.sampling, session)
            for name, side in zip(SIDES, (before, after), strict=True) if isinstance(side, EndpointSide)
        }  # fmt: skip

    def _read_questions(
        self, before: Answerer, after: Answerer, independent: ModelSide | None
    ) -> tuple[list[EvaluationPrompt], list[str]]:
        """Read the prompts. Raises `InputError` if they do not fit into a model."""
        request, data = self._request, self._request.data
        readers = {"before": before, "after": after, **({"independent": independent} if independent else {})}
        columns = {new: old for new, old in request.columns.items() if new != "prompt"}
        source: Any = data
        if isinstance(data, str | Path):
            source = RowSource(str(data), columns, request.limit, request.split, line_column="prompt")
        questions, notes = questions_of(
            source, readers, limit=request.limit, column=request.columns.get("prompt") if data is not None else None,
            template=request.template, max_prompt_tokens=request.max_prompt_tokens,
        )  # fmt: skip
        for name, reader in readers.items():
            if isinstance(reader, ModelSide):
                lengths = [len(question.ids[name]) for question in questions]
                reader.refuse_unfit(lengths, 1 if name == "independent" else self._generation.max_new_tokens)
        return questions, notes

    def _roles_of(self, after: Answerer, judges: Sequence[Judge]) -> list[Role]:
        """Return the judges' roles. A model in the folder of a run was trained against that run's judge."""
        folder = Path(after.source).parent if isinstance(after, ModelSide) else None
        if folder is None or not (folder / "run.yaml").is_file() or not Path(after.name).is_dir():
            return roles_of([], [], judges)
        training, guards, _ = judges_of_run(read_run(folder / "run.yaml"), self._session)
        asked = {judge.name: judge for judge in judges}
        roles = [
            replace(role, judge=asked[role.name])
            for role in roles_of(training, guards, judges) if role.name in asked
        ]  # fmt: skip
        self.notes += [f"warning: {line}" for line in doubtful(roles, training)]
        return roles

    @property
    def asked(self) -> list[Judge]:
        """The judges that score the completions, which are all judges."""
        return [role.judge for role in self.roles]

    @property
    def checks(self) -> Sequence[GuardCheck]:
        """Checks of a guard: a comparison has none."""
        return ()

    @property
    def texts(self) -> int:
        """Number of completions of both sides."""
        return 2 * len(self.comparison.places)

    def estimates(self) -> list[tuple[str, Estimate]]:
        """Return upper bounds of the cost of endpoints and judges, by name."""
        questions, places = self.comparison.questions, self.comparison.places
        found = [
            (f"--{name}", endpoint.estimate([questions[place.question].text for place in places]))
            for name, endpoint in self._endpoints.items()
        ]
        samples = self._stand_ins()
        return found + [(role.name, estimate_of(role.judge, samples)) for role in self.roles]

    def _stand_ins(self) -> list[Sample]:
        """Make samples for the estimate: saved completions, and different texts of full length for the others."""
        samples = []
        for number, side in enumerate((self.comparison.before, self.comparison.after)):
            for i, place in enumerate(self.comparison.places):
                question = self.comparison.questions[place.question]
                full = f"{number} {i} " + "word " * self.how.sampling.max_new_tokens
                text = side.find(question.text)[place.index] if isinstance(side, SavedCompletions) else full
                samples.append(Sample(text, question.text, question.columns))
        return samples

    def measure(self) -> list[SampleRow]:
        """Have both sides answer and the judges score, and return the rows."""
        for endpoint in self._endpoints.values():
            endpoint.reach()
        return run_comparison(self.comparison, self.asked, self.how, self._endpoints)

    def describe(self, numbers: EvaluationRecord) -> EvaluationRecord:
        """Add the seed and the settings to the figures, and remove those that cannot be measured."""
        unknown, request = self.comparison.unknown(), self._request
        if unknown.get("length_tokens"):
            no_length = BeforeAfter(before=None, after=None)
            numbers = replace(numbers, length_tokens=no_length, changes=replace(numbers.changes, length_tokens=ABSENT))
        return replace(numbers, seed=request.seed, unknown=unknown, settings=self._settings())

    def _settings(self) -> EvaluationSettings:
        """Return the settings that are needed to repeat the comparison."""
        request = self._request
        data = request.data if isinstance(request.data, str | Path | None) else "rows in memory"
        return EvaluationSettings(
            before=self.comparison.before.name,
            after=self.comparison.after.name,
            reference=None if request.reference is None else str(request.reference),
            data=None if data is None else str(data),
            template=request.template,
            prompts=len(self.comparison.questions),
            completions=len(self.comparison.places),
            generation=asdict(self._generation),
            max_prompt_tokens=request.max_prompt_tokens,
            seed=request.seed,
            seeds=request.seeds,
        )
