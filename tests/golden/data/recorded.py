"""A judge that replays judgements.jsonl; what is not recorded gets a score from its length, the same everywhere."""

import json
from dataclasses import dataclass
from pathlib import Path

from rlaif import Card, Judgement, Usage


@dataclass(frozen=True, kw_only=True)
class RecordedCard(Card):
    """No keys of its own."""


def make(card: RecordedCard, *, load):
    return Recorded(card)


class Recorded:
    has_logit, remote, reads = True, False, frozenset()

    def __init__(self, card):
        self.name, self.measures, self.identity = card.name, card.measures, ("recorded", card.name)
        # No `splitlines`: a text may hold characters that end a line for it.
        lines = Path(__file__).with_name("judgements.jsonl").read_text(encoding="utf-8").split("\n")
        self._known = {row.pop("completion"): row for row in map(json.loads, filter(None, lines))}

    def __call__(self, samples):
        return [self._judgement(sample.completion) for sample in samples]

    def _judgement(self, text):
        row = self._known.get(text)
        if row is None:
            return Judgement(self.name, (len(text) * 7 % 64) / 64, raw=float(len(text)), reason="not recorded")
        return Judgement(self.name, **{**row, "usage": Usage(**row["usage"])})
