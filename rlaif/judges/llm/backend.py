"""What a backend is: question in, answer and usage out. All else about LLM judges exists once, beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from rlaif.core.types import Status
from rlaif.judges.remote.judge import Unanswered
from rlaif.judges.remote.tokens import NOT_SAID, Tokens

Format = Literal["schema", "tool", "json", "text"]
"""How the verdict comes: JSON by schema, a forced tool call, a JSON object by word of mouth, a last line of text."""


@dataclass(frozen=True)
class Ask:
    """
    One question to a model.

    Args:
        text: the whole question, with how to answer.
        format: how the verdict is to come; a backend sends what the endpoint needs for it.
        schema: JSON schema of the verdict.
        max_tokens: of the answer.
        temperature: None leaves it to the endpoint.
        logprobs: whether the log-probabilities of the first token are wanted.
        without: parameters that the endpoint is known to refuse.

    """

    text: str
    format: Format
    schema: Mapping[str, object]
    max_tokens: int
    temperature: float | None
    logprobs: bool = False
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Answer:
    """
    What the model said, and why it stopped.

    `status` is what the stop reason means, read before the text is: `ok` where the answer is whole. `verdict` is
    a tool call's arguments. `first_token` maps the likeliest first tokens to log-probabilities.
    """

    text: str
    status: Status = "ok"
    reason: str = ""
    verdict: Any = None
    first_token: Mapping[str, float] = field(default_factory=dict)
    used: Tokens = NOT_SAID


class Misformatted(Unanswered):
    """The model's answer is not in the format that was asked for: the endpoint refuses it, or it cannot count."""

    def __init__(self, reason: str) -> None:
        super().__init__("unparsable", reason)


class Unsupported(Exception):
    """
    The endpoint does not know a parameter. What is dropped for it is remembered per endpoint and model.

    `parameter` is None where the endpoint refuses a question without naming what it refuses.
    """

    def __init__(self, parameter: str | None, reason: str) -> None:
        super().__init__(reason)
        self.parameter = parameter


class Backend(Protocol):
    """
    A model of an endpoint.

    `formats` are those that it may know, the best first; `ask` raises `Transient`, `Unanswered`, `Unsupported`, or
    `InputError` where key, model or permission are wrong.
    """

    endpoint: str
    model: str
    formats: tuple[Format, ...]
    has_logprobs: bool
    parameters: Mapping[str, object]
    """What else of the card is sent and may change an answer."""

    def ask(self, question: Ask) -> Answer:
        """Ask once; thread-safe."""
        ...

    def reach(self) -> None:
        """Raise `InputError` where nothing answers at the endpoint, or a key is missing; costs no tokens."""
        ...
