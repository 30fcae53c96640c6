"""The command's exit statuses, and the error with which a verb chooses one."""

from enum import IntEnum

import click


class Exit(IntEnum):
    """What the command's exit status says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    NO_HUB = 6
    URGENT = 7
    INTERRUPTED = 130


MEANINGS = {
    Exit.DONE: "done",
    Exit.FAILED: "refused or failed: by a rule, an authority, a DNS server, a port in use, a key that is missing",
    Exit.USAGE: "wrong usage: option, argument, configuration, settings, resources file",
    Exit.NOT_FOUND: "not found: no object of that name, or no such plugin installed",
    Exit.CONFLICT: "conflict: the name is taken, the object is in use, or it changed meanwhile",
    Exit.UNAVAILABLE: "storage or remote hub cannot be used: locked, read-only, unreachable, served by another, older",
    Exit.NO_HUB: "no hub: nothing has been founded in the data directory or the storage, or none is where --hub says",
    Exit.URGENT: "`attention`: something of severity page is there",
    Exit.INTERRUPTED: "interrupted",
}


class Failed(click.ClickException):
    """A verb that did not succeed; `status` is what the command exits with."""

    def __init__(self, message: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.status = status
