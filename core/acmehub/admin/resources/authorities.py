"""Authorities: the CAs that orders go to, one of them the default."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import InUse, Refused
from acmehub.admin.access.gate import Passage
from acmehub.admin.access.reach import Reach
from acmehub.admin.resources.fields import Patch, described, patch_of, view_of
from acmehub.admin.resources.service import checked_name, checked_tags, require_given_tags
from acmehub.admin.resources.with_plugins import PluginResourceService, SecretState, Settings, Sources, given_fields
from acmehub.models import Authority, Pause, new_id
from acmehub.models.events import MENDABLE
from acmehub.ports.clock import Clock
from acmehub.ports.store import Resources, Store
from acmehub.rules.permissions import Acting, require_unnarrowed
from acmehub.runtime.plugin_objects import AUTHORITY_SETTINGS
from acmehub.runtime.plugins import Offers, Registry
from acmehub.runtime.vault import Vault

INSTEAD = (
    " by orders, which are kept for the record: disable it (`acmehub authority set … --disabled`), and have its"
    " certificates renewed elsewhere (`acmehub certificate renew-by DATE --authority …`)"
)


class NewAuthority(msgspec.Struct, frozen=True, kw_only=True):
    """A new authority; `settings` are the plugin's, secrets in clear. The first authority is always the default."""

    name: Annotated[str, described("Its name.", change="Rename it.")]
    plugin: Annotated[
        str,
        described(
            "Its kind: ca_acme, ca_local, ca_letsencrypt, …",
            change="Another kind; its settings start empty.",
        ),
    ]
    settings: Settings = {}
    default: Annotated[
        bool, described("Orders go here unless a policy says otherwise.", change="Make it the default.")
    ] = False
    enabled: Annotated[bool, described("Not to be used yet.", change="Whether it may be used.")] = True
    tags: Annotated[
        tuple[str, ...],
        described(
            "A tag; may be repeated.",
            change="The tags, instead of those there are; may be repeated.",
            clear="Take all tags away.",
        ),
    ] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


AuthorityPatch = patch_of("AuthorityPatch", NewAuthority)
"""`settings` are laid over those there are, None sets one back to its default; with another `plugin` they start from
the defaults. `default` can only be given, not taken: make another one the default."""


class AuthorityView(NewAuthority, frozen=True, kw_only=True):
    """An authority as operators see it: `settings` without secrets, of which `secrets` says whether they are set;
    `account_url` is the hub's account there, `problem` says why the settings are missing (plugin not installed),
    `pauses` what the CA takes no orders for until they are cleared, `managed_by` which resources file has set it last.
    `signs_own_tls`: it signs the hub's own TLS certificate."""

    id: str
    version: int
    account_url: str
    created: datetime
    managed_by: str = ""
    secrets: dict[str, SecretState] = {}
    problem: str = ""
    pauses: tuple[Pause, ...] = ()
    signs_own_tls: bool = False


class AuthorityService(PluginResourceService[Authority, AuthorityView]):
    """Verbs raise `ServiceError`s."""

    noun = "authority"
    label = "authority"
    purpose = AUTHORITY_SETTINGS

    def __init__(self, store: Store, vault: Vault, registry: Registry, clock: Clock, own_tls: str = "") -> None:
        """`own_tls`: the name of the authority that signs the hub's own TLS certificate, if one does."""
        super().__init__(store, vault, registry, clock)
        self._own_tls = own_tls

    @property
    def offers(self) -> Offers:
        """The plugins for CAs."""
        return self._registry.authorities

    async def add(self, new: NewAuthority, acting: Acting, *, sources: Sources | None = None) -> AuthorityView:
        """Add one. The hub registers its account there at the first use."""
        async with self._gate(acting, "authority.add", new.name) as passage:
            id = new_id()
            values = checked_fields(given_fields(new))
            values["default"] = default = new.default or not await self.rows.list()
            item = Authority(
                id=id,
                plugin=new.plugin,
                sealed_settings=self.seal(id, self.read(new.plugin, new.settings, sources)),
                created=self._clock.now(),
                **values,
            )
            if new.default:
                require_unnarrowed(acting, passage.action, f"make {self.rows.describe(item)} the default")
            require_given_tags(passage, (), item.tags, self.rows.describe(item))
            item = await self.rows.insert(item, passage)
            if default:
                await self._only_default(item.id, passage)
            return await self._view(item)

    async def set(
        self,
        ref: str,
        patch: Patch[NewAuthority],
        acting: Acting,
        *,
        sources: Sources | None = None,
        version: int | None = None,
    ) -> AuthorityView:
        """Change one. With other settings the hub registers there again, with the same key: the same account, unless
        it is another CA now; with another plugin also with another key. Orders that wait for it go on at once."""
        async with self._gate(acting, "authority.set", ref) as passage:
            changes = checked_fields(patch.given("plugin", "settings"))

            def rule(item: Authority) -> Authority:
                if item.default and changes.get("default") is False:
                    raise Refused(f"{self.rows.describe(item)} is the default: make another one the default instead")
                if not item.default and changes.get("default"):
                    require_unnarrowed(acting, passage.action, f"make {self.rows.describe(item)} the default")
                require_given_tags(passage, item.tags, changes.get("tags", item.tags), self.rows.describe(item))
                written = self.with_settings(item, patch, sources)
                if written:
                    written["account_url"] = ""
                if written.get("plugin", item.plugin) != item.plugin:
                    written |= {"sealed_account_key": b"", "pauses": ()}
                return replace(item, **changes, **written)

            item = await self.rows.change(ref, rule, passage, version)
            if item.default:
                await self._only_default(item.id, passage)
            await self._store.orders.wake(MENDABLE, authority_id=item.id)
            return await self._view(item)

    async def clear_pause(self, ref: str, acting: Acting) -> AuthorityView:
        """A person has acted at the CA: it is asked again for everything that it had paused."""
        async with self._gate(acting, "authority.clear_pause", ref) as passage:
            return await self._view(await self.rows.change(ref, lambda item: replace(item, pauses=()), passage))

    async def remove(self, ref: str, acting: Acting) -> None:
        """Remove one that no order went to. The default goes last."""
        async with self._gate(acting, "authority.remove", ref) as passage:
            item = await self.rows.find(ref, passage.reach)
            if item.default and len(await self.rows.list()) > 1:
                raise Refused(f"{self.rows.describe(item)} is the default: make another one the default first")
            leading = [one for one in await self._store.profiles.list() if one.authority_id == item.id]
            if leading:
                known = await passage.reach.only(leading)
                which = f"profile {known[0].name!r} leads" if known else "a profile leads"
                raise InUse(
                    f"{self.rows.describe(item)} is where {which}: change or remove that first",
                    [f"profile {one.name!r}" for one in known],
                )
            await self.rows.remove(ref, self._users_of, INSTEAD, passage)

    def _stored(self) -> Resources[Authority]:
        return self._store.authorities

    async def _users_of(self, item: Authority, _reach: Reach) -> Sequence[str]:
        del item  # the storage knows whether orders went there
        return ()

    async def _only_default(self, id: str, passage: Passage) -> None:
        """Clear `default` on the others. The new default is set first, so a crash leaves two defaults, never none; the
        next change repairs that."""
        for other in await self.rows.list():
            if other.default and other.id != id:
                await self.rows.change(other.id, lambda item: replace(item, default=False), passage, owned=False)

    async def _view(self, item: Authority) -> AuthorityView:
        public = self.public(item)
        own_tls = item.name == self._own_tls
        return view_of(
            AuthorityView,
            item,
            settings=public.values,
            secrets=public.secrets,
            problem=public.problem,
            signs_own_tls=own_tls,
        )


def checked_fields(values: dict[str, Any]) -> dict[str, Any]:
    """The fields that are given, plugin and settings apart, each checked; `Invalid`."""
    changes = dict(values)
    if "name" in changes:
        checked_name(changes["name"])
    if "tags" in changes:
        changes["tags"] = checked_tags(changes["tags"])
    return changes
