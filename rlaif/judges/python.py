"""Judges that are a function of the user's own, of the contract that TRL's trainers have."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from rlaif.core.errors import InputError, JudgeBug
from rlaif.core.paths import FunctionSource
from rlaif.core.schema import reason_of, short_repr
from rlaif.core.types import Judge, Judgement, Sample, Usage, empty
from rlaif.judges.cards.card import Card
from rlaif.judges.cards.question import Scale
from rlaif.judges.plugins import load_object, location_of

if TYPE_CHECKING:
    from rlaif.judges.cards.card import Load


LARGEST = 1e30
"""What a function may return, in size: beyond it sums of a batch overflow in float32, and infinity is no number."""


@dataclass(frozen=True, kw_only=True)
class PythonCard(Card):
    """
    The keys of `adapter: python`.

    `function` is `./FILE.py:NAME`, relative to the card, or `MODULE:NAME`. `scale` maps what it returns to
    [0, 1]; without one it must be in [0, 1].
    """

    function: FunctionSource
    scale: Scale | None = None


def make(card: PythonCard, *, load: Load) -> Judge:
    """Make a judge of `def f(prompts, completions, **columns) -> list[float | None]`."""
    return PythonJudge(card, load_object(card.function, Path(), f"judge {card.name}: function"))


class PythonJudge:
    """A `Judge` that asks a function; None from it is the status `declined`."""

    has_logit = False
    remote = False

    def __init__(self, card: PythonCard, function: Callable[..., Any]) -> None:
        self.name, self.measures = card.name, card.measures
        source, _, name = card.function.rpartition(":")
        self.identity: Hashable = ("python", str(Path(source).resolve()) if source.endswith(".py") else source, name)
        self.origin: Hashable = _source_of(function, name) or self.identity
        self._function = RewardFunction(function, f"judge {card.name}: {card.function}")
        self._scale = card.scale or Scale(worst=0.0, best=1.0)
        self.reads = self._function.reads

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        """Call the function once with what is not blank."""
        asked = [sample for sample in samples if not sample.blank]
        start = time.perf_counter()
        answers = iter(self._function(asked) if asked else [])
        usage = Usage(seconds=(time.perf_counter() - start) / max(1, len(asked)))
        return [empty(self.name) if sample.blank else self._judgement(next(answers), usage) for sample in samples]

    def _judgement(self, number: float | None, usage: Usage) -> Judgement:
        if number is None:
            return Judgement(self.name, None, status="declined", reason="the function returned None", usage=usage)
        if number not in self._scale:
            low, high = sorted((self._scale.worst, self._scale.best))
            raise self._function.bug(
                f"returned {number}, off its scale {low:g} to {high:g}; the card's `scale: {{worst, best}}` sets it"
            )
        return Judgement(self.name, self._scale.score(number), raw=number, usage=usage)


def _source_of(function: Callable[..., Any], name: str) -> Hashable:
    """Return the text of the file that a function stands in, and its name there; None where that is not known."""
    try:
        text = Path(inspect.getsourcefile(function) or "").read_bytes()
    except (TypeError, OSError):
        return None
    own = str(getattr(function, "__qualname__", name))
    return ("python", hashlib.sha256(text).hexdigest(), name if "<" in own else own)  # a closure has no name of its own


class RewardFunction:
    """
    A function of TRL's contract, called with the keywords that it accepts, its answers checked.

    Args:
        function: `def f(prompts, completions, **columns) -> list[float | None]`.
        where: the first words of a message.

    """

    def __init__(self, function: Callable[..., Any], where: str) -> None:
        self._function, self._where = function, where
        self._code = _code_of(function)
        self._keywords, self.reads = _keywords_of(function, where)

    def __call__(self, samples: Sequence[Sample], **more: Sequence[Any]) -> list[float | None]:
        """
        Return a finite number for each sample, or None, or raise `JudgeBug` with file and line.

        Args:
            samples: what to judge.
            more: further keywords with a value for each sample, as `completion_ids`.

        """
        given: dict[str, list[Any]] = {
            "prompts": [s.prompt for s in samples],
            "completions": [s.completion for s in samples],
            **{key: list(values) for key, values in more.items()},
        }
        columns = dict.fromkeys(key for sample in samples for key in sample.columns)
        given |= {key: [s.columns.get(key) for s in samples] for key in columns if key not in given}
        accepted = given if self._keywords is None else {k: v for k, v in given.items() if k in self._keywords}
        if missing := sorted(self.reads - accepted.keys()):
            raise InputError(
                f"{self._where} needs the column {missing[0]!r}; the data has: {', '.join(columns) or 'none'}"
            )
        try:
            answers = self._function(**accepted)
            if isinstance(answers, str | bytes | Mapping) or not isinstance(answers, Iterable):
                raise self.bug(
                    f"returned {short_repr(answers)}; return a list with a number or None for each completion"
                )
            answers = list(answers)
        except JudgeBug:
            raise
        except Exception as error:
            place = location_of(error, self._code.co_filename if self._code else None)
            raise JudgeBug(f"{self._where} raised at {place}: {type(error).__name__}: {reason_of(error)}") from error
        if len(answers) != len(samples):
            raise self.bug(f"returned {len(answers)} rewards for {len(samples)} completions; return one for each")
        return [self._number(answer) for answer in answers]

    def _number(self, answer: Any) -> float | None:
        if answer is None:
            return None
        try:
            if isinstance(answer, str | bytes | bool) or "bool" in str(getattr(answer, "dtype", "")):
                raise TypeError
            number = float(answer)
        except (TypeError, ValueError, OverflowError):
            raise self.bug(f"returned {short_repr(answer)}, which is no number; return a float or None") from None
        if not abs(number) <= LARGEST:  # NaN is not, either
            raise self.bug(f"returned {number:g}; return a finite number, or None to abstain")
        return number

    def bug(self, what: str) -> JudgeBug:
        """Return the error that says what is wrong with an answer, and where the function stands."""
        place = f"({self._code.co_filename}:{self._code.co_firstlineno}) " if self._code else ""
        return JudgeBug(f"{self._where} {place}{what}")


def _code_of(function: Any) -> CodeType | None:
    """Find the code behind a function, a method, a partial or a callable object; a built-in has none."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    for candidate in (function, type(function).__call__):
        if isinstance(code := getattr(candidate, "__code__", None), CodeType):
            return code
    return None


def _keywords_of(function: Any, where: str) -> tuple[frozenset[str] | None, frozenset[str]]:
    """Return the keywords a function accepts (None = any) and the columns it cannot do without."""
    if not callable(function):
        raise InputError(f"{where} is not a function but {short_repr(function)}")
    code = _code_of(function)
    if inspect.iscoroutinefunction(function) or (code and code.co_flags & inspect.CO_COROUTINE):
        raise InputError(f"{where} is async; give a plain function")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None, frozenset()
    if any(p.kind is p.POSITIONAL_ONLY and p.default is p.empty for p in parameters):
        raise InputError(f"{where} takes positional arguments; it is called with keywords: prompts, completions, ...")
    for name in ("prompt", "completion"):
        if any(p.name == name and p.default is p.empty for p in parameters):
            raise InputError(f"{where} asks for {name!r}; by TRL's contract it gets lists, as {name + 's'!r}")
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = {p.name for p in named if p.default is p.empty} - {"prompts", "completions", "completion_ids"}
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return None if anything else frozenset(p.name for p in named), frozenset(needed)
