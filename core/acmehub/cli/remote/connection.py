"""Requests to the API of a hub: with its token, over verified TLS, sent again where an answer was lost."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import msgspec

from acmehub import __version__
from acmehub.api.problems import ProblemBody
from acmehub.api.table import JSON, PREFIX
from acmehub.cli.remote.problems import error_of, media_of, name_of, problem_of
from acmehub.cli.remote.token_file import read_token
from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.cli.shared.remote_hub import RemoteHub
from acmehub.http_client.client import HttpClient
from acmehub.http_client.messages import HttpError, HttpResponse
from acmehub.models.wire import Directory
from acmehub.ports.settings import Secret

SECONDS = 300.0  # a live check waits for DNS
LONGEST = 600.0
"""Seconds for a request with all of its repetitions."""

LARGEST_ANSWER = 256 << 20  # the audit of some years
PAUSES = (0.5, 2.0)
"""Seconds before a request is sent again whose answer was lost."""

LONGEST_WAIT = 60.0
"""Seconds that a hub may ask to wait for; for more of them the command ends."""

_DIRECTORY = "/acme/directory"
_NEW_NONCE = "/acme/new-nonce"


class HubConnection:
    """A hub, asked with one token."""

    def __init__(self, hub: RemoteHub, token: Secret, client: HttpClient) -> None:
        self._hub = hub
        self._token = token
        self._client = client

    async def public_url(self) -> str:
        """The URL of the hub for ACME clients, without a path, as the hub itself has it."""
        response = await self._sent("GET", self._hub.url + _DIRECTORY, {}, None)
        url = _public_url(response)
        if url is None:
            raise self._no_hub(f"{_DIRECTORY} is no ACME directory")
        return url

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> HttpResponse:
        """The answer to a request, whose status is 2xx. Raises what the hub's problem stands for, or `Failed`.

        A POST bears a key by which the hub knows it when it comes again (Idempotency-Key).
        """
        url = self._hub.url + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {self._token.reveal()}", "Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_urlsafe(24)
        end = time.monotonic() + LONGEST
        while True:
            response = await self._sent(method, url, headers, body, end)
            if response.status == 204 or (200 <= response.status < 300 and media_of(response) == accept):
                return response
            problem = problem_of(response)
            if problem is None:
                raise await self._not_the_api(response)
            if time.monotonic() > end or not await _waited(response, problem):
                raise self._error(problem)

    async def _sent(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, end: float | None = None
    ) -> HttpResponse:
        """A POST goes out again after a lost answer; of PATCH and DELETE it is not known then whether they were done.
        (GET and DELETE are repeated by the client when a kept connection was closed.)"""
        pauses = iter(PAUSES if method in ("GET", "POST") else ())
        while True:
            try:
                return await self._client.send(method, url, headers=headers, body=body, end=end)
            except HttpError as error:
                pause = next(pauses, None)
                if pause is None:
                    raise Failed(f"{self._hub.url} cannot be reached: {error.detail}", Exit.UNAVAILABLE) from None
                await asyncio.sleep(pause)

    async def _not_the_api(self, response: HttpResponse) -> Failed:
        """What answers instead of the API: another server, a proxy, or a hub that has none."""
        if 300 <= response.status < 400:
            return self._no_hub(f"it redirects to {response.header('Location')}")
        if response.status in (502, 503, 504):
            return Failed(f"{self._hub.url}: what is before the hub says {response.status}", Exit.UNAVAILABLE)
        if response.status == 404 and _public_url(await self._sent("GET", self._hub.url + _DIRECTORY, {}, None)):
            return Failed(f"{self._hub.url}: the hub there is older than this command: it has no {PREFIX}")
        return self._no_hub(f"{PREFIX} is answered with {response.status}")

    def _no_hub(self, why: str) -> Failed:
        return Failed(f"no acmehub at {self._hub.url}: {why}", Exit.NO_HUB)

    def _error(self, problem: ProblemBody) -> Exception:
        if problem.status == 401:
            return Failed(f"{self._hub.url} refuses the API token in {self._hub.token_file}: {problem.detail}")
        if problem.status in (405, 415):
            return Failed(f"{self._hub.url}: the hub there is of another version than this command: {problem.detail}")
        return error_of(problem)


@asynccontextmanager
async def connected(hub: RemoteHub) -> AsyncIterator[HubConnection]:
    """A connection to a hub, closed in the end. `Failed` without a token."""
    token = read_token(hub.token_file)
    client = HttpClient(
        user_agent=f"acmehub/{__version__} (command line)",
        ca_file=str(hub.ca_file or ""),
        timeout=SECONDS,
        largest_body=LARGEST_ANSWER,
    )
    try:
        yield HubConnection(hub, token, client)
    finally:
        await client.aclose()


async def _waited(response: HttpResponse, problem: ProblemBody) -> bool:
    """Wait as long as the hub asks for: it is asked too often, or this very request is still worked on."""
    running = name_of(problem) == "still-running"
    text = response.header("Retry-After") or ("1" if running else "")
    if not (running or response.status == 429) or not text.isdecimal() or float(text) > LONGEST_WAIT:
        return False
    await asyncio.sleep(max(float(text), 0.1))
    return True


def _public_url(response: HttpResponse) -> str | None:
    try:
        found = msgspec.json.decode(response.body, type=Directory)
    except msgspec.DecodeError:
        return None
    url = found.new_nonce
    return url.removesuffix(_NEW_NONCE) if response.status == 200 and url.endswith(_NEW_NONCE) else None
