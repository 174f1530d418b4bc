"""
Prompts from data sets: the `data` section of a run file.

Rows come from a file, a folder or the hub; `where` keeps some; of each row comes what it asks, which is cut, put into
a template, and tokenised. The prompts fall into three parts that never meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rlaif.config import DataSection
from rlaif.data.reading import Item, Reader, key_of
from rlaif.data.sources import source_of
from rlaif.data.template import read_template
from rlaif.data.tokens import Tokens
from rlaif.data.where import parse
from rlaif.errors import InputError
from rlaif.messages import text_of
from rlaif.rows import Source
from rlaif.schema import shown

__all__ = ["Parts", "Prompt", "load_parts", "prompts_of"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """
    What the policy is asked.

    Args:
        text: the filled template, without chat markup.
        ids: the tokens given to the policy, special tokens and chat markup included; four bytes each.
        columns: the data set's other columns.

    """

    text: str
    ids: Sequence[int]
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Parts:
    """Three lists of prompts of which no prompt is in two, and a line each on what was left out or cut."""

    train: list[Prompt]
    guard: list[Prompt]
    test: list[Prompt]
    notes: tuple[str, ...]


def load_parts(data: DataSection, tokenizer: Any, *, guard_prompts: int, test_prompts: int) -> Parts:
    """
    Read the prompts of a run file and split them, or raise `InputError`.

    The split is by a hash of the prompt: it depends neither on the seed nor on the order of the rows. The hash is of
    the text before it is cut, so that models with other tokenizers are tested on the same prompts.

    Args:
        data: the section of the run file.
        tokenizer: the policy's.
        guard_prompts: at most so many for the guard, and at most 10 %; 0 for none.
        test_prompts: at most so many for the test, and at most 20 %, or what `test_split` has; 0 for none.

    """
    template = read_template(data.template) if data.template else None
    source = source_of(data, data.split)
    test_source = source_of(data, data.test_split, test=True) if data.test_split else None
    tokens = Tokens(tokenizer, data.max_prompt_tokens)

    def read(source: Source) -> Reader:
        condition = parse(data.where) if data.where is not None else None
        reader = Reader(source.where, tokens, data.overlong, template, condition, distinct=True)
        reader.take(((f"{source.where}, {place}", row) for place, row in source.rows()), data.column, "data.column")
        return reader

    whole = read(source)
    pool = sorted(whole.items, key=lambda item: item.key)
    notes = list(whole.notes)
    if test_source:
        apart = read(test_source)
        known = {key for item in whole.items for key in (item.key, key_of(item.text))}
        left = [item for item in apart.items if item.key not in known and key_of(item.text) not in known]
        notes += apart.notes
        if len(left) < len(apart.items):
            gone = len(apart.items) - len(left)
            notes.append(f"{test_source.where}: {gone} of {_count(apart.items)} left out: {source.where} has them")
        test = sorted(left, key=lambda item: item.key)[:test_prompts]
        found = f"{source.where} has {_count(pool)}, and {test_source.where} {_count(left)} that it has not"
    else:
        test = pool[: min(test_prompts, len(pool) // 5)]
        found = f"{source.where} has {_count(pool)}"
    whole_size, taken = len(pool), 0 if test_source else len(test)
    pool = pool[taken:]
    guard = pool[: min(guard_prompts, whole_size // 10)]
    train = pool[len(guard) :]
    sizes = f"that makes {len(train)} to train on, {len(guard)} for the guard and {len(test)} for the test"
    if not train or (guard_prompts and not guard) or (test_prompts and not test):
        raise InputError(
            f"data.dataset: {found}; {sizes}, and none may be empty: the guard gets at most 10 %, the test 20 % or "
            "what data.test_split holds; give more prompts"
        )
    return Parts(_prompts(train), _prompts(guard), _prompts(test), tuple(notes))


def prompts_of(
    rows: Iterable[Any],
    tokenizer: Any,
    *,
    column: str | None = None,
    template: str | None = None,
    max_prompt_tokens: int | None = None,
    overlong: Literal["drop", "truncate"] = "truncate",
    where: str = "train_dataset",
) -> tuple[list[Prompt], tuple[str, ...]]:
    """
    Make prompts of rows in memory, in their order, and say what was left out or cut. Repeated ones are kept.

    Args:
        rows: of a `datasets.Dataset`, or mappings, texts or lists of messages.
        tokenizer: the policy's.
        column: as `data.column`.
        template: as `data.template`.
        max_prompt_tokens: as `data.max_prompt_tokens`; None: no limit.
        overlong: as `data.overlong`.
        where: the rows as messages name them.

    """
    if isinstance(rows, Mapping):
        raise InputError(f"{where}: should be rows, not a mapping of {', '.join(map(str, rows))}; choose one of them")
    if isinstance(rows, str | bytes):
        raise InputError(f"{where}: should be a list of prompts, not one; put it in brackets")
    tokens = Tokens(tokenizer, max_prompt_tokens)
    reader = Reader(where, tokens, overlong, read_template(template) if template else None)
    reader.take(_in_memory(rows, where), column, "column")
    return _prompts(reader.items), reader.notes


def _in_memory(rows: Iterable[Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for i, row in enumerate(rows):
        place = f"{where}, item {i}"
        if isinstance(row, Mapping):
            yield place, row
        elif text_of(row) is not None:
            yield place, {"prompt": row}
        else:
            raise InputError(f"{place}: should be a mapping, a text or a list of messages, not {shown(row)}")


def _prompts(items: Iterable[Item]) -> list[Prompt]:
    return [Prompt(item.filled, item.ids, item.columns) for item in items]


def _count(items: Sequence[Any]) -> str:
    return f"{len(items)} prompt{'' if len(items) == 1 else 's'}"
