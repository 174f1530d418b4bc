"""
Judges behind any OpenAI-compatible endpoint: OpenAI, vLLM, Ollama, llama.cpp, LM Studio, transformers serve, LiteLLM.

The `openai` package carries the question; its own retries are off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlaif.core.types import Judge, Status
from rlaif.judges.llm.backend import Answer, Ask, Format
from rlaif.judges.llm.card import LLMCard
from rlaif.judges.llm.judge import LLMJudge
from rlaif.judges.llm.pricing import list_price
from rlaif.judges.openai.endpoint import OpenAIEndpoint, OpenAIKeys
from rlaif.judges.remote.judge import Unanswered

if TYPE_CHECKING:
    from rlaif.judges.cards.card import Load


@dataclass(frozen=True, kw_only=True)
class OpenAICard(LLMCard, OpenAIKeys):
    """
    The keys of `adapter: openai`.

    `model: auto` takes the only model that the endpoint serves. `extra_body` is sent along as it is, for what only
    one kind of server knows.
    """

    extra_body: dict[str, Any] = field(default_factory=dict)


def make(card: OpenAICard, *, load: Load) -> Judge:
    """Make a judge of a card."""
    backend = OpenAIBackend(card)
    price = card.price or (list_price(backend.model, "openai") if card.is_openais_own else None)
    return LLMJudge(card, backend, price, load.session)


class OpenAIBackend(OpenAIEndpoint):
    """Chat completions of one model."""

    formats: tuple[Format, ...] = ("schema", "json", "text")
    has_logprobs = True

    def __init__(self, card: OpenAICard) -> None:
        super().__init__(card)
        self.parameters: Mapping[str, Any] = card.extra_body

    def ask(self, question: Ask) -> Answer:
        """Send a chat completion and read its stop reason first."""
        return _answer(self.send(self.client.chat.completions.with_raw_response.create, **self._request(question)))

    def _request(self, question: Ask) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": question.text}],
            "extra_body": dict(self.parameters) or None,
        }
        limits = [name for name in ("max_completion_tokens", "max_tokens") if name not in question.without]
        if limits:
            request[limits[0]] = question.max_tokens
        if question.temperature is not None and "temperature" not in question.without:
            request["temperature"] = question.temperature
        if question.logprobs:
            request |= {"logprobs": True, "top_logprobs": 20}
        if question.format == "schema":
            schema = {"name": "verdict", "strict": True, "schema": question.schema}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif question.format == "json":
            request["response_format"] = {"type": "json_object"}
        return request


_STOPS: dict[str, Status] = {"length": "truncated", "content_filter": "filtered"}


def _answer(body: str) -> Answer:
    """Read a chat completion, or raise `Unanswered` for what is none; the stop reason comes before the text."""
    try:
        completion = json.loads(body)
        choice = completion["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        if isinstance(text, list):
            text = "".join(part.get("text", "") for part in text)
        stop, refusal = choice.get("finish_reason"), message.get("refusal")
        used = completion.get("usage") or {}
        tokens = (int(used.get("prompt_tokens") or 0), int(used.get("completion_tokens") or 0))
        cached = int((used.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        first = _first_token(choice.get("logprobs"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise Unanswered(
            "unparsable", f"the endpoint sent no chat completion: {' '.join(body.split())[:120]!r}"
        ) from None
    status: Status = "refused" if refusal else _STOPS.get(str(stop), "ok")
    reason = str(refusal) if refusal else "" if status == "ok" else f"the endpoint stopped: {stop}"
    return Answer(str(text), status, reason, None, first, *tokens, cached)


def _first_token(logprobs: Any) -> dict[str, float]:
    if not logprobs or not logprobs.get("content"):
        return {}
    return {top["token"]: float(top["logprob"]) for top in logprobs["content"][0].get("top_logprobs") or []}
