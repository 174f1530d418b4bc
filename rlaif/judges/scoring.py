"""Scores texts with judges: `rlaif.score` for lists, and chunks for files that do not fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rlaif.core.errors import InputError, JudgeBug, RlaifError
from rlaif.core.records.judgements import JudgementRecord
from rlaif.core.schema import reason_of
from rlaif.core.system.files import to_json_line
from rlaif.core.types import Judge, Judgement, Sample
from rlaif.data.rows import make_samples
from rlaif.judges.cards.card import CardRef
from rlaif.judges.plugins import location_of
from rlaif.judges.registry import judge_of

CHUNK_ROWS, CHUNK_CHARACTERS = 4096, 8_000_000
"""Limits of a chunk: large enough for length-sorted batches with little padding, small enough for memory."""


def score(texts_or_samples: Iterable[Any], judge: CardRef | Judge) -> list[Judgement]:
    """
    Score texts with one judge: `rlaif.score(["You are kind."], judge="toxicity")[0].score`.

    Args:
        texts_or_samples: texts, `Sample`s, or mappings with `completion` and, if the judge reads it, `prompt`.
        judge: name or path of a card, a card as a mapping, or a judge.

    Returns:
        One judgement per text, in order; `score` is in [0, 1], 1 = best, or None if the judge abstained.

    Raises:
        InputError: the card is invalid, or an item is not a text.
        JudgeBug: the judge broke its contract.

    """
    samples = make_samples(texts_or_samples)
    return call_judge(judge_of(judge), samples)


def call_judge(judge: Judge, samples: Sequence[Sample]) -> list[Judgement]:
    """
    Call a judge on a batch of samples.

    Raises:
        JudgeBug: the judge raised an exception, or returned a wrong number of judgements.
        RlaifError: any error that the judge reports itself.

    """
    try:
        judgements = judge(samples)
    except RlaifError:
        raise
    except (Exception, SystemExit) as error:
        description = f"{type(error).__name__}: {reason_of(error)}"
        raise JudgeBug(f"judge {judge.name} raised at {location_of(error)}: {description}") from error
    if len(judgements) != len(samples):
        raise JudgeBug(f"judge {judge.name}: returned {len(judgements)} judgements for {len(samples)} samples")
    return judgements


def chunks(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Split a stream into lists with a limited number of rows and characters."""
    chunk: list[Sample] = []
    characters = 0
    try:
        for sample in samples:
            chunk.append(sample)
            characters += len(sample.completion) + len(sample.prompt) + sum(map(_length, sample.columns.values()))
            if len(chunk) == CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
                yield chunk
                chunk, characters = [], 0
    except InputError:  # a stream is checked as it is read; still yield the rows before the invalid one
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0


def row_of(sample: Sample, judgement: Judgement) -> str:
    """Return a sample with its judgement as one line of JSON."""
    record = JudgementRecord.from_judgement(judgement).to_json()
    return to_json_line({"prompt": sample.prompt, "completion": sample.completion, **record})
