"""Errors of the admin services. Every message says what is wrong and how to fix it."""


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
    """The object cannot be removed while others need it; the message says which."""


class Refused(ServiceError):
    """Nobody may do this in the state that the object is in."""
