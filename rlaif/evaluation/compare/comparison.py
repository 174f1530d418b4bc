"""A comparison of two models, endpoints or files of saved completions that answer the same prompts."""

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
    The two sides of a comparison and their prompts.

    Args:
        before: the side before; if it is a local model, it is also the reference.
        after: the side after.
        questions: the prompts for both sides.
        places: the completions that each side has to make.
        independent: a third model that only measures perplexity; None for none.

    """

    before: Answerer
    after: Answerer
    questions: Sequence[EvaluationPrompt]
    places: Sequence[CompletionSlot]
    independent: ModelSide | None = None

    @property
    def by_ids(self) -> bool:
        """Whether both sides are local models with the same tokens, so that one can score the other's tokens."""
        before, after = self.before, self.after
        if not (isinstance(before, ModelSide) and isinstance(after, ModelSide)):
            return False
        return same_tokens(before.tokenizer, after.tokenizer)

    def unknown(self) -> dict[str, str]:
        """Return the figures that cannot be measured, with reasons."""
        found = {}
        if not isinstance(self.before, ModelSide):
            kind = "an endpoint" if isinstance(self.before, EndpointSide) else "saved completions"
            found["reference_perplexity"] = (
                f"the side before is {kind}, which cannot score completions; name a model with --reference"
            )
        if not self.by_ids:
            why = _why_not_by_ids(self.before, self.after)
            found["kl_nats_per_sequence"] = f"{why}, so they have no common tokens"
            found["length_tokens"] = f"{why}, so tokens cannot be compared; length_words can"
        for side, answerer in zip(SIDES, (self.before, self.after), strict=True):
            if isinstance(answerer, SavedCompletions):
                found["ended_rate"] = found["cut_rate"] = (
                    f"the side {side} was saved, so it is not known which completions were cut"
                )
        return found


def _why_not_by_ids(before: Answerer, after: Answerer) -> str:
    if isinstance(before, ModelSide) and isinstance(after, ModelSide):
        return "the two models have different tokenizers"
    kinds = {EndpointSide: "an endpoint", SavedCompletions: "saved"}
    theirs = [f"the side {side} is {kinds[type(one)]}"
              for side, one in zip(SIDES, (before, after), strict=True) if not isinstance(one, ModelSide)]  # fmt: skip
    return " and ".join(theirs)
