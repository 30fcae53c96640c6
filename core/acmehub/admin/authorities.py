"""Authorities: the CAs that orders go to, one of them the default."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from acmehub.admin.errors import InUse, Refused
from acmehub.admin.gate import Passage
from acmehub.admin.plugin_resources import PluginResourceService, Settings, Sources
from acmehub.admin.resources import checked_name, checked_tags
from acmehub.models import Authority, new_id
from acmehub.ports.store import Resources
from acmehub.rules.permissions import Acting
from acmehub.runtime.plugin_objects import AUTHORITY_SETTINGS
from acmehub.runtime.plugins import Offers

INSTEAD = (
    " by orders, which are kept for the record: disable it (`acmehub authority set … --disabled`), and have its"
    " certificates renewed elsewhere (`acmehub certificate renew-by DATE --authority …`)"
)


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


class AuthorityService(PluginResourceService[Authority, AuthorityView]):
    """Verbs raise `ServiceError`s."""

    noun = "authority"
    label = "authority"
    purpose = AUTHORITY_SETTINGS

    @property
    def offers(self) -> Offers:
        """The plugins for CAs."""
        return self._registry.authorities

    async def add(self, new: NewAuthority, acting: Acting, *, sources: Sources | None = None) -> AuthorityView:
        """Make one. The hub's account there is made at its first use."""
        async with self._gate(acting, "authority.add", new.name) as passage:
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
            await self.rows.insert(item, passage)
            if default:
                await self._only_default(item.id, passage)
            return await self._view(item)

    async def set(
        self, ref: str, patch: AuthorityPatch, acting: Acting, *, sources: Sources | None = None
    ) -> AuthorityView:
        """Change one. With other settings the hub registers there again, with the same key: the same account, unless
        it is another CA now; with another plugin also with another key."""
        async with self._gate(acting, "authority.set", ref) as passage:
            changes = _checked_fields(patch)

            def rule(item: Authority) -> Authority:
                if item.default and patch.default is False:
                    raise Refused(f"{self.rows.describe(item)} is the default: make another one the default instead")
                plugin = item.plugin if isinstance(patch.plugin, UnsetType) else patch.plugin
                settings = {} if isinstance(patch.settings, UnsetType) else patch.settings
                written = self.with_settings(item, plugin, settings, sources)
                if written:
                    written["account_url"] = ""
                if plugin != item.plugin:
                    written["sealed_account_key"] = b""
                return replace(item, **changes, **written)

            item = await self.rows.change(ref, rule, passage)
            if item.default:
                await self._only_default(item.id, passage)
            return await self._view(item)

    async def remove(self, ref: str, acting: Acting) -> None:
        """Remove one that no order went to. The default goes last."""
        async with self._gate(acting, "authority.remove", ref) as passage:
            item = await self.rows.find(ref)
            if item.default and len(await self.rows.list()) > 1:
                raise Refused(f"{self.rows.describe(item)} is the default: make another one the default first")
            leading = [one.name for one in await self._store.profiles.list() if one.authority_id == item.id]
            if leading:
                what = self.rows.describe(item)
                raise InUse(f"{what} is where profile {leading[0]!r} leads: change or remove that first")
            await self.rows.remove(ref, self._users_of, INSTEAD, passage)

    def _stored(self) -> Resources[Authority]:
        return self._store.authorities

    async def _users_of(self, item: Authority) -> Sequence[str]:
        del item  # the storage knows whether orders went there
        return ()

    async def _only_default(self, id: str, passage: Passage) -> None:
        """Clear `default` on the others. The new default is set first, so a crash leaves two defaults, never none; the
        next change repairs that."""
        for other in await self.rows.list():
            if other.default and other.id != id:
                await self.rows.change(other.name, lambda item: replace(item, default=False), passage)

    async def _view(self, item: Authority) -> AuthorityView:
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
