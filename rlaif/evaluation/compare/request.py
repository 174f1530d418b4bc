"""A measurement of two models, or of a finished run: checked first, told what it would take, then made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rlaif.core.config.run import read_run
from rlaif.core.config.sections import GenerationSection
from rlaif.core.errors import InputError
from rlaif.core.schema import check
from rlaif.core.system.distributed import refuse_several
from rlaif.core.system.files import finite
from rlaif.core.types import Estimate, Judge, Sample, estimate_of
from rlaif.data.prompts import Prompt
from rlaif.data.rows import RowSource
from rlaif.evaluation.compare.comparison import Comparison
from rlaif.evaluation.compare.endpoint import EndpointModel
from rlaif.evaluation.compare.finished import FinishedRun, judges_of_run, read_finished
from rlaif.evaluation.compare.prompts import places_of, questions_of
from rlaif.evaluation.compare.run import run_comparison
from rlaif.evaluation.compare.sides import Answerer, EndpointSide, ModelSide, SavedCompletions, answerer_of
from rlaif.evaluation.conclusion import answer
from rlaif.evaluation.margins import Margins
from rlaif.evaluation.measure import MeasureOptions
from rlaif.evaluation.roles import Role, doubtful, roles_of
from rlaif.evaluation.summary import figures
from rlaif.judges.cards.card import refuse_equal_names
from rlaif.judges.rewards import refuse_lacking
from rlaif.judges.scoring import call_judge
from rlaif.judges.session import Session
from rlaif.policy.generation.protocol import Sampling

MICRO_BATCH_TOKENS = 4096
"""Of a scoring pass."""

PATIENCE = 600.0
"""Seconds to wait for a judge that is down."""

Completions = str | Path | Iterable[Mapping[str, Any]]
Data = str | Path | Iterable[Mapping[str, Any] | str]


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What is to be compared; the meaning of each is that of `evaluate`'s argument of the same name."""

    run: str | Path | None = None
    before: Completions | None = None
    after: Completions | None = None
    data: Data | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    limit: int | None = None
    template: str | None = None
    max_prompt_tokens: int | None = 256
    generation: Mapping[str, Any] = field(default_factory=dict)
    completions_per_prompt: int | None = None
    seed: int = 0
    seeds: int = 1
    batch_size: int = 32
    reference: str | Path | None = None
    api_key_env: str | None = None
    margins: Margins = field(default_factory=Margins)
    fresh: bool = False


class PreparedEvaluation:
    """
    A measurement that was checked, and can be made.

    Args:
        wanted: what is to be compared.
        judges: by whom.
        session: their budget and store.
        settings: what evaluation.json says of how it was made, beside what was wanted.

    Raises:
        InputError: something that was wanted cannot be; no model was loaded yet.

    """

    def __init__(
        self,
        wanted: EvaluationRequest,
        judges: Sequence[Judge],
        session: Session,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        refuse_several("rlaif evaluate")
        if not judges:
            raise InputError("evaluate needs a judge")
        refuse_equal_names(judges, "--judge")
        self._wanted, self._judges, self.session = wanted, judges, session
        self._settings = settings or {}
        self.notes: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.finished: FinishedRun | None = None
        self.comparison: Comparison | None = None
        if wanted.run is not None:
            self._take_run(wanted)
        else:
            self._take_models(wanted)

    def _take_run(self, wanted: EvaluationRequest) -> None:
        for name in ("before", "after", "data", "template", "split", "limit", "reference", "completions_per_prompt"):
            if getattr(wanted, name) is not None:
                raise InputError(
                    f"--{name.replace('_', '-')} is for two models; a run has its own samples: leave it out"
                )
        self.finished = read_finished(Path(str(wanted.run)))
        self.roles = self.finished.roles(self._judges, self.session)
        self._unread = self.finished.unread(self.roles, self._judges, fresh=wanted.fresh)
        training = [role.judge for role in self.roles if role.kind == "training"][:1]
        self.notes += [f"warning: {line}" for line in doubtful(self.roles, training)]

    def _take_models(self, wanted: EvaluationRequest) -> None:
        if wanted.before is None or wanted.after is None:
            raise InputError("name two models by --before and --after, or the folder of a finished run")
        _refuse_small(wanted)
        section = check(GenerationSection, dict(wanted.generation), "generation")
        self.how = MeasureOptions(
            Sampling(**asdict(section)), wanted.seed, wanted.batch_size, MICRO_BATCH_TOKENS, PATIENCE
        )
        self._for_saved = wanted.columns if wanted.data is None else {}
        before, after = (
            answerer_of(ref, where, key=wanted.api_key_env, columns=self._for_saved)
            for ref, where in ((wanted.before, "--before"), (wanted.after, "--after"))
        )
        independent = ModelSide(str(wanted.reference), "--reference") if wanted.reference is not None else None
        readers = {"before": before, "after": after, **({"independent": independent} if independent else {})}
        columns = {new: old for new, old in wanted.columns.items() if new != "prompt"}
        data: Any = wanted.data
        if isinstance(data, str | Path):
            data = RowSource(str(data), columns, wanted.limit, wanted.split, line_column="prompt")
        questions, self.notes = questions_of(
            data, readers, limit=wanted.limit, column=wanted.columns.get("prompt") if wanted.data is not None else None,
            template=wanted.template, max_prompt_tokens=wanted.max_prompt_tokens,
        )  # fmt: skip
        for name, reader in readers.items():
            if isinstance(reader, ModelSide):
                lengths = [len(question.ids[name]) for question in questions]
                reader.refuse_unfit(lengths, 1 if name == "independent" else section.max_new_tokens)
        places, left_out = places_of(questions, (before, after), wanted.completions_per_prompt, wanted.seeds)
        self.notes += left_out
        self.comparison = Comparison(before, after, questions, places, independent)
        self.roles = self._roles_of(after)
        for judge in self._judges:
            refuse_lacking(judge, [Prompt(question.text, (), question.columns) for question in questions])
        self._speakers = {
            name: EndpointModel(side, self.how.sampling, self.session)
            for name, side in (("before", before), ("after", after)) if isinstance(side, EndpointSide)
        }  # fmt: skip

    def _roles_of(self, after: Answerer) -> list[Role]:
        """Return the judges' roles; a model in the folder of a run was trained by that run's judge."""
        folder = Path(after.source).parent if isinstance(after, ModelSide) else None
        if folder is None or not (folder / "run.yaml").is_file() or not Path(after.name).is_dir():
            return roles_of([], [], self._judges)
        training, guards, _ = judges_of_run(read_run(folder / "run.yaml"), self.session)
        own = {(judge.identity, judge.name) for judge in self._judges}
        roles = [role for role in roles_of(training, guards, self._judges) if (role.judge.identity, role.name) in own]
        self.notes += [f"warning: {line}" for line in doubtful(roles, training)]
        return roles

    # --- what it would take -----------------------------------------------------------------------------------------

    @property
    def texts(self) -> int:
        """Completions of both sides."""
        assert self.finished or self.comparison
        return 2 * len(self.finished.rows if self.finished else self.comparison.places)  # type: ignore[union-attr]

    def estimates(self) -> list[tuple[str, Estimate]]:
        """Say what judges and endpoints would take at most."""
        if self.finished:
            samples = [
                Sample(row[side]["completion"], row["prompt"])
                for row in self.finished.rows
                for side in ("before", "after")
            ]
            asked = {judge.name for judge in self._unread}
            return [
                (role.name, estimate_of(role.judge, samples) if role.name in asked else Estimate())
                for role in self.roles
            ]
        assert self.comparison
        questions, places = self.comparison.questions, self.comparison.places
        found = [
            (f"--{name}", speaker.estimate([questions[place.question].text for place in places]))
            for name, speaker in self._speakers.items()
        ]
        samples = self._stand_ins()
        return found + [(role.name, estimate_of(role.judge, samples)) for role in self.roles]

    def _stand_ins(self) -> list[Sample]:
        """Make samples like those to come: what was saved, and for the rest texts of full length, no two alike."""
        assert self.comparison
        samples = []
        for number, side in enumerate((self.comparison.before, self.comparison.after)):
            for i, place in enumerate(self.comparison.places):
                question = self.comparison.questions[place.question]
                full = f"{number} {i} " + "word " * self.how.sampling.max_new_tokens
                text = side.find(question.text)[place.index] if isinstance(side, SavedCompletions) else full
                samples.append(Sample(text, question.text, question.columns))
        return samples

    # --- the measurement --------------------------------------------------------------------------------------------

    def measure(self) -> dict[str, Any]:
        """Measure, and return what evaluation.json says; the rows are in `rows`."""
        asked = self._unread if self.finished else [role.judge for role in self.roles]
        for judge in asked:
            call_judge(judge, [])  # loads what it needs: a missing file is found now, not after hours
        if self.finished:
            self.rows = self.finished.read_by(asked, PATIENCE, lambda: None)
        else:
            assert self.comparison
            for speaker in self._speakers.values():
                speaker.reach()
            self.rows = run_comparison(self.comparison, asked, self.how, self._speakers)
        return dict(finite(self._numbers()))

    def _numbers(self) -> dict[str, Any]:
        numbers = figures(self.rows, self.roles, self._wanted.margins)
        if self.finished:
            numbers |= {key: self.finished.told.get(key) for key in ("steps", "kept_step", "seed")}
            unknown = self.finished.told.get("unknown") or {}
        else:
            assert self.comparison
            numbers |= {"steps": None, "kept_step": None, "seed": self._wanted.seed}
            unknown = self.comparison.unknown()
            if unknown.get("length_tokens"):
                numbers["length_tokens"] = {"before": None, "after": None}
                numbers["changes"].pop("length_tokens", None)
        numbers |= {"unknown": unknown, "notes": self.notes, "margins": asdict(self._wanted.margins)}
        numbers["settings"] = {**self._settings_record(), **self._settings}
        return {"answer": answer(numbers), **numbers}

    def _settings_record(self) -> dict[str, Any]:
        """Return how it was made, for those who want to make it again."""
        wanted = self._wanted
        if self.finished:
            return {"run": str(wanted.run)}
        assert self.comparison
        data = wanted.data if isinstance(wanted.data, str | Path | None) else "rows in memory"
        return {
            "before": self.comparison.before.name, "after": self.comparison.after.name,
            "reference": None if wanted.reference is None else str(wanted.reference),
            "data": None if data is None else str(data), "template": wanted.template,
            "prompts": len(self.comparison.questions), "completions": len(self.comparison.places),
            "generation": dict(asdict(check(GenerationSection, dict(wanted.generation), "generation"))),
            "max_prompt_tokens": wanted.max_prompt_tokens, "seed": wanted.seed, "seeds": wanted.seeds,
        }  # fmt: skip


def _refuse_small(wanted: EvaluationRequest) -> None:
    """Raise `InputError` where there would be nothing to do."""
    for name in ("limit", "completions_per_prompt", "seeds", "batch_size"):
        number = getattr(wanted, name)
        if number is not None and number < 1:
            raise InputError(f"{name} should be at least 1, not {number}")
