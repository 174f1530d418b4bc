"""What endpoints say when they refuse, in the words of many: whose mistake it is, and a page that is no answer."""

from __future__ import annotations

import html
import re

TOO_LONG = (
    r"context.?(length|window|size)|input is too long|prompt is too long|maximum.{0,20}tokens|"
    r"too (many (input )?tokens|long)|exceeds?.{0,40}(context|tokens)|(request|input|prompt).{0,20}too large"
)
FILTERED = r"content.?(filter|management|policy)|safety system|guardrail|blocked by"

_LIMIT = r"max(imum)?[_ ]?(completion[_ ]|new[_ ]|output[_ ])?tokens( you requested)?"
_TOO_MUCH = (
    r"too (large|high|big|many)|at most|(less|lower|smaller|greater|higher|larger|more) than|exceeds?|out of range|"
    r"may be \d|up to \d|<=|must be (in|between|under|below)|limit (is|of)|should be"
)
_LIMIT_IS_TOO_HIGH = re.compile(rf"{_LIMIT}\b.{{0,80}}({_TOO_MUCH})", re.IGNORECASE)
_OF_THE_TEXT = re.compile(r"context.?(length|window|size)|\b(input|prompt|messages?)\b", re.IGNORECASE)

_MODEL = r"model(?:[ _]?(?:id|name|identifier))?"
_NO_MODEL = re.compile(
    rf"\bno (?:such )?{_MODEL}\b|\bunknown {_MODEL}\b|\binvalid {_MODEL}\b|\bnot a valid {_MODEL}\b|"
    rf"\b{_MODEL}\b.{{0,120}}?\b(?:do(?:es)? ?n[o']t exist|does not exist|(?:was |be |is )?not found|"
    rf"is invalid|(?:is|was) (?:not |n't )(?:a )?"
    rf"(?:valid|known|available|loaded|served|recogni[sz]ed|listed|deployed)|is unknown)|"
    rf"(?:could ?n[o']t|can ?not|can't|unable to|failed to) (?:find|load|resolve|locate)\b.{{0,40}}\bmodel\b",
    re.IGNORECASE,
)
_NO_MODEL_CODES = ("model_not_found", "no_such_model", "unknown_model", "invalid_model", "invalid_model_id")
_NO_JSON = re.compile(
    r"json_validate_failed|(model|output|generated?|generation|completion|response).{0,60}"
    r"(no|not|in|fail\w* to|un).{0,20}(valid|parse|produce|generate|match).{0,30}(json|schema)|"
    r"(failed|unable|could not) (to )?(generate|produce|parse|validate).{0,30}(json|schema)",
    re.IGNORECASE,
)


def names_no_model(said: str, code: str = "") -> bool:
    """Whether a refusal says that there is no such model: a mistake of the card, whatever the status."""
    return code.lower() in _NO_MODEL_CODES or bool(_NO_MODEL.search(said))


def limit_is_too_high(said: str) -> bool:
    """Whether a refusal says that `max_tokens` itself is beyond what the model may write, whatever the text."""
    return bool(_LIMIT_IS_TOO_HIGH.search(said)) and not _OF_THE_TEXT.search(said)


def says_no_json(said: str, code: str = "") -> bool:
    """Whether a refusal is of what the model made, which is not in the format that was asked for."""
    return code in ("json_validate_failed", "tool_use_failed") or bool(_NO_JSON.search(said))


def page_text(body: str) -> str:
    """Return what a web page says for itself, its title or else its words; nothing where a body is no page."""
    if not re.search(r"<(!doctype|html|head|body|title)\b", body[:2000], re.IGNORECASE):
        return ""
    title = re.search(r"<title[^>]*>(.*?)</title>", body, re.IGNORECASE | re.DOTALL)
    words = title[1] if title and title[1].strip() else re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", body)
    return " ".join(html.unescape(words).split())[:200]
