"""The resources as a file that `acmehub apply` takes, with secrets left out (`acmehub export`)."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
import tomli_w

from acmehub.admin.resources.authorities import AuthorityView, NewAuthority
from acmehub.admin.resources.managed_challenges import ManagedChallengeView, NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal, PrincipalView, role_text
from acmehub.admin.resources.profiles import NewProfile, ProfileView
from acmehub.admin.resources.tokens import NewToken, TokenView
from acmehub.models.text import escape_controls
from acmehub.runtime.plugins import Offers, PluginError

HEAD = """\
# Resources of an acmehub, for `acmehub apply FILE`. Secrets are left out: where this file is applied to the hub it came
# from, those stored there stay; elsewhere write them in first, as "env:NAME" or "file:PATH". Tokens get another key id
# and other secrets (those of secret directory URLs among them) elsewhere; revoked ones are left out.
"""


def document_of(
    authorities: Iterable[AuthorityView],
    authority_plugins: Offers,
    managed_challenges: Iterable[ManagedChallengeView],
    dns_plugins: Offers,
    profiles: Iterable[ProfileView],
    principals: Iterable[PrincipalView],
    tokens: Iterable[TokenView],
) -> str:
    """All of them as TOML; revoked tokens are left out."""
    parts = [HEAD]
    parts += [_entry("authority", one, NewAuthority, authority_plugins) for one in authorities]
    parts += [_entry("managed_challenge", one, NewManagedChallenge, dns_plugins) for one in managed_challenges]
    parts += [_table("profile", _fields(one, NewProfile)) for one in profiles]
    parts += [
        _table("principal", {**_fields(one, NewPrincipal), "roles": [role_text(item) for item in one.roles]})
        for one in principals
    ]
    parts += [_table("token", _fields(one, NewToken)) for one in tokens if one.revoked is None]
    return "\n".join(parts)


def _entry(kind: str, view: AuthorityView | ManagedChallengeView, new: type[msgspec.Struct], offers: Offers) -> str:
    entry = _fields(view, new)
    try:
        settings = offers[view.plugin].settings
    except PluginError:
        entry.pop("settings", None)
        return f"# {escape_controls(view.problem)}: its settings are left out\n{_table(kind, entry)}"
    secret = [name for name, state in view.secrets.items() if state.set]
    entry["settings"] = _without_defaults(
        {name: value for name, value in view.settings.items() if name not in view.secrets}, settings
    )
    return "".join(f"# settings.{name} is a secret and left out\n" for name in secret) + _table(kind, entry)


def _table(kind: str, entry: dict[str, Any]) -> str:
    """One `[[kind]]` with its tables; tomli_w would write short ones as an array, which cannot be gone on with."""
    plain = {name: value for name, value in entry.items() if not isinstance(value, dict)}
    tables = {name: value for name, value in entry.items() if isinstance(value, dict) and value}
    below = tomli_w.dumps({kind: tables}, multiline_strings=True) if tables else ""
    return f"[[{kind}]]\n{tomli_w.dumps(plain, multiline_strings=True)}{below}"


def _fields(view: msgspec.Struct, new: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields that a file can have, without those that have their default value."""
    values = {name: _plain(getattr(view, name)) for name in new.__struct_fields__ if hasattr(view, name)}
    return _without_defaults(values, new)


def _without_defaults(values: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    defaults = {field.name: _plain(_default(field)) for field in msgspec.structs.fields(kind)}
    return {name: value for name, value in values.items() if value is not None and value != defaults[name]}


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default if field.default is not msgspec.NODEFAULT else None


def _plain(value: Any) -> Any:
    """As TOML has it; None inside of it (a nested setting that is not given) left out."""
    return _without_none(msgspec.to_builtins(value, builtin_types=(datetime,), enc_hook=str))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
