"""
The LLM judge, once: rendering, negotiating, parsing, scaling.

A backend (openai.py, bedrock.py beside this folder) is "question in, answer and usage out".
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial

from rlaif.core.errors import InputError
from rlaif.core.types import Judgement, Sample, Status, Usage, total
from rlaif.judges.cards.question import read_question
from rlaif.judges.llm.backend import Answer, Ask, Backend, Format, Misformatted
from rlaif.judges.llm.card import LLMCard
from rlaif.judges.llm.dialect import dialect_of, negotiate
from rlaif.judges.llm.rendering import render_question, schema_of
from rlaif.judges.llm.verdict import Verdict, mean_rating, read_verdict
from rlaif.judges.remote.judge import Bill, Price, RemoteJudge, Texts, Unanswered
from rlaif.judges.remote.store import key_of
from rlaif.judges.session import Session


@dataclass
class _Asked:
    """The format of a question that was sent, and the mark that its verdict has to carry."""

    form: Format = "text"
    mark: str = ""


class LLMJudge(RemoteJudge):
    """A `Judge` that asks a language model a question about each sample."""

    card: LLMCard

    def __init__(self, card: LLMCard, backend: Backend, price: Price | None, session: Session) -> None:
        self.question, self.backend = read_question(card.prompt), backend
        scale = self.question.scale
        asked = (card.score, card.format, card.max_tokens, card.temperature, scale.worst, scale.best)
        question = (self.question.text, backend.parameters, *asked)
        super().__init__(card, backend.endpoint, backend.model, price, session, *question)
        self.measures = card.measures or self.question.measures
        self.reads = self.question.fields - {"completion", "worst", "best"}
        self._dialect = dialect_of(backend)
        self._refuse_what_cannot_work()

    # --- one verdict ------------------------------------------------------------------------------------------

    def _verdict(self, sample: Sample, bill: Bill) -> Mapping[str, float | str]:
        asked = _Asked()
        if self.card.score == "expected":
            return self._mean(self._answer(self.card.format, sample, bill, asked))
        try:
            verdict = self._read(self.card.format, sample, bill, asked)
        except Misformatted as error:
            form, why = asked.form, str(error)
            if not self._dialect.may_ask_again(form):
                raise
            verdict = self._read("text", sample, bill, asked)
            self._dialect.give_up(form, why)
        self._dialect.prove(asked.form)
        return asdict(verdict)

    def _read(self, wanted: str, sample: Sample, bill: Bill, asked: _Asked) -> Verdict:
        answer = self._answer(wanted, sample, bill, asked)
        if answer.status != "ok":
            raise Unanswered(answer.status, answer.reason)
        return read_verdict(answer, self.question.scale, asked.mark)

    def _mean(self, answer: Answer) -> Mapping[str, float | str]:
        if answer.status not in ("ok", "truncated"):  # one token is enough
            raise Unanswered(answer.status, answer.reason)
        if answer.text and not answer.first_token:
            raise InputError(f"{self._where}: {self._dialect.name} gives no log-probabilities; take score: rating")
        return {"rating": mean_rating(answer, self.question.scale), "reason": ""}

    def _answer(self, wanted: str, sample: Sample, bill: Bill, asked: _Asked) -> Answer:
        """Ask in the best format from the wanted one on, and note in `asked` which it was."""

        def question(form: Format) -> Ask:
            ask, asked.mark = self._question(sample, form)
            asked.form = form
            return ask

        def ask(question: Ask) -> Answer:  # each try of a format has its own turn, so that rates hold
            pay = partial(bill.pay, partial(self.backend.ask, question), question.text, question.max_tokens)
            return self._gate.call(pay, tokens=_tokens_of(question) + question.max_tokens)

        return negotiate(self.backend.formats, self._dialect, wanted, question, ask)

    def _question(self, sample: Sample, form: Format) -> tuple[Ask, str]:
        expected = self.card.score == "expected"
        text, fence = render_question(self.question, sample, form, number_only=expected)
        limit = 8 if expected else self.card.max_tokens
        schema = schema_of(self.question.scale)
        return Ask(text, form, schema, limit, self.card.temperature, logprobs=expected), fence

    def _size(self, sample: Sample) -> tuple[int, int]:
        form = self._dialect.format_for(self.backend.formats, self.card.format)
        question, _ = self._question(sample, form)
        return _tokens_of(question), question.max_tokens

    def _reach(self) -> None:
        self.backend.reach()

    # --- from verdicts to judgements --------------------------------------------------------------------------

    def _judgement(self, verdict: Mapping[str, float | str], usage: Usage) -> Judgement:
        rating = verdict["rating"]
        if isinstance(rating, bool) or not isinstance(rating, int | float) or rating not in self.question.scale:
            raise Unanswered("unparsable", f"the rating {str(rating)[:60]!r} is no number of the scale")
        rating = float(rating)
        score = self.question.scale.score(rating)
        return Judgement(self.name, score, raw=rating, reason=str(verdict["reason"]), usage=usage)

    def _abstain(self, status: Status, reason: str, usage: Usage) -> Judgement:
        policy = {"filtered": self.card.filtered, "refused": self.card.refused}.get(status)
        return Judgement(self.name, 0.0 if policy == "worst" else None, status=status, reason=reason, usage=usage)

    def _combine(self, answers: list[Judgement]) -> Judgement:
        """Take the mean of `samples: k` answers; those that abstained have no part in it."""
        if len(answers) == 1:
            return answers[0]
        usage = total([answer.usage for answer in answers])
        scored = [answer for answer in answers if answer.score is not None]
        if not scored:
            return replace(answers[0], usage=usage, parts=tuple(answers))
        ratings = [answer.raw for answer in scored if answer.raw is not None]
        spread = f", standard deviation {statistics.stdev(ratings):.3g}" if len(ratings) > 1 else ""
        return Judgement(
            self.name,
            statistics.fmean(answer.score for answer in scored if answer.score is not None),
            raw=statistics.fmean(ratings) if ratings else None,
            reason=f"mean of {len(scored)} of {len(answers)} answers{spread}",
            usage=usage,
            parts=tuple(answers),
        )

    def _keys(self, texts: Texts) -> list[bytes]:
        return [key_of(self._key, texts, repetition) for repetition in range(self.card.samples)]

    def _refuse_what_cannot_work(self) -> None:
        card, backend, scale = self.card, self.backend, self.question.scale
        if card.format != "auto" and card.format not in backend.formats:
            raise InputError(f"{self._where}: format: should be one of auto, {', '.join(backend.formats)}")
        if card.score == "expected" and not backend.has_logprobs:
            raise InputError(
                f"{self._where}: score: expected needs log-probabilities, which {card.adapter} never gives"
            )
        whole = all(bound == int(bound) and 0 <= bound <= 9 for bound in (scale.worst, scale.best))
        if card.score == "expected" and not whole:
            raise InputError(
                f'{self._where}: score: expected needs a scale of single digits, for "10" may be two tokens; '
                f"{card.prompt} has {scale.worst:g} to {scale.best:g}"
            )


def _tokens_of(question: Ask) -> int:
    """Guess the tokens of a question: English has four characters to one."""
    return len(question.text) // 4 + 1
