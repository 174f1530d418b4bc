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
from rlaif.judges.llm.verdict import Unparsable, refuse_twice
from rlaif.judges.openai.endpoint import OpenAIEndpoint, OpenAIKeys
from rlaif.judges.remote.judge import Unanswered
from rlaif.judges.remote.limits import Transient
from rlaif.judges.remote.tokens import Tokens, read_tokens

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
        headers = {"extra_headers": card.extra_headers} if card.extra_headers else {}
        self._extra_body = card.extra_body
        self.parameters: Mapping[str, object] = card.extra_body | headers

    def ask(self, question: Ask) -> Answer:
        """Send a chat completion and read its stop reason first."""
        request = self._request(question)
        return self._read(self.send(self.client.chat.completions.with_raw_response.create, **request), request)

    def _read(self, body: str, request: Mapping[str, object]) -> Answer:
        """Read a chat completion, or raise what it means that there is none; the stop reason comes before the text."""
        said = f"the endpoint sent no chat completion: {' '.join(body.split())[:120]!r}"
        try:
            completion = json.loads(body, object_pairs_hook=refuse_twice)
        except (ValueError, RecursionError):
            raise Unanswered("unparsable", said, Tokens()) from None
        except Unparsable as error:
            raise Unanswered("unparsable", f"{said}: {error}", Tokens()) from None
        if not isinstance(completion, dict):
            raise Unanswered("unparsable", said, Tokens())
        used = _tokens(completion, said=False)
        choices: Any = completion.get("choices")
        if failure := completion.get("error"):
            raise self.explain_failure(failure, request, used if completion.get("usage") else None)
        if "choices" in completion and not choices:  # what some gateways say where the model behind them failed
            raise Transient("the endpoint sent an answer without choices", used=used)
        try:
            (choice,) = choices
            if failure := choice.get("error"):
                raise self.explain_failure(failure, request, used)
            return _answer(choice, completion)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unanswered("unparsable", said, used) from None

    def _request(self, question: Ask) -> dict[str, object]:
        request: dict[str, object] = {
            "model": self.model,
            "messages": [{"role": "user", "content": question.text}],
            "extra_body": dict(self._extra_body) or None,
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


_WHOLE = ("stop", "tool_calls", "function_call", "stop_sequence", "end_turn", "eos", "eos_token")
"""Stop reasons after which an answer is whole; after any other, and after none, a draft may pose as the verdict."""
_STOPS: dict[str, Status] = {
    "length": "truncated",
    "max_tokens": "truncated",
    "content_filter": "filtered",
    "abort": "truncated",
}


def _answer(choice: Mapping[str, Any], completion: Mapping[str, object]) -> Answer:
    message = choice["message"]
    text = message.get("content") or ""
    if isinstance(text, list):  # parts; a thought is one of another type
        text = "".join(part.get("text", "") for part in text if part.get("type", "text") in ("text", "output_text"))
    stop, refusal = choice.get("finish_reason"), message.get("refusal")
    first, used = _first_token(choice.get("logprobs")), _tokens(completion, said=bool(text))
    if refusal:
        return Answer(str(text), "refused", str(refusal), None, first, used)
    if stop in _WHOLE:
        return Answer(str(text), "ok", "", None, first, used)
    if stop == "error":
        raise Transient("the model failed while it answered", used=used)
    status = _STOPS.get(str(stop), "unparsable")
    reason = f"the endpoint stopped: {stop}" if stop else "the endpoint does not say why the answer ended"
    return Answer(str(text), status, reason, None, first, used)


def _tokens(completion: Mapping[str, object], *, said: bool) -> Tokens:
    usage = completion.get("usage")
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return read_tokens(usage, "prompt_tokens", "completion_tokens", "total_tokens", cached, said=said)


def _first_token(logprobs: Any) -> dict[str, float]:
    if not logprobs or not logprobs.get("content"):
        return {}
    return {top["token"]: float(top["logprob"]) for top in logprobs["content"][0].get("top_logprobs") or []}
