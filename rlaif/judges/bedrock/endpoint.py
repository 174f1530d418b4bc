"""Amazon Bedrock in a region: credentials, client, and what its refusals mean."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.judges.llm.backend import Ask, Misformatted, Unsupported
from rlaif.judges.llm.verdict import Unparsable, refuse_twice
from rlaif.judges.remote import refusals
from rlaif.judges.remote.judge import RemoteCard, Unanswered, retry_after
from rlaif.judges.remote.limits import Transient
from rlaif.judges.remote.network import find_lasting_failure, hide_password, refuse_silence, was_sent
from rlaif.judges.remote.secrets import mask, refuse_odd_secret
from rlaif.judges.remote.tokens import Tokens, read_tokens


@dataclass(frozen=True, kw_only=True)
class BedrockKeys(RemoteCard):
    """
    The keys that say where, and as whom.

    Region and credentials come from where the AWS tools take them, unless `region` or `profile` says otherwise.
    """

    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None

    def missing(self) -> str:
        """Say that there are no credentials or no region."""
        try:
            session = _session(self.region, self.profile)
        except InputError as error:
            return str(error)
        if session.get_credentials() is None and not os.environ.get(_BEARER):
            return "no AWS credentials: run `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return "" if session.region_name else "no AWS region: set `region` in the card, or AWS_REGION"


class BedrockEndpoint:
    """The client of a region; missing credentials are refused here, before any call."""

    def __init__(self, card: BedrockKeys) -> None:
        import botocore.config

        self._where = f"judge {card.name}"
        if lack := card.missing():
            raise InputError(f"{self._where}: {lack}")
        self.model = card.model
        self._timeout = card.timeout
        with _making:  # clients are thread-safe, sessions are not
            session = _session(card.region, card.profile)
            keys, self._secrets = _keys_of(session, self._where)
            self.client = session.client(
                "bedrock-runtime",
                endpoint_url=card.endpoint_url,
                **keys,
                config=botocore.config.Config(
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    max_pool_connections=card.concurrency,
                    read_timeout=card.timeout,
                    connect_timeout=min(10.0, card.timeout),
                ),
            )
        # boto3's parser takes true for 1.0 and the last of two equal keys; what was on the wire says more.
        self._wire = threading.local()
        self.client.meta.events.register("before-parse", self._keep_body)
        self.endpoint = str(self.client.meta.endpoint_url)
        self._has_answered = False

    def send(self, call: Callable[..., Any], question: Ask | None = None, **request: Any) -> Mapping[str, Any]:
        """Send a request once and return the answer, or raise what its failure means."""
        from botocore import exceptions
        from botocore.parsers import ResponseParserError

        # What a body of the wrong shape raises in boto3's parser, which expects its own service.
        misread = (ResponseParserError, ValueError, TypeError, AttributeError, LookupError, RecursionError)
        nobody = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.TokenRetrievalError)
        self._wire.body = b""
        try:
            answer: Mapping[str, Any] = call(**request)
        except exceptions.ClientError as error:
            raise self._explain(error, question) from None  # what the SDK raised may hold a key
        except exceptions.ReadTimeoutError:
            raise Transient(f"no answer in {self._timeout:g} s", status="timeout", billed=True) from None
        except nobody as error:
            said = self._mask(reason_of(error))
            raise InputError(
                f"{self._where}: AWS credentials: {said}; run `aws configure` or `aws sso login`"
            ) from None
        except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
            raise self._explain_silence(error) from None
        except exceptions.ParamValidationError as error:
            raise InputError(f"{self._where}: {self._mask(reason_of(error))}") from None
        except (exceptions.BotoCoreError, *misread) as error:
            said = self._mask(reason_of(error))
            used = self._usage_on_wire()
            raise Unanswered("unparsable", f"the endpoint sent no answer of its kind: {said}", used) from None
        self._has_answered = True
        try:
            self.wire()
        except Unparsable as error:  # a key twice
            raise Unanswered("unparsable", str(error), self._usage_on_wire()) from None
        except (ValueError, RecursionError):
            pass
        return answer

    def wire(self) -> Any:
        """Return the last answer of this thread as JSON, as it came; raises `ValueError` where it is none."""
        return json.loads(self._wire.body, object_pairs_hook=refuse_twice)

    def _keep_body(self, response_dict: Mapping[str, object], **_: Any) -> None:
        self._wire.body = response_dict.get("body") or b""

    def _usage_on_wire(self) -> Tokens:
        try:
            usage = json.loads(self._wire.body)["usage"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return Tokens()
        return read_tokens(usage, "inputTokens", "outputTokens", "totalTokens", said=False)

    def _explain_silence(self, error: Exception) -> Exception:
        said, lasting = self._mask(reason_of(error)), find_lasting_failure(error, self.endpoint)
        if lasting and not self._has_answered:
            return InputError(f"{self._where}: no connection to {self.endpoint}: {lasting} ({said})")
        return Transient(f"the connection failed: {said}", billed=was_sent(error))

    def _mask(self, text: str) -> str:
        """Blot keys out of what is repeated: some endpoints, and the SDK, show them."""
        return hide_password(mask(text, *self._secrets))

    def reach(self) -> None:
        """Raise `InputError` where nothing listens at the endpoint."""
        refuse_silence(self.endpoint, self._where, "mend `region` or `endpoint_url`")

    def _explain(self, error: Any, question: Ask | None) -> Exception:
        """Say whose turn it is: the run's (access, model), the sample's (length), the endpoint's, or time's."""
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        said = self._mask(" ".join(str(error.response.get("Error", {}).get("Message") or error).split()))[:300]
        if code in _THROTTLES and re.search(r"per day|daily", said, re.IGNORECASE):
            return Unanswered("unavailable", f"a quota that no retry mends: {said}")
        if code in _THROTTLES or code in _PASSING or status >= 500 or status in (408, 424, 429):
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            throttled = code in _THROTTLES or status in (429, 503)
            return Transient(f"{code}: {said}", throttled=throttled, retry_after=retry_after(headers))
        if re.search(r"on-demand throughput isn.t supported", said):
            return InputError(
                f"{self._where}: model: {self.model} is not sold on demand: use its inference-profile id, "
                f"as in us.{self.model} (or eu., global.)"
            )
        if code in _WRONG_CREDENTIALS:
            return InputError(
                f"{self._where}: AWS does not accept the credentials ({code}): {said}; run `aws configure` or "
                "`aws sso login`"
            )
        if code == "AccessDeniedException" or status in (401, 403):
            return InputError(
                f"{self._where}: AWS denies access to {self.model} ({code}): ask for model access in the Bedrock "
                f"console, and for bedrock:InvokeModel in IAM: {said}"
            )
        if code == "ResourceNotFoundException" or status == 404 or refusals.names_no_model(said):
            return InputError(f"{self._where}: {self.endpoint} has no model {self.model}: {said}")
        if refusals.limit_is_too_high(said):
            return InputError(f"{self._where}: max_tokens: {self.model} does not take the card's: {said}")
        if status == 413 or re.search(refusals.TOO_LONG, said, re.IGNORECASE):
            return Unanswered("too_long", said)
        if re.search(rf"{refusals.FILTERED}|blocked", said, re.IGNORECASE):
            return Unanswered("filtered", said)
        if question and question.format != "text" and refusals.says_no_json(said):
            return Misformatted(f"the model's answer is not in the format: {said}")
        for pattern, parameter in _PARAMETERS[question.format] + _PARAMETERS["any"] if question else []:
            if re.search(pattern, said, re.IGNORECASE):
                return Unsupported(parameter, said)
        if question and status in (400, 422, 501):
            return Unsupported(None, f"{code}: {said}")
        return Unanswered("unavailable", f"{code}: {said}")


_BEARER = "AWS_BEARER_TOKEN_BEDROCK"
_THROTTLES = (
    "ThrottlingException",
    "ModelNotReadyException",
    "TooManyRequestsException",
    "ServiceQuotaExceededException",
)
_WRONG_CREDENTIALS = (
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "ExpiredTokenException",
    "MissingAuthenticationTokenException",
)
_PASSING = ("ServiceUnavailableException", "InternalServerException", "ModelTimeoutException", "ModelErrorException")
_PARAMETERS: dict[str, list[tuple[str, str]]] = {
    "schema": [(r"outputConfig|output_config|textFormat|json.?schema|structured output|output format", "format")],
    "tool": [(r"toolChoice|tool_choice|toolConfig|tool use|\btools?\b", "format")],
    "text": [],
    "any": [(r"temperature", "temperature")],
}
_making = threading.Lock()


def _keys_of(session: Any, where: str) -> tuple[dict[str, str], list[str]]:
    """Return keys without the blanks around them, where they have any, and all that must never be repeated."""
    given = session.get_credentials()
    local = given is not None and given.method in ("env", "shared-credentials-file", "config-file")
    frozen = given.get_frozen_credentials() if local else None
    names = ("access_key", "secret_key", "token")
    arguments = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    values = [getattr(frozen, name, None) or "" for name in names]
    for name, value in zip(arguments, values, strict=True):
        refuse_odd_secret(value.strip(), f"{where}: AWS credentials: {name}")
    bearer = os.environ.get(_BEARER) or ""
    refuse_odd_secret(bearer, f"{where}: the variable {_BEARER}")
    changed = any(value != value.strip() for value in values)
    keys = {name: value.strip() for name, value in zip(arguments, values, strict=True) if value.strip() and changed}
    return keys, [value.strip() for value in (*values, bearer) if value.strip()]


def _session(region: str | None, profile: str | None) -> Any:
    import boto3
    from botocore import exceptions

    try:
        # boto3 itself reads AWS_DEFAULT_REGION only; the other AWS tools read AWS_REGION first.
        return boto3.Session(region_name=region or os.environ.get("AWS_REGION"), profile_name=profile)
    except exceptions.ProfileNotFound as error:
        raise InputError(f"{reason_of(error)}; `aws configure list-profiles` lists them") from error
