"""The way to an endpoint: through which proxy, whether anybody is there, and what no retry mends."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from rlaif.core.errors import InputError

_NEVER_SENT = frozenset(
    {
        *("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "LocalProtocolError"),
        *("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError"),
    }
)  # fmt: skip
"""Names of what httpx and botocore raise before a byte of a request has left."""

_SECRETS = "key|token|secret|sig|password|auth"
"""What stands in the name of a query's key whose value is masked; `sig` covers `signature`."""


@dataclass(frozen=True)
class Proxy:
    """A proxy of the environment: the variable that names it, and its address without a password."""

    variable: str
    address: str

    def __str__(self) -> str:
        return f"the proxy {self.address} ({self.variable})"


def proxy_of(url: str) -> Proxy | None:
    """Return the proxy that the environment sets for a URL, or None."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if address := os.environ.get(variable):
                return Proxy(variable, hide_password(address))
    return None


def hide_password(text: str) -> str:
    """Mask what stands for a name and password in URLs, and the values of their queries."""
    text = re.sub(r"(\w+://)[^\s/@]+@", r"\1[password]@", text)
    return re.sub(rf"([?&][\w.-]*(?:{_SECRETS})[\w.-]*=)[^&\s'\"]+", r"\1[key]", text, flags=re.IGNORECASE)


def refuse_silence(url: str, where: str, hint: str) -> None:
    """Raise `InputError` where nothing listens at a URL, or at the proxy that calls will go through."""
    proxy = proxy_of(url)
    shown = str(proxy) if proxy else hide_password(url)
    target = urlsplit(os.environ[proxy.variable] if proxy else url)
    if proxy and "://" not in os.environ[proxy.variable]:
        target = urlsplit(f"http://{os.environ[proxy.variable]}")
    try:
        port = target.port or {"https": 443, "socks5": 1080, "socks5h": 1080}.get(target.scheme, 80)
        socket.create_connection((target.hostname or "", port), timeout=10).close()
    except (OSError, ValueError) as error:
        mend = f"mend or unset {proxy.variable}, or name the host in NO_PROXY" if proxy else hint
        raise InputError(f"{where}: nothing answers at {shown} ({error}); {mend}") from None


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it came from, down to the first cause."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        nested = getattr(at, "kwargs", {}).get("error") if isinstance(getattr(at, "kwargs", None), dict) else None
        at = at.__cause__ or at.__context__ or (nested if isinstance(nested, BaseException) else None)


def was_sent(error: BaseException) -> bool:
    """Whether a call that failed may have reached the endpoint, and been charged."""
    return not any(type(cause).__name__ in _NEVER_SENT for cause in causes(error))


def find_lasting_failure(error: BaseException, url: str) -> str:
    """Say what no retry mends about a connection that was not made: certificate, proxy, address; else nothing."""
    chain = list(causes(error))
    said = " ".join(str(cause) for cause in chain)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain) or "CERTIFICATE_VERIFY_FAILED" in said:
        variables = [
            name
            for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
            if os.environ.get(name)
        ]
        blame = f"; {' and '.join(variables)} is set" if variables else ""
        return f"the certificate is not trusted{blame}; name the file of its authority in SSL_CERT_FILE"
    if was_sent(error):
        return ""
    if proxy := proxy_of(url):
        return f"{proxy} lets no connection through; mend or unset {proxy.variable}, or name the host in NO_PROXY"
    for cause in chain:
        if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
            return f"the name {urlsplit(url).hostname!r} is not known"
    if re.search(r"Name or service not known|nodename nor servname|No address associated", said):
        return f"the name {urlsplit(url).hostname!r} is not known"
    return ""
