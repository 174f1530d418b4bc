"""
Runs a comparison: both sides answer the same prompts, and the result has the same rows as samples.jsonl of a run.

The model after answers first and the model before second, because the latter is the reference and also scores the
completions of the former. Only one model is in memory at a time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from rlaif.core.records.judgements import JudgementRecord
from rlaif.core.records.record import ABSENT
from rlaif.core.records.samples import SampleRow, SampleSide
from rlaif.core.seeds import seed_of
from rlaif.core.system.devices import computes_on, memory
from rlaif.core.system.terminal import ProgressBar
from rlaif.core.types import Judge, Judgement, Sample
from rlaif.data.prompts import Prompt
from rlaif.evaluation.compare.comparison import SIDES, Comparison
from rlaif.evaluation.compare.endpoint import EndpointAnswer, EndpointModel
from rlaif.evaluation.compare.prompts import CompletionSlot
from rlaif.evaluation.compare.sides import Answerer, EndpointSide, ModelSide
from rlaif.evaluation.measure import MeasureOptions
from rlaif.evaluation.sampling import sample_batches
from rlaif.evaluation.side_effects import Scorer
from rlaif.judges.asking import PendingJudgements
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.likelihood import score_ids, score_texts
from rlaif.policy.loading import load
from rlaif.policy.model import Policy

LOWER = ("measuring", "--batch-size, --max-new-tokens or --max-prompt-tokens")


def run_comparison(
    comparison: Comparison, judges: Sequence[Judge], how: MeasureOptions, endpoints: Mapping[str, EndpointModel]
) -> list[SampleRow]:
    """
    Have both sides answer and all judges score, and return the rows.

    Args:
        comparison: both sides and their prompts.
        judges: judges that score the completions.
        how: sampling, batch sizes and patience.
        endpoints: models of the sides that are endpoints, by the name of the side.

    Raises:
        InputError: an endpoint or a model refuses the request.
        RlaifError: a judge or an endpoint stayed down, the budget is spent, or memory ran out.

    """
    work, places = ComparisonRun(comparison, how, endpoints), comparison.places
    with memory(*LOWER), PendingJudgements(judges) as pending:
        with ProgressBar("answered", 2 * len(places)) as progress:
            work.answer_after(pending, progress)
            work.answer_before(pending, progress)
        work.score_by_independent()
        judgements = pending.judgements_by_row(patience=how.patience, poll=how.poll)
    before, after = (
        [
            replace(side, judgements=_judgements(judges, side, judgements.get(number * len(places) + place)))
            for place, side in enumerate(work.sides[name])
        ]
        for number, name in enumerate(SIDES)
    )
    by_seed = any(place.seed for place in places)
    return [_row(comparison, place, b, a, by_seed=by_seed) for place, b, a in zip(places, before, after, strict=True)]


def _row(
    comparison: Comparison, place: CompletionSlot, before: SampleSide, after: SampleSide, *, by_seed: bool
) -> SampleRow:
    question = comparison.questions[place.question]
    return SampleRow(
        prompt=question.text,
        index=place.index,
        seed=place.seed if by_seed else ABSENT,
        prompt_toxicity=ABSENT if question.toxicity is None else question.toxicity,
        before=before,
        after=after,
    )


class ComparisonRun:
    """
    A comparison that is being run.

    Args:
        comparison: both sides and their prompts.
        how: sampling and batch sizes.
        endpoints: models of the sides that are endpoints, by the name of the side.

    """

    def __init__(self, comparison: Comparison, how: MeasureOptions, endpoints: Mapping[str, EndpointModel]) -> None:
        self._of, self._how, self._endpoints = comparison, how, endpoints
        self.sides: dict[str, list[SampleSide]] = {name: [_side("")] * len(comparison.places) for name in SIDES}
        self._drawn: dict[str, SampledIds] = {}
        self._own: list[float] = []

    def answer_after(self, pending: PendingJudgements, progress: ProgressBar) -> None:
        """Generate the completions of the side after."""
        with self._answer("after", pending, progress) as policy:
            if policy is not None and self._of.by_ids:
                self._own = self._score(policy, "after", "after", self._how.sampling)

    def answer_before(self, pending: PendingJudgements, progress: ProgressBar) -> None:
        """Generate the completions of the side before, and score those of both sides with its model, the reference."""
        with self._answer("before", pending, progress) as policy:
            if policy is None:
                return
            if not self._of.by_ids:
                self._score_texts(policy, "before", "reference")
                self.sides["before"] = [replace(side, kl=0.0) for side in self.sides["before"]]
                return
            sampling, plain = self._how.sampling, Sampling(self._how.sampling.max_new_tokens)
            for name in SIDES:
                logprobs = self._score(policy, "before", name, plain)
                base = logprobs if sampling == plain else self._score(policy, "before", name, sampling)
                own = self._own if name == "after" else base
                self.sides[name] = [
                    replace(side, reference_logprob=logprob, kl=ours - theirs)
                    for side, logprob, ours, theirs in zip(self.sides[name], logprobs, own, base, strict=True)
                ]

    def score_by_independent(self) -> None:
        """Score both sides with the independent model, if there is one."""
        if self._of.independent is not None:
            with open_policy(self._of.independent) as policy:
                self._score_texts(policy, "independent", "independent")

    # --- answers ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _answer(self, name: str, pending: PendingJudgements, progress: ProgressBar) -> Iterator[Policy | None]:
        """Generate a side's completions and pass them to the judges. Yields its model if it is a local one."""
        answerer: Answerer = getattr(self._of, name)
        hand_in = CompletionSink(self._of, name, self.sides[name], pending, progress)
        if isinstance(answerer, ModelSide):
            with open_policy(answerer) as policy:
                self._drawn[name] = self._draw(policy, name, hand_in)
                yield policy
            return
        if isinstance(answerer, EndpointSide):
            prompts = [self._of.questions[place.question].text for place in self._of.places]
            for rows, batch in self._endpoints[name].answers(prompts, self._how.batch_size):
                self._how.poll()
                hand_in(rows, [_endpoint_side(answer) for answer in batch])
        else:
            places = self._of.places
            texts = [answerer.find(self._of.questions[place.question].text)[place.index] for place in places]
            hand_in(list(range(len(texts))), [_side(text) for text in texts])
        yield None

    def _draw(self, policy: Policy, name: str, hand_in: CompletionSink) -> SampledIds:
        """Sample the completions for each seed, in the same way as a training run."""
        how, ids = self._how, self._ids(name)
        policy.refuse_unfit([len(one) for one in ids], how.sampling.max_new_tokens)
        made = SampledIds([()] * len(ids))
        for seed in sorted({place.seed for place in self._of.places}):
            mine = [i for i, place in enumerate(self._of.places) if place.seed == seed]
            prompts = [Prompt("", ids[i]) for i in mine]
            for rows, tokens in sample_batches(
                policy, prompts, how.sampling, seed=seed_of(how.seed + seed, "test"), batch_size=how.batch_size,
                poll=how.poll,
            ):  # fmt: skip
                batch = [
                    response[mask].tolist() for response, mask in zip(tokens.response_BR, tokens.mask_BR, strict=True)
                ]
                texts = policy.tokenizer.batch_decode(batch, skip_special_tokens=True)
                places = [mine[row] for row in rows]
                made.add(places, batch)
                hand_in(places, [
                    _side(text, len(one), one[-1] in policy.eos) for text, one in zip(texts, batch, strict=True)
                ])  # fmt: skip
        return made

    # --- probabilities ----------------------------------------------------------------------------------------------

    def _score(self, policy: Policy, reader: str, name: str, sampling: Sampling) -> list[float]:
        """Return the log-probabilities of a side's completions, computed in the batches of the sampling."""
        ids, made = self._ids(reader), self._drawn[name]
        found = [0.0] * len(made.ids)
        for rows in made.batches:
            self._how.poll()
            given = [ids[row] for row in rows], [made.ids[row] for row in rows]
            logprobs = score_ids(
                policy, *given, sampling.temperature, self._how.micro_batch_tokens, sampling.min_new_tokens
            )
            for row, logprob in zip(rows, logprobs, strict=True):
                found[row] = logprob
        return found

    def _score_texts(self, policy: Policy, reader: str, scorer: Scorer) -> None:
        """Score both sides as texts in a model's own tokens, in the same way for a fair comparison."""
        ids = self._ids(reader)
        # If it is not known which completions were cut, EOS counts on neither side.
        known = all(side.ended is not None for name in SIDES for side in self.sides[name])
        for name in SIDES:
            sides = self.sides[name]
            ended = [bool(side.ended) if known else False for side in sides]
            texts = [side.completion for side in sides]
            how = self._how
            found = score_texts(policy, ids, texts, ended, how.batch_size, how.micro_batch_tokens)
            self.sides[name] = [_add_likelihood(side, scorer, one) for side, one in zip(sides, found, strict=True)]

    def _ids(self, reader: str) -> list[Sequence[int]]:
        """Return the token ids of the prompt of each completion, for one reader."""
        return [self._of.questions[place.question].ids[reader] for place in self._of.places]


@dataclass
class SampledIds:
    """Token ids of the sampled completions, and the batches in which they were sampled."""

    ids: list[Sequence[int]]
    batches: list[list[int]] = field(default_factory=list)

    def add(self, places: list[int], batch: Sequence[Sequence[int]]) -> None:
        """Add a batch."""
        self.batches.append(places)
        for place, one in zip(places, batch, strict=True):
            self.ids[place] = one


@dataclass(frozen=True)
class CompletionSink:
    """Stores completions of a side as they come, and passes them to the judges."""

    comparison: Comparison
    name: str
    sides: list[SampleSide]
    pending: PendingJudgements
    progress: ProgressBar

    def __call__(self, places: Sequence[int], batch: Sequence[SampleSide]) -> None:
        """Add a batch of completions."""
        questions = self.comparison.questions
        first = SIDES.index(self.name) * len(self.comparison.places)
        numbers, samples = [], []
        for place, side in zip(places, batch, strict=True):
            self.sides[place] = side
            question = questions[self.comparison.places[place].question]
            if side.missing is ABSENT:  # missing completions are not judged
                numbers.append(first + place)
                samples.append(Sample(side.completion, question.text, question.columns))
        self.pending.add(numbers, samples)
        self.progress.advance(len(places))


@contextmanager
def open_policy(model: ModelSide) -> Iterator[Policy]:
    """Load a model, and free its memory afterwards."""
    device = computes_on()
    loaded = load(model.source, device=device, tokenizer=model.tokenizer, where=model.where)
    # Nothing is trained here, so no copy of the weights is needed as the reference.
    policy = Policy(replace(loaded, base_is_reference=True), where=model.where).to(device)
    try:
        yield policy
    finally:
        del policy, loaded
        gc.collect()
        if device.type != "cpu":
            torch.accelerator.empty_cache()


def _side(completion: str, tokens: int | None = None, ended: bool | None = None) -> SampleSide:
    return SampleSide(completion=completion, tokens=tokens, ended=ended, kl=None, reference_logprob=None, judgements={})


def _endpoint_side(answer: EndpointAnswer) -> SampleSide:
    side = _side(answer.completion, None, answer.ended)
    return side if answer.missing is None else replace(side, missing=answer.missing, reason=answer.reason)


def _add_likelihood(side: SampleSide, scorer: Scorer, found: tuple[float, int] | None) -> SampleSide:
    """Add a model's log-probability and number of tokens, unless the text has no tokens."""
    if found is None:
        return side
    logprob, tokens = found
    if scorer == "reference":
        return replace(side, reference_logprob=logprob, reference_tokens=tokens)
    return replace(side, independent_logprob=logprob, independent_tokens=tokens)


def _judgements(
    judges: Sequence[Judge], side: SampleSide, judgements: Mapping[str, Judgement] | None
) -> dict[str, JudgementRecord]:
    """Return the judgements of a completion, or abstentions if the completion is missing."""
    if judgements is None:
        assert side.missing is not ABSENT, "a completion was not judged"
        reason = f"there is no completion: {side.reason}"
        judgements = {judge.name: Judgement(judge.name, None, status=side.missing, reason=reason) for judge in judges}
    return {name: JudgementRecord.from_judgement(judgement) for name, judgement in judgements.items()}
