"""An OpenAI-compatible endpoint: its key, its client, and what its refusals mean."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rlaif.core.errors import InputError
from rlaif.judges.llm.backend import Unsupported
from rlaif.judges.remote.judge import RemoteCard, Unanswered, refuse_silence, retry_after
from rlaif.judges.remote.limits import Transient

if TYPE_CHECKING:
    from openai import OpenAI

OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True, kw_only=True)
class OpenAIKeys(RemoteCard):
    """
    The keys that say where an endpoint is.

    `api_key_env` names the variable that holds the key; OpenAI's own endpoint reads OPENAI_API_KEY, and a server on
    this machine needs none.
    """

    base_url: str = OPENAI
    api_key_env: str | None = None

    @property
    def is_openais_own(self) -> bool:
        """Whether it is OpenAI's endpoint, which has a price list and wants a key."""
        return self.base_url.rstrip("/") == OPENAI

    @property
    def who(self) -> str:
        """The first words of a message."""
        return f"judge {self.name}"

    def key_variable(self) -> str | None:
        """Name the environment variable of the key, or None where no key is needed."""
        return self.api_key_env or ("OPENAI_API_KEY" if self.is_openais_own else None)

    def missing(self) -> str:
        """Say which key is not set."""
        variable = self.key_variable()
        return f"the variable {variable} is not set" if variable and not os.environ.get(variable) else ""


class OpenAIEndpoint:
    """The client of an endpoint; a missing key is refused here, before any call."""

    def __init__(self, card: OpenAIKeys) -> None:
        self._keys = card
        self._where = card.who
        if lack := card.missing():
            raise InputError(f"{self._where}: {lack}; put the key of {card.base_url} there")
        self.endpoint = card.base_url.rstrip("/")
        if not _is_url(self.endpoint):
            raise InputError(
                f"{self._where}: base_url: {card.base_url!r} should be a URL as in http://localhost:8000/v1"
            )
        if "@" in urlsplit(self.endpoint).netloc:
            raise InputError(f"{self._where}: base_url: holds a password; keys come by `api_key_env` only")
        self._key = os.environ.get(card.key_variable() or "") or ""
        self.client = _client_of(self.endpoint, self._key or "none")
        self.model = self._only_model() if card.model == "auto" else card.model

    def send(self, create: Callable[..., Any], **request: Any) -> str:
        """Send a request once and return the body, or raise what its failure means."""
        import openai

        try:
            body = create(**request, timeout=self._keys.timeout).http_response.text
        except openai.APITimeoutError as error:
            # It may have run to its end, and be charged.
            raise Transient(f"no answer in {self._keys.timeout:g} s", status="timeout", billed=True) from error
        except openai.APIConnectionError as error:
            raise Transient(f"the connection failed: {error.__cause__ or error}", billed=True) from error
        except openai.APIStatusError as error:
            raise self._explain(error, request) from None  # what the SDK raised may hold the key
        return self._redact_key(body)

    def reach(self) -> None:
        """Raise `InputError` where nothing listens at the endpoint."""
        refuse_silence(self.endpoint, self._where, "start the server, or mend base_url")

    def _explain(self, error: Any, request: Mapping[str, Any]) -> Exception:
        """Say whose turn it is: the run's (key, model), the sample's (length, filter), the endpoint's, or time's."""
        body = error.body if isinstance(error.body, dict) else {}
        said = self._redact_key(" ".join(str(body.get("message") or body.get("detail") or error.message).split()))[:300]
        code, status = str(error.code or ""), error.status_code
        if status == 429 and (code == "insufficient_quota" or re.search(_FOR_GOOD, said, re.IGNORECASE)):
            return Unanswered("unavailable", f"a quota that no retry mends: {said}")
        if status in (408, 409, 429) or status >= 500:
            throttled, after = status in (429, 503), retry_after(error.response.headers)
            return Transient(f"HTTP {status}: {said}", throttled=throttled, retry_after=after)
        if status in (401, 403):
            variable = self._keys.key_variable() or "none; `api_key_env` names one"
            return InputError(
                f"{self._where}: {self.endpoint} refuses the key (HTTP {status}; variable {variable}): {said}"
            )
        if status == 404:
            return InputError(
                f"{self._where}: {self.endpoint} has no model {self.model!r}, or base_url is wrong (HTTP 404): {said}"
            )
        if code == "content_filter" or re.search(
            r"content.?(filter|management|policy)|safety system", said, re.IGNORECASE
        ):
            return Unanswered("filtered", said)
        if code == "context_length_exceeded" or re.search(_TOO_LONG, said, re.IGNORECASE):
            return Unanswered("too_long", said)
        for name, parameter in _PARAMETERS.items():
            if parameter_sent(name, request) and (error.param == name or re.search(rf"\b{name}\b", said)):
                return Unsupported(parameter, said)
        return Unanswered("unavailable", f"HTTP {status}: {said}")

    def _redact_key(self, text: str) -> str:
        """Blot the key out of what an endpoint says: some repeat it."""
        return text.replace(self._key, "[key]") if self._key else text

    def _only_model(self) -> str:
        import openai

        try:
            models = [model.id for model in self.client.models.list(timeout=self._keys.timeout)]
        except openai.APIStatusError as error:
            raise InputError(
                f"{self._where}: model: auto: {self.endpoint} lists no models (HTTP {error.status_code})"
            ) from error
        except openai.OpenAIError as error:
            raise InputError(
                f"{self._where}: nothing answers at {self.endpoint}; start the server, or mend base_url"
            ) from error
        if len(models) != 1:
            named = f"name one: {', '.join(models)[:300]}" if models else "name the one it was started with"
            raise InputError(f"{self._where}: model: auto: {self.endpoint} serves {len(models)} models; {named}")
        return models[0]


_PARAMETERS = {
    "response_format": "format",
    "json_schema": "format",
    "max_completion_tokens": "max_completion_tokens",
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_logprobs": "logprobs",
    "logprobs": "logprobs",
}
_FOR_GOOD = r"per day|daily|current quota"  # Azure's passing throttles name a page about quotas
_TOO_LONG = r"context.?(length|window|size)|maximum.{0,20}tokens|too (many tokens|long)|exceeds?.{0,40}(context|tokens)"


def _is_url(text: str) -> bool:
    try:
        return urlsplit(text).scheme in ("http", "https") and bool(urlsplit(text).hostname)
    except ValueError:
        return False


def parameter_sent(name: str, request: Mapping[str, Any]) -> bool:
    """Whether a request holds a parameter: an endpoint may name one that was never sent."""
    return name in request or (
        name == "json_schema" and request.get("response_format", {}).get("type") == "json_schema"
    )


_clients: dict[tuple[str, str], OpenAI] = {}
_making = threading.Lock()


def _client_of(endpoint: str, key: str) -> OpenAI:
    """Return the client of an endpoint, one in a process: it keeps connections open, and threads may share it."""
    import openai

    with _making:
        if (endpoint, key) not in _clients:
            client = openai.OpenAI(base_url=endpoint, api_key=key, max_retries=0)
            # The SDK imports on first use; that must not come between a call's turn and its sending.
            _ = client.chat.completions.with_raw_response, client.moderations.with_raw_response
            _clients[endpoint, key] = client
        return _clients[endpoint, key]
