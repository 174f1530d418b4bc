"""What people and models wrote is text to a tokenizer, also where it spells a special token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

CUT = "\U000f5ca1"
"""Stands for a moment where a special token is cut in two; a character that is assigned to nothing."""


def text_options(tokenizer: Any) -> dict[str, Any]:
    """Return the option of a call of the tokenizer by which the special tokens that a text spells are text."""
    # What is built on mistral-common takes them for text anyway, and knows no such option.
    return {} if "MistralCommon" in type(tokenizer).__name__ else {"split_special_tokens": True}


def spell_out(tokenizer: Any, text: str) -> str:
    """Return a text for `text_options`: to some slow tokenizers that is not enough, and a blank splits the token."""
    return text if getattr(tokenizer, "is_fast", True) else cut_special_tokens(tokenizer, text).replace(CUT, " ")


def cut_special_tokens(tokenizer: Any, text: str) -> str:
    """
    Return a text, to be put into a template, with `CUT` in each special token that it spells.

    A text that spells none is returned as it is, so that its tokens stay what they were.
    """
    text = text.replace(CUT, "")
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    spelled = {str(token) for token in added if token.special} | set(tokenizer.all_special_tokens)
    found = sorted((token for token in spelled if len(token) > 1 and token in text), key=len, reverse=True)
    if not found:
        return text
    # The look ahead finds tokens that overlap, too.
    return re.sub(f"(?=(?:{'|'.join(map(re.escape, found))}))(.)", rf"\1{CUT}", text, flags=re.DOTALL)


def tokenize_markup(tokenizer: Any, texts: Sequence[str], **options: Any) -> Any:
    """
    Tokenise texts whose special tokens are meant, but for those that `cut_special_tokens` has cut.

    Args:
        tokenizer: of transformers.
        texts: what a chat template made.
        options: of the call.

    Returns:
        What the tokenizer returns, as lists; the parts of a text that was cut follow each other.

    """
    made = tokenizer([text.replace(CUT, "") for text in texts], add_special_tokens=False, verbose=False, **options)
    for row, text in enumerate(texts):
        if CUT in text:
            parts = tokenizer(text.split(CUT), add_special_tokens=False, verbose=False, **options)
            for key in parts:
                made[key][row] = [value for part in parts[key] for value in part]
    return made
