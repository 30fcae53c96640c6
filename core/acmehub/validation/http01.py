"""http-01 (RFC 8555 section 8.3; addresses: RFC 8738 section 4): a file below `/.well-known/acme-challenge/`."""

import hmac
import re
import ssl
from urllib.parse import SplitResult, urljoin, urlsplit

from acmehub.config import Verify
from acmehub.models.identifiers import canonical
from acmehub.models.problems import ProblemType
from acmehub.rules.names import syntax_flaw
from acmehub.validation.egress import Egress
from acmehub.validation.errors import ValidationFailed
from acmehub.validation.fetching import FetchedResponse, described, fetch

PATH = "/.well-known/acme-challenge/"
PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TARGET = re.compile(r"[\x21-\x7e]{1,2000}")
_TRAILING = b" \t\r\n"


class Http01:
    """The validator for http-01."""

    def __init__(self, settings: Verify, egress: Egress, user_agent: str) -> None:
        self._settings = settings
        self._egress = egress
        self._user_agent = user_agent
        self._ports = frozenset({*PORTS.values(), settings.http_port, settings.tls_port})
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False  # a redirect to https proves no more than the http request that led there
        self._tls.verify_mode = ssl.CERT_NONE

    async def validate(self, host: str, token: str, key_authorization: str, trail: list[str]) -> str:
        """Validate `host` (a name or an address); returns where the file was found. Raises `ValidationFailed`."""
        port = self._settings.http_port
        url = f"http://{_bracketed(host)}{'' if port == 80 else f':{port}'}{PATH}{token}"
        response = await self._get(url, trail)
        redirects = 0
        while response.status in _REDIRECTS:
            if redirects == self._settings.redirects:
                last = f", the last to {url}" if response.listed else ""
                raise ValidationFailed(ProblemType.CONNECTION, f"{host}: more than {redirects} redirects{last}")
            redirects += 1
            url = _redirected(url, response)
            response = await self._get(url, trail, shown=response.listed)
        _check(response, token, key_authorization, elsewhere=redirects > 0)
        return f"{url} at {response.at}"

    async def _get(self, url: str, trail: list[str], *, shown: bool = True) -> FetchedResponse:
        """The response to a GET; `shown`: whether messages may have the URL."""
        parts, host, port = self._checked(url, shown=shown)
        tls = self._tls if parts.scheme == "https" else None
        authority = _bracketed(host) + ("" if port == PORTS[parts.scheme] else f":{port}")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        async with self._egress.connect(host, port, trail, tls=tls, sni=host if tls else None) as connection:
            return await fetch(connection, authority, target, self._user_agent, self._settings.response_bytes)

    def _checked(self, url: str, *, shown: bool) -> tuple[SplitResult, str, int]:
        """The parts, the host and the port of a URL; raises `ValidationFailed` for one that is not followed."""
        to = f" to {url[:100]}" if shown else ""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise _not_followed(to, "it is no URL") from error
        if parts.scheme not in PORTS:
            raise _not_followed(to, "only http and https are")
        if parts.username is not None or parts.password is not None:
            raise _not_followed(to, "it has credentials")
        if port not in self._ports:
            raise _not_followed(to, f"only ports {', '.join(map(str, sorted(self._ports)))} are")
        host = canonical(host)
        if "%" in host or (":" not in host and syntax_flaw(host) is not None):
            raise _not_followed(to, "its host is no name")
        return parts, host, port


def _redirected(url: str, response: FetchedResponse) -> str:
    if not _TARGET.fullmatch(response.location):
        raise ValidationFailed(
            ProblemType.CONNECTION, f"{response.at}: a redirect (status {response.status}) without a good Location"
        )
    try:
        return urljoin(url, response.location).partition("#")[0]
    except ValueError as error:
        to = f" to {response.location[:100]}" if response.listed else ""
        raise _not_followed(to, "it is no URL") from error


def _not_followed(to: str, why: str) -> ValidationFailed:
    return ValidationFailed(ProblemType.CONNECTION, f"a redirect{to} is not followed: {why}")


def _check(response: FetchedResponse, token: str, key_authorization: str, *, elsewhere: bool) -> None:
    """Check that the body is the key authorization, apart from white space at its end.

    The message quotes the body only from a server in a network that the operator has listed, and not if redirects led
    `elsewhere`: it may be a document that only the hub can read.
    """
    body = response.body.rstrip(_TRAILING)
    if response.status == 200 and hmac.compare_digest(body, key_authorization.encode()):
        return
    came = described(response) if response.listed and not elsewhere else f"status {response.status}"
    if response.status == 200 and body.startswith(f"{token}.".encode()):
        raise ValidationFailed(
            ProblemType.UNAUTHORIZED, f"{response.at}: the key authorization of another account key: {came}"
        )
    raise ValidationFailed(ProblemType.INCORRECT_RESPONSE, f"{response.at}: not the key authorization: {came}")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
