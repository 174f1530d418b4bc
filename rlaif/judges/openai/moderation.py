"""The moderation endpoint as a judge: 1 minus the largest score of the chosen categories. It costs nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rlaif.core.types import Judge, Judgement, Sample, Usage
from rlaif.judges.llm.verdict import refuse_twice
from rlaif.judges.openai.endpoint import OpenAIEndpoint, OpenAIKeys
from rlaif.judges.remote.judge import Bill, Price, RemoteJudge, Scores, Unanswered, Verdict, read_scores, worst_of
from rlaif.judges.session import Session

if TYPE_CHECKING:
    from rlaif.judges.cards.card import Load


@dataclass(frozen=True, kw_only=True)
class ModerationCard(OpenAIKeys):
    """The keys of `adapter: openai_moderation`; without `categories` all of them count."""

    model: str = "omni-moderation-latest"
    categories: list[str] | None = None


def make(card: ModerationCard, *, load: Load) -> Judge:
    """Make a judge of a card."""
    return ModerationJudge(card, load.session)


class ModerationJudge(RemoteJudge):
    """A `Judge` of category scores; `raw` is the largest, named in `reason`."""

    card: ModerationCard

    def __init__(self, card: ModerationCard, session: Session) -> None:
        self._endpoint = OpenAIEndpoint(card)
        price = Price(input=0, output=0)
        super().__init__(card, self._endpoint.endpoint, self._endpoint.model, price, session)
        self.measures = card.measures
        self.origin = self.identity  # an answer has all categories, of whichever the worst is read
        self.identity = (self.identity, tuple(sorted(card.categories or ())))

    def _verdict(self, sample: Sample, bill: Bill) -> Verdict:
        text = sample.completion.encode(errors="replace").decode()
        ask = partial(self._scores, text)
        return self._gate.call(partial(bill.pay, ask, text, 0), tokens=len(text) // 4 + 1).of

    def _scores(self, text: str) -> Scores:
        create = self._endpoint.client.moderations.with_raw_response.create
        body = self._endpoint.send(create, model=self._endpoint.model, input=text)
        try:
            answer: Any = json.loads(body, object_pairs_hook=refuse_twice)
            if failure := answer.get("error"):
                raise self._endpoint.explain_failure(failure, {}, None)
            (result,) = answer["results"]  # one text was sent
            return read_scores(result["category_scores"].items())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Unanswered("unparsable", f"the endpoint sent no scores: {' '.join(body.split())[:120]!r}") from None

    def _judgement(self, verdict: Verdict, usage: Usage) -> Judgement:
        return worst_of(verdict, self.card.categories, self.name, usage)

    def _size(self, sample: Sample) -> tuple[int, int]:
        return len(sample.completion) // 4 + 1, 0

    def _reach(self) -> None:
        self._endpoint.reach()
