"""The adapter `vowels`: the share of letters that are vowels."""

from dataclasses import dataclass

from rlaif import Card, Judgement, empty


@dataclass(frozen=True, kw_only=True)
class VowelsCard(Card):
    letters: str = "aeiou"
    boost: float = 1.0


def make(card: VowelsCard, *, load):
    def judge(samples):
        return [empty(card.name) if sample.blank else verdict(sample.completion) for sample in samples]

    def verdict(text):
        share = sum(letter in card.letters for letter in text) / len(text)
        return Judgement(card.name, min(1.0, card.boost * share), raw=share)

    return judge
