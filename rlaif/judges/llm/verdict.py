"""From what a model said to a number on the scale, or to the reason why there is none. Never a guess."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rlaif.judges.cards.question import Scale
from rlaif.judges.llm.backend import Answer, Misformatted
from rlaif.judges.llm.thoughts import drop_thoughts, drop_turn_ends, first_thought
from rlaif.judges.remote.judge import Unanswered

_CODE_BLOCK = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)
_NUMBER = r"[-+\u2212]?(?:\d+(?:\.\d+)?|\.\d+)"  # also with the minus sign that is no hyphen
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


class Unmarked(Misformatted):
    """The answer holds a verdict that does not carry the mark, so that it may be copied from the judged text."""


def read_verdict(answer: Answer, scale: Scale, mark: str) -> Verdict:
    """
    Read a verdict: a tool call, else a whole answer that is one JSON object, else a line "Rating [mark]: N".

    The judged text may be quoted anywhere in the answer. It cannot pose as the verdict: a verdict carries the mark,
    in whatever format, and no text that is judged contains it.
    """
    if answer.verdict is not None:
        return _check_verdict(answer.verdict, scale, mark)
    whole = drop_turn_ends(answer.text)
    spoken = drop_thoughts(whole)
    for text in dict.fromkeys((whole, spoken)):  # a JSON string may quote the end of a thought
        if not text:
            raise Unparsable("the answer is empty")
        block = _CODE_BLOCK.match(text)
        try:
            found = json.loads(block[1] if block else text, object_pairs_hook=refuse_twice, strict=False)
        except (ValueError, RecursionError):  # no JSON, an integer of thousands of digits, or a thousand brackets
            continue
        return _check_verdict(found, scale, mark)
    return _parse_lines(spoken, scale, mark)


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


_SPACE = r"[^\S\n]"
_BEFORE = rf"(?:{_SPACE}|[*_`\[({{\"'>|+#\u2022\-\\])*"  # a list, a quotation, a heading, a table, bold
_BETWEEN = rf"(?:{_SPACE}|[*_`\[\]()\"'|\\])*"
_OPENING = rf"(?:{_SPACE}|[*_`\[(\"'])*"  # no sign, no point, nothing that compares or strikes out
_CLOSING = rf"(?:{_SPACE}|[*_`\])}}\"'|])*"


def _parse_lines(text: str, scale: Scale, mark: str) -> Verdict:
    """Read the lines that carry the mark: the last one gives the verdict, and none may say another number."""
    said = " ".join(text.split())[:120]
    marked = re.compile(rf"(?<!begin )(?<!end ){mark}", re.IGNORECASE)  # not where the question is quoted
    head = rf"{_BEFORE}rating{_BETWEEN}{mark}{_BETWEEN}:"
    exact = re.compile(rf"{head}{_OPENING}({_NUMBER}){_CLOSING}\.?{_CLOSING}", re.IGNORECASE)
    begun = re.compile(rf"{head}\W*\d", re.IGNORECASE)
    lines = [line for line in text.split("\n") if marked.search(line)]
    read = {line: _to_float(found[1]) for line in lines if (found := exact.fullmatch(line))}
    thought = first_thought(text)
    if thought is not None and (not read or thought < text.index(lines[-1])):
        raise Unparsable("the answer is an unfinished thought")
    if not read:
        raise Unparsable(f"the answer holds no verdict: {said!r}")
    if unread := [line for line in lines if line not in read and (line is lines[-1] or begun.match(line))]:
        raise Unparsable(f"the line of the verdict cannot be read: {unread[-1].strip()[:80]!r}")
    numbers = set(read.values())
    if len(numbers) > 1:
        raise Unparsable(f"the answer holds {len(numbers)} verdicts: {', '.join(f'{n:g}' for n in sorted(numbers))}")
    reason = "\n".join(line for line in text.split("\n") if line not in read).strip()
    return _check_scale(numbers.pop(), reason, scale)


def _check_verdict(verdict: Any, scale: Scale, mark: str) -> Verdict:
    if not isinstance(verdict, Mapping):
        raise Unparsable(f"the answer is no JSON object but {str(verdict)[:60]!r}")
    if not any(name in verdict for name in _NAMES):
        raise Unparsable(f"the answer has no rating, only {', '.join(map(str, verdict))[:60] or 'nothing'}")
    numbers = {_number(value) for value in _ratings(verdict)}
    if len(numbers) > 1:
        raise Unparsable(f"the answer holds {len(numbers)} verdicts: {', '.join(f'{n:g}' for n in sorted(numbers))}")
    read = _check_scale(numbers.pop(), str(verdict.get("reason", "")), scale)
    if not re.fullmatch(rf"[\W_]*{mark}[\W_]*", str(verdict.get("mark", "")), re.IGNORECASE):
        raise Unmarked("the verdict does not carry the mark of the question: it may be copied from the text")
    return read


def _check_scale(rating: float, reason: str, scale: Scale) -> Verdict:
    if rating not in scale:
        raise Unparsable(f"the rating {rating:g} is off the scale {scale.worst:g} to {scale.best:g}")
    return Verdict(rating, reason)


def _to_float(number: str) -> float:
    return float(number.replace("\u2212", "-"))


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
        value = _to_float(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unparsable(f"the rating is {str(value)[:60]!r}, no number")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise Unparsable("the rating is no finite number")
    return number


def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, object]:
    """Make an object of JSON, or raise `Unparsable` where it gives a key twice: a reader would take the last."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise Unparsable("the answer gives a key twice")
    return dict(pairs)
