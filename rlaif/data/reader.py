"""Turns rows into prompts: selects rows, extracts prompts, truncates them, fills the template and tokenises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

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
    "repeated": "{count} of {rows} rows left out: the prompt repeats that of another row",
    "long": "{count} of {rows} rows left out: the prompt is longer than max_prompt_tokens ({limit})",
    "cut": "{count} of {rows} prompts cut to their last {limit} tokens (max_prompt_tokens)",
    "alike": "{count} of {rows} rows left out: after cutting, the prompt equals that of another row",
}


def key_of(text: str) -> bytes:
    """Hash a prompt, ignoring differences in white space. Lone surrogates count as `?`."""
    return blake2b(" ".join(text.split()).encode(errors="replace"), digest_size=16).digest()


@dataclass(slots=True, eq=False)
class DraftPrompt:
    """
    A prompt that is being prepared.

    Args:
        where: name of its row in messages.
        key: hash of the text in the data, before truncation.
        text: text of the prompt, without the template.
        messages: the conversation for the chat template, which is truncated by turns; None for a plain text.
        dialogue: whether `messages` were parsed from a dialogue in a text.
        columns: other columns of the row.
        filled: the template filled with the text.
        ids: token ids.

    """

    where: str
    key: bytes
    text: str
    messages: tuple[Message, ...] | None
    dialogue: bool
    columns: Mapping[str, object]
    filled: str = ""
    ids: Sequence[int] = ()


@dataclass
class Reader:
    """
    Reads the prompts of one source.

    Args:
        source: name of the source in messages.
        tokens: the tokenizer with its limit of tokens.
        overlong: whether prompts over the limit are dropped or truncated.
        template: template for the prompts; None for none.
        condition: condition that selects rows; None for all rows.
        distinct: whether to keep only one of several equal prompts.
        items: the prompts that have been read.

    """

    source: str
    tokens: LimitedTokenizer
    overlong: Literal["drop", "truncate"]
    template: Template | None = None
    condition: Condition | None = None
    distinct: bool = False
    items: list[DraftPrompt] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_NOTES, 0))

    def take(self, rows: Iterable[tuple[str, Mapping[str, object]]], column: str | None, column_key: str) -> None:
        """
        Read all rows and tokenise their prompts.

        Args:
            rows: the rows with their places, for messages.
            column: column of prompts, or None for the default.
            column_key: name of the setting that chooses the column, for messages.

        Raises:
            InputError: a row is invalid, or no prompt is left.

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
        """Notes on prompts that were left out or truncated, one line per reason."""
        return tuple(f"{self.source}: {note}" for note in self._notes())

    def _notes(self) -> list[str]:
        limit = self.tokens.limit
        return [
            note.format(count=count, rows=self._counts["rows"], limit=limit)
            for name, note in _NOTES.items()
            if note and (count := self._counts[name])
        ]

    def _read_rows(
        self, rows: Iterable[tuple[str, Mapping[str, object]]], column: str | None, column_key: str
    ) -> Iterator[DraftPrompt]:
        chosen: list[str | None] = []
        seen: set[bytes] = set()
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
            if self.distinct and key in seen:
                self._counts["repeated"] += 1
                continue
            seen.add(key)
            messages = asked.messages
            if asked.dialogue and self.tokens.chat and not self.template:
                messages = conversation(messages_of(asked.text)).messages
            yield DraftPrompt(where, key, asked.text, messages, asked.dialogue, other_columns(row, chosen[0]))

    def _drop_repeated(self) -> None:
        """
        Keep one of several prompts that are equal after truncation.

        The one with the lowest hash is kept, so that the result does not depend on the order of the rows.
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
        # Texts without a template were tokenised when their tokens were counted.
        remaining = [item for item in items if self.template or item.messages is not None]
        if self.tokens.chat:
            markup = [self.tokens.apply_chat_template(self._conversation(item), item.where) for item in remaining]
            tokenised = self.tokens.ids_of_markup(markup)
        else:
            filled = [self._fill(item, self.tokens.cut_special_tokens) for item in remaining]
            tokenised = self.tokens.ids_of_filled(filled)
        for item, ids in zip(remaining, tokenised, strict=True):
            item.ids = compact(ids)
        return items

    def _fill(self, item: DraftPrompt, change: Callable[[str], str] = str) -> str:
        """Return the text of a prompt in the template, if there is one; what is put in is changed so."""
        return item.text if self.template is None else self.template.fill(item.text, item.columns, item.where, change)

    def _conversation(self, item: DraftPrompt) -> tuple[Message, ...]:
        return ({"role": "user", "content": item.filled},) if self.template else item.messages or ()

    def _fit_texts(self, items: list[DraftPrompt]) -> list[DraftPrompt]:
        """Tokenise texts, and truncate or drop those that are too long."""
        kept = []
        made = self.tokens.fit([item.text for item in items], cut=self.overlong == "truncate")
        for item, fitted in zip(items, made, strict=True):
            if not fitted.long or self._keeps():
                item.text, item.ids = fitted.text, compact(fitted.ids)
                kept.append(item)
        return kept

    def _fit_turns(self, items: list[DraftPrompt]) -> list[DraftPrompt]:
        """Truncate or drop conversations that are too long."""
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
        """Count a prompt that is too long, and return whether to truncate it instead of dropping it."""
        self._counts["cut" if self.overlong == "truncate" else "long"] += 1
        return self.overlong == "truncate"
