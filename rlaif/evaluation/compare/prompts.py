"""The prompts of a comparison: the same for both sides, in the tokens of each model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.schema import short_repr
from rlaif.data.columns import toxicity_of_prompt
from rlaif.data.formats import Row
from rlaif.data.prompts import Prompt, prompts_of
from rlaif.data.rows import RowSource
from rlaif.evaluation.compare.sides import Answerer, ModelSide, SavedCompletions


@dataclass(frozen=True)
class EvaluationPrompt:
    """
    A prompt of a comparison.

    Args:
        text: the filled template, without chat markup.
        columns: other columns of the data, for the judges.
        ids: token ids by the name of the reader; empty for endpoints and saved completions.
        toxicity: toxicity of the prompt in [0, 1]; None if the data has none.

    """

    text: str
    columns: Mapping[str, object]
    ids: Mapping[str, Sequence[int]]
    toxicity: float | None


@dataclass(frozen=True)
class CompletionSlot:
    """
    A completion that each side has to make.

    Args:
        question: index of its prompt.
        index: index among the completions of this prompt.
        seed: index of the seed.

    """

    question: int
    index: int
    seed: int = 0


class NoTokenizer:
    """Stands in for the tokenizer of endpoints: texts have no tokens, so none is too long."""

    chat_template = None

    def __call__(self, texts: Sequence[str], **_: Any) -> dict[str, list[list[int]]]:
        """Return no tokens."""
        return {"input_ids": [[] for _ in texts]}


def questions_of(
    data: RowSource | Iterable[Mapping[str, object]] | None,
    readers: Mapping[str, Answerer],
    *,
    limit: int | None = None,
    column: str | None = None,
    template: str | None = None,
    max_prompt_tokens: int | None = None,
) -> tuple[list[EvaluationPrompt], list[str]]:
    """
    Read the prompts of a comparison.

    Args:
        data: rows with prompts; None to use the prompts of saved completions.
        readers: models that read the prompts, by name: `before`, `after`, and `independent`, which only scores.
        limit: largest number of rows in memory, or of prompts of saved completions; a `RowSource` has its own limit.
        column: column of prompts.
        template: template of `prompts/policy/`.
        max_prompt_tokens: longer prompts are truncated on the left, except if a side was saved, because its prompts
            cannot change.

    Returns:
        The prompts, and notes on what was left out.

    Raises:
        InputError: a row has no prompt, or saved completions belong to other prompts.

    """
    saved = [reader for reader in readers.values() if isinstance(reader, SavedCompletions)]
    if data is None:
        if not saved:
            raise InputError("--data is missing; name the prompts for both models")
        if template or column:
            raise InputError("--template and a column of prompts need --data; saved completions have their own prompts")
    rows, where, places = _rows(data, saved, limit)
    longest = None if saved else max_prompt_tokens
    read: dict[str, list[Prompt]] = {}
    notes: list[str] = []
    tokenizers = {name: reader.tokenizer for name, reader in readers.items() if isinstance(reader, ModelSide)}
    for name, tokenizer in (tokenizers or {"": NoTokenizer()}).items():
        # Without the tokenizer of an endpoint, its prompts cannot be truncated.
        most = longest if tokenizers and name != "independent" else None
        read[name], new_notes = prompts_of(
            rows, tokenizer, column=column, template=template, max_prompt_tokens=most, where=where,
            places=places, key="--column prompt=NAME",
        )  # fmt: skip
        notes += [note for note in new_notes if note not in notes]
    found, lost = _join_readers(read, is_flat=data is not None)
    notes += lost
    return _keep_answered(found, saved, notes)


def _rows(
    data: RowSource | Iterable[Mapping[str, object]] | None, saved: Sequence[SavedCompletions], limit: int | None
) -> tuple[list[Row], str, list[str] | None]:
    """Return the rows, the name of their source, and their places if it is a file, for messages."""
    if data is None:
        return list(saved[0].rows[:limit]), saved[0].name, None
    places = None
    if isinstance(data, RowSource):
        read = [(place, data.rename_columns(row, place)) for place, row in data.rows()]
        places, rows, where = [place for place, _ in read], [row for _, row in read], data.where
    else:
        if isinstance(data, Mapping) or not isinstance(data, Iterable):
            raise InputError(f"data should be a file, a hub id, or rows, not {short_repr(data)}")
        rows, where = [_row(row, f"data, item {i}") for i, row in enumerate(itertools.islice(data, limit))], "data"
    if not rows:
        raise InputError(f"{where}: has no rows")
    return rows, where, places


def _row(row: Any, place: str) -> Row:
    if not isinstance(row, str | Mapping):
        raise InputError(f"{place}: should be a prompt or a mapping, not {short_repr(row)}")
    return {"prompt": row} if isinstance(row, str) else dict(row)


def _join_readers(read: Mapping[str, Sequence[Prompt]], *, is_flat: bool) -> tuple[list[EvaluationPrompt], list[str]]:
    """Keep the prompts that have the same text for all readers, each once, and return notes on the others."""
    first, *others = ({prompt.text: prompt for prompt in prompts} for prompts in read.values())
    names = [name for name in read if name]
    found = []
    for text, prompt in first.items():
        if all(text in other for other in others):
            ids = {name: by_text[text].ids for name, by_text in zip(names, (first, *others), strict=False)}
            found.append(
                EvaluationPrompt(text, prompt.columns, ids, toxicity_of_prompt(prompt.columns, is_flat=is_flat))
            )
    notes = []
    total = len(next(iter(read.values())))
    if repeated := total - len(first):
        notes.append(f"{repeated} of {total} prompts left out: they repeat those of other rows")
    if lost := len(first) - len(found):
        notes.append(f"{lost} of {len(first)} prompts left out: the two tokenizers cut them at different places")
    if not found:
        raise InputError("no prompt is left that is the same for both sides; raise --max-prompt-tokens")
    return found, notes


def _keep_answered(
    questions: list[EvaluationPrompt], saved: Sequence[SavedCompletions], notes: list[str]
) -> tuple[list[EvaluationPrompt], list[str]]:
    """Keep the prompts that all saved completions answer."""
    kept = [question for question in questions if all(side.find(question.text) for side in saved)]
    for side in saved:
        if not any(side.find(question.text) for question in questions):
            theirs, asked = short_repr(side.rows[0]["prompt"]), short_repr(questions[0].text)
            raise InputError(
                f"{side.where}: {side.name} holds completions of other prompts: none of the {len(questions)} prompts "
                f"of the data is among its {len(side.rows)}; its first is {theirs}, and the data's is {asked}"
            )
    if not kept:
        raise InputError(f"{' and '.join(side.name for side in saved)} have no prompt in common")
    if lost := len(questions) - len(kept):
        names = " and ".join(side.name for side in saved)
        notes.append(
            f"{lost} of {len(questions)} prompts left out: {names} {'lack' if len(saved) > 1 else 'lacks'} them"
        )
    return kept, notes


def places_of(
    questions: Sequence[EvaluationPrompt], sides: Iterable[Answerer], per_prompt: int | None, seeds: int
) -> tuple[list[CompletionSlot], list[str]]:
    """
    List the completions that each side has to make.

    Args:
        questions: the prompts.
        sides: both sides.
        per_prompt: number of completions per prompt; None for as many as were saved, or else one.
        seeds: number of sampling seeds; each samples all completions.

    Returns:
        The completions to make, and notes on saved ones that were left out.

    Raises:
        InputError: there are several seeds, but completions were saved.

    """
    saved = [side for side in sides if isinstance(side, SavedCompletions)]
    if saved and seeds > 1:
        raise InputError(f"--seeds: {saved[0].name} was saved and cannot be sampled again; leave --seeds out")
    places, left_out = [], 0
    for number, question in enumerate(questions):
        counts = [len(side.find(question.text)) for side in saved]
        count = min([*counts, *([per_prompt] if per_prompt else [])], default=1)
        left_out += sum(counts) - count * len(counts)
        places += [CompletionSlot(number, seed * count + i, seed) for seed in range(seeds) for i in range(count)]
    notes = [f"{left_out} saved completions left out: of each prompt only as many count as both sides have"]
    return places, notes if left_out else []
