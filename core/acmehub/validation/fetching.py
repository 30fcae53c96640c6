"""One GET over HTTP/1.1, with limits: the client chooses the server, and it may be hostile."""

import httptools
import msgspec

from acmehub.models.problems import ProblemType
from acmehub.validation.egress import Connection
from acmehub.validation.errors import ValidationFailed, received

HEAD_BYTES = 16_384
CHUNK = 4096


class FetchedResponse(msgspec.Struct, frozen=True):
    """An HTTP response; `location` as received, `at` the address of the server, `listed` what `Egress.listed` says."""

    status: int
    location: str
    body: bytes
    at: str
    listed: bool


async def fetch(connection: Connection, host: str, target: str, user_agent: str, limit: int) -> FetchedResponse:
    """GET `target` from `host` (the Host header), with at most `limit` bytes of body. Raises `ValidationFailed`."""
    head = (
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {user_agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    reading = _Reading()
    parser = httptools.HttpResponseParser(reading)
    count = 0
    try:
        connection.writer.write(head.encode("ascii"))
        await connection.writer.drain()
        while not reading.complete(parser.get_status_code() if reading.headed else 0):
            data = await connection.reader.read(CHUNK)
            count += len(data)
            if not data:
                break
            parser.feed_data(data)
            if len(reading.body) > limit:
                raise ValidationFailed(
                    ProblemType.INCORRECT_RESPONSE, f"{connection.at}: the answer is longer than {limit} bytes"
                )
            if count > HEAD_BYTES + 2 * limit:  # an endless header, or a body of tiny chunks
                raise ValidationFailed(ProblemType.INCORRECT_RESPONSE, f"{connection.at}: the answer is too long")
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        raise ValidationFailed(ProblemType.CONNECTION, f"{connection.at}: no HTTP answer came ({error})") from error
    except OSError as error:
        message = f"{connection.at}: the connection broke ({type(error).__name__})"
        raise ValidationFailed(ProblemType.CONNECTION, message) from error
    if not reading.headed or (not reading.done and reading.sized):
        raise ValidationFailed(ProblemType.CONNECTION, f"{connection.at}: the connection ended before the answer did")
    return FetchedResponse(
        parser.get_status_code(), reading.location, bytes(reading.body), connection.at, connection.listed
    )


def described(response: FetchedResponse) -> str:
    """A response, for a message."""
    return f"status {response.status}, {received(response.body) if response.body else 'an empty body'}"


class _Reading:
    """The last message that the parser has read; interim responses (1xx) are skipped."""

    def __init__(self) -> None:
        self.on_message_begin()

    def on_message_begin(self) -> None:
        self.location = ""
        self.body = bytearray()
        self.headed = False
        self.done = False
        self.sized = False

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"location":
                self.location = value.decode("latin-1")
            case b"content-length" | b"transfer-encoding":
                self.sized = True

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.done = True

    def complete(self, status: int) -> bool:
        """Whether the final response is complete (one without a length ends with the connection)."""
        return self.done and status >= 200
