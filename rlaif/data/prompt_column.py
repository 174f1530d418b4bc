"""The prompt of a row: the column of prompts, or the shared beginning of its chosen and rejected completions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rlaif.core.errors import InputError
from rlaif.core.messages import text_of
from rlaif.core.schema import did_you_mean, short_repr
from rlaif.data.columns import MISSING, drop_column, get_column, names

Message = dict[str, Any]
PAIR: tuple[Literal["chosen", "rejected"], ...] = ("chosen", "rejected")
ANSWER = "\n\nAssistant:"
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class RawPrompt:
    """
    The prompt of a row.

    Args:
        text: text of the prompt, without template and chat markup.
        messages: the conversation, or None for a plain text.
        dialogue: whether the text is a dialogue as in HH-RLHF, with alternating `Human: ...` and `Assistant: ...`.

    """

    text: str
    messages: tuple[Message, ...] | None = None
    dialogue: bool = False


def column_of(row: Mapping[str, object], wanted: str | None, where: str, key: str) -> str | None:
    """
    Choose the column of prompts from the first row.

    Args:
        row: the first row.
        wanted: name of the column from the settings, or None for `prompt`; `prompt.text` is `text` inside `prompt`.
        where: name of the row in messages.
        key: name of the setting that chooses the column, for messages.

    Returns:
        The name of the column, or None if the prompt is the shared beginning of `chosen` and `rejected`.

    Raises:
        InputError: the row has no such column.

    """
    if wanted is None and "prompt" not in row:
        if all(name in row for name in PAIR):
            return None
        raise InputError(
            f"{where}: has neither 'prompt' nor 'chosen' and 'rejected'; there are: {names(row)}; "
            f"name the column of prompts with {key}"
        )
    column = wanted or "prompt"
    if get_column(row, column) is MISSING:
        hint = did_you_mean(column, list(row))
        raise InputError(f"{where}: has no column {short_repr(column)}{hint}; there are: {names(row)}; correct {key}")
    return column


def read_prompt(row: Mapping[str, object], column: str | None, where: str, key: str) -> RawPrompt:
    """Return the prompt of a row, which may be blank. Raises `InputError` if it is missing or of a wrong type."""
    if column is None:
        chosen, rejected = (_value(row, name, where, key) for name in PAIR)
        return _extract_shared(chosen, rejected, where)
    return _read(_value(row, column, where, key))


def other_columns(row: Mapping[str, object], column: str | None) -> dict[str, object]:
    """Return the columns other than the prompt. `chosen` and `rejected` stay, because judges may read them."""
    return dict(row) if column is None else drop_column(row, column)


def _value(row: Mapping[str, object], column: str, where: str, key: str) -> str | tuple[Message, ...]:
    value = get_column(row, column)
    if value is MISSING:
        raise InputError(f"{where}: has no column {short_repr(column)}; there are: {names(row)}")
    if value is None:
        raise InputError(
            f"{where}: {column!r} is null; correct the row or leave it out, as `where: {column} != null` does"
        )
    if (text := text_of(value)) is None:
        hint = ""
        if isinstance(value, Mapping):
            text_keys = [str(name) for name, inner in value.items() if text_of(inner) is not None]
            hint = f"; use {key}: {column}.{text_keys[0]} for the text inside it" if text_keys else ""
        raise InputError(f"{where}: {column!r} should be text or a list of messages, not {short_repr(value)}{hint}")
    if isinstance(value, str):
        return _unicode(text)
    return tuple(_plain(message) for message in value)


def _unicode(text: str) -> str:
    """Replace lone surrogates, which JSON allows but tokenizers do not."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _plain(message: Mapping[str, object]) -> Message:
    """Drop null keys of a message: a table gives all messages the same keys."""
    content = text_of([message]) or ""
    return {**{key: value for key, value in message.items() if value is not None}, "content": _unicode(content)}


# --- removing the completion ----------------------------------------------------------------------------------


def _read(value: str | tuple[Message, ...]) -> RawPrompt:
    if not isinstance(value, str):
        return conversation(value)
    if not is_dialogue(value):
        return RawPrompt(value)
    turns = list(_TURN.finditer(value))
    return RawPrompt(value[: turns[-1].end()] if turns[-1][1] == "Assistant" else value, dialogue=True)


def _extract_shared(chosen: str | tuple[Message, ...], rejected: str | tuple[Message, ...], where: str) -> RawPrompt:
    """
    Return the shared beginning of both, as TRL's `extract_prompt` does.

    In a dialogue only complete turns count, so shared first words of the answers do not become part of the prompt.
    """
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise InputError(f"{where}: 'chosen' and 'rejected' should both be texts or both lists of messages")
    count = _common(chosen, rejected)
    if not isinstance(chosen, str):
        return conversation(chosen[:count])
    if is_dialogue(chosen):
        end = chosen.rfind(ANSWER, 0, count)
        return RawPrompt(chosen[: end + len(ANSWER)] if end >= 0 else "", dialogue=True)
    if count < min(len(chosen), len(rejected)) and chosen[count - 1 : count] == " ":
        count -= 1
    return RawPrompt(chosen[:count])


def _common(one: Any, other: Any) -> int:
    """Return the length of the common prefix, by bisection, which is faster than a loop over characters."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def conversation(messages: tuple[Message, ...]) -> RawPrompt:
    """Make a prompt from messages, without the assistant's messages at the end."""
    end = len(messages)
    while end and messages[end - 1].get("role") == "assistant":
        end -= 1
    messages = messages[:end]
    return RawPrompt(text_of(messages) or "", messages)


# --- dialogues of HH-RLHF -------------------------------------------------------------------------------------


def is_dialogue(text: str) -> bool:
    """Whether a text is a dialogue in the format of HH-RLHF."""
    start = text[: 100 + len(text) - len(text.lstrip())].lstrip()
    return start.startswith("Human:") and (ANSWER in text or text.startswith("\n\n"))


def messages_of(dialogue: str) -> tuple[Message, ...]:
    """Turn a dialogue into messages. Successive turns of a speaker are joined, as chat templates require."""
    _, *parts = _TURN.split(dialogue)
    messages: list[Message] = []
    for speaker, text in zip(parts[::2], parts[1::2], strict=True):
        role, content = _ROLES[speaker], text.strip()
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n\n{content}"
        else:
            messages.append({"role": role, "content": content})
    return tuple(messages)


def dialogue_of(messages: tuple[Message, ...]) -> str:
    """Turn messages into a dialogue that ends with the assistant's turn."""
    speakers = {role: speaker for speaker, role in _ROLES.items()}
    return "".join(f"\n\n{speakers[m['role']]}: {m['content']}" for m in messages) + ANSWER
