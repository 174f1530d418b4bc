"""From what a model said to a number on the scale, or to the reason why there is none. Never a guess."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rlaif.judges.cards.question import Scale
from rlaif.judges.llm.backend import Answer
from rlaif.judges.remote.judge import Unanswered

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)  # elsewhere it is a quotation
_CODE_BLOCK = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)
_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_NAMES = ("rating", "score")


class Unparsable(Unanswered):
    """The answer holds no verdict that can be read, or more than one."""

    def __init__(self, reason: str) -> None:
        super().__init__("unparsable", reason)


@dataclass(frozen=True)
class Verdict:
    """A number on the scale, and the judge's own words."""

    rating: float
    reason: str


def read_verdict(answer: Answer, scale: Scale, fence: str) -> Verdict:
    """
    Read a verdict: a tool call, else a whole answer that is one JSON object, else one line that carries the fence.

    The judged text may be quoted anywhere in the answer. It cannot pose as the verdict: a quotation makes the
    answer more than one JSON object, and no text that is judged contains the fence.
    """
    if answer.verdict is not None:
        return _check_verdict(answer.verdict, scale)
    text = _THOUGHT.sub("", answer.text).strip()
    if not text:
        raise Unparsable("the answer is empty")
    if text.startswith("<think>"):
        raise Unparsable("the answer is an unfinished thought")
    block = _CODE_BLOCK.match(text)
    try:
        return _check_verdict(json.loads(block[1] if block else text, object_pairs_hook=_no_twice), scale)
    except (ValueError, RecursionError):  # no JSON, an integer of thousands of digits, or a thousand brackets
        return _parse_line(text, scale, fence)


def mean_rating(answer: Answer, scale: Scale) -> float:
    """
    Weigh the whole numbers of a scale by the probability of their token (Lee et al. 2023, RLAIF, section 3.1).

    Raises:
        Unparsable: less than half of the probability lies on numbers of the scale.

    """
    low, high = sorted((int(scale.worst), int(scale.best)))
    mass = dict.fromkeys(range(low, high + 1), 0.0)
    for token, logprob in answer.first_token.items():
        word = token.strip()
        if re.fullmatch(r"\d", word) and int(word) in mass and logprob < 0.01:  # no NaN, nothing impossible
            mass[int(word)] += math.exp(logprob)
    total = math.fsum(mass.values())
    if total < 0.5:
        raise Unparsable(f"only {total:.0%} of the probability is on numbers of the scale")
    mean = math.fsum(number * p for number, p in mass.items()) / total
    return min(max(mean, low), high)  # rounding may step over the ends


def _parse_line(text: str, scale: Scale, fence: str) -> Verdict:
    mark = r"[^\w\n]*?"  # markdown, brackets; never a line break
    line = re.compile(rf"^{mark}rating{mark}{fence}{mark}:{mark}({_NUMBER}){mark}$", re.IGNORECASE | re.MULTILINE)
    found = {float(number) for number in line.findall(text)}
    if not found:
        raise Unparsable(f"the answer holds no verdict: {' '.join(text.split())[:120]!r}")
    if len(found) > 1:
        raise Unparsable(f"the answer holds {len(found)} verdicts: {', '.join(f'{n:g}' for n in sorted(found))}")
    return _check_verdict({"rating": found.pop(), "reason": line.sub("", text).strip()}, scale)


def _check_verdict(verdict: Any, scale: Scale) -> Verdict:
    if not isinstance(verdict, Mapping):
        raise Unparsable(f"the answer is no JSON object but {str(verdict)[:60]!r}")
    if not any(name in verdict for name in _NAMES):
        raise Unparsable(f"the answer has no rating, only {', '.join(map(str, verdict))[:60] or 'nothing'}")
    numbers = {_number(value) for value in _ratings(verdict)}
    if len(numbers) > 1:
        raise Unparsable(f"the answer holds {len(numbers)} verdicts: {', '.join(f'{n:g}' for n in sorted(numbers))}")
    rating = numbers.pop()
    if rating not in scale:
        raise Unparsable(f"the rating {rating:g} is off the scale {scale.worst:g} to {scale.best:g}")
    return Verdict(rating, str(verdict.get("reason", "")))


def _ratings(verdict: Any) -> Iterator[Any]:
    """Yield what stands as a rating at any depth: a quotation that breaks out of its string may bring a second one."""
    waiting = [verdict]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield from (value[name] for name in _NAMES if name in value)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _number(value: Any) -> float:
    if isinstance(value, str) and re.fullmatch(_NUMBER, value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unparsable(f"the rating is {str(value)[:60]!r}, no number")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise Unparsable("the rating is no finite number")
    return number


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise Unparsable("the answer gives a key twice")
    return dict(pairs)
