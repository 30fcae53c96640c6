"""The hub elsewhere that `acmehub --hub` names, and the options that lead to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from acmehub.rules.urls import https_or_loopback, origin

HUB_VARIABLE = "ACMEHUB_HUB"
TOKEN_VARIABLE = "ACMEHUB_TOKEN_FILE"  # noqa: S105  a path
CA_VARIABLE = "ACMEHUB_CA_FILE"
MACHINE_VERBS = frozenset({"serve", "worker", "init", "db", "backup", "restore", "key"})
"""Verbs that work with files, keys or the storage of the machine that they run on."""


class RemoteHub(msgspec.Struct, frozen=True):
    """A hub's URL without a path, the file that has the API token, and PEM roots to trust instead of the system's."""

    url: str
    token_file: Path | None
    ca_file: Path | None


def remote_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `acmehub` itself that name a hub elsewhere."""
    for option in (
        click.option(
            "--ca-file",
            envvar=CA_VARIABLE,
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help=f"With --hub: PEM roots to trust instead of the system's  [default: ${CA_VARIABLE}]",
        ),
        click.option(
            "--token-file",
            envvar=TOKEN_VARIABLE,
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help=f"With --hub: the file that has the API token, mode 0600  [default: ${TOKEN_VARIABLE}]",
        ),
        click.option(
            "--hub",
            envvar=HUB_VARIABLE,
            metavar="URL",
            help=f"Work on the hub at https://HOST[:PORT] over its API  [default: ${HUB_VARIABLE}]",
        ),
    ):
        function = option(function)
    return function


def remote_of(hub: str | None, token_file: Path | None, ca_file: Path | None) -> RemoteHub | None:
    """What the options name; None without `--hub`. Raises `click.UsageError`."""
    if not hub:
        return None
    url = hub.rstrip("/")
    if origin(hub) is None or url.count("/") != 2 or "?" in url or "#" in url:
        raise click.UsageError(f"--hub: {hub!r} is not https://HOST[:PORT], without a path")
    if not https_or_loopback(hub):
        raise click.UsageError(f"--hub: {hub!r}: the token would be sent in clear; write https://")
    return RemoteHub(url, token_file, ca_file.absolute() if ca_file is not None else None)
