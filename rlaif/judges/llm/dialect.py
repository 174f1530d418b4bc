"""What an endpoint turned out to understand: negotiated by trying, remembered per endpoint and model, said once."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from rlaif.core.errors import InputError
from rlaif.judges.llm.backend import Answer, Ask, Backend, Format, Unsupported
from rlaif.judges.remote.judge import Unanswered

log = logging.getLogger("rlaif")

_FRUITLESS = 32
"""Answers out of form that are asked for again in text, where no verdict ever came in the format."""


class Dialect:
    """What one model of one endpoint understands. Thread-safe; what is dropped stays dropped."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dropped: set[str] = set()
        self._answered: set[Format] = set()
        self._proven: set[Format] = set()
        self._fruitless: Counter[Format] = Counter()
        self._lock = threading.Lock()

    def format_for(self, formats: Sequence[Format], wanted: str) -> Format:
        """Return the best format that is not known to fail, beginning with the one that a card wants."""
        ladder = formats[list(formats).index(wanted) :] if wanted in formats else formats  # type: ignore[arg-type]
        return next((form for form in ladder if form not in self.dropped), "text")

    def fits(self, question: Ask, more: frozenset[str] = frozenset()) -> Ask:
        """Return the question with the names of what the endpoint does not understand, and of `more`."""
        return replace(question, without=frozenset(self.dropped) | more)

    def hear(self, form: Format) -> None:
        """Remember that a question in a format was answered."""
        self._answered.add(form)

    def may_be_the_format(self, form: Format) -> bool:
        """Whether a refusal that names nothing may be of how the question is asked, and not of the sample."""
        return form not in self._answered

    def prove(self, form: Format) -> None:
        """Remember that a verdict came in a format as it was asked for."""
        self._proven.add(form)

    def may_ask_again(self, form: Format) -> bool:
        """Whether an answer out of form may be the endpoint's doing, which does not hold its models to the format."""
        with self._lock:
            self._fruitless[form] += 1
            return form != "text" and form not in self._proven and self._fruitless[form] <= _FRUITLESS

    def give_up(self, form: Format, reason: str) -> None:
        """Leave a format out from now on, unless it has worked."""
        if form not in self._proven:
            self.drop(form, reason)

    def drop(self, parameter: str, reason: str) -> None:
        """Remember that the endpoint refuses a parameter, and say so once."""
        with self._lock:
            if parameter in self.dropped:
                return
            self.dropped.add(parameter)
        log.warning("%s refuses %s, which is left out from now on (%s)", self.name, parameter, reason)


_dialects: dict[str, Dialect] = {}
_making = threading.Lock()


def dialect_of(backend: Backend) -> Dialect:
    """Return what is known of a backend's endpoint and model, one in a process."""
    name = f"{backend.endpoint} {backend.model}"
    with _making:
        return _dialects.setdefault(name, Dialect(name))


def negotiate(
    formats: Sequence[Format],
    dialect: Dialect,
    wanted: str,
    question: Callable[[Format], Ask],
    ask: Callable[[Ask], Answer],
) -> Answer:
    """
    Ask in the best way that the endpoint is known to understand, and step down as it refuses parameters.

    Args:
        formats: those that the backend may know, the best first.
        dialect: what is known of the endpoint.
        wanted: the card's format, or `auto`.
        question: makes the question in a format.
        ask: sends it.

    Raises:
        InputError: the endpoint refuses what the judge cannot do without.

    """
    guesses = _Guesses()
    while True:
        form = dialect.format_for([f for f in formats if f not in guesses.without] or ["text"], wanted)
        asked = dialect.fits(question(form), guesses.without)
        try:
            answer = ask(asked)
        except Unsupported as error:
            if error.parameter is None:
                guesses.next(asked, str(error), dialect.may_be_the_format(form))
                continue
            is_format = error.parameter == "format"
            parameter = asked.format if is_format else error.parameter
            if parameter == "logprobs":
                raise InputError(f"{dialect.name} gives no log-probabilities; take score: rating ({error})") from error
            # A format may have been dropped by another thread since it was chosen; the next one is then tried.
            if parameter == "text" or (parameter in asked.without and not is_format):
                raise Unanswered("unavailable", f"the endpoint refuses the question: {error}") from error
            dialect.drop(parameter, str(error))
            continue
        dialect.hear(form)
        for parameter in guesses.without:
            dialect.drop(parameter, guesses.reason)
        return answer


class _Guesses:
    """What may be the cause of a refusal that names none: left out one after another, at last all of them."""

    def __init__(self) -> None:
        self.without: frozenset[str] = frozenset()
        self.reason = ""
        self._waiting: list[frozenset[str]] | None = None

    def next(self, asked: Ask, reason: str, may_be: bool) -> None:
        """Choose what to leave out next, or raise `Unanswered` with the first refusal."""
        if self._waiting is None:
            self.reason = reason
            optional = [name for name in ("temperature", "max_completion_tokens") if name not in asked.without]
            if asked.temperature is None:
                optional = optional[1:]
            forms = [] if asked.format == "text" else [asked.format]
            singles = [frozenset({name}) for name in (*forms, *optional)] if may_be else []
            everything = frozenset({"schema", "tool", "json", *optional} if forms else optional)
            self._waiting = [*singles, everything] if len(singles) > 1 else singles
        if not self._waiting:
            raise Unanswered("unavailable", self.reason)
        self.without = self._waiting.pop(0)
