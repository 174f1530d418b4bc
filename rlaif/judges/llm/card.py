"""The keys that the cards of all LLM judges have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from rlaif.core.paths import QuestionRef
from rlaif.judges.remote.judge import Count, Price, RemoteCard


@dataclass(frozen=True, kw_only=True)
class LLMCard(RemoteCard):
    """
    What every LLM judge's card may say.

    `rating` asks for one number; with `samples: k` it is the mean of k answers; `expected` weighs the scale by the
    log-probabilities of its numbers. `filtered: worst` and `refused: worst` turn that status into score 0.
    """

    prompt: QuestionRef
    measures: str = ""
    score: Literal["rating", "expected"] = "rating"
    samples: Count = 1
    format: Literal["auto", "schema", "tool", "json", "text"] = "auto"
    max_tokens: Count = 512
    temperature: Annotated[float, Ge(0)] | None = 0.0
    filtered: Literal["abstain", "worst"] = "abstain"
    refused: Literal["abstain", "worst"] = "abstain"
    price: Price | None = None

    def __post_init__(self) -> None:
        if self.score == "expected" and self.samples > 1:
            raise ValueError("samples acts with score: rating only; expected reads one distribution")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("samples needs a temperature above 0: at 0 the answers are all the same one")
