"""The fields of a profile, checked and in their stored form: for profiles themselves and for resources files."""

import re
from typing import Any

from acmehub.admin.access.errors import Invalid, NotFound
from acmehub.admin.access.reach import Reach
from acmehub.admin.resources.authorities import AuthorityService, NewAuthority
from acmehub.admin.resources.service import checked_name, checked_tags
from acmehub.admin.resources.with_plugins import Sources
from acmehub.ports.authority import lifetime_flaw
from acmehub.ports.settings import PluginSettings
from acmehub.ports.store import Store
from acmehub.rules.keys import CURVES, RSA_BITS
from acmehub.runtime.plugin_objects import PluginObjects

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RSA = re.compile(r"RSA(?:-([1-9]\d{3}))?")
_MAX_DESCRIPTION = 500
_MAX_DAYS = 3650


class ProfileFields:
    """Checks what operators write against the authorities that there are; every method raises `Invalid`."""

    def __init__(self, store: Store, authorities: AuthorityService, plugin_objects: PluginObjects) -> None:
        self._store = store
        self._authorities = authorities
        self._plugin_objects = plugin_objects

    async def stored(self, values: dict[str, Any], reach: Reach) -> dict[str, Any]:
        """The fields that are given, with the id of the authority, which is within `reach`, for its name."""
        checked = checked_fields(values)
        if "authority" in checked:
            checked["authority_id"] = await self._authority_id(checked.pop("authority"), reach)
        return checked

    async def planned(
        self, values: dict[str, Any], authority: NewAuthority | None, sources: Sources | None, reach: Reach
    ) -> dict[str, Any]:
        """The fields of a profile in a resources file; `authority` is the entry of its authority in the file, if any.

        `authority_id` is `new` for an authority that is not stored yet.
        """
        if authority is None:
            fields = await self.stored(values, reach)
            await self.check_lifetime(fields["authority_id"], fields["lifetime_days"])
            return fields
        fields = checked_fields(values)
        row = next(iter(await reach.only(await self._store.authorities.named(fields.pop("authority")))), None)
        if fields["lifetime_days"] is not None:
            stored = self._authorities.unsealed(row) if row is not None and row.plugin == authority.plugin else None
            settings = self._authorities.read(authority.plugin, authority.settings, sources, stored)
            self._refuse_lifetime(fields["lifetime_days"], authority.name, authority.plugin, settings)
        return {**fields, "authority_id": row.id if row is not None else "new"}

    async def check_lifetime(self, authority_id: str, days: int | None) -> None:
        """Whether the authority grants a validity of so many days; None: its own, so there is nothing to check."""
        if days is None:
            return
        row = await self._store.authorities.get(authority_id) if authority_id else None
        if row is None:
            raise Invalid("lifetime_days", "needs an authority that grants it: name one")
        settings = self._authorities.read(row.plugin, self._authorities.unsealed(row), None)
        self._refuse_lifetime(days, row.name, row.plugin, settings)

    async def _authority_id(self, ref: str, reach: Reach) -> str:
        if not ref:
            return ""
        try:
            return (await self._authorities.rows.find(ref, reach)).id
        except NotFound as error:
            raise Invalid("authority", str(error)) from None

    def _refuse_lifetime(self, days: int, name: str, plugin: str, settings: PluginSettings) -> None:
        flaw = lifetime_flaw(days, self._plugin_objects.probe(plugin, settings))
        if flaw is not None:
            raise Invalid("lifetime_days", f"authority {name!r} ({plugin}) {flaw}")


def checked_fields(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a profile that are given, each checked and in its stored form; `Invalid`."""
    checked = dict(values)
    if "name" in checked and not _NAME.fullmatch(checked_name(checked["name"])):
        raise Invalid("name", "letters, digits, '_', '.', '-', at most 64, the first a letter or digit")
    if "description" in checked:
        text = checked["description"]
        if not text or text != text.strip() or not text.isprintable() or len(text) > _MAX_DESCRIPTION:
            raise Invalid("description", f"needs 1 to {_MAX_DESCRIPTION} printable characters: words, or their URL")
    if "tags" in checked:
        checked["tags"] = checked_tags(checked["tags"])
    if "key_types" in checked:
        checked["key_types"] = tuple(dict.fromkeys(map(_checked_key_type, checked["key_types"])))
    if checked.get("lifetime_days") is not None and not 1 <= checked["lifetime_days"] <= _MAX_DAYS:
        raise Invalid("lifetime_days", f"1 to {_MAX_DAYS}; leave it out for the authority's own")
    if checked.get("upstream_profile") == "":
        raise Invalid("upstream_profile", "needs a name; leave it out for none")
    return checked


def _checked_key_type(text: str) -> str:
    sized = _RSA.fullmatch(text)
    if text in CURVES.values() or (sized and (sized[1] is None or RSA_BITS[0] <= int(sized[1]) <= RSA_BITS[1])):
        return text
    raise Invalid(
        "key_types", f"{text!r} is not one of RSA, RSA-2048, RSA-3072, RSA-4096, {', '.join(CURVES.values())}"
    )
