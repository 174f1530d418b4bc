"""Prompts as tokens, in batches: counted, cut from the left, put into the tokenizer's chat markup."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from rlaif.data.asked import Message
from rlaif.errors import InputError
from rlaif.schema import reason_of

BATCH = 1024
"""Texts a call of the tokenizer: enough to keep its threads busy, and few enough to hold."""


class Tokens:
    """
    A tokenizer with a limit.

    Args:
        tokenizer: of transformers, fast or slow.
        limit: tokens of a text at most, special tokens not counted; None: any number.

    """

    def __init__(self, tokenizer: Any, limit: int | None) -> None:
        self.tokenizer, self.limit = tokenizer, limit
        self.chat = bool(getattr(tokenizer, "chat_template", None))
        self._special = len(self.ids([""])[0]) - len(self.ids([""], special=False)[0])

    def ids(self, texts: Sequence[str], *, special: bool = True) -> list[list[int]]:
        """Tokenise texts with the tokenizer's own special tokens, or without any."""
        if not texts:
            return []
        made = self.tokenizer(list(texts), add_special_tokens=special, return_attention_mask=False, verbose=False)
        return made["input_ids"]  # type: ignore[no-any-return]

    def counts(self, ids: Sequence[Sequence[int]]) -> list[int]:
        """Count the tokens of tokenised texts without the special ones."""
        return [len(tokens) - self._special for tokens in ids]

    def fits(self, count: int) -> bool:
        """Whether a text of so many tokens is within the limit."""
        return self.limit is None or count <= self.limit

    def marked_up(self, messages: Sequence[Message], where: str) -> str:
        """Put a conversation into the chat template, which brings its own special tokens; an answer comes next."""
        if not all(isinstance(message.get("role"), str) for message in messages):
            raise InputError(f"{where}: a message has no role, and the tokenizer's chat template needs one")
        try:
            text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        except Exception as error:
            raise InputError(
                f"{where}: the tokenizer's chat template refuses the messages: {reason_of(error)}"
            ) from error
        return str(text)

    # --- too long ---------------------------------------------------------------------------------------------

    def last_of_texts(self, texts: Sequence[str]) -> list[str]:
        """Cut the beginnings of texts that are too long: what is kept is a suffix, to the letter."""
        if self.limit is None or not texts:
            return list(texts)
        if not getattr(self.tokenizer, "is_fast", False):
            return [self._last_by_halving(text) for text in texts]
        made = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, return_offsets_mapping=True,
            verbose=False,
        )  # fmt: skip
        offsets = made["offset_mapping"]
        kept, keep = list(texts), [self.limit] * len(texts)
        waiting = list(range(len(texts)))
        while waiting:  # a suffix may have other tokens than the text had there: then a few less are kept
            for i in waiting:
                kept[i] = _suffix(texts[i], offsets[i], keep[i])
            counts = map(len, self.ids([kept[i] for i in waiting], special=False))
            excess = {i: count - self.limit for i, count in zip(waiting, counts, strict=True) if count > self.limit}
            for i, more in excess.items():
                keep[i] = max(0, keep[i] - more)
            waiting = [i for i in excess if kept[i]]
        return kept

    def _last_by_halving(self, text: str) -> str:
        """Find the suffix with a tokenizer that does not say where its tokens stand."""
        assert self.limit is not None
        start, end = 0, len(text)  # the text from `end` on fits
        while end - start > 1:
            middle = (start + end) // 2
            if len(self.ids([text[middle:]], special=False)[0]) <= self.limit:
                end = middle
            else:
                start = middle
        return text[end:]

    def last_of_turns(self, messages: Sequence[Message], counts: Sequence[int]) -> tuple[Message, ...]:
        """
        Leave out the oldest turns of a conversation that is too long.

        A system message stays if it leaves room for the last turn. What is left begins with the user's turn. A last
        turn that is too long on its own is returned alone, and whole: it is left to the caller to cut.
        """
        assert self.limit is not None
        room = self.limit
        head = messages[:1] if messages[0].get("role") == "system" and len(messages) > 1 else messages[:0]
        if head and counts[0] + counts[-1] > room:
            head = messages[:0]
        room -= counts[0] if head else 0
        first = len(messages)
        while first > len(head) and counts[first - 1] <= room:
            first -= 1
            room -= counts[first]
        first = min(first, len(messages) - 1)
        while first < len(messages) - 1 and messages[first].get("role") != "user":
            first += 1
        return (*head, *messages[first:])


def compact(ids: Sequence[int]) -> array[int]:
    """Hold token ids in four bytes each."""
    return array("i", ids)


def _suffix(text: str, offsets: Sequence[tuple[int, int]], keep: int) -> str:
    """Return the end of a text from the first of its last `keep` tokens on that begins at a character of its own."""
    for i in range(len(offsets) - keep, len(offsets)):
        start = offsets[i][0]
        if not i or offsets[i - 1][1] <= start:
            return text[start:]
    return ""
