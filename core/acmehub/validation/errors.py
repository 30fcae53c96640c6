"""The error of a failed validation."""

from acmehub.models.problems import ProblemType

LONGEST = 200
SHOWN = 60


class ValidationFailed(Exception):
    """Raised when a challenge could not be validated: problem type and message for the challenge's error.

    The message is ASCII, at most 200 characters.
    """

    def __init__(self, type: ProblemType, detail: str) -> None:
        text = ascii(detail)[1:-1] if not detail.isascii() or not detail.isprintable() else detail
        self.type = type
        self.detail = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
        super().__init__(self.detail)


def received(data: bytes) -> str:
    """The beginning of received data, for a message."""
    text = ascii(data[:SHOWN].decode("latin-1"))
    return text[: SHOWN + 20] + ("..." if len(data) > SHOWN else "")
