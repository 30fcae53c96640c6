"""What a service answers instead of a result: every text names the place and the cure."""


class ServiceError(Exception):
    """Base of them."""


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
    """It cannot be removed while others need it; the text says which."""


class Refused(ServiceError):
    """Who acts may not do this, or nobody may in the state that the object is in."""
