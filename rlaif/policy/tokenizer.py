"""Loads the tokenizer of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.core.system.hub import explain_hub_error
from rlaif.policy.adapter import base_of


def read_tokenizer(source: str, revision: str | None = None, where: str = "policy.model") -> Any:
    """Load the tokenizer of a model or of an adapter, before the model itself."""
    base, adapter = base_of(source, revision, where)
    return load_tokenizer(source, base, revision, where) if adapter else load_tokenizer(base, base, revision, where)


def load_tokenizer(source: str, base: str, revision: str | None, where: str) -> Any:
    """Load the tokenizer in `source`, or that of `base` where an adapter's folder comes without one."""
    from transformers import AutoTokenizer

    if not _may_hold_tokenizer(source):
        source = base  # an adapter's folder may come without one
    try:
        return AutoTokenizer.from_pretrained(source, revision=revision)
    except Exception as error:
        if not Path(source).is_dir():
            raise explain_hub_error(error, source, where) from error
        if not (Path(source) / "config.json").exists() and source == base:
            raise InputError(f"{where}: the folder {source} holds no model: it has no config.json") from None
        why = reason_of(error) if _may_hold_tokenizer(source) else "save the model's own there by save_pretrained"
        raise InputError(f"{where}: the folder {source} holds no tokenizer: {why}") from error


def _may_hold_tokenizer(source: str) -> bool:
    return not Path(source).is_dir() or any((Path(source) / name).exists() for name in _TOKENIZER_FILES)


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json")
