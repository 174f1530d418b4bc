"""Bedrock's guardrail checks as a judge: 1 minus the largest severity of the chosen categories."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

from rlaif.core.types import Judge, Judgement, Sample, Usage
from rlaif.judges.bedrock.endpoint import BedrockEndpoint, BedrockKeys
from rlaif.judges.remote.judge import Bill, RemoteJudge, Scores, Unanswered, Verdict, read_scores, worst_of
from rlaif.judges.session import Session

if TYPE_CHECKING:
    from rlaif.judges.cards.card import Load

Category = Literal["HATE", "INSULTS", "VIOLENCE", "SEXUAL", "MISCONDUCT"]


@dataclass(frozen=True, kw_only=True)
class GuardrailCard(BedrockKeys):
    """The keys of `adapter: bedrock_guardrail`."""

    model: Literal["guardrail-checks"] = "guardrail-checks"
    categories: list[Category] = field(default_factory=lambda: ["HATE", "INSULTS", "VIOLENCE", "SEXUAL", "MISCONDUCT"])


def make(card: GuardrailCard, *, load: Load) -> Judge:
    """Make a judge of a card."""
    return GuardrailJudge(card, load.session)


class GuardrailJudge(RemoteJudge):
    """A `Judge` of severities (botocore, bedrock-runtime, InvokeGuardrailChecks); `raw` is the largest."""

    card: GuardrailCard

    def __init__(self, card: GuardrailCard, session: Session) -> None:
        self._endpoint = BedrockEndpoint(card)
        super().__init__(card, self._endpoint.endpoint, card.model, None, session, sorted(card.categories))
        self.identity = (card.adapter, self._endpoint.endpoint, card.model, *sorted(card.categories))
        self.measures = card.measures

    def _verdict(self, sample: Sample, bill: Bill) -> Verdict:
        text = sample.completion.encode(errors="replace").decode()
        return self._gate.call(
            partial(bill.pay, partial(self._severities, text), text, 0), tokens=len(text) // 4 + 1
        ).of

    def _severities(self, text: str) -> Scores:
        self._endpoint.send(
            self._endpoint.client.invoke_guardrail_checks,
            messages=[{"role": "assistant", "content": [{"text": text}]}],
            checks={"contentFilter": {"categories": [{"category": name} for name in self.card.categories]}},
        )
        try:
            results = self._endpoint.wire()["results"]["contentFilter"]["results"]
            return read_scores((result["category"], result["severityScore"]) for result in results)
        except (KeyError, TypeError, ValueError):
            raise Unanswered("unparsable", "the endpoint sent no severities") from None

    def _judgement(self, verdict: Verdict, usage: Usage) -> Judgement:
        return worst_of(verdict, list(self.card.categories), self.name, usage)

    def _size(self, sample: Sample) -> tuple[int, int]:
        return len(sample.completion) // 4 + 1, 0

    def _reach(self) -> None:
        self._endpoint.reach()
