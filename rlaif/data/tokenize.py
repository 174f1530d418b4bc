"""Tokenises prompts in batches: counts tokens, truncates on the left, and applies the chat template."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.plain_text import CUT, cut_special_tokens, tokenize_markup
from rlaif.core.schema import reason_of
from rlaif.data.prompt_column import Message

BATCH = 1024
"""Texts per call of the tokenizer: enough to keep its threads busy, and few enough for memory."""


@dataclass(slots=True)
class FittedText:
    """A text and its token ids, special tokens included. `long` says whether it was over the limit."""

    text: str
    ids: list[int]
    long: bool = False


class LimitedTokenizer:
    """
    A tokenizer with a limit on the length of texts.

    Args:
        tokenizer: tokenizer of transformers, fast or slow.
        limit: largest number of tokens of a text, without special tokens; None for no limit.

    """

    def __init__(self, tokenizer: Any, limit: int | None) -> None:
        self.tokenizer, self.limit = tokenizer, limit
        self.chat = bool(getattr(tokenizer, "chat_template", None))
        self._special = len(self.ids([""])[0]) - len(self.ids([""], special=False)[0])

    def ids(self, texts: Sequence[str], *, special: bool = True) -> list[list[int]]:
        """Tokenise texts, with the tokenizer's special tokens or without any."""
        return self._tokenise(texts, special)["input_ids"] if texts else []

    def ids_of_markup(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise what the chat template made: its special tokens are meant, those that messages spell are text."""
        return tokenize_markup(self.tokenizer, texts, return_attention_mask=False)["input_ids"] if texts else []

    def cut_special_tokens(self, text: str) -> str:
        """Mark the special tokens that a text spells, so that `ids_of_filled` takes them for text."""
        return cut_special_tokens(self.tokenizer, text)

    def ids_of_filled(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise filled templates with the tokenizer's own special tokens around them; those put in are text."""
        made = self.ids([text.replace(CUT, "") for text in texts])
        if cut := [row for row, text in enumerate(texts) if CUT in text]:
            around, bare = self.ids(["a"])[0], self.ids(["a"], special=False)[0]
            start = next(i for i in range(len(around)) if around[i : i + len(bare)] == bare)
            for row, ids in zip(cut, self.ids_of_markup([texts[row] for row in cut]), strict=True):
                made[row] = [*around[:start], *ids, *around[start + len(bare) :]]
        return made

    def _tokenise(self, texts: Sequence[str], special: bool = True) -> Any:
        return self.tokenizer(list(texts), add_special_tokens=special, return_attention_mask=False, verbose=False)

    def fits(self, count: int) -> bool:
        """Whether `count` tokens are within the limit."""
        return self.limit is None or count <= self.limit

    def apply_chat_template(self, messages: Sequence[Message], where: str) -> str:
        """Apply the chat template, which adds special tokens, up to the start of the assistant's answer."""
        if not all(isinstance(message.get("role"), str) for message in messages):
            raise InputError(f"{where}: a message has no role, and the tokenizer's chat template needs one")
        try:
            cut = [
                {**message, "content": cut_special_tokens(self.tokenizer, content)}
                if isinstance(content := message.get("content"), str)
                else message
                for message in messages
            ]
            text = self.tokenizer.apply_chat_template(cut, tokenize=False, add_generation_prompt=True)
        except Exception as error:
            raise InputError(
                f"{where}: the tokenizer's chat template refuses the messages: {reason_of(error)}"
            ) from error
        return str(text)

    # --- truncation -------------------------------------------------------------------------------------------

    def fit(self, texts: Sequence[str], *, cut: bool = True) -> list[FittedText]:
        """Tokenise texts, and truncate those that are too long on the left, unless `cut` is False."""
        if not texts:
            return []
        made = self._tokenise(texts)
        fitted = [FittedText(*pair) for pair in zip(texts, made["input_ids"], strict=True)]
        if self.limit is None:
            return fitted
        for one in fitted:
            one.long = not self.fits(len(one.ids) - self._special)
        long = [i for i, one in enumerate(fitted) if one.long]
        if cut and made.encodings:
            self._cut([fitted[i] for i in long], [_offsets(made.encodings[i]) for i in long])
        elif cut:
            for i in long:
                self._cut_by_halving(fitted[i])
        return fitted

    def _cut(self, long: list[FittedText], offsets: list[list[tuple[int, int]]]) -> None:
        assert self.limit is not None
        waiting = [(one, one.text, places, self.limit) for one, places in zip(long, offsets, strict=True)]
        while waiting:  # a suffix may be tokenised differently from the whole text; then keep a few tokens less
            for one, text, places, keep in waiting:
                one.text = _suffix(text, places, keep)
            again = []
            for ids, (one, text, places, keep) in zip(
                self.ids([one.text for one, *_ in waiting]), waiting, strict=True
            ):
                one.ids = ids
                excess = len(ids) - self._special - self.limit
                if excess > 0 and one.text:
                    again.append((one, text, places, max(0, keep - excess)))
            waiting = again

    def _cut_by_halving(self, one: FittedText) -> None:
        """Truncate by bisection, for tokenizers that do not report the positions of tokens."""
        start, end = 0, len(one.text)  # the text from `end` on fits
        while end - start > 1:
            middle = (start + end) // 2
            if self.fits(len(self.ids([one.text[middle:]])[0]) - self._special):
                end = middle
            else:
                start = middle
        one.text = one.text[end:]
        one.ids = self.ids([one.text])[0]

    def last_of_turns(self, messages: Sequence[Message], counts: Sequence[int]) -> tuple[Message, ...]:
        """
        Return a conversation without its oldest turns, so that it fits into the limit.

        A system message stays if it leaves room for the last turn. The rest begins with a turn of the user. A last turn
        that is too long is returned alone and in full; the caller has to truncate it.
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
    """Return token ids as an array of four bytes each, to save memory."""
    return array("i", ids)


def _offsets(encoding: Any) -> list[tuple[int, int]]:
    """Return the start and end of each token in the text, without special tokens."""
    return [place for place, special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True) if not special]


def _suffix(text: str, offsets: Sequence[tuple[int, int]], keep: int) -> str:
    """Return the end of a text with at most `keep` tokens, starting at a token that begins a new character."""
    for i in range(len(offsets) - keep, len(offsets)):
        start = offsets[i][0]
        if not i or offsets[i - 1][1] <= start:
            return text[start:]
    return ""
