"""Loads the tokenizer of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.core.system.hub import explain_hub_error
from rlaif.policy.adapter import base_of, where_of_base

FEWEST_WORDS = 3
"""Tokens beside the special ones; SentencePiece without a vocabulary knows its blank and `<unk>`."""


def read_tokenizer(source: str, revision: str | None = None, where: str = "policy.model") -> Any:
    """Load the tokenizer of a model or of an adapter, before the model itself."""
    return load_tokenizer(source, base_of(source, revision, where)[0], revision, where)


def load_tokenizer(source: str, base: str, revision: str | None, where: str, **options: Any) -> Any:
    """
    Load the tokenizer in `source`, or that of `base` where an adapter's folder comes without one.

    Args:
        source: folder or hub id of a model or an adapter.
        base: of the model that it is, or that the adapter is of.
        revision: of `source`.
        where: the first words of a message.
        options: of `from_pretrained`.

    Raises:
        InputError: there is no tokenizer, or one of special tokens only.

    """
    from transformers import AutoTokenizer

    if not _may_hold_tokenizer(source) and source != base:
        source, revision, where = base, None, where_of_base(source, where)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, **options)
    except Exception as error:
        if not Path(source).is_dir():
            raise explain_hub_error(error, source, where) from error
        if not (Path(source) / "config.json").exists() and source == base:
            raise InputError(f"{where}: the folder {source} holds no model: it has no config.json") from None
        why = reason_of(error) if _may_hold_tokenizer(source) else _SAVE_ONE
        raise InputError(f"{where}: the folder {source} holds no tokenizer: {why}") from error
    if len(set(tokenizer.get_vocab().values()) - set(tokenizer.added_tokens_decoder)) < FEWEST_WORDS:
        # transformers makes a tokenizer of a config alone: without a word, and without words.
        raise InputError(
            f"{where}: the tokenizer of {source} knows special tokens only, its vocabulary is missing; {_SAVE_ONE}"
        )
    return tokenizer


def refuse_small_vocabulary(tokenizer: Any, rows: int, where: str) -> None:
    """Raise `InputError` where a tokenizer has more tokens than there are embeddings, or less than half as many."""
    if len(tokenizer) > rows:
        raise InputError(
            f"{where}: the tokenizer has {len(tokenizer)} tokens and the model embeddings for {rows}; "
            "they do not belong together"
        )
    if len(tokenizer) < rows / 2:
        raise InputError(
            f"{where}: the tokenizer has {len(tokenizer)} tokens only, and the model embeddings for {rows}: its "
            f"vocabulary is missing, or it is of another model; {_SAVE_ONE}"
        )


def _may_hold_tokenizer(source: str) -> bool:
    return not Path(source).is_dir() or any((Path(source) / name).exists() for name in _TOKENIZER_FILES)


_SAVE_ONE = "save the model's own there by save_pretrained"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json")
