"""A line of samples.jsonl: a prompt, what was answered before and after, and what judges said of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rlaif.core.ranges import Natural, Share
from rlaif.core.records.judgements import JudgementRecord
from rlaif.core.records.record import ABSENT, Record, Sometimes
from rlaif.core.types import Status


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleSide(Record):
    """A completion of one of two models."""

    completion: str
    """The text, without special tokens; empty where an endpoint gave none."""
    tokens: Natural | None
    """Tokens that were sampled, EOS included; null where the completion was saved or came from an endpoint."""
    ended: bool | None
    """Whether it ended by itself, and was not cut; null where that is not known."""
    kl: float | None
    """Log-probability minus the reference's, in nats, summed over tokens; null where one of them is not known."""
    reference_logprob: float | None
    """Log-probability under the model before, in nats, summed over tokens, at temperature 1; null where not known."""
    missing: Sometimes[Status] = ABSENT
    """Why an endpoint gave no completion; absent where there is one."""
    reason: Sometimes[str] = ABSENT
    """The endpoint's words on that; absent where there is a completion."""
    reference_tokens: Sometimes[Natural] = ABSENT
    """Tokens that `reference_logprob` is the sum over, where they are not those that were sampled."""
    independent_logprob: Sometimes[float | None] = ABSENT
    """Log-probability under the independent model, in nats; absent without one, or where the text has no token."""
    independent_tokens: Sometimes[Natural] = ABSENT
    """Tokens that `independent_logprob` is the sum over."""
    judgements: Mapping[str, JudgementRecord]
    """What each judge said of it, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRow(Record):
    """A line of samples.jsonl."""

    prompt: str
    """What was asked: the filled template, without chat markup."""
    index: Natural
    """Which completion of this prompt it is, from 0."""
    seed: Sometimes[Natural] = ABSENT
    """By which of several seeds it was sampled, from 0; absent where there was one seed."""
    prompt_toxicity: Sometimes[Share] = ABSENT
    """How toxic the data says that the prompt is; absent where it does not say."""
    before: SampleSide
    """Of the model before training, or of the one side."""
    after: SampleSide | None
    """Of the trained model, or of the other side; null while a run is training."""
