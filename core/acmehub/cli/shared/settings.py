"""Settings of plugins from the command line: `--set KEY=VALUE` and `--settings FILE`."""

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from acmehub.admin.access.errors import NotFound
from acmehub.admin.resources.authorities import AuthorityView
from acmehub.admin.resources.managed_challenges import ManagedChallengeView
from acmehub.cli.shared.session import Session
from acmehub.ports.setting_fields import SettingField
from acmehub.ports.settings import PLACEHOLDER


def settings_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that give a plugin its settings, as `pairs` and `settings_file`."""
    for option in (
        click.option(
            "--settings",
            "settings_file",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="A TOML file with the plugin's settings.",
        ),
        click.option(
            "--set",
            "pairs",
            multiple=True,
            metavar="KEY=VALUE",
            help="One setting of the plugin; a secret best as env:NAME or file:PATH; without VALUE its default.",
        ),
    ):
        function = option(function)
    return function


async def read_plugin_options(
    session: Session, kind: str, plugin: str, pairs: Sequence[str], settings_file: Path | None
) -> dict[str, Any]:
    """`read_options` by the settings that the hub says its plugin has; `kind` is that of an `Offered`."""
    try:
        offers = (await session.admin.plugins.show(plugin, session.acting)).offers
    except NotFound:  # the verb that gets the settings says so
        offers = ()
    found = next((item.settings for item in offers if (item.kind, item.name) == (kind, plugin)), ())
    return read_options(found, pairs, settings_file)


def read_options(known: Sequence[SettingField], pairs: Sequence[str], settings_file: Path | None) -> dict[str, Any]:
    """The settings that the options give; those of `--set` win. None is written for one without a value."""
    settings: dict[str, Any] = {}
    if settings_file is not None:
        try:
            settings.update(tomllib.loads(settings_file.read_text("utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise click.BadParameter(f"{settings_file}: {error}", param_hint="--settings") from None
    texts = {item.name for item in known if item.takes_text}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--set")
        settings[key] = _value(text, key in texts) if text else None
    return settings


def _value(text: str, is_text: bool) -> Any:
    """Text for a field of text; what TOML makes of it for any other (5353, true, ["a", "b"])."""
    if is_text:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def shown_settings(item: AuthorityView | ManagedChallengeView) -> list[tuple[str, object]]:
    """The settings of a view for people."""
    known = {name: PLACEHOLDER for name, state in item.secrets.items() if state.set}
    return [(f"  {name}", known.get(name, value)) for name, value in item.settings.items()]
