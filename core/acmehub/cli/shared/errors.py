"""The errors that a verb may end with: their exit statuses, and the lines that tell them."""

from acmehub.admin.access.errors import InUse, Invalid, NotFound, Refused, Taken, Unauthenticated
from acmehub.admin.resources.document import InvalidFile
from acmehub.cli.shared.exit_status import Exit
from acmehub.config import ConfigError
from acmehub.models.problems import Problem
from acmehub.ports.authority import UpstreamError
from acmehub.ports.dns import DnsProviderError
from acmehub.ports.settings import SettingsError
from acmehub.ports.store import Conflict, Missing, StoreAbsent, StoreError, StoreOutdated, StoreUnavailable
from acmehub.rules.permissions import Forbidden
from acmehub.runtime.plugins import PluginError, PluginMissing
from acmehub.runtime.vault import VaultError

# the first class that fits decides
_EXITS: tuple[tuple[type[Exception], Exit], ...] = (
    (ConfigError, Exit.USAGE),
    (Invalid, Exit.USAGE),
    (InvalidFile, Exit.USAGE),
    (NotFound, Exit.NOT_FOUND),
    (Taken, Exit.CONFLICT),
    (InUse, Exit.CONFLICT),
    (Refused, Exit.FAILED),
    (Forbidden, Exit.FAILED),
    (Unauthenticated, Exit.FAILED),
    (SettingsError, Exit.USAGE),
    (PluginMissing, Exit.NOT_FOUND),
    (PluginError, Exit.FAILED),
    (Missing, Exit.NOT_FOUND),
    (Conflict, Exit.CONFLICT),
    (StoreAbsent, Exit.NO_HUB),
    (StoreOutdated, Exit.UNAVAILABLE),
    (StoreUnavailable, Exit.UNAVAILABLE),
    (StoreError, Exit.FAILED),
    (VaultError, Exit.FAILED),
    (UpstreamError, Exit.FAILED),
    (DnsProviderError, Exit.FAILED),
    (Problem, Exit.FAILED),
    (OSError, Exit.FAILED),  # a disk that is full, a file that may not be written: the place and the system's words
)
EXPECTED = tuple(kind for kind, _ in _EXITS)


def exit_of(error: Exception) -> Exit:
    """The exit status of an expected error."""
    return next(status for kind, status in _EXITS if isinstance(error, kind))


def describe(error: Exception) -> list[str]:
    """The lines that tell an expected error: one, and for a problem one more per name."""
    if isinstance(error, Problem):
        parts = [f"  {part.detail}" for part in error.subproblems if part.detail != error.detail]
        return [f"{error.type.value[0]}: {error.detail}", *parts]
    if isinstance(error, InvalidFile):
        return list(error.errors)
    text = f"no hub in {error}: start it once without --no-migrate" if isinstance(error, StoreAbsent) else str(error)
    if isinstance(error, OSError):
        text = ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    if isinstance(error, UpstreamError | DnsProviderError) and error.server:
        text = f"{error.server}: {text}"
    return [text or type(error).__name__]
