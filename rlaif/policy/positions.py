"""Whether prompts and completions fit into the positions of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlaif.core.errors import InputError


def refuse_unfit(config: Any, prompt_lengths: Sequence[int], max_new_tokens: int, where: str = "") -> None:
    """
    Raise `InputError` where prompts have no token, or do not fit into the positions with their completions.

    Args:
        config: of a model of transformers.
        prompt_lengths: in tokens.
        max_new_tokens: of a completion.
        where: the first words of a message.

    """
    start = f"{where}: " if where else ""
    if not min(prompt_lengths):
        raise InputError(f"{start}prompt {prompt_lengths.index(0)} has no token; leave it out")
    there = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    longest = max(prompt_lengths)
    needed = max(longest, max_new_tokens + 1) if config.is_encoder_decoder else longest + max_new_tokens
    if there is not None and needed > there:
        raise InputError(
            f"{start}the model has {there} positions, and the longest prompt takes {longest} tokens, a completion up "
            f"to {max_new_tokens}; lower data.max_prompt_tokens or generation.max_new_tokens"
        )
