"""Exit statuses, and the one place where an error becomes a line on standard error."""

import os
import sys
from collections.abc import Sequence
from enum import IntEnum

import click

from acmehub.admin.declared_resources import InvalidFile
from acmehub.admin.errors import InUse, Invalid, NotFound, Refused, Taken
from acmehub.config import ConfigError
from acmehub.models.problems import Problem
from acmehub.ports.authority import UpstreamError
from acmehub.ports.dns import DnsProviderError
from acmehub.ports.settings import SettingsError
from acmehub.ports.store import Conflict, Missing, StoreError, StoreUnavailable
from acmehub.runtime.plugins import PluginError, PluginMissing
from acmehub.runtime.vault import VaultError


class Exit(IntEnum):
    """What the command's exit status says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    INTERRUPTED = 130


MEANINGS = {
    Exit.DONE: "done",
    Exit.FAILED: "refused or failed: by a rule, an authority, a DNS server, a port in use, a damaged secret",
    Exit.USAGE: "wrong usage: option, argument, configuration, settings, resources file",
    Exit.NOT_FOUND: "not found: no object of that name, or no such plugin installed",
    Exit.CONFLICT: "conflict: the name is taken, the object is in use, or it changed meanwhile",
    Exit.UNAVAILABLE: "the storage cannot be used: locked, read-only, unreachable, served by another process",
    Exit.INTERRUPTED: "interrupted",
}

# the first class that fits decides
_EXITS: tuple[tuple[type[Exception], Exit], ...] = (
    (ConfigError, Exit.USAGE),
    (Invalid, Exit.USAGE),
    (InvalidFile, Exit.USAGE),
    (NotFound, Exit.NOT_FOUND),
    (Taken, Exit.CONFLICT),
    (InUse, Exit.CONFLICT),
    (Refused, Exit.FAILED),
    (SettingsError, Exit.USAGE),
    (PluginMissing, Exit.NOT_FOUND),
    (PluginError, Exit.FAILED),
    (Missing, Exit.NOT_FOUND),
    (Conflict, Exit.CONFLICT),
    (StoreUnavailable, Exit.UNAVAILABLE),
    (StoreError, Exit.FAILED),
    (VaultError, Exit.FAILED),
    (UpstreamError, Exit.FAILED),
    (DnsProviderError, Exit.FAILED),
    (Problem, Exit.FAILED),
    (OSError, Exit.FAILED),  # a disk that is full, a file that may not be written: the place and the system's words
)
EXPECTED = tuple(kind for kind, _ in _EXITS)


class Failed(click.ClickException):
    """A verb that did not succeed; `status` is what the command exits with."""

    def __init__(self, message: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.status = status


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    from acmehub.cli.root import root

    try:
        status = root.main(arguments, prog_name="acmehub", standalone_mode=False)
    except click.exceptions.Abort:
        return Exit.INTERRUPTED
    except click.UsageError as error:
        error.show()
        return Exit.USAGE
    except Failed as error:
        _say(error.message)
        return error.status
    except click.ClickException as error:
        _say(error.format_message())
        return Exit.FAILED
    except BrokenPipeError:  # who read our output wants no more of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except EXPECTED as error:
        _say(*describe(error))
        return next(status for kind, status in _EXITS if isinstance(error, kind))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return status if isinstance(status, int) else Exit.DONE


def describe(error: Exception) -> list[str]:
    """The lines that tell an expected error: one, and for a problem one more per name."""
    if isinstance(error, Problem):
        parts = [f"  {part.detail}" for part in error.subproblems if part.detail != error.detail]
        return [f"{error.type.value[0]}: {error.detail}", *parts]
    if isinstance(error, InvalidFile):
        return list(error.errors)
    text = str(error)
    if isinstance(error, OSError):
        text = ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    if isinstance(error, UpstreamError | DnsProviderError) and error.server:
        text = f"{error.server}: {text}"
    return [text or type(error).__name__]


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(f"acmehub: {line}" if not line.startswith(" ") else line, err=True)
