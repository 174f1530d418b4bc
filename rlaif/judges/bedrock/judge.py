"""
Judges on Amazon Bedrock: any model of the Converse API, Claude first.

boto3 carries the question; its own retries are off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlaif.core.types import Judge, Status
from rlaif.judges.bedrock.endpoint import BedrockEndpoint, BedrockKeys
from rlaif.judges.llm.backend import Answer, Ask, Format
from rlaif.judges.llm.card import LLMCard
from rlaif.judges.llm.judge import LLMJudge
from rlaif.judges.llm.pricing import list_price
from rlaif.judges.remote.judge import Unanswered
from rlaif.judges.remote.tokens import Tokens, read_tokens

if TYPE_CHECKING:
    from rlaif.judges.cards.card import Load


@dataclass(frozen=True, kw_only=True)
class BedrockCard(LLMCard, BedrockKeys):
    """
    The keys of `adapter: bedrock`.

    `model` is a model id or an inference-profile id (`us.`, `eu.`, `global.` ...).
    """


def make(card: BedrockCard, *, load: Load) -> Judge:
    """Make a judge of a card."""
    return LLMJudge(card, BedrockBackend(card), card.price or list_price(card.model, "aws"), load.session)


class BedrockBackend(BedrockEndpoint):
    """Converse of one model."""

    formats: tuple[Format, ...] = ("schema", "tool", "text")
    has_logprobs = False
    parameters: Mapping[str, object] = {}

    def ask(self, question: Ask) -> Answer:
        """Send a Converse request and read its stop reason first."""
        return _answer(self.send(self.client.converse, question, **self._request(question)))

    def _request(self, question: Ask) -> dict[str, object]:
        inference: dict[str, object] = {"maxTokens": question.max_tokens}
        if question.temperature is not None and "temperature" not in question.without:
            inference["temperature"] = question.temperature
        request: dict[str, object] = {
            "modelId": self.model,
            "messages": [{"role": "user", "content": [{"text": question.text}]}],
            "inferenceConfig": inference,
        }
        if question.format == "schema":
            schema = {"schema": json.dumps(question.schema), "name": "verdict"}
            request["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}
        elif question.format == "tool":
            tool = {"name": "verdict", "description": "Give the verdict.", "inputSchema": {"json": question.schema}}
            request["toolConfig"] = {"tools": [{"toolSpec": tool}], "toolChoice": {"tool": {"name": "verdict"}}}
        return request


_STOPS: dict[str, tuple[Status, str]] = {
    "max_tokens": ("truncated", "the answer was cut at max_tokens"),
    "guardrail_intervened": ("filtered", "a guardrail intervened"),
    "content_filtered": ("filtered", "the content was filtered"),
    "malformed_model_output": ("unparsable", "the model's output was malformed"),
    "malformed_tool_use": ("unparsable", "the model's tool call was malformed"),
    "model_context_window_exceeded": ("too_long", "the context window was exceeded"),
    "refusal": ("refused", "the model refused"),
}


def _answer(response: Mapping[str, Any]) -> Answer:
    """Read a Converse answer, or raise `Unanswered` for what is none; the stop reason comes before the text."""
    try:
        blocks = response["output"]["message"]["content"]
        text = "".join(block["text"] for block in blocks if "text" in block)
        calls = [block["toolUse"]["input"] for block in blocks if "toolUse" in block]
    except (KeyError, TypeError, AttributeError, ValueError):
        used = _tokens(response, said=False)
        raise Unanswered("unparsable", "the endpoint sent no Converse answer", used) from None
    stop, used = response.get("stopReason"), _tokens(response, said=bool(text or calls))
    if stop in ("end_turn", "tool_use", "stop_sequence"):
        status: Status = "ok" if len(calls) < 2 else "unparsable"
        reason = "" if len(calls) < 2 else f"the answer holds {len(calls)} verdicts"
    else:  # after an unknown one, and after none, a draft may pose as the verdict
        unknown = f"the endpoint stopped: {stop}" if stop else "the endpoint does not say why the answer ended"
        status, reason = _STOPS.get(str(stop), ("unparsable", unknown))
    return Answer(text, status, reason, calls[0] if calls else None, {}, used)


def _tokens(response: Any, *, said: bool) -> Tokens:
    usage = response.get("usage") if isinstance(response, Mapping) else None
    cached = usage.get("cacheReadInputTokens") if isinstance(usage, Mapping) else 0
    return read_tokens(usage, "inputTokens", "outputTokens", "totalTokens", cached, said=said)
