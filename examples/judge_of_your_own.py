"""
Add a kind of judge: a card with keys of its own, and a function that makes the judge of a card.

    python judge_of_your_own.py
    rlaif score -j '{adapter: "./judge_of_your_own.py:make", most: 8}' --text "A short answer."

A run file names it in the same way. A package offers it by name through the entry-point group `rlaif.adapters`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import rlaif


@dataclass(frozen=True, kw_only=True)
class ShortSentencesCard(rlaif.Card):
    """The keys of the card, with their types and defaults: a wrong one is refused before anything loads."""

    measures: str = "clarity"
    most: int = 12


def make(card: ShortSentencesCard, *, load: Any) -> Callable[[Sequence[rlaif.Sample]], list[rlaif.Judgement]]:
    """Make the judge of a card. `load` would make the judges that the card names, as a panel's does."""

    def judge(samples: Sequence[rlaif.Sample]) -> list[rlaif.Judgement]:
        return [rlaif.empty(card.name) if sample.blank else verdict(sample.completion) for sample in samples]

    def verdict(text: str) -> rlaif.Judgement:
        lengths = [len(sentence.split()) for sentence in text.split(".") if sentence.strip()]
        if not lengths:
            return rlaif.Judgement(card.name, None, status="declined", reason="there is no sentence")
        short = sum(length <= card.most for length in lengths) / len(lengths)
        return rlaif.Judgement(card.name, short, raw=max(lengths), reason=f"the longest has {max(lengths)} words")

    return judge


def main() -> None:
    """Score three texts by a card that is written in place."""
    card = {"adapter": f"{__file__}:make", "name": "short_sentences", "most": 5}
    for judgement in rlaif.score(["Two words. Then three more.", "This one goes on and on.", "..."], judge=card):
        print(judgement.score, judgement.status, judgement.reason)


if __name__ == "__main__":
    main()
