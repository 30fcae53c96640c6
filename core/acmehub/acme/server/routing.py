"""Routes of the ACME server: the resource of a path and a method."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec
from litestar.types import HTTPScope, Receive

from acmehub.acme.server.context import AppContext
from acmehub.acme.server.responses import AcmeResponse
from acmehub.models import Token
from acmehub.models.base import is_id
from acmehub.models.problems import Problem, ProblemType, not_found

_ANY = "{"
_IDS = frozenset({"account_id", "order_id", "authorization_id", "certificate_id", "after"})
_SLASHES = re.compile("/{2,}")


class Request(msgspec.Struct):
    """A request that was routed: `path` is the path as it came, `parts` the values of the route's `{…}` by name,
    `token` the one whose secret directory the path lies in."""

    context: AppContext
    scope: HTTPScope
    receive: Receive
    method: str
    path: str
    parts: dict[str, str]
    token: Token | None = None

    def __repr__(self) -> str:
        return f"Request({self.method})"  # a path may hold a secret

    def header(self, name: bytes) -> str:
        """A header by its lower-case name; empty when it was not sent."""
        for key, value in self.scope["headers"]:
            if key == name:
                return value.decode("latin-1")
        return ""


Serve = Callable[[Request], Awaitable[AcmeResponse]]


class Route(msgspec.Struct, frozen=True):
    """A path such as `/acme/order/{order_id}`, its methods (none: `serve` checks them), and the function that answers.

    With `links_index` its responses to GET have a link to the directory, with `gives_nonce` they have a nonce.
    """

    path: str
    methods: tuple[str, ...]
    serve: Serve
    links_index: bool = True
    gives_nonce: bool = False


def plain_get(path: str, *, links_index: bool = True, gives_nonce: bool = False) -> Callable[[Serve], Route]:
    """Make a route for unsigned requests, GET and HEAD, from a function."""

    def make(serve: Serve) -> Route:
        return Route(path, ("GET", "HEAD"), serve, links_index, gives_nonce)

    return make


class Router:
    """Finds the route of a request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[tuple[str, int], list[tuple[Sequence[str], Route]]] = {}
        for route in routes:
            segments = route.path.split("/")
            first = _ANY if segments[2].startswith("{") else segments[2]
            self._routes.setdefault((first, len(segments)), []).append((segments, route))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and the values of its parameters; raises Problems with status 404 and 405."""
        segments = path.split("/")
        allowed: list[str] = []
        for pattern, route in self._at(segments):
            parts = _match(pattern, segments)
            if parts is not None:
                if method in route.methods or not route.methods:
                    return route, parts
                allowed += route.methods
        if allowed:
            raise NotAllowed(method, allowed)
        meant = _SLASHES.sub("/", path).rstrip("/")
        if meant != path:
            segments = meant.split("/")
            for pattern, _ in self._at(segments):
                parts = _match(pattern, segments)
                if parts is not None:
                    raise Misspelt(meant, parts)
        raise not_found()

    def _at(self, segments: Sequence[str]) -> Sequence[tuple[Sequence[str], Route]]:
        """The routes that a path may be at, each with its pattern."""
        count = len(segments)
        if count <= 2:
            return ()
        return self._routes.get((segments[2], count)) or self._routes.get((_ANY, count)) or ()


class Misspelt(Problem):
    """404: there is nothing at the path, but at the one without its doubled and trailing slashes (`path`)."""

    def __init__(self, path: str, parts: dict[str, str]) -> None:
        missing = not_found()
        super().__init__(missing.type, missing.detail, status=missing.status)
        self.path = path
        self.parts = parts


class NotAllowed(Problem):
    """405: the resource does not take this method; `allow` lists those it takes (RFC 9110 section 15.5.6)."""

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        self.allow = ", ".join(dict.fromkeys(allowed))
        super().__init__(
            ProblemType.MALFORMED,
            f"this resource does not take {method[:16]!a}; allowed: {self.allow}",
            status=405,
        )


def _match(pattern: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    parts = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            name = expected[1:-1]
            if not segment or (name in _IDS and not is_id(segment)):
                return None
            parts[name] = segment
        elif expected != segment:
            return None
    return parts
