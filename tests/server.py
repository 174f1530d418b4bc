"""
A loopback endpoint that speaks OpenAI chat completions and Bedrock Converse, honestly or badly, and counts.

    with Server() as server:                 # or: python -m tests.server PORT [--delay S] [--behaviour NAME]
        server.behaviour = "throttled"       # a name of BEHAVIOURS, or a function of the request that returns one
        server.refuses = {"temperature"}     # parameters that get the endpoint's own 400
        ...
        assert len(server.calls) == 3        # the server's own count
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

MODEL = "tiny-judge"
REASON = "this is why"


@dataclass
class Request:
    """One call as it arrived. `answered` turns true when an honest verdict has left the server whole."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)
    wall: float = field(default_factory=time.time)
    done: float = float("inf")
    behaviour: str = ""
    status: int = 0
    answered: bool = False

    @property
    def bedrock(self) -> bool:
        return self.path.endswith(("/converse", "/guardrail-checks/invoke"))

    @property
    def of_categories(self) -> bool:
        """Whether scores of categories are asked for, not a verdict."""
        return self.path.endswith(("/moderations", "/guardrail-checks/invoke"))

    @property
    def model(self) -> str:
        return unquote(self.path.split("/")[2]) if self.bedrock else str(self.body.get("model"))

    @property
    def text(self) -> str:
        """The question."""
        if "input" in self.body:
            return str(self.body["input"])
        content = self.body["messages"][-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    @property
    def format(self) -> str:
        """How the verdict is to come: schema, tool, json, number or text."""
        kind = (self.body.get("response_format") or {}).get("type")
        if "outputConfig" in self.body or kind == "json_schema":
            return "schema"
        if "toolConfig" in self.body:
            return "tool"
        if kind == "json_object" or "Answer with a JSON object" in self.text:
            return "json"
        return "number" if "Answer with the number alone" in self.text else "text"

    @property
    def fence(self) -> str:
        """The mark around judged text: what the notice says, which stands after all that is judged."""
        found = re.findall(r"\[end (\w+)\]", self.text)
        return found[-1] if found else ""

    @property
    def judged(self) -> str:
        """All text between fences; the whole question where there are none."""
        fence = self.fence
        return "\n".join(re.findall(rf"\[begin {fence}\]\n(.*?)\n\[end {fence}\]", self.text, re.S)) or self.text

    @property
    def scale(self) -> tuple[float, float]:
        """(worst, best), as the question or its schema says."""
        number = r"(-?\d+(?:\.\d+)?)"
        found = re.findall(rf"from {number} \(worst\) to {number} \(best\)", self.text)
        return (float(found[-1][0]), float(found[-1][1])) if found else (1.0, 5.0)

    @property
    def rating(self) -> float:
        """The honest rating."""
        return rating_of(self.judged, self.scale)


def rating_of(judged: str, scale: tuple[float, float] = (1, 5)) -> float:
    """What the honest server says of a text: a whole number on the scale, by hash."""
    worst, best = scale
    steps = max(1, round(abs(best - worst)))
    step = blake2b(judged.encode(errors="replace"), digest_size=4).digest()[0] % (steps + 1)
    return worst + step * (best - worst) / steps


# --- what can be said -----------------------------------------------------------------------------------------


@dataclass
class Say:
    """An answer in neither protocol's words; `tools` are the arguments of tool calls."""

    text: str = ""
    stop: str = "stop"  # stop | length | content_filter (OpenAI); end_turn | max_tokens | ... (Bedrock)
    refusal: str | None = None
    tools: list[Any] = field(default_factory=list)
    usage: bool = True
    logprobs: Mapping[str, float] | None = None
    honest: bool = False


@dataclass
class Fail:
    """An error in both protocols' words."""

    status: int
    message: str
    code: str = ""  # OpenAI's code, Bedrock's exception
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Raw:
    """Bytes as they are; `act` is `send`, or what is done instead: `cut`, `close`, `hang`."""

    body: str = ""
    status: int = 200
    act: str = "send"
    type: str = "application/json"


Reply = Say | Fail | Raw
Behaviour = str | Callable[[Request], "str | Reply"]


def verdict(request: Request, rating: Any, reason: str = REASON, **more: Any) -> Say:
    """A verdict in the form that was asked for; `rating` is a number, or what stands in a number's place."""
    if request.format == "number":
        return Say(str(rating))
    if request.format == "text":
        return Say(f"{reason}\nRating [{request.fence}]: {rating if not isinstance(rating, float) else f'{rating:g}'}")
    given = {"reason": reason, "rating": rating, "mark": request.fence, **more}
    if request.format == "tool":
        return Say(stop="tool_use", tools=[given])
    return Say(json.dumps(given))


def honest(request: Request) -> Say:
    said = verdict(request, request.rating)
    said.honest = True
    return said


def _throttled(request: Request, **headers: str) -> Fail:
    code = "ThrottlingException" if request.bedrock else "rate_limit_exceeded"
    said = "Too many requests, please wait before trying again."
    return Fail(429, said, code, headers={name.replace("_", "-"): value for name, value in headers.items()})


def _day_quota(request: Request) -> Fail:
    if request.bedrock:
        return Fail(429, "Too many tokens per day, please wait before trying again.", "ThrottlingException")
    said = "Rate limit reached for tiny-judge on requests per day (RPD): Limit 200, Used 200, Requested 1."
    return Fail(429, said, "rate_limit_exceeded")


def _insufficient(request: Request) -> Fail:
    if request.bedrock:
        return Fail(400, "Your daily quota is used up.", "ServiceQuotaExceededException")
    return Fail(
        429, "You exceeded your current quota, please check your plan and billing details.", "insufficient_quota"
    )


def _refused(request: Request) -> Say:
    if request.bedrock:
        return Say("I will not judge this.", stop="refusal")
    return Say(refusal="I will not judge this.")


def _filtered_400(request: Request) -> Fail:
    if request.bedrock:
        said = "The model returned the following errors: Output blocked by content filtering policy"
        return Fail(400, said, "ValidationException")
    said = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
    return Fail(400, said, "content_filter", "prompt")


def _too_long_400(request: Request) -> Fail:
    if request.bedrock:
        return Fail(400, "Input is too long for requested model.", "ValidationException")
    said = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
    return Fail(400, said, "context_length_exceeded", "messages")


def _stopped(request: Request, openai: str, bedrock: str) -> Say:
    """An answer with a whole verdict in it whose stop reason says that it is none."""
    said = honest(request)
    return Say(said.text, bedrock if request.bedrock else openai, tools=said.tools)


def _two(request: Request) -> Say:
    first, second = verdict(request, 1), verdict(request, 5)
    return Say(f"{first.text}\n{second.text}", first.stop, tools=first.tools + second.tools)


def _twice(request: Request) -> Say:
    if request.format in ("text", "number"):
        return _two(request)
    return Say('{"reason": "a", "rating": 1, "rating": 5}')


def _thought(request: Request, closed: bool) -> Say:
    said = honest(request)
    quoted = f'<think>Rating [{request.fence}]: 1, or {{"rating": 1}}?{"</think>" if closed else ""}\n'
    return Say(quoted + said.text, said.stop, tools=said.tools if closed else [], honest=closed)


def _wrong_key(request: Request) -> Fail:
    if request.bedrock:
        return Fail(403, "The security token included in the request is invalid.", "UnrecognizedClientException")
    # OpenAI shows the key but for its middle; others show it whole.
    shown = request.headers.get("authorization", "").removeprefix("Bearer ")
    return Fail(401, f"Incorrect API key provided: {shown}.", "invalid_api_key")


def _denied(request: Request) -> Fail:
    if request.bedrock:
        return Fail(403, "You don't have access to the model with the specified model ID.", "AccessDeniedException")
    return Fail(403, "Project does not have access to model `tiny-judge`.", "model_not_found")


def _no_model(request: Request) -> Fail:
    if request.bedrock:
        return Fail(404, "Could not resolve the foundation model.", "ResourceNotFoundException")
    return Fail(404, "The model `tiny-judge` does not exist.", "model_not_found", "model")


def _on_demand(request: Request) -> Fail:
    said = (
        f"Invocation of model ID {request.model} with on-demand throughput isn\u2019t supported. Retry your request "
        "with the ID or ARN of an inference profile that contains this model."
    )
    return Fail(400, said, "ValidationException")


def _no_usage(request: Request) -> Say:
    said = honest(request)
    said.usage = False
    return said


BEHAVIOURS: dict[str, Callable[[Request], Reply]] = {
    "ok": honest,
    "no_usage": _no_usage,
    # passing
    "throttled": _throttled,
    "throttled_1s": lambda request: _throttled(request, Retry_After="1"),
    "throttled_date": lambda request: _throttled(request, Retry_After=formatdate(time.time() + 2, usegmt=True)),
    "throttled_ms": lambda request: _throttled(request, retry_after_ms="700"),
    "throttled_odd": lambda request: _throttled(request, Retry_After="nan"),
    "throttled_azure": lambda _: Fail(
        429,
        "Requests have exceeded the token rate limit of your pricing tier. Please retry after 1 second. To increase "
        "the default rate limit go to https://aka.ms/oai/quotaincrease.",
        "429",
    ),
    "error_500": lambda r: Fail(500, "The server had an error.", "InternalServerException" if r.bedrock else ""),
    "error_503": lambda r: Fail(503, "Overloaded.", "ServiceUnavailableException" if r.bedrock else ""),
    "not_ready": lambda r: Fail(429, "Model is not ready.", "ModelNotReadyException" if r.bedrock else ""),
    "model_timeout": lambda r: Fail(408, "Model timed out.", "ModelTimeoutException" if r.bedrock else ""),
    "hang": lambda _: Raw(act="hang"),
    "reset": lambda request: Raw(json.dumps(_converse(Say("x" * 2000))), act="cut"),
    "close": lambda _: Raw(act="close"),
    # for good
    "day_quota": _day_quota,
    "insufficient_quota": _insufficient,
    "wrong_key": _wrong_key,
    "denied": _denied,
    "no_model": _no_model,
    "on_demand": _on_demand,
    "nonsense_400": lambda _: Fail(400, "Something else is wrong.", "ValidationException"),
    # this sample's own
    "refused": _refused,
    "filtered_400": _filtered_400,
    "filtered": lambda request: _stopped(request, "content_filter", "content_filtered"),
    "guardrail": lambda request: _stopped(request, "content_filter", "guardrail_intervened"),
    "too_long_400": _too_long_400,
    "too_long": lambda request: _stopped(request, "length", "model_context_window_exceeded"),
    "truncated": lambda request: _stopped(request, "length", "max_tokens"),
    # no verdict
    "malformed": lambda request: _stopped(request, "content_filter", "malformed_model_output"),
    "malformed_tool": lambda request: _stopped(request, "content_filter", "malformed_tool_use"),
    "empty": lambda _: Say(""),
    "no_choices": lambda r: Raw(json.dumps({"output": {}} if r.bedrock else {"choices": [], "usage": None})),
    "null": lambda _: Raw("null"),
    "nothing": lambda _: Raw(""),
    "wrong_shape": lambda r: Raw('{"output": {"message": {"content": "5"}}}' if r.bedrock else '{"choices": "5"}'),
    "prose": lambda _: Say("I would say that this is a 5 out of 5. Rating: 5"),
    "html": lambda _: Raw("<html><body>Rating: 5</body></html>", type="text/html"),
    "cut_json": lambda _: Say('{"reason": "fine", "rating": 5'),
    "list": lambda _: Say('[{"reason": "fine", "rating": 5}]'),
    "number_only": lambda _: Say("5"),
    "off_scale": lambda request: verdict(request, 6),
    "below_scale": lambda request: verdict(request, -1),
    "nan": lambda request: verdict(request, float("nan")),
    "infinite": lambda request: verdict(request, float("inf")),
    "huge": lambda request: verdict(request, 10**400),
    "word": lambda request: verdict(request, "five"),
    "bool": lambda request: verdict(request, True),
    "null_rating": lambda request: verdict(request, None),
    "no_rating": lambda _: Say('{"reason": "fine"}'),
    "twice": _twice,
    "two_verdicts": _two,
    "two_names": lambda r: _two(r) if r.format in ("text", "number") else verdict(r, 5, score=1),
    "open_think": lambda request: _thought(request, closed=False),
    "closed_think": lambda request: _thought(request, closed=True),
}


# --- parameters that an endpoint does not know ----------------------------------------------------------------

REFUSALS: dict[str, tuple[Callable[[dict[str, Any]], bool], str, str | None]] = {
    "json_schema": (
        lambda body: (body.get("response_format") or {}).get("type") == "json_schema",
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        "response_format",
    ),
    "json_object": (
        lambda body: (body.get("response_format") or {}).get("type") == "json_object",
        "'response_format.type' must be 'json_schema' or 'text'",
        None,
    ),
    "max_completion_tokens": (
        lambda body: "max_completion_tokens" in body,
        "Unrecognized request argument supplied: max_completion_tokens",
        None,
    ),
    "max_tokens": (
        lambda body: "max_tokens" in body,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens",
    ),
    "temperature": (
        lambda body: "temperature" in body or "temperature" in body.get("inferenceConfig", {}),
        "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) is supported.",
        "temperature",
    ),
    "logprobs": (
        lambda body: "logprobs" in body,
        "Unsupported parameter: 'logprobs' is not supported with this model.",
        "logprobs",
    ),
    "outputConfig": (
        lambda body: "outputConfig" in body,
        "This model doesn't support the outputConfig.textFormat field. Remove outputConfig.textFormat and try again.",
        None,
    ),
    "toolChoice": (
        lambda body: "toolChoice" in body.get("toolConfig", {}),
        "The model returned the following errors: Thinking may not be enabled when tool_choice forces tool use.",
        None,
    ),
}


# --- the wire -------------------------------------------------------------------------------------------------


def severity_of(judged: str, category: str) -> float:
    """What the honest server says of a text in a category, in [0, 1]."""
    return blake2b(f"{category} {judged}".encode(errors="replace"), digest_size=1).digest()[0] / 255


def _categories(request: Request) -> dict[str, Any]:
    """The scores of categories, in the moderation endpoint's words or in those of guardrail checks."""
    if not request.bedrock:
        scores = {name: severity_of(request.text, name) for name in ("hate", "harassment", "violence")}
        return {"id": "m", "model": request.model, "results": [{"flagged": False, "category_scores": scores}]}
    asked = [item["category"] for item in request.body["checks"]["contentFilter"]["categories"]]
    results = [{"category": name, "severityScore": severity_of(request.text, name)} for name in asked]
    usage = {name: {"textUnits": 1} for name in ("contentFilter", "promptAttack", "sensitiveInformation")}
    return {"results": {"contentFilter": {"results": results}}, "usage": usage}


def _completion(said: Say, request: Request) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": said.refusal}
    choice: dict[str, Any] = {"index": 0, "finish_reason": said.stop, "message": message, "logprobs": None}
    if request.body.get("logprobs") and said.logprobs is not None:
        top = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in said.logprobs.items()]
        choice["logprobs"] = {"content": [{**max(top, key=lambda t: t["logprob"]), "top_logprobs": top}]}
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [choice],
    }
    if said.usage:
        prompt = len(request.text) // 4 + 1
        completion["usage"] = {"prompt_tokens": prompt, "completion_tokens": 20, "total_tokens": prompt + 20}
    return completion


def _converse(said: Say, request: Request | None = None) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"text": said.text}] if said.text else []
    for number, given in enumerate(said.tools):
        content.append({"toolUse": {"toolUseId": f"t{number}", "name": "verdict", "input": given}})
    answer = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": {"stop": "end_turn"}.get(said.stop, said.stop),
        "metrics": {"latencyMs": 1},
    }
    if said.usage and request:
        prompt = len(request.text) // 4 + 1
        answer["usage"] = {"inputTokens": prompt, "outputTokens": 20, "totalTokens": prompt + 20}
    return answer


class Server:
    """The endpoint, in this process."""

    def __init__(self, behaviour: Behaviour = "ok", *, delay: float = 0.0, port: int = 0) -> None:
        self.behaviour = behaviour
        self.delay = delay
        self.refuses: set[str] = set()
        self.models = [MODEL]
        self.logprobs: Mapping[str, float] | None = None
        self.log: list[Request] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.endpoint = self
        self.port: int = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.openai = f"{self.url}/v1"

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def calls(self) -> list[Request]:
        """The questions that arrived, in order."""
        with self._lock:
            return list(self.log)

    @property
    def answered(self) -> list[Request]:
        """The questions whose honest verdict has left the server."""
        return [call for call in self.calls if call.answered]

    def clear(self) -> None:
        with self._lock:
            self.log.clear()

    def serve_forever(self) -> None:
        self._http.serve_forever()

    def arrived(self, request: Request) -> None:
        with self._lock:
            self.log.append(request)

    def reply(self, request: Request) -> Reply:
        """What this call gets."""
        for name in sorted(self.refuses):
            sent, said, param = REFUSALS[name]
            if sent(request.body):
                request.behaviour = f"refuses {name}"
                return Fail(400, said, "ValidationException" if request.bedrock else "unsupported_parameter", param)
        behaviour = self.behaviour if isinstance(self.behaviour, str) else self.behaviour(request)
        request.behaviour = behaviour if isinstance(behaviour, str) else type(behaviour).__name__
        reply = BEHAVIOURS[behaviour](request) if isinstance(behaviour, str) else behaviour
        if isinstance(reply, Say) and reply.logprobs is None:
            reply.logprobs = self.logprobs
        return reply


def first(count: int, behaviour: str, then: str = "ok") -> Behaviour:
    """The first so many calls get one behaviour, all after them another."""
    seen = iter(range(count))
    return lambda _: behaviour if next(seen, None) is not None else then


class _Http(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True
    endpoint: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def log_message(self, *_: object) -> None:
        """Say nothing: the log is for asserting."""

    def do_GET(self) -> None:
        endpoint = self.server.endpoint
        if self.path == "/log":  # for a server in a process of its own
            keep = ("path", "at", "wall", "behaviour", "status", "answered")
            calls = [{name: getattr(r, name) for name in keep} | {"judged": r.judged} for r in endpoint.calls]
            self._send(200, json.dumps(calls))
        elif self.path.endswith("/models"):
            models = [{"id": name, "object": "model", "created": 1, "owned_by": "us"} for name in endpoint.models]
            self._send(200, json.dumps({"object": "list", "data": models}))
        else:
            self._send(404, "{}")

    def do_POST(self) -> None:
        endpoint = self.server.endpoint
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        request = Request(self.path, body, {name.lower(): value for name, value in self.headers.items()})
        endpoint.arrived(request)
        if endpoint.delay:
            time.sleep(endpoint.delay)
        reply = endpoint.reply(request)
        request.done = time.monotonic()
        if isinstance(reply, Raw) and reply.act != "send":
            self._misbehave(reply)
        elif isinstance(reply, Raw):
            self._send(reply.status, reply.body, reply.type)
        elif isinstance(reply, Fail):
            request.status = reply.status
            self._fail(reply, request)
        else:
            request.status = 200
            if request.of_categories:
                said = _categories(request)
            else:
                said = _converse(reply, request) if request.bedrock else _completion(reply, request)
            request.answered = reply.honest  # before the client can see it
            try:
                self._send(200, json.dumps(said))
            except OSError:
                request.answered = False

    def _fail(self, reply: Fail, request: Request) -> None:
        if request.bedrock:
            headers = {"x-amzn-ErrorType": reply.code, **reply.headers}
            self._send(reply.status, json.dumps({"message": reply.message}), headers=headers)
        else:
            error = {"message": reply.message, "type": "error", "param": reply.param, "code": reply.code or None}
            self._send(reply.status, json.dumps({"error": error}), headers=reply.headers)

    def _misbehave(self, reply: Raw) -> None:
        self.close_connection = True
        if reply.act == "hang":
            self.server.endpoint.stopping.wait(30)
        elif reply.act == "cut":
            self._send(200, reply.body, send=len(reply.body) // 2)
            # With a linger of zero the socket is reset, not closed.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(OSError):
            self.connection.close()

    def _send(
        self,
        status: int,
        body: str,
        type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        send: int | None = None,
    ) -> None:
        data = body.encode()
        self.send_response(status)
        for name, value in {"Content-Type": type, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("x-request-id", "r-1")
        head = b"".join(self._headers_buffer) + b"\r\n"  # type: ignore[attr-defined]
        self._headers_buffer: list[bytes] = []
        self.wfile.write(head + data[:send])  # in one write: two would wait for each other's acknowledgement


def main() -> None:
    """Serve until killed; `GET /log` tells what arrived."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--behaviour", default="ok", choices=BEHAVIOURS)
    given = parser.parse_args()
    server = Server(given.behaviour, delay=given.delay, port=given.port)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
