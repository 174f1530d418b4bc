"""What is compared with what, and how: two models, endpoints or saved completions that answer the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlaif.evaluation.compare.prompts import CompletionSlot, EvaluationPrompt
from rlaif.evaluation.compare.sides import Answerer, EndpointSide, ModelSide, SavedCompletions
from rlaif.policy.likelihood import same_tokens

SIDES = ("before", "after")


@dataclass(frozen=True)
class Comparison:
    """
    Who answers what.

    Args:
        before: the one side; where it is a model of ours it is the reference.
        after: the other.
        questions: what both are asked.
        places: the completions to be made of each side.
        independent: a model that only scores.

    """

    before: Answerer
    after: Answerer
    questions: Sequence[EvaluationPrompt]
    places: Sequence[CompletionSlot]
    independent: ModelSide | None = None

    @property
    def by_ids(self) -> bool:
        """Whether both are models of ours with the same tokens, so that one scores what the other sampled."""
        before, after = self.before, self.after
        if not (isinstance(before, ModelSide) and isinstance(after, ModelSide)):
            return False
        return same_tokens(before.tokenizer, after.tokenizer)

    def unknown(self) -> dict[str, str]:
        """Say which figures cannot be known, and why."""
        found = {}
        if not isinstance(self.before, ModelSide):
            kind = "an endpoint" if isinstance(self.before, EndpointSide) else "saved completions"
            found["reference_perplexity"] = (
                f"the side before is {kind}: nothing there could score a completion; name a model by --reference"
            )
        if not self.by_ids:
            why = _why_not_by_ids(self.before, self.after)
            found["kl_nats_per_sequence"] = f"{why}: no token of the one is a token of the other"
            found["length_tokens"] = f"{why}: tokens are no common measure; length_words is"
        for side, answerer in zip(SIDES, (self.before, self.after), strict=True):
            if isinstance(answerer, SavedCompletions):
                found["ended_rate"] = found["cut_rate"] = f"the side {side} was saved: what was cut is not known"
        return found


def _why_not_by_ids(before: Answerer, after: Answerer) -> str:
    if isinstance(before, ModelSide) and isinstance(after, ModelSide):
        return "the two models have different tokenizers"
    kinds = {EndpointSide: "an endpoint", SavedCompletions: "saved"}
    theirs = [f"the side {side} is {kinds[type(one)]}"
              for side, one in zip(SIDES, (before, after), strict=True) if not isinstance(one, ModelSide)]  # fmt: skip
    return " and ".join(theirs)
