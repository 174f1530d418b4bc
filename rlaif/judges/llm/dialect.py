"""What an endpoint turned out to understand: negotiated by trying, remembered per endpoint and model, said once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from rlaif.core.errors import InputError
from rlaif.judges.llm.backend import Answer, Ask, Backend, Format, Unsupported
from rlaif.judges.remote.judge import Unanswered

log = logging.getLogger("rlaif")


class Dialect:
    """What one model of one endpoint understands. Thread-safe; what is dropped stays dropped."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dropped: set[str] = set()
        self._lock = threading.Lock()

    def format_for(self, formats: Sequence[Format], wanted: str) -> Format:
        """Return the best format that is not known to fail, beginning with the one that a card wants."""
        ladder = formats if wanted == "auto" else formats[list(formats).index(wanted) :]  # type: ignore[arg-type]
        return next((form for form in ladder if form not in self.dropped), "text")

    def fits(self, question: Ask) -> Ask:
        """Return the question with the names of what the endpoint does not understand."""
        return replace(question, without=frozenset(self.dropped))

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
    while True:
        form = dialect.format_for(formats, wanted)
        asked = dialect.fits(question(form))
        try:
            return ask(asked)
        except Unsupported as error:
            is_format = error.parameter == "format"
            parameter = asked.format if is_format else error.parameter
            if parameter == "logprobs":
                raise InputError(f"{dialect.name} gives no log-probabilities; take score: rating ({error})") from error
            # A format may have been dropped by another thread since it was chosen; the next one is then tried.
            if parameter == "text" or (parameter in asked.without and not is_format):
                raise Unanswered("unavailable", f"the endpoint refuses the question: {error}") from error
            dialect.drop(parameter, str(error))
