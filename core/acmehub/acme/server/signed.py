"""Signed requests (RFC 8555 section 6): no resource runs before its request is authentic.

The checks, in this order: media type, size, syntax and algorithm, URL, account and key, signature, nonce, token. So
only an authentic request uses a nonce up, and only the account itself learns that it may no longer use the hub. A
request that is refused because its key or its account may not use the hub uses none up.
"""

import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import msgspec

from acmehub.acme.server.client_address import client_address
from acmehub.acme.server.long_poll import ClientGone
from acmehub.acme.server.responses import AcmeResponse
from acmehub.acme.server.routing import Request, Route
from acmehub.models import Actor
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import Problem, ProblemType
from acmehub.models.text import escape_controls
from acmehub.rules.authorization_modes import ClientTimeout
from acmehub.rules.eab import require_active
from acmehub.rules.jws import MAX_BODY, Jws, load_key, parse, thumbprint, verify
from acmehub.runtime.snapshot import Snapshot

_MEDIA_TYPE = "application/jose+json"

ACCESS = "acmehub.access"
"""In the scope of a request that is noted in the access log: a dict that is given the account's id."""

_NOUNS = ("order", "authorization", "certificate")
MOST_SHOWN = 2000

T = TypeVar("T")


class _Signed(msgspec.Struct, kw_only=True):
    request: Request
    payload: bytes

    @property
    def user_agent(self) -> str:
        """The client's User-Agent, its control characters escaped; empty when it gave none."""
        return escape_controls(self.request.header(b"user-agent"))

    @property
    def address(self) -> str:
        """The client's IP address; empty where it is not known."""
        return _address(self.request)

    @property
    def client_timeout(self) -> ClientTimeout:
        """How long this client waits."""
        return self.request.context.long_polls.client_timeout(self.user_agent)

    def object(self, decoder: "msgspec.json.Decoder[T]") -> T:
        """The payload as an object; raises `malformed`."""
        try:
            return decoder.decode(self.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            detail = ascii(str(error))[1:-1][:200] if isinstance(error, msgspec.MsgspecError) else "it cannot be read"
            raise Problem(ProblemType.MALFORMED, f"the payload is not what this resource takes: {detail}") from error

    def nothing(self) -> None:
        """Refuse a payload (POST-as-GET has none); `{}`, which some clients send, passes for none."""
        if self.payload:
            self.object(_ANY_OBJECT)


class Signed(_Signed, kw_only=True):
    """A request signed by an account; `actor` is that account, which may use the hub now. `snapshot` is the
    configuration where that was looked at together with the nonce."""

    actor: Actor
    snapshot: Snapshot | None = None


NamesOf = Callable[[Signed], tuple[str, ...]]


def no_names(_signed: Signed) -> tuple[str, ...]:
    """For requests that ask for no names."""
    return ()


class KeySigned(_Signed, kw_only=True):
    """A request signed by the key that it carries (`jwk`, canonical JSON), which need not be an account's.

    Its nonce is a good one, and is used up by `accept`: a refused request of a key that nobody knows leaves nothing
    behind, and sent again it is refused again.
    """

    jwk: bytes
    thumbprint: str
    nonce: str = ""

    async def accept(self) -> None:
        """Use the nonce up, before anything is done for this request; raises `badNonce` where another one has."""
        if not await self.request.context.nonces.spend(self.nonce):
            raise _bad_nonce()


class _Nothing(msgspec.Struct):
    """An object none of whose members is read."""


_ANY_OBJECT = msgspec.json.Decoder(_Nothing)


def signed_post(
    path: str, *, refused: str = "request.refused", names: NamesOf = no_names
) -> Callable[[Callable[[Signed], Awaitable[AcmeResponse]]], Route]:
    """Make a route from a function that answers POSTs signed by an account.

    What it refuses is told to operators as `refused`, an action of the audit, with the `names` that were asked for.
    """

    def make(resource: Callable[[Signed], Awaitable[AcmeResponse]]) -> Route:
        @functools.wraps(resource)
        async def serve(request: Request) -> AcmeResponse:
            signed = await _by_account(request)
            try:
                return await resource(signed)
            except Problem as refusal:
                await _tell(signed, refusal, refused, names)
                raise

        return Route(path, ("POST",), serve)

    return make


def key_signed_post(path: str) -> Callable[[Callable[[KeySigned], Awaitable[AcmeResponse]]], Route]:
    """Make a route from a function that answers POSTs signed by a key they carry."""

    def make(resource: Callable[[KeySigned], Awaitable[AcmeResponse]]) -> Route:
        @functools.wraps(resource)
        async def serve(request: Request) -> AcmeResponse:
            return await resource(await _of_key(request, await _read(request)))

        return Route(path, ("POST",), serve)

    return make


def any_signed_post(
    path: str, *, refused: str
) -> Callable[[Callable[[Signed | KeySigned], Awaitable[AcmeResponse]]], Route]:
    """Make a route from a function that answers POSTs signed by an account, or by a key they carry; `refused` is as in
    `signed_post`."""

    def make(resource: Callable[[Signed | KeySigned], Awaitable[AcmeResponse]]) -> Route:
        @functools.wraps(resource)
        async def serve(request: Request) -> AcmeResponse:
            jws = await _read(request)
            if jws.jwk is not None:
                return await resource(await _of_key(request, jws))
            signed = await _of_account(request, jws)
            try:
                return await resource(signed)
            except Problem as refusal:
                await _tell(signed, refusal, refused, no_names)
                raise

        return Route(path, ("POST",), serve)

    return make


async def _tell(signed: Signed, refusal: Problem, action: str, names: NamesOf) -> None:
    """Tell operators of a refusal that is news to them.

    None is what a client that polls meets in the ordinary course: an order that is not ready, an object that is gone.
    Limits, and what an authority says of a revocation, are told where they are found.
    """
    if refusal.type is ProblemType.ORDER_NOT_READY or refusal.status in (404, 405) or refusal.is_told:
        return
    asked: dict[str, object] = {
        noun: signed.request.parts[f"{noun}_id"] for noun in _NOUNS if f"{noun}_id" in signed.request.parts
    }
    if found := names(signed):
        asked["names"] = found
    await signed.request.context.hub.refusals.caller(signed.actor, action, refusal, asked, signed.address)


def shown_names(identifiers: Iterable[Identifier]) -> tuple[str, ...]:
    """The names of a request that is refused, whatever its client has put there: `MOST_SHOWN` characters at most."""
    found: list[str] = []
    left = MOST_SHOWN
    for item in identifiers:
        if len(item.value) > left:
            return (*found, "…")
        found.append(item.value)
        left -= len(item.value)
    return tuple(found)


async def _by_account(request: Request) -> Signed:
    return await _of_account(request, await _read(request))


async def _of_account(request: Request, jws: Jws) -> Signed:
    context = request.context
    if jws.kid is None:
        raise Problem(ProblemType.MALFORMED, "this resource takes requests signed by an account: use 'kid', not 'jwk'")
    account_id = context.urls.account_id(jws.kid)
    if account_id and (signed := await _of_cached_account(request, jws, account_id)) is not None:
        return signed
    actor = await context.hub.store.accounts.actor(account_id) if account_id else None
    if actor is None:
        raise await _stranger(
            request, Problem(ProblemType.ACCOUNT_DOES_NOT_EXIST, "there is no account with this 'kid'")
        )
    try:
        verify(jws, context.keys.of(actor.account))
    except Problem:
        await _wrong_signature(request)
        raise
    try:
        require_active(actor, context.hub.clock.now())
    except Problem as refusal:
        if not await context.nonces.is_good(jws.nonce):
            raise _bad_nonce() from None
        raise await _stranger(request, refusal) from None
    if not await context.nonces.spend(jws.nonce):
        raise _bad_nonce()
    return _signed(request, jws, actor)


async def _of_cached_account(request: Request, jws: Jws, account_id: str) -> Signed | None:
    """The request of an account that was read before: whether that has changed is asked together with the nonce, in one
    question. None where it has, or where what is known of it refuses the request: it is read then, and judged by
    that."""
    context = request.context
    actor = context.hub.store.accounts.cached_actor(account_id) if context.hub.store.shared else None
    if actor is None:
        return None
    try:
        verify(jws, context.keys.of(actor.account))
        require_active(actor, context.hub.clock.now())
    except Problem:
        return None
    read_at = context.hub.clock.monotonic()
    use = await context.nonces.spend_by(actor, jws.nonce)
    if use is None:
        return None
    if not use.is_first:
        raise _bad_nonce()
    context.hub.rights.note_actor(actor, read_at)
    snapshots = context.hub.snapshots
    return _signed(request, jws, actor, None if use.revisions is None else snapshots.known(use.revisions, read_at))


def _signed(request: Request, jws: Jws, actor: Actor, snapshot: Snapshot | None = None) -> Signed:
    if ACCESS in request.scope:
        request.scope[ACCESS]["account"] = actor.account.id  # type: ignore[literal-required]
    return Signed(request=request, payload=jws.payload, actor=actor, snapshot=snapshot)


async def _of_key(request: Request, jws: Jws) -> KeySigned:
    if jws.jwk is None:
        raise Problem(ProblemType.MALFORMED, "this resource takes requests signed by a key: use 'jwk', not 'kid'")
    key = load_key(jws.jwk)
    try:
        verify(jws, key)
    except Problem:
        await _wrong_signature(request)
        raise
    if not await request.context.nonces.is_good(jws.nonce):
        raise _bad_nonce()
    return KeySigned(request=request, payload=jws.payload, jwk=jws.jwk, thumbprint=thumbprint(jws.jwk), nonce=jws.nonce)


async def _wrong_signature(request: Request) -> None:
    await request.context.hub.client_limits.failed_signature(_address(request))


async def _stranger(request: Request, refusal: Problem) -> Problem:
    """The refusal of a caller without an active credential, counted."""
    await request.context.hub.refusals.stranger(_address(request), "request.refused", refusal.detail)
    return refusal


def _address(request: Request) -> str:
    return client_address(request.scope, request.context.proxies)


async def _read(request: Request) -> Jws:
    media_type = request.header(b"content-type").partition(";")[0].strip().lower()
    if media_type != _MEDIA_TYPE:
        raise Problem(ProblemType.MALFORMED, f"the Content-Type must be {_MEDIA_TYPE}", status=415)
    jws = parse(await _body(request))
    if jws.url != request.context.urls.of(request.path):
        raise Problem(ProblemType.UNAUTHORIZED, "'url' in the JWS header is not the URL of this resource")
    return jws


async def _body(request: Request) -> bytes:
    """The body, at most `MAX_BODY` bytes; the HTTP server limits how long it may take."""
    length = request.header(b"content-length")
    if length.isdecimal() and int(length) > MAX_BODY:
        raise _too_large()
    body = b""
    more = True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientGone
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise _too_large()
    return body


def _bad_nonce() -> Problem:
    return Problem(
        ProblemType.BAD_NONCE, "JWS has invalid anti-replay nonce"
    )  # clients search for this text (docs/client-rules.md rule 13)


def _too_large() -> Problem:
    return Problem(ProblemType.MALFORMED, f"the request is larger than {MAX_BODY} bytes", status=413)
