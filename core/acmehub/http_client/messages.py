"""A response of an HTTP server, and the errors of a request that has none."""

import msgspec


class HttpError(Exception):
    """A request that has brought no response. `detail` says why, in one sentence without the URL and its secrets."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class HttpTimeout(HttpError):
    """No connection or no response in time."""


class HttpResponse(msgspec.Struct, frozen=True):
    """A response, read to its end. `headers` has every line in order, names in lower case. Its repr is the status."""

    url: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.status})"

    def lines(self, name: str) -> list[str]:
        """The values of all lines of a header, in order."""
        wanted = name.lower()
        return [value for found, value in self.headers if found == wanted]

    def header(self, name: str) -> str:
        """The value of the last line of a header, which counts where a proxy has added one; empty if there is none."""
        wanted = name.lower()
        return next((value.strip() for found, value in reversed(self.headers) if found == wanted), "")
