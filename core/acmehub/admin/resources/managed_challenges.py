"""Managed challenges: DNS plugins with their settings, and the names that they solve."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid
from acmehub.admin.access.reach import Reach
from acmehub.admin.resources.fields import Patch, described, patch_of, view_of
from acmehub.admin.resources.service import (
    INSTEAD_OF_REMOVING,
    checked_name,
    checked_rule,
    checked_tags,
    require_given_tags,
)
from acmehub.admin.resources.with_plugins import PluginResourceService, SecretState, Settings, Sources, given_fields
from acmehub.models import ManagedChallenge, Propagation, new_id
from acmehub.models.events import MENDABLE
from acmehub.models.identifiers import base_name, canonical
from acmehub.models.managed_challenges import ANY_ZONE
from acmehub.ports.store import Resources
from acmehub.rules.names import resolver_flaw, syntax_flaw
from acmehub.rules.permissions import Acting
from acmehub.rules.scopes import Addresses, match_rule
from acmehub.runtime.plugins import Offers


class NewManagedChallenge(msgspec.Struct, frozen=True, kw_only=True):
    """A new managed challenge; `match` is a domain match rule, `settings` are the plugin's, secrets in clear."""

    name: Annotated[str, described("Its name.", change="Rename it.")]
    plugin: Annotated[
        str,
        described("Its kind: dns_rfc2136, dns_cloudflare, …", change="Another kind; its settings start empty."),
    ]
    match: Annotated[
        str,
        described("Domain match rule: 'example.com, *.example.com'.", change="Domain match rule."),
    ]
    settings: Settings = {}
    tags: Annotated[
        tuple[str, ...],
        described(
            "A tag, for roles that are narrowed by tags; may be repeated.",
            change="The tags, instead of those there are; may be repeated.",
            clear="Take all tags away.",
        ),
    ] = ()
    cname_zones: Annotated[
        tuple[str, ...],
        described(
            "A zone that CNAMEs may lead to; '*' for any.",
            change="The zones CNAMEs may lead to, instead of those before.",
            clear="CNAMEs may lead nowhere else.",
        ),
    ] = ()
    zone: Annotated[
        str,
        described(
            "The zone of its records, where the hub would find none or another one.",
            change="The zone of its records; '' to have it found.",
        ),
    ] = ""
    resolvers: Annotated[
        tuple[str, ...],
        described(
            "A resolver to ask instead of those of [dns]; may be repeated.",
            change="The resolvers to ask, instead of those before; may be repeated.",
            clear="Ask those of [dns].",
            metavar="ADDRESS[:PORT]",
        ),
    ] = ()
    propagation: Propagation = Propagation()
    enabled: Annotated[bool, described("Not to be used yet.", change="Whether it may be used.")] = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


ManagedChallengePatch = patch_of("ManagedChallengePatch", NewManagedChallenge)
"""`settings` are laid over those there are, None sets one back to its default; with another `plugin` they start from
the defaults."""


class ManagedChallengeView(NewManagedChallenge, frozen=True, kw_only=True):
    """A managed challenge as operators see it.

    `settings` are without secrets, of which `secrets` says whether they are set; `problem` says why the settings are
    missing (plugin not installed), `managed_by` which resources file has set it last.
    """

    id: str
    version: int
    created: datetime
    managed_by: str = ""
    secrets: dict[str, SecretState] = {}
    problem: str = ""


class ManagedChallengeService(PluginResourceService[ManagedChallenge, ManagedChallengeView]):
    """Verbs raise `ServiceError`s."""

    noun = "challenge"
    label = "managed challenge"
    purpose = "managed_challenge.settings"

    @property
    def offers(self) -> Offers:
        """The DNS plugins."""
        return self._registry.dns_providers

    async def add(
        self, new: NewManagedChallenge, acting: Acting, *, sources: Sources | None = None
    ) -> ManagedChallengeView:
        """Add one; orders for whose names there was none go on at once."""
        async with self._gate(acting, "challenge.add", new.name) as passage:
            id = new_id()
            values = checked_fields(given_fields(new))
            settings = self.read(new.plugin, new.settings, sources)
            item = ManagedChallenge(
                id=id,
                plugin=new.plugin,
                sealed_settings=self.seal(id, settings),
                created=self._clock.now(),
                **values,
            )
            _check_zone(item)
            require_given_tags(passage, (), item.tags, self.rows.describe(item))
            item = await self.rows.insert(item, passage)
            await self._store.orders.wake(MENDABLE, challenge_id=item.id)
            return await self._view(item)

    async def set(
        self,
        ref: str,
        patch: Patch[NewManagedChallenge],
        acting: Acting,
        *,
        sources: Sources | None = None,
        version: int | None = None,
    ) -> ManagedChallengeView:
        """Change one; orders under way take the new settings at their next step, and those that wait for it go on at
        once."""
        async with self._gate(acting, "challenge.set", ref) as passage:
            changes = checked_fields(patch.given("plugin", "settings"))

            def rule(item: ManagedChallenge) -> ManagedChallenge:
                changed = replace(item, **changes, **self.with_settings(item, patch, sources))
                _check_zone(changed)
                require_given_tags(passage, item.tags, changed.tags, self.rows.describe(item))
                return changed

            item = await self.rows.change(ref, rule, passage, version)
            await self._store.orders.wake(MENDABLE, challenge_id=item.id)
            return await self._view(item)

    async def remove(self, ref: str, acting: Acting) -> None:
        """Remove one that has no TXT record in DNS."""
        async with self._gate(acting, "challenge.remove", ref) as passage:
            await self.rows.remove(ref, self._users_of, INSTEAD_OF_REMOVING.format(noun=self.noun), passage)

    def _stored(self) -> Resources[ManagedChallenge]:
        return self._store.managed_challenges

    async def _users_of(self, item: ManagedChallenge, reach: Reach) -> Sequence[str]:
        mine = [row for row in await self._store.txt_records.list() if row.managed_challenge_id == item.id]
        if mine and not reach.everything:  # the orders may be those of any principal
            return [f"{len(mine)} TXT records of orders"]
        return [f"TXT record {row.name} of order {row.order_id}" for row in mine]

    async def _view(self, item: ManagedChallenge) -> ManagedChallengeView:
        public = self.public(item)
        return view_of(
            ManagedChallengeView, item, settings=public.values, secrets=public.secrets, problem=public.problem
        )


def checked_fields(values: dict[str, Any]) -> dict[str, Any]:
    """The fields that are given, each checked and in its stored form; `Invalid`."""
    checked = dict(values)
    if "name" in checked:
        checked_name(checked["name"])
    if "match" in checked:
        checked["match"] = checked_rule(checked["match"], "match")
        if any(isinstance(part, Addresses) for part in match_rule(checked["match"]).patterns):
            raise Invalid("match", "an address cannot be proven by dns-01; only a token's names may have addresses")
    if "tags" in checked:
        checked["tags"] = checked_tags(checked["tags"])
    if "cname_zones" in checked:
        checked["cname_zones"] = tuple(_checked_cname_zone(zone) for zone in checked["cname_zones"])
    if checked.get("zone"):
        checked["zone"] = _checked_name("zone", checked["zone"], "write the name of a zone")
    if "resolvers" in checked:
        checked["resolvers"] = tuple(_checked_resolver(item) for item in checked["resolvers"])
    if "propagation" in checked:
        _check_propagation(checked["propagation"])
    return checked


def _checked_cname_zone(zone: str) -> str:
    if zone.strip() == ANY_ZONE:
        return ANY_ZONE
    return _checked_name("cname_zones", zone, f"write the name of a zone, or '{ANY_ZONE}' for any")


def _checked_name(field: str, zone: str, hint: str) -> str:
    name = canonical(zone.strip())
    flaw = syntax_flaw(name)
    if flaw is not None:
        raise Invalid(field, f"{zone!r}: {flaw}; {hint}")
    return name


def _checked_resolver(text: str) -> str:
    flaw = resolver_flaw(text.strip())
    if flaw is not None:
        raise Invalid("resolvers", f"{text!r}: {flaw}")
    return text.strip()


def _check_zone(item: ManagedChallenge) -> None:
    """A `zone` that no name can lie in is a slip of the pen: it would be passed over in silence."""
    if not item.zone or ANY_ZONE in item.cname_zones:
        return
    bases = [base_name(str(part)) for part in match_rule(item.match).patterns]
    if not any(_related(name, item.zone) for name in (*bases, *item.cname_zones)):
        raise Invalid("zone", f"no name of {item.match!r} lies in {item.zone!r}, and cname_zones does not lead there")


def _related(one: str, other: str) -> bool:
    """Whether one of two names is the other or lies below it."""
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")


def _check_propagation(propagation: Propagation) -> None:
    for field in ("limit", "delay"):
        value = getattr(propagation, field)
        if not 0 <= value <= 3600:
            raise Invalid(f"propagation.{field}", "0 to 3600 seconds")
