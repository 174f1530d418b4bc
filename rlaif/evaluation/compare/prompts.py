"""What both sides of a comparison are asked: the same prompts, each in the tokens of whoever reads it."""

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
    A prompt.

    Args:
        text: the filled template, without chat markup.
        columns: the data's other columns, for the judges.
        ids: its tokens, by who reads them; none for endpoints and saved completions.
        toxicity: of the prompt, in [0, 1], where the data says it.

    """

    text: str
    columns: Mapping[str, object]
    ids: Mapping[str, Sequence[int]]
    toxicity: float | None


@dataclass(frozen=True)
class CompletionSlot:
    """A completion to be made: of which question, the how many-th, and by which of the seeds."""

    question: int
    index: int
    seed: int = 0


class NoTokenizer:
    """Stands for the tokenizer of models that read text: no text has tokens, and none is too long."""

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
    Read the prompts of a comparison, and say what was left out.

    Args:
        data: rows with a prompt; None: the prompts of saved completions.
        readers: who reads them, by name: `before`, `after`, and `independent`, a model that only scores.
        limit: rows read of those in memory, or prompts of what was saved; a source has its own.
        column: of the prompt.
        template: of `prompts/policy/`.
        max_prompt_tokens: longer prompts lose their beginning; they do not where a side was saved, for its prompts
            are as they are.

    Raises:
        InputError: a row has no prompt, or saved completions are of other prompts.

    """
    saved = [reader for reader in readers.values() if isinstance(reader, SavedCompletions)]
    if data is None:
        if not saved:
            raise InputError("--data is missing: the prompts that both models are to answer")
        if template or column:
            raise InputError(
                "--template and a column of the prompt are for --data; saved completions have their prompts"
            )
    rows, where, places = _rows(data, saved, limit)
    longest = None if saved else max_prompt_tokens
    read: dict[str, list[Prompt]] = {}
    notes: list[str] = []
    tokenizers = {name: reader.tokenizer for name, reader in readers.items() if isinstance(reader, ModelSide)}
    for name, tokenizer in (tokenizers or {"": NoTokenizer()}).items():
        # An endpoint has no tokenizer here that could say where to cut.
        most = longest if tokenizers and name != "independent" else None
        read[name], said = prompts_of(
            rows, tokenizer, column=column, template=template, max_prompt_tokens=most, where=where,
            places=places, key="--column prompt=NAME",
        )  # fmt: skip
        notes += [note for note in said if note not in notes]
    found, lost = _join_readers(read, is_flat=data is not None)
    notes += lost
    return _keep_answered(found, saved, notes)


def _rows(
    data: RowSource | Iterable[Mapping[str, object]] | None, saved: Sequence[SavedCompletions], limit: int | None
) -> tuple[list[Row], str, list[str] | None]:
    """Return the rows, their source and, where it is a file, their places, as messages name both."""
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
    """Keep the prompts that read the same to all, each once."""
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
        notes.append(f"{repeated} of {total} prompts left out: they stand in other rows")
    if lost := len(first) - len(found):
        notes.append(f"{lost} of {len(first)} prompts left out: the two tokenizers cut them at different places")
    if not found:
        raise InputError("no prompt is left that both sides read alike; raise --max-prompt-tokens")
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
                f"{side.where}: {side.name} holds completions of other prompts: none of {len(questions)} that are "
                f"asked is among its {len(side.rows)}; its first is {theirs}, and {asked} is asked"
            )
    if not kept:
        raise InputError(f"{' and '.join(side.name for side in saved)} answer no prompt in common")
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
    Say which completions are to be made, and what was left out of saved ones.

    Args:
        questions: what is asked.
        sides: who answers.
        per_prompt: completions of a prompt; None: as many as were saved, or else one.
        seeds: of the sampling; each makes as many.

    """
    saved = [side for side in sides if isinstance(side, SavedCompletions)]
    if saved and seeds > 1:
        raise InputError(f"--seeds: {saved[0].name} was saved and cannot be sampled again; leave --seeds out")
    places, left_out = [], 0
    for number, question in enumerate(questions):
        there = [len(side.find(question.text)) for side in saved]
        count = min([*there, *([per_prompt] if per_prompt else [])], default=1)
        left_out += sum(there) - count * len(there)
        places += [CompletionSlot(number, seed * count + i, seed) for seed in range(seeds) for i in range(count)]
    notes = [f"{left_out} saved completions left out: each prompt counts with as many as both sides have"]
    return places, notes if left_out else []
