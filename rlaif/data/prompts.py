"""
Loads the prompts of a run: the `data` section of a run file.

Rows come from a file, a folder or the hub, and `where` selects some of them. The prompt of each row is truncated, put
into a template and tokenised. The prompts are split into three parts that share no prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rlaif.core.config.sections import DataSection
from rlaif.core.errors import InputError
from rlaif.core.messages import text_of
from rlaif.core.schema import short_repr
from rlaif.data.filter import parse
from rlaif.data.reader import DraftPrompt, Reader, key_of
from rlaif.data.rows import RowSource
from rlaif.data.sources import source_of
from rlaif.data.template import Template, read_template
from rlaif.data.tokenize import LimitedTokenizer

__all__ = ["Parts", "Prompt", "load_parts", "prompts_of", "refuse_missing"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """
    A prompt for the policy.

    Args:
        text: the filled template, without chat markup.
        ids: token ids for the policy, including special tokens and chat markup.
        columns: other columns of the data set.

    """

    text: str
    ids: Sequence[int]
    columns: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Parts:
    """Three disjoint lists of prompts, and notes on what was left out or truncated."""

    train: list[Prompt]
    guard: list[Prompt]
    test: list[Prompt]
    notes: tuple[str, ...]


def refuse_missing(data: DataSection) -> None:
    """Raise `InputError` if a file of the section does not exist. Reads no data and makes no request to the hub."""
    source_of(data, data.split).rows()
    if data.test_split:
        source_of(data, data.test_split, test=True).rows()
    if data.template:
        read_template(data.template)


def load_parts(data: DataSection, tokenizer: Any, *, guard_prompts: int, test_prompts: int) -> Parts:
    """
    Read the prompts of a run file and split them.

    The split uses a hash of the prompt, so it depends neither on the seed nor on the order of the rows. The hash is
    taken before truncation, so models with different tokenizers are tested on the same prompts.

    Args:
        data: the section `data` of the run file.
        tokenizer: tokenizer of the policy.
        guard_prompts: largest number of prompts for the guard, which gets at most 10 %; 0 for none.
        test_prompts: largest number of prompts for the test, which gets at most 20 %, or up to all of `test_split`; 0
            for none.

    Raises:
        InputError: the data cannot be read, or a part that is needed is empty.

    """
    template = read_template(data.template) if data.template else None
    source = source_of(data, data.split)
    test_source = source_of(data, data.test_split, test=True) if data.test_split else None
    tokens = LimitedTokenizer(tokenizer, data.max_prompt_tokens)
    whole = _read(data, source, tokens, template)
    pool = sorted(whole.items, key=lambda item: item.key)
    notes, found = whole.notes, f"{whole.source} has {_count(pool)}"
    guard_size = min(guard_prompts, len(pool) // 10)
    if test_source:
        apart = _read(data, test_source, tokens, template)
        known = {key for item in pool for key in (item.key, key_of(item.text))}
        new = [item for item in apart.items if known.isdisjoint((item.key, key_of(item.text)))]
        notes += apart.notes
        if gone := len(apart.items) - len(new):
            notes += (f"{apart.source}: {gone} of {_count(apart.items)} left out: {whole.source} has them",)
        found += f", and {apart.source} has {len(new)} more"
        test = sorted(new, key=lambda item: item.key)[:test_prompts]
    else:
        test_size = min(test_prompts, len(pool) // 5)
        test, pool = pool[:test_size], pool[test_size:]
    guard, train = pool[:guard_size], pool[guard_size:]
    if not train or (guard_prompts and not guard) or (test_prompts and not test):
        raise InputError(
            f"data.dataset: {found}: that makes {len(train)} to train on, {len(guard)} for the guard (at most 10 %) "
            f"and {len(test)} for the test ({'data.test_split' if test_source else 'at most 20 %'}), "
            "and no part may be empty; give more prompts"
        )
    return Parts(_prompts(train), _prompts(guard), _prompts(test), notes)


def _read(data: DataSection, source: RowSource, tokens: LimitedTokenizer, template: Template | None) -> Reader:
    condition = parse(data.where) if data.where is not None else None
    name = f"{source.where} ({source.split})" if source.split else source.where
    reader = Reader(name, tokens, data.overlong, template, condition, distinct=True)
    reader.take(((f"{source.where}, {place}", row) for place, row in source.rows()), data.column, "data.column")
    return reader


def prompts_of(
    rows: Iterable[Any],
    tokenizer: Any,
    *,
    column: str | None = None,
    template: str | None = None,
    max_prompt_tokens: int | None = None,
    overlong: Literal["drop", "truncate"] = "truncate",
    where: str = "train_dataset",
    places: Sequence[str] | None = None,
    key: str = "column",
) -> tuple[list[Prompt], tuple[str, ...]]:
    """
    Make prompts from rows in memory, in their order. Repeated prompts are kept.

    Args:
        rows: a `datasets.Dataset`, or mappings, texts or lists of messages.
        tokenizer: tokenizer of the policy.
        column: column of prompts, as `data.column`.
        template: template of prompts, as `data.template`.
        max_prompt_tokens: as `data.max_prompt_tokens`; None for no limit.
        overlong: as `data.overlong`.
        where: name of the rows in messages.
        places: name of each row in messages, such as `line 3`; None for `item 2`, counted from 0.
        key: name of the setting that chooses the column, for messages.

    Returns:
        The prompts, and notes on what was left out or truncated.

    Raises:
        InputError: a row has no prompt, or none is left.

    """
    if isinstance(rows, Mapping):
        raise InputError(f"{where}: should be rows, not a mapping of {', '.join(map(str, rows))}; choose one of them")
    if isinstance(rows, str | bytes):
        raise InputError(f"{where}: should be a list of prompts, not a single one; put it in brackets")
    tokens = LimitedTokenizer(tokenizer, max_prompt_tokens)
    reader = Reader(where, tokens, overlong, read_template(template) if template else None)
    reader.take(_number_rows(rows, where, places), column, key)
    return _prompts(reader.items), reader.notes


def _number_rows(
    rows: Iterable[Any], where: str, places: Sequence[str] | None = None
) -> Iterator[tuple[str, Mapping[str, object]]]:
    for i, row in enumerate(rows):
        place = f"{where}, {places[i] if places else f'item {i}'}"
        if isinstance(row, Mapping):
            yield place, row
        elif text_of(row) is not None:
            yield place, {"prompt": row}
        else:
            raise InputError(f"{place}: should be a mapping, a text or a list of messages, not {short_repr(row)}")


def _prompts(items: Iterable[DraftPrompt]) -> list[Prompt]:
    return [Prompt(item.filled, item.ids, item.columns) for item in items]


def _count(items: Sequence[Any]) -> str:
    return f"{len(items)} prompt{'' if len(items) == 1 else 's'}"
