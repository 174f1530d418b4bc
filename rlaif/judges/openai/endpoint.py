"""An OpenAI-compatible endpoint: its key, its client, and what its refusals mean."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.judges.llm.backend import Misformatted, Unsupported
from rlaif.judges.remote import refusals
from rlaif.judges.remote.judge import RemoteCard, Unanswered, retry_after
from rlaif.judges.remote.limits import Transient
from rlaif.judges.remote.network import find_lasting_failure, hide_password, proxy_of, refuse_silence, was_sent
from rlaif.judges.remote.secrets import mask, refuse_odd_secret
from rlaif.judges.remote.tokens import Tokens

if TYPE_CHECKING:
    from openai import OpenAI

OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True, kw_only=True)
class OpenAIKeys(RemoteCard):
    """
    The keys that say where an endpoint is.

    `api_key_env` names the variable that holds the key; OpenAI's own endpoint reads OPENAI_API_KEY, and a server on
    this machine needs none. A query of `base_url` is sent with every call, and so are `extra_headers`, which hold no
    key.
    """

    base_url: str = OPENAI
    api_key_env: str | None = None
    extra_headers: dict[str, str] = field(default_factory=dict)

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
            raise InputError(f"{self._where}: {lack}; put the key of {hide_password(card.base_url)} there")
        base, _, query = card.base_url.partition("?")
        self.endpoint = base.rstrip("/")
        _refuse_odd_address(self.endpoint, query, self._where)
        variable = card.key_variable() or ""
        self._key = (os.environ.get(variable) or "").strip()
        refuse_odd_secret(self._key, f"{self._where}: the variable {variable}")
        _refuse_odd_headers(card.extra_headers, self._where)
        self.client = _client_of(self.endpoint, self._key or "none", query, card.extra_headers, self._where)
        self._has_answered = False
        self.model = self._only_model() if card.model == "auto" else card.model

    def send(self, create: Callable[..., Any], **request: Any) -> str:
        """Send a request once and return the body, or raise what its failure means."""
        import openai

        try:
            body = str(create(**request, timeout=self._keys.timeout).http_response.text)
        except openai.APIConnectionError as error:  # a timeout is one
            raise self._explain_silence(error) from None  # what the SDK raised may hold the key
        except openai.APIStatusError as error:
            raise self._explain(error, request) from None
        except (ValueError, LookupError) as error:  # a body in an odd encoding
            raise Unanswered(
                "unparsable", f"the answer cannot be read: {self._mask(reason_of(error))}", Tokens()
            ) from None
        self._has_answered = True
        return mask(body, self._key)

    def reach(self) -> None:
        """Raise `InputError` where nothing listens at the endpoint."""
        refuse_silence(self.endpoint, self._where, "start the server, or mend base_url")

    def explain_failure(self, failure: Any, request: Mapping[str, object], used: Tokens | None) -> Exception:
        """Say what a failure means that an endpoint reports with status 200."""
        error = failure if isinstance(failure, Mapping) else {"message": str(failure)}
        said = " ".join(str(error.get("message") or failure).split())[:300]
        code = str(error.get("code") or error.get("type") or "")
        is_status = re.fullmatch(r"[45]\d\d", code) is not None
        # A word is read as a refusal's; one that is not known to be one may pass.
        status = int(code) if is_status else 429 if code == "insufficient_quota" else 400
        meant = self._explain_status(status, said, code, str(error.get("param") or ""), request, None)
        is_unknown = isinstance(meant, Unsupported) or (isinstance(meant, Unanswered) and meant.status == "unavailable")
        if isinstance(meant, Transient) or (status == 400 and not is_status and is_unknown):
            return Transient(f"the endpoint failed: {said}", throttled=getattr(meant, "throttled", False), used=used)
        if isinstance(meant, Unanswered):
            meant.used = used
        return meant

    def _explain_silence(self, error: Exception) -> Exception:
        """Say why there is no answer: time, the network, or what no retry mends."""
        import openai

        sent = was_sent(error)
        if isinstance(error, openai.APITimeoutError) and sent:  # it may have run to its end, and be charged
            return Transient(f"no answer in {self._keys.timeout:g} s", status="timeout", billed=True)
        said = self._mask(reason_of(error.__cause__ or error))
        lasting = find_lasting_failure(error, self.endpoint)
        if lasting and not self._has_answered:
            return InputError(f"{self._where}: no connection to {self.endpoint}: {lasting} ({said})")
        through = proxy_of(self.endpoint)
        return Transient(f"the connection{f' through {through}' if through else ''} failed: {said}", billed=sent)

    def _explain(self, error: Any, request: Mapping[str, object]) -> Exception:
        """Say whose turn it is: the run's (key, model), the sample's (length, filter), the endpoint's, or time's."""
        response, body = error.response, error.body if isinstance(error.body, dict) else {}
        try:
            text = response.text
        except (ValueError, LookupError):
            text = ""
        if page := refusals.page_text(text):
            return self._explain_page(error.status_code, page, response.headers)
        detail = body.get("message") or body.get("detail") or body.get("error") or text or error.message
        said = self._mask(" ".join(str(detail).split()))[:300]
        after = retry_after(response.headers)
        return self._explain_status(error.status_code, said, str(error.code or ""), error.param or "", request, after)

    def _explain_status(
        self, status: int, said: str, code: str, param: str, request: Mapping[str, object], after: float | None
    ) -> Exception:
        own = self._own_mistake(status, said, code, param)
        if own:
            return InputError(f"{self._where}: {own}")
        if status == 413:
            return Unanswered("too_long", said)
        if status == 429 and (code == "insufficient_quota" or re.search(_FOR_GOOD, said, re.IGNORECASE)):
            return Unanswered("unavailable", f"a quota that no retry mends: {said}")
        if status in (408, 409, 425, 429) or (status >= 500 and status != 501):
            return Transient(f"HTTP {status}: {said}", throttled=status in (429, 503), retry_after=after)
        if code == "content_filter" or re.search(refusals.FILTERED, said, re.IGNORECASE):
            return Unanswered("filtered", said)
        if refusals.says_no_json(said, code):
            reason = f"the model's answer is not in the format: {said}"
            return Misformatted(reason) if "response_format" in request else Unanswered("unparsable", reason)
        if code == "context_length_exceeded" or re.search(refusals.TOO_LONG, said, re.IGNORECASE):
            return Unanswered("too_long", said)
        for name, parameter in _PARAMETERS.items():
            if parameter_sent(name, request) and (param == name or re.search(rf"\b{name}\b", said)):
                return Unsupported(parameter, said)
        if any(name in request for name in _PARAMETERS):
            return Unsupported(None, f"HTTP {status}: {said}")
        return Unanswered("unavailable", f"HTTP {status}: {said}")

    def _own_mistake(self, status: int, said: str, code: str, param: str) -> str:
        """Say what is wrong with the card or the key; nothing where the refusal is of something else."""
        if status in (401, 403):
            variable = self._keys.key_variable() or "none; `api_key_env` names one"
            return f"{self.endpoint} refuses the key (HTTP {status}; variable {variable}): {said}"
        if status == 404:
            return f"{self.endpoint} has no model {self.model!r}, or base_url is wrong (HTTP 404): {said}"
        if status in (400, 422) and (param == "model" or refusals.names_no_model(said, code)):
            return f"{self.endpoint} has no model {self.model!r} (HTTP {status}): {said}"
        if status in (400, 422) and refusals.limit_is_too_high(said):
            return f"max_tokens: {self.endpoint} does not take the card's (HTTP {status}): {said}"
        if status == 407:
            return f"{proxy_of(self.endpoint) or 'a proxy'} wants a name and a password (HTTP 407): {said}"
        return ""

    def _explain_page(self, status: int, page: str, headers: Mapping[str, str]) -> Exception:
        """Say who answered in the endpoint's place, with a web page."""
        proxy, page = proxy_of(self.endpoint), self._mask(page)
        name = headers.get("via") or headers.get("server") or ""
        who = f"{proxy}" if proxy else f"a gateway ({name})" if name else "a gateway"
        said = f"{who} answers HTTP {status} in place of {self.endpoint}: {page!r}"
        if status in (401, 403, 404, 407):
            mend = f"mend or unset {proxy.variable}, or name the host in NO_PROXY" if proxy else "mend base_url"
            return InputError(f"{self._where}: {said}; {mend}")
        if status in (408, 429) or status >= 500:
            return Transient(said, throttled=status in (429, 503), retry_after=retry_after(headers))
        return Unanswered("unavailable", said)

    def _mask(self, text: str) -> str:
        """Blot the key out of what is repeated: some endpoints, and the SDK, show it."""
        return hide_password(mask(text, self._key)) if "://" in text else mask(text, self._key)

    def _only_model(self) -> str:
        import openai

        try:
            models = [model.id for model in self.client.models.list(timeout=self._keys.timeout)]
        except openai.APIStatusError as error:
            raise InputError(
                f"{self._where}: model: auto: {self.endpoint} lists no models (HTTP {error.status_code})"
            ) from error
        except openai.APIConnectionError as error:
            lasting = find_lasting_failure(error, self.endpoint) or "start the server, or mend base_url"
            raise InputError(f"{self._where}: nothing answers at {self.endpoint}; {lasting}") from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self._where}: model: auto: {self.endpoint} lists no models that can be read; name the model"
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


def _refuse_odd_address(endpoint: str, query: str, where: str) -> None:
    if not _is_url(endpoint):
        raise InputError(
            f"{where}: base_url: {hide_password(endpoint)!r} should be a URL as in http://localhost:8000/v1"
        )
    if "@" in urlsplit(endpoint).netloc:
        raise InputError(f"{where}: base_url: holds a password; keys come by `api_key_env` only")
    if "#" in endpoint or "#" in query:
        raise InputError(f"{where}: base_url: should not have a fragment (#)")
    if re.search(r"key|token|secret|password|sig", " ".join(name for name, _ in parse_qsl(query)), re.IGNORECASE):
        raise InputError(f"{where}: base_url: its query holds a key; keys come by `api_key_env` only")


def _refuse_odd_headers(headers: Mapping[str, str], where: str) -> None:
    for name, value in headers.items():
        if re.search(r"authorization|key|token|secret|cookie|password", name, re.IGNORECASE):
            raise InputError(f"{where}: extra_headers: {name}: keys come by `api_key_env` only")
        if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name) or not re.fullmatch(r"[\t\x20-\x7e]*", value):
            raise InputError(f"{where}: extra_headers: {name!r} is no header that can be sent")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def parameter_sent(name: str, request: Mapping[str, Any]) -> bool:
    """Whether a request holds a parameter: an endpoint may name one that was never sent."""
    return name in request or (
        name == "json_schema" and request.get("response_format", {}).get("type") == "json_schema"
    )


_clients: dict[tuple[Any, ...], OpenAI] = {}
_making = threading.Lock()


def _client_of(endpoint: str, key: str, query: str, headers: Mapping[str, str], where: str) -> OpenAI:
    """Return the client of an endpoint, one in a process: it keeps connections open, and threads may share it."""
    import openai

    of = (endpoint, key, query, json.dumps(dict(headers), sort_keys=True), *_network_variables())
    with _making:
        if of not in _clients:
            try:
                client = openai.OpenAI(
                    base_url=endpoint,
                    api_key=key,
                    max_retries=0,
                    default_query=dict(parse_qsl(query, keep_blank_values=True)) or None,
                    default_headers=dict(headers) or None,
                )
            except (ImportError, ValueError, OSError, openai.OpenAIError) as error:
                raise _odd_network(error, endpoint, where) from None
            # The SDK imports on first use; that must not come between a call's turn and its sending.
            _ = client.chat.completions.with_raw_response, client.moderations.with_raw_response
            _clients[of] = client
        return _clients[of]


def _network_variables() -> list[tuple[str, str]]:
    """Return the variables that a client reads when it is made."""
    names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")
    return sorted((name, value) for name, value in os.environ.items() if name.lower() in names)


def _odd_network(error: Exception, endpoint: str, where: str) -> InputError:
    """Say which variable of the environment a client cannot be made with."""
    said = hide_password(reason_of(error))
    proxies = [(name, value) for name, value in _network_variables() if name.lower().endswith("_proxy")]
    for name, value in proxies:
        if value.lower().startswith("socks"):
            mend = f"`pip install 'httpx[socks]'` (it brings socksio), write socks5://, or unset {name}"
            return InputError(f"{where}: {name}: {hide_password(value)} cannot be used: {said}; {mend}")
    names = ", ".join(name for name, _ in _network_variables() if name.lower() != "no_proxy")
    return InputError(f"{where}: no client for {endpoint} can be made: {said}{f'; set are: {names}' if names else ''}")
