"""Authorities: the CAs that orders go to, one of them the default."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from acmehub.admin.errors import InUse, Refused
from acmehub.admin.permissions import Acting
from acmehub.admin.plugin_resources import PluginResourceService, Settings, Sources
from acmehub.admin.resources import checked_name, checked_tags, with_changes
from acmehub.models import Authority, new_id
from acmehub.ports.store import Resources
from acmehub.runtime.plugin_objects import AUTHORITY_SETTINGS
from acmehub.runtime.plugins import Offers


class NewAuthority(msgspec.Struct, frozen=True, kw_only=True):
    """An authority to be made; `settings` are the plugin's, secrets in clear. The first one is the default anyway."""

    name: str
    plugin: str
    settings: Settings = {}
    default: bool = False
    enabled: bool = True
    tags: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"NewAuthority({self.name!r})"


class AuthorityPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What to change; what is unset stays. `settings` are laid over those there are, None sets one back to its default;
    with another `plugin` they begin anew. `default` can only be given, not taken: make another one the default."""

    name: str | UnsetType = UNSET
    plugin: str | UnsetType = UNSET
    settings: Settings | UnsetType = UNSET
    default: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET

    def __repr__(self) -> str:
        return "AuthorityPatch(…)"


class AuthorityView(msgspec.Struct, frozen=True, kw_only=True):
    """An authority as it may be shown; `account_url` is the hub's account there, `problem` says why the settings cannot
    be shown (plugin not installed)."""

    id: str
    name: str
    plugin: str
    settings: dict[str, Any]
    default: bool
    enabled: bool
    tags: tuple[str, ...]
    account_url: str
    created: datetime
    problem: str = ""


class AuthorityService(PluginResourceService[Authority]):
    """Verbs raise `ServiceError`s."""

    noun = "authority"
    label = "authority"
    purpose = AUTHORITY_SETTINGS

    @property
    def rows(self) -> Resources[Authority]:
        """See `ResourceService`."""
        return self._store.authorities

    @property
    def offers(self) -> Offers:
        """See `PluginResourceService`."""
        return self._registry.authorities

    async def add(self, new: NewAuthority, actor: Acting, *, sources: Sources | None = None) -> AuthorityView:
        """Make one. The hub's account there is made at its first use."""
        async with self.acting(actor, "add", new.name):
            id = new_id()
            default = new.default or not await self.rows.list()
            item = Authority(
                id=id,
                name=checked_name(new.name),
                plugin=new.plugin,
                default=default,
                enabled=new.enabled,
                tags=checked_tags(new.tags),
                sealed_settings=self.seal(id, self.read(new.plugin, new.settings, sources)),
                created=self._clock.now(),
            )
            await self.insert(item)
            if default:
                await self._only_default(item.id)
            return self._view(item)

    async def list(self, actor: Acting) -> Sequence[AuthorityView]:
        """All, oldest first."""
        async with self.acting(actor, "list", ""):
            return [self._view(item) for item in await self.rows.list()]

    async def show(self, ref: str, actor: Acting) -> AuthorityView:
        """One, by name or id."""
        async with self.acting(actor, "show", ref):
            return self._view(await self.find(ref))

    async def set(
        self, ref: str, patch: AuthorityPatch, actor: Acting, *, sources: Sources | None = None
    ) -> AuthorityView:
        """Change one. With other settings the hub registers there again, with the same key: the same account, unless
        it is another CA now; with another plugin also with another key."""
        async with self.acting(actor, "set", ref) as note:
            changes = _checked_fields(patch)

            def rule(item: Authority) -> Authority:
                if item.default and patch.default is False:
                    raise Refused(f"{self.describe(item)} is the default: make another one the default instead")
                plugin = item.plugin if isinstance(patch.plugin, UnsetType) else patch.plugin
                settings = {} if isinstance(patch.settings, UnsetType) else patch.settings
                written = self.with_settings(item, plugin, settings, sources)
                if written:
                    written["account_url"] = ""
                if plugin != item.plugin:
                    written["sealed_account_key"] = b""
                return with_changes(item, {**changes, **written})

            item = await self.change(ref, rule, note)
            if item.default:
                await self._only_default(item.id)
            return self._view(item)

    async def remove(self, ref: str, actor: Acting) -> None:
        """Remove one that no order went to. The default goes last."""
        async with self.acting(actor, "remove", ref):
            item = await self.find(ref)
            if item.default and len(await self.rows.list()) > 1:
                raise Refused(f"{self.describe(item)} is the default: make another one the default first")
            leading = [one.name for one in await self._store.profiles.list() if one.authority_id == item.id]
            if leading:
                raise InUse(f"{self.describe(item)} is where profile {leading[0]!r} leads: change or remove that first")
            await self.delete(item.id)

    @property
    def instead(self) -> str:
        """See `ResourceService`."""
        return (
            " by orders, which are kept for the record: disable it (`acmehub authority set … --disabled`), and have its"
            " certificates renewed elsewhere (`acmehub certificate renew-by DATE --authority …`)"
        )

    async def _only_default(self, id: str) -> None:
        """Take the mark from all others. It was given first: a crash in between leaves two, never none, and the next
        change of the default's row makes it good."""
        for other in await self.rows.list():
            if other.default and other.id != id:
                await self.change(other.id, lambda item: with_changes(item, {"default": False}))

    def _view(self, item: Authority) -> AuthorityView:
        shown = self.shown(item)
        fields = {
            name: getattr(item, name) for name in AuthorityView.__struct_fields__ if name not in ("settings", "problem")
        }
        return AuthorityView(settings=shown.values, problem=shown.problem, **fields)


def _checked_fields(patch: AuthorityPatch) -> dict[str, Any]:
    """The fields that are given, plugin and settings apart, each checked; `Invalid`."""
    plain = ("name", "default", "enabled", "tags")
    changes = {name: value for name in plain if (value := getattr(patch, name)) is not UNSET}
    if "name" in changes:
        checked_name(changes["name"])
    if "tags" in changes:
        changes["tags"] = checked_tags(changes["tags"])
    return changes
