"""From rows to prompts with tokens: kept, asked, cut, put into the template, and counted on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from rlaif.core.errors import InputError
from rlaif.core.messages import text_of
from rlaif.data.filter import Condition
from rlaif.data.prompt_column import (
    Message,
    column_of,
    conversation,
    dialogue_of,
    messages_of,
    other_columns,
    read_prompt,
)
from rlaif.data.template import Template
from rlaif.data.tokenize import BATCH, LimitedTokenizer, compact

_NOTES = {
    "rows": "",
    "other": "{count} of {rows} rows left out: they do not match data.where",
    "blank": "{count} of {rows} rows left out: the prompt is blank",
    "repeated": "{count} of {rows} rows left out: the prompt stands in another row",
    "long": "{count} of {rows} rows left out: the prompt is longer than max_prompt_tokens ({limit})",
    "cut": "{count} of {rows} prompts cut to their last {limit} tokens (max_prompt_tokens)",
    "alike": "{count} of {rows} rows left out: cut, the prompt is that of another row",
}


def key_of(text: str) -> bytes:
    """Hash a prompt; white space makes no other prompt of it, nor do lone surrogates, which are read as `?`."""
    return blake2b(" ".join(text.split()).encode(errors="replace"), digest_size=16).digest()


@dataclass(slots=True, eq=False)
class DraftPrompt:
    """
    A prompt in the making.

    Args:
        where: its row as messages name it.
        key: the hash of the text as it stands in the data.
        text: what is asked, without the template.
        messages: the conversation that goes through the chat template, or is cut by turns; None for a text.
        dialogue: whether `messages` were read of a dialogue in a text.
        columns: the row's other columns.
        filled: the text in its template.
        ids: its tokens.

    """

    where: str
    key: bytes
    text: str
    messages: tuple[Message, ...] | None
    dialogue: bool
    columns: Mapping[str, Any]
    filled: str = ""
    ids: Sequence[int] = ()


@dataclass
class Reader:
    """
    The prompts of one source.

    Args:
        source: its name in messages.
        tokens: the tokenizer and the limit.
        overlong: what happens to texts over the limit.
        template: what the text is put into.
        condition: which rows are kept.
        distinct: whether a prompt that stands in several rows is kept once.

    """

    source: str
    tokens: LimitedTokenizer
    overlong: Literal["drop", "truncate"]
    template: Template | None = None
    condition: Condition | None = None
    distinct: bool = False
    items: list[DraftPrompt] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_NOTES, 0))

    def take(self, rows: Iterable[tuple[str, Mapping[str, Any]]], column: str | None, column_key: str) -> None:
        """
        Read all rows and tokenise their prompts, or raise `InputError`, also where none is left.

        Args:
            rows: each with its place as messages name it.
            column: of the prompt, or None.
            column_key: the setting that chooses it, as messages name it.

        """
        waiting = list(self._read_rows(rows, column, column_key))
        if self.condition:
            self.condition.refuse_unmet(self.source)
        for start in range(0, len(waiting), BATCH):
            self.items += self._tokenise(waiting[start : start + BATCH])
        if self.distinct:
            self._drop_repeated()
        if not self.items:
            raise InputError(
                "; ".join((f"{self.source}: no prompt is left of {self._counts['rows']} rows", *self._notes()))
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each thing that befell some of the prompts."""
        return tuple(f"{self.source}: {said}" for said in self._notes())

    def _notes(self) -> list[str]:
        limit = self.tokens.limit
        return [
            note.format(count=count, rows=self._counts["rows"], limit=limit)
            for name, note in _NOTES.items()
            if note and (count := self._counts[name])
        ]

    def _read_rows(
        self, rows: Iterable[tuple[str, Mapping[str, Any]]], column: str | None, column_key: str
    ) -> Iterator[DraftPrompt]:
        chosen: list[str | None] = []
        met: set[bytes] = set()
        for where, row in rows:
            self._counts["rows"] += 1
            if self.condition and not self.condition.keeps(row, where):
                self._counts["other"] += 1
                continue
            if not chosen:
                chosen.append(column_of(row, column, where, column_key))
            asked = read_prompt(row, chosen[0], where, column_key)
            if not asked.text.strip():
                self._counts["blank"] += 1
                continue
            key = key_of(asked.text)
            if self.distinct and key in met:
                self._counts["repeated"] += 1
                continue
            met.add(key)
            messages = asked.messages
            if asked.dialogue and self.tokens.chat and not self.template:
                messages = conversation(messages_of(asked.text)).messages
            yield DraftPrompt(where, key, asked.text, messages, asked.dialogue, other_columns(row, chosen[0]))

    def _drop_repeated(self) -> None:
        """
        Keep one of several prompts that are the same now that they are cut.

        The one with the lowest hash is kept, not the first, so that the order of the rows does not matter.
        """
        best: dict[bytes, DraftPrompt] = {}
        for item in self.items:
            key = key_of(item.text)
            best[key] = min(best.get(key, item), item, key=lambda item: item.key)
        self._counts["alike"] += len(self.items) - len(best)
        self.items = list(best.values())

    # --- a batch ----------------------------------------------------------------------------------------------

    def _tokenise(self, items: list[DraftPrompt]) -> list[DraftPrompt]:
        plain = self._fit_texts([item for item in items if item.messages is None])
        turns = self._fit_turns([item for item in items if item.messages is not None])
        fitted = {item for item in (*plain, *turns) if item.text.strip()}
        self._counts["blank"] += len(plain) + len(turns) - len(fitted)
        items = [item for item in items if item in fitted]
        for item in items:
            item.filled = self._fill(item)
        # Texts without a template have their tokens from when they were counted.
        open_ = [item for item in items if self.template or item.messages is not None]
        if self.tokens.chat:
            markup = [self.tokens.apply_chat_template(self._conversation(item), item.where) for item in open_]
            made = self.tokens.ids_of_markup(markup)
        else:
            made = self.tokens.ids_of_filled([self._fill(item, self.tokens.cut_special_tokens) for item in open_])
        for item, ids in zip(open_, made, strict=True):
            item.ids = compact(ids)
        return items

    def _fill(self, item: DraftPrompt, change: Callable[[str], str] = str) -> str:
        """Return the text of a prompt in the template, if there is one; what is put in is changed so."""
        return item.text if self.template is None else self.template.fill(item.text, item.columns, item.where, change)

    def _conversation(self, item: DraftPrompt) -> tuple[Message, ...]:
        return ({"role": "user", "content": item.filled},) if self.template else item.messages or ()

    def _fit_texts(self, items: list[DraftPrompt]) -> list[DraftPrompt]:
        """Give texts their tokens, and cut or drop those that are too long."""
        kept = []
        made = self.tokens.fit([item.text for item in items], cut=self.overlong == "truncate")
        for item, fitted in zip(items, made, strict=True):
            if not fitted.long or self._keeps():
                item.text, item.ids = fitted.text, compact(fitted.ids)
                kept.append(item)
        return kept

    def _fit_turns(self, items: list[DraftPrompt]) -> list[DraftPrompt]:
        """Cut or drop conversations that are too long."""
        if self.tokens.limit is None:
            return items
        counts = iter(self.tokens.ids([m["content"] for item in items for m in item.messages or ()], special=False))
        kept = []
        for item in items:
            messages = item.messages or ()
            sizes = [len(next(counts)) for _ in messages]
            if self.tokens.fits(sum(sizes)):
                kept.append(item)
            elif self._keeps():
                item.messages = self.tokens.last_of_turns(messages, sizes)
                if not self.tokens.fits(sizes[-1]):
                    last = item.messages[-1]
                    item.messages = ({**last, "content": self.tokens.fit([last["content"]])[0].text},)
                item.text = dialogue_of(item.messages) if item.dialogue else text_of(item.messages) or ""
                kept.append(item)
        return kept

    def _keeps(self) -> bool:
        """Count a prompt that is too long; whether it is cut rather than dropped."""
        self._counts["cut" if self.overlong == "truncate" else "long"] += 1
        return self.overlong == "truncate"
