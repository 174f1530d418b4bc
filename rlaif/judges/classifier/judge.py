"""Judges of a sequence-classification model: toxicity classifiers and reward models, run here."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rlaif.core.system.hub import refuse_unreachable, weight_files
from rlaif.core.types import Judge, Judgement, Sample, Usage, empty
from rlaif.judges.classifier.card import ClassifierCard
from rlaif.judges.classifier.encoder import Encoder, load_shared_encoder
from rlaif.judges.classifier.head import resolve_head
from rlaif.judges.classifier.loading import load_config
from rlaif.judges.classifier.text import EncodedText, token_batches
from rlaif.judges.classifier.weights import Weights

if TYPE_CHECKING:
    from rlaif.judges.cards.card import Load


def make(card: ClassifierCard, *, load: Load) -> Judge:
    """Make a judge of a card: the labels are resolved from the model's config, weights wait for the first call."""
    return ClassifierJudge(card)


NO_NUMBER = "the model answered NaN or infinity; `dtype: float32` in the card may help"


class ClassifierJudge:
    """A `Judge` of a transformers sequence-classification model."""

    has_logit = True
    remote = False

    def __init__(self, card: ClassifierCard) -> None:
        self.card = card
        self.name = card.name
        self.measures = card.measures
        self.reads = frozenset() if card.text == "completion" else frozenset({"prompt"})
        self.where = f"judge {card.name}"
        self.head = resolve_head(self._config, card, self.where)
        self.identity: Hashable = ("classifier", card.model, card.revision or "main", self.head.identity, card.text)

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        """Judge a batch; equal texts are read once, and blank ones not at all."""
        encoder = self._encoder
        unique = list(dict.fromkeys(self._text(sample) for sample in samples if not sample.blank))
        judged = dict(zip(unique, self._to_judgement(encoder, encoder.encode(unique)), strict=True))
        judgements = []
        for sample in samples:
            judgements.append(empty(self.name) if sample.blank else judged[text := self._text(sample)])
            if not sample.blank:  # the first of equal texts has paid for all
                judged[text] = replace(judged[text], usage=Usage(attempts=0))
        return judgements

    def _to_judgement(self, encoder: Encoder, encoded: list[EncodedText]) -> list[Judgement]:
        judgements: list[Judgement | None] = [None] * len(encoded)
        lengths, size = [len(text) for text in encoded], self.card.batch_tokens
        for batch in token_batches(lengths, size, encoder.limit, equal=encoder.sees_padding):
            start = time.perf_counter()
            numbers = self.head.verdict(encoder.logits([encoded[i] for i in batch]))
            seconds = (time.perf_counter() - start) / len(batch)
            for i, score, logit, raw in zip(batch, *(column.tolist() for column in numbers), strict=True):
                text, usage = encoded[i], Usage(input_tokens=len(encoded[i]), seconds=seconds)
                reason = f"read {len(text)} of {text.full_length} tokens" if text.shortened else ""
                judgements[i] = (
                    Judgement(self.name, score, logit, raw, reason=reason, usage=usage, shortened=text.shortened)
                    if all(map(math.isfinite, (score, logit, raw)))
                    else Judgement(self.name, None, status="unparsable", reason=NO_NUMBER, usage=usage)
                )
        too_long = f"longer than the model's {encoder.limit} tokens"
        return [verdict or Judgement(self.name, None, status="too_long", reason=too_long) for verdict in judgements]

    def _text(self, sample: Sample) -> tuple[str, str]:
        """Return prompt and completion as the model shall see them; equal ones are judged once."""
        prompt = "" if self.card.text == "completion" else sample.prompt
        # A lone surrogate is not text to a tokenizer.
        return prompt.encode(errors="replace").decode(), sample.completion.encode(errors="replace").decode()

    @cached_property
    def origin(self) -> Hashable:
        """Its weights: another folder, dtype, text or label makes no other judge of them."""
        files = weight_files(self.card.model, self.card.revision)
        return Weights(files) if files else ("classifier", self.card.model, self.card.revision or "main")

    @cached_property
    def _config(self) -> Any:
        if self.card.missing():
            refuse_unreachable(f"{self.where}: {self.card.model}")
        return load_config(self.card, self.where)

    @cached_property
    def _encoder(self) -> Encoder:
        return load_shared_encoder(self.card, self._config, self.where)
