"""One GET over HTTP/1.1, with limits: who answers is chosen by a client that may mean harm."""

import httptools
import msgspec

from acmehub.models.problems import ProblemType
from acmehub.validation.egress import Connection
from acmehub.validation.errors import ValidationFailed, received

HEAD_BYTES = 16_384
CHUNK = 4096


class HttpResponse(msgspec.Struct, frozen=True):
    """An HTTP response; `location` as it came, `at` who sent it."""

    status: int
    location: str
    body: bytes
    at: str


async def fetch(connection: Connection, host: str, target: str, user_agent: str, limit: int) -> HttpResponse:
    """GET `target` from `host` (as in the Host header); `limit` bytes of body at most. Raises `ValidationFailed`."""
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
            if count > HEAD_BYTES + 2 * limit:  # an endless head, or a body of tiny chunks
                raise ValidationFailed(ProblemType.INCORRECT_RESPONSE, f"{connection.at}: the answer is too long")
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        raise ValidationFailed(ProblemType.CONNECTION, f"{connection.at}: no HTTP answer came ({error})") from error
    except OSError as error:
        words = f"{connection.at}: the connection broke ({type(error).__name__})"
        raise ValidationFailed(ProblemType.CONNECTION, words) from error
    if not reading.headed or (not reading.done and reading.sized):
        raise ValidationFailed(ProblemType.CONNECTION, f"{connection.at}: the connection ended before the answer did")
    return HttpResponse(parser.get_status_code(), reading.location, bytes(reading.body), connection.at)


def described(answer: HttpResponse) -> str:
    """What came, in words."""
    return f"status {answer.status}, {received(answer.body) if answer.body else 'an empty body'}"


class _Reading:
    """What the parser has seen of the last message; interim answers (1xx) are passed over."""

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
        """Whether the final answer is whole (one without a length is when the connection ends)."""
        return self.done and status >= 200
