"""The command `acmehub` itself: finds its verbs when they are asked for, plugins' among them."""

import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from acmehub import __version__
from acmehub.cli.shared.exit_status import MEANINGS, Exit, Failed
from acmehub.cli.shared.remote_hub import HUB_VARIABLE, MACHINE_VERBS, remote_of, remote_options

VERBS = {
    "serve": "acmehub.cli.serve",
    "worker": "acmehub.cli.serve",
    "init": "acmehub.cli.init",
    "db": "acmehub.cli.db",
    "backup": "acmehub.cli.moving",
    "restore": "acmehub.cli.moving",
    "key": "acmehub.cli.key",
    "plugin": "acmehub.cli.plugin",
    "apply": "acmehub.cli.resources",
    "export": "acmehub.cli.resources",
    "authority": "acmehub.cli.authority",
    "challenge": "acmehub.cli.challenge",
    "profile": "acmehub.cli.profile",
    "principal": "acmehub.cli.principal",
    "token": "acmehub.cli.token",
    "order": "acmehub.cli.order",
    "account": "acmehub.cli.account",
    "certificate": "acmehub.cli.certificate",
    "attention": "acmehub.cli.attention",
    "audit": "acmehub.cli.audit",
    "check": "acmehub.cli.check",
}
SERVICES = frozenset({"serve", "worker"})
"""Verbs that run for long: what they say on standard error is a log."""

RARE_COLLECTIONS = (20_000, 50, 50)
"""Thresholds of the garbage collector for a service: imports make no cycles, requests few."""


class Root(click.Group):
    """Imports a verb's module only when it is used, and asks plugins for further verbs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The built-in verbs in their own order, then those of plugins."""
        try:
            self._ask_plugins()
        except _expected() as error:  # help is wanted most when the configuration is wrong
            _say(f"verbs of plugins are not shown: {error}")
        return [*VERBS, *sorted(set(super().list_commands(ctx)) - set(VERBS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A verb by name."""
        if cmd_name in VERBS:
            command: click.Command = getattr(importlib.import_module(VERBS[cmd_name]), cmd_name)
            return command
        self._ask_plugins()
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb; not one of the hub's machine for a hub elsewhere, but for its help."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in MACHINE_VERBS and ctx.params.get("hub") and not {"-h", "--help"} & set(rest):
            raise click.UsageError(
                f"{name!r} runs on the hub's own machine, without --hub (or {HUB_VARIABLE}): nothing was sent", ctx
            )
        return name, command, rest

    def _ask_plugins(self) -> None:
        """Let the plugins of the configuration add verbs; there is none without `plugins = […]`."""
        from acmehub.config import find_config, load_config

        path = find_config(None, os.environ, Path.cwd())
        plugins = load_config(path, environ=os.environ).plugins
        if plugins and not self.commands:
            from acmehub.runtime.plugins import build_registry

            registry = build_registry(plugins, built_ins=())
            for name in registry.names("register_commands"):
                registry.ask(name, "register_commands", cli=self)


def _exit_table() -> str:
    return "\b\nExit status:\n" + "\n".join(f"{status.value:>5}  {meaning}" for status, meaning in MEANINGS.items())


EPILOG = f"""\b
Examples:
  acmehub serve
  acmehub token add "Firewall 01" --names "*.corp.test"
  acmehub token eab "Firewall 01"
  acmehub check www.corp.test --principal firewall-01
  acmehub --hub https://hub.example.com --token-file hub.token order list --failing

{_exit_table()}
"""


@click.group(
    cls=Root, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="acmehub", message="%(prog)s %(version)s")
@remote_options
@click.pass_context
def root(ctx: click.Context, hub: str | None, token_file: Path | None, ca_file: Path | None) -> None:
    """A managed ACME service: certificates from a real CA for devices that cannot prove control of a domain.

    Every verb takes --config FILE and --data-dir DIR; verbs that show something take --json. With --hub, verbs work on
    a hub elsewhere, with the rights of an API token; those that need the hub's own machine say so.
    """
    ctx.obj = remote_of(hub, token_file, ca_file)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    tell: Callable[..., None] = _say
    if arguments and arguments[0] in SERVICES:
        gc.set_threshold(*RARE_COLLECTIONS)
        from acmehub.cli.serve import begin_log

        tell = begin_log(arguments)
    try:
        status = root.main(list(arguments), prog_name="acmehub", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except click.UsageError as error:
        if tell is _say:
            _show_usage(error)
        else:
            tell(error.format_message())
        return Exit.USAGE
    except Failed as error:
        tell(error.message)
        return error.status
    except click.ClickException as error:
        tell(error.format_message())
        return Exit.FAILED
    except BrokenPipeError:  # the reader of the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except _expected() as error:
        from acmehub.cli.shared.errors import describe, exit_of

        tell(*describe(error))
        return exit_of(error)
    return status if isinstance(status, int) else Exit.DONE


def _expected() -> tuple[type[Exception], ...]:
    """The errors that end a verb with one line; imported when there is an error, as they need most of the hub."""
    from acmehub.cli.shared.errors import EXPECTED

    return EXPECTED


def _show_usage(error: click.UsageError) -> None:
    """Tell the error of an option or argument in one line; a group without a verb shows its help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    where = error.ctx.command_path if error.ctx is not None else "acmehub"
    text = error.format_message() or "wrong usage"
    if isinstance(error, click.MissingParameter):  # click lists the choices of an option below it
        text = " ".join(text.split())
    _say(f"{text.rstrip('.')}; see `{where} --help`")


def _say(*lines: str) -> None:
    from acmehub.cli.shared.terminal import say

    say(*(f"acmehub: {line}" if not line.startswith(" ") else line for line in lines), err=True)
