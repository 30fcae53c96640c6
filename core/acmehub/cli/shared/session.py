"""What every verb shares: the options --config, --data-dir and --json, the hub, and how results are printed."""

import asyncio
import functools
import os
import pwd
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from acmehub.admin.resources.with_plugins import Sources
from acmehub.cli.shared.finding import no_hub
from acmehub.cli.shared.remote_hub import HUB_VARIABLE, RemoteHub
from acmehub.cli.shared.terminal import say
from acmehub.config import Config, ConfigError, find_config, load_config, located, warnings_of
from acmehub.models.text import escape_controls, json_line
from acmehub.rules.permissions import Acting
from acmehub.serving.data_dir import ROOT_FILE, last_url
from acmehub.serving.logs import set_up_logs

if TYPE_CHECKING:
    from acmehub.admin.services import Admin
    from acmehub.app.hub import Hub


T = TypeVar("T")
# POSIX user names, and those of a domain (`alice@corp.test`, `CORP\\alice`)
_USER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}\$?", re.ASCII)


NOBODY = Acting("", frozenset())
"""Who acts on a remote hub, which knows that by the token."""


class Result(msgspec.Struct, frozen=True):
    """The result of a verb: `data` for --json, `lines` for people; `status` is the exit status."""

    data: Any
    lines: Sequence[str] = ()
    status: int = 0


class Session(msgspec.Struct, frozen=True):
    """The verbs of a hub, and the person at the keyboard.

    `admin` is that of an open hub on this machine, or asks a remote one, which knows by the token who acts: `acting` is
    nobody then. `root_file`: the PEM file of the roots that clients must trust, if it is not a public CA.
    """

    admin: "Admin"
    acting: Acting
    public_url: Callable[[], Awaitable[str]]
    root_file: Path | None

    @property
    def sources(self) -> Sources:
        """Where `env:NAME` and `file:PATH` of options are looked up: here."""
        return Sources(os.environ, Path.cwd())


class Folder(click.Path):
    """A folder that has a name: an empty variable of a script is not the folder that the script is in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty: name a folder ('.' for this one)", param, ctx)
        return super().convert(value, param, ctx)


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which configuration is meant."""
    for option in (
        click.option("--data-dir", type=Folder(path_type=Path), help="Keys, certificates and SQLite are here."),
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The configuration file  [default: $ACMEHUB_CONFIG, ./acmehub.toml, or none]",
        ),
    ):
        function = option(function)
    return function


def _warn(text: str) -> None:
    say(f"acmehub: {text}", err=True)


def read_config(config_file: Path | None, *, warn: Callable[[str], object] = _warn, **overrides: Any) -> Config:
    """The configuration of this command: file, environment, options; `warn` is told what is doubtful."""
    path = find_config(config_file, os.environ, Path.cwd())
    config = load_config(path, environ=os.environ, overrides=overrides)
    for warning in warnings_of(path, os.environ, functools.partial(_secret_settings, config)):
        warn(warning)
    return config


def quiet_config(config_file: Path | None, data_dir: Path | None) -> Config:
    """The configuration of a verb that is not `serve` or `worker`; its log has warnings only, or all with `debug`."""
    config = read_config(config_file, data_dir=data_dir)
    log_warnings(config)
    return config


@contextmanager
def configured(
    config_file: Path | None, *, warn: Callable[[str], object] = _warn, **overrides: Any
) -> Iterator[Config]:
    """`read_config`; an error of a value that only shows inside, in a plugin's settings or a key, gets its place."""
    config = read_config(config_file, warn=warn, **overrides)
    try:
        yield config
    except ConfigError as error:
        path = find_config(config_file, os.environ, Path.cwd())
        given = [key for key, value in overrides.items() if value is not None]
        raise located(error, path, os.environ, given) from None


def _secret_settings(config: Config, hook: str, plugin: str) -> frozenset[str]:
    """The names of a plugin's secret settings; none for one that cannot be loaded, which is said later."""
    from acmehub.ports.settings import secret_fields
    from acmehub.runtime.plugins import PluginError, build_registry

    try:
        registry = build_registry(config.plugins)
        offers = registry.storages if hook == "storage" else registry.notifiers
        return secret_fields(offers[plugin].settings)
    except PluginError:
        return frozenset()


def hub_verb(verb: Callable[..., Awaitable[Result]]) -> Callable[..., int]:
    """A verb that works on a hub, on this machine or (`acmehub --hub`) a remote one: adds --config, --data-dir and
    --json, and prints its `Result`.

    `verb` is given a `Session`, then its own options by name.
    """

    async def local(hub: "Hub", **arguments: Any) -> Result:
        return await verb(_session_of(hub), **arguments)

    @config_options
    @json_option
    @functools.wraps(verb)
    def command(config_file: Path | None, data_dir: Path | None, as_json: bool, **arguments: Any) -> int:
        remote = remote_hub(config_file, data_dir)
        if remote is None:
            result = _on_machine(local, config_file, data_dir, arguments)
        else:
            result = asyncio.run(over_api(verb, remote, **arguments))
        show(result, as_json)
        return result.status

    return command


def machine_verb(verb: Callable[..., Awaitable[Result]]) -> Callable[..., int]:
    """A verb that works on an open hub of this machine alone: as `hub_verb`, but `verb` is given the `Hub`."""

    @config_options
    @json_option
    @functools.wraps(verb)
    def command(config_file: Path | None, data_dir: Path | None, as_json: bool, **arguments: Any) -> int:
        result = _on_machine(verb, config_file, data_dir, arguments)
        show(result, as_json)
        return result.status

    return command


def remote_hub(config_file: Path | None, data_dir: Path | None) -> RemoteHub | None:
    """The hub that `acmehub --hub` names; None for one on this machine. The options are those of a verb."""
    remote = click.get_current_context().find_object(RemoteHub)
    for option, given in (("--config", config_file), ("--data-dir", data_dir)):
        if remote is not None and given is not None:
            raise click.UsageError(
                f"{option} is for a hub on this machine, and --hub (or {HUB_VARIABLE}) names one elsewhere: give one"
            )
    return remote


async def over_api(verb: Callable[..., Awaitable[T]], remote: RemoteHub, **arguments: Any) -> T:
    """What `verb` makes of a session with a hub elsewhere, and of the arguments."""
    from acmehub.cli.remote.admin import remote_admin  # as in `_with_hub`

    async with remote_admin(remote) as (admin, connection):
        return await verb(Session(admin, NOBODY, connection.public_url, remote.ca_file), **arguments)


def _on_machine(
    verb: Callable[..., Awaitable[Result]], config_file: Path | None, data_dir: Path | None, arguments: dict[str, Any]
) -> Result:
    with configured(config_file, data_dir=data_dir) as config:
        config = msgspec.structs.replace(config, public_url=config.public_url or last_url(config.data_dir))
        log_warnings(config)
        return asyncio.run(_with_hub(verb, config, arguments))


def _session_of(hub: "Hub") -> Session:
    config = hub.config

    async def public_url() -> str:
        return config.public_url

    root = (config.data_dir / ROOT_FILE).absolute() if config.tls.mode == "auto" else None
    return Session(hub.admin, Acting.machine(actor()), public_url, root)


def log_warnings(config: Config) -> None:
    """Logs of a command that ends by itself: warnings only, or all that there is with level `debug`."""
    set_up_logs(msgspec.structs.replace(config.log, level="debug" if config.log.level == "debug" else "warning"))


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option --json, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def show(result: Result, as_json: bool) -> None:
    """Print a result on standard output; nothing for one without data, which the verb has printed."""
    if as_json and result.data is not None:
        click.echo(msgspec.json.format(json_line(result.data), indent=2))
    elif not as_json:
        say(*result.lines)


def actor() -> str:
    """How the audit names the person at the keyboard: by the process's user, not by what `$LOGNAME` says.

    Only root is somebody else by `$SUDO_USER`: any other user could write it there.
    """
    name = os.environ.get("SUDO_USER", "")
    if os.geteuid() == 0 and _USER_NAME.fullmatch(name) and name != "root":
        return f"cli:{name} (sudo)"
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # no passwd entry for this uid, as in many containers
        return f"cli:uid {os.getuid()}"


def moment(at: datetime) -> str:
    """A time as lists show it: UTC, whole minutes."""
    return at.strftime("%Y-%m-%d %H:%MZ")


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> list[str]:
    """Lines of a table; `empty` alone when it has no rows."""
    if not rows:
        return [empty]
    texts = [[escape_controls(str(cell)) for cell in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts]


def fields(pairs: Sequence[tuple[str, object]]) -> list[str]:
    """`name  value` lines, without those that have no value."""
    given = [(name, value) for name, value in pairs if value not in (None, "", (), [])]
    width = max((len(name) for name, _ in given), default=0)
    return [f"{name.ljust(width)}  {_text(value)}" for name, value in given]


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


async def _with_hub(verb: Callable[..., Awaitable[Result]], config: Config, arguments: dict[str, Any]) -> Result:
    from acmehub.app.hub import build_hub  # half a second of imports that --help and usage errors need not wait for
    from acmehub.ports.store import StoreAbsent

    hub = build_hub(config)
    try:
        async with hub.running(migrate=False, founds=False):
            return await verb(hub, **arguments)
    except StoreAbsent as absent:
        raise no_hub(config, str(absent), os.environ, Path.cwd()) from None
