"""Errors of the admin services. Every message says what is wrong and how to fix it."""

from collections.abc import Sequence

from acmehub.models import Model


class ServiceError(Exception):
    """A verb that was not done; `rules.permissions.Forbidden` is the other one, for want of a right."""


class Unauthenticated(ServiceError):
    """It is not known who asks; the message is the same whatever is wrong."""


class NotFound(ServiceError):
    """There is no such object."""


class Taken(ServiceError):
    """Another object has this name."""


class Invalid(ServiceError):
    """A value that does not fit; `field` is its name as operators write it (`settings.key_secret`)."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class InUse(ServiceError):
    """The object cannot be removed while others need it; `users` are those that are known."""

    def __init__(self, message: str, users: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.users = tuple(users)


class VersionMismatch(ServiceError):
    """The object was changed since the caller has read it: it has the version `current`, not `expected`."""

    def __init__(self, expected: int, current: int) -> None:
        super().__init__(f"it has the version {current}, not {expected}: read it again, then change it")
        self.expected = expected
        self.current = current


class Refused(ServiceError):
    """Nobody may do this in the state that the object is in."""


def require_version(item: Model, expected: int | None) -> None:
    """`VersionMismatch` unless the stored `item` has the version that is expected (None: any)."""
    if expected is not None and item.version != expected:
        raise VersionMismatch(expected, item.version)
