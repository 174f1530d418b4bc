"""Amazon Bedrock in a region: credentials, client, and what its refusals mean."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.judges.llm.backend import Ask, Unsupported
from rlaif.judges.remote.judge import RemoteCard, Unanswered, refuse_silence, retry_after
from rlaif.judges.remote.limits import Transient


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
        if session.get_credentials() is None:
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
            self.client = _session(card.region, card.profile).client(
                "bedrock-runtime",
                endpoint_url=card.endpoint_url,
                config=botocore.config.Config(
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    max_pool_connections=card.concurrency,
                    read_timeout=card.timeout,
                    connect_timeout=min(10.0, card.timeout),
                ),
            )
        self.endpoint = str(self.client.meta.endpoint_url)

    def send(self, call: Callable[..., Any], question: Ask | None = None, **request: Any) -> Mapping[str, Any]:
        """Send a request once and return the answer, or raise what its failure means."""
        from botocore import exceptions
        from botocore.parsers import ResponseParserError

        # What a body of the wrong shape raises in boto3's parser, which expects its own service.
        misread = (ResponseParserError, ValueError, TypeError, AttributeError, LookupError, RecursionError)
        nobody = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.TokenRetrievalError)
        try:
            return call(**request)  # type: ignore[no-any-return]
        except exceptions.ClientError as error:
            raise self._explain(error, question) from error
        except exceptions.ReadTimeoutError as error:
            raise Transient(f"no answer in {self._timeout:g} s", status="timeout", billed=True) from error
        except nobody as error:
            raise InputError(
                f"{self._where}: AWS credentials: {reason_of(error)}; run `aws configure` or `aws sso login`"
            ) from error
        except exceptions.HTTPClientError as error:
            raise Transient(f"the connection failed: {reason_of(error)}", billed=True) from error
        except exceptions.ParamValidationError as error:
            raise InputError(f"{self._where}: {reason_of(error)}") from error
        except (exceptions.BotoCoreError, *misread) as error:
            raise Unanswered("unparsable", f"the endpoint sent no answer of its kind: {reason_of(error)}") from error

    def reach(self) -> None:
        """Raise `InputError` where nothing listens at the endpoint."""
        refuse_silence(self.endpoint, self._where, "mend `region` or `endpoint_url`")

    def _explain(self, error: Any, question: Ask | None) -> Exception:
        """Say whose turn it is: the run's (access, model), the sample's (length), the endpoint's, or time's."""
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        said = " ".join(str(error.response.get("Error", {}).get("Message") or error).split())[:300]
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
        if code == "ResourceNotFoundException" or status == 404 or re.search(r"model identifier is invalid", said):
            return InputError(f"{self._where}: {self.endpoint} has no model {self.model}: {said}")
        if re.search(_TOO_LONG, said, re.IGNORECASE):
            return Unanswered("too_long", said)
        if re.search(r"content.?filter|guardrail|blocked", said, re.IGNORECASE):
            return Unanswered("filtered", said)
        for pattern, parameter in _PARAMETERS[question.format] + _PARAMETERS["any"] if question else []:
            if re.search(pattern, said, re.IGNORECASE):
                return Unsupported(parameter, said)
        return Unanswered("unavailable", f"{code}: {said}")


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
_TOO_LONG = (
    r"context.?(length|window)|input is too long|prompt is too long|too many (input )?tokens|maximum.{0,20}tokens"
)


_making = threading.Lock()


def _session(region: str | None, profile: str | None) -> Any:
    import boto3
    from botocore import exceptions

    try:
        # boto3 itself reads AWS_DEFAULT_REGION only; the other AWS tools read AWS_REGION first.
        return boto3.Session(region_name=region or os.environ.get("AWS_REGION"), profile_name=profile)
    except exceptions.ProfileNotFound as error:
        raise InputError(f"{reason_of(error)}; `aws configure list-profiles` lists them") from error
