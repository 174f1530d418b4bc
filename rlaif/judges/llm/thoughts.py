"""What a model thought aloud before it answered: where a thought ends, in the marks of the models that think."""

from __future__ import annotations

import re

_WORD = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis|cot|deliberation|inner_?monologue)"
_NAMED = rf"(?:\w+:)?{_WORD}"
"""`think`, or `seed:think` with the name of a model's family."""

_OPENS = "|".join(
    [
        rf"<{_NAMED}>",
        rf"\[{_NAMED}\]",
        rf"◁{_NAMED}▷",
        rf"<\|(?:begin_of_|start_of_|start_|begin_)?{_NAMED}(?:_start|_begin)?\|>",
        r"<\|channel\|>\s*(?:analysis|commentary)\b[^<\n]*<\|message\|>",
        rf"<\|?channel\|?>\s*{_NAMED}\b",
    ]
)
_ENDS = "|".join(
    [
        rf"</{_NAMED}>",
        rf"\[/{_NAMED}\]",
        rf"◁/{_NAMED}▷",
        rf"<\|(?:/|end_of_|end_){_NAMED}\|>",
        rf"<\|{_NAMED}_end\|>",
        r"<\|channel\|>\s*(?:final|answer|response)\b[^<\n]*<\|message\|>",
        r"<channel\|>",
        r"\bassistantfinal(?=\W|\n)",  # the channels of gpt-oss where a server drops special tokens
        r"(?<=[.!?\s])assistantfinal",
    ]
)
_OPEN, _END = re.compile(_OPENS, re.IGNORECASE), re.compile(_ENDS, re.IGNORECASE)
_TURN_ENDS = re.compile(r"(?:\s*(?:<\|[\w/]+\|>|</s>|<eos>|<end_of_turn>))+\s*\Z")


def drop_thoughts(text: str) -> str:
    """Return what stands behind the last end of a thought; its beginning may have stood in the prompt."""
    ends = list(_END.finditer(text))
    return text[ends[-1].end() :].strip() if ends else text.strip()


def first_thought(text: str) -> int | None:
    """Return where a thought begins that has no end in the text, or None."""
    found = _OPEN.search(text)
    return found.start() if found else None


def drop_turn_ends(text: str) -> str:
    """Return a text without the tokens that end a turn, which some servers leave in it."""
    return _TURN_ENDS.sub("", text).strip()
