"""Rows for tests of a storage: complete, valid, different from the defaults where that can show a lost field."""

from datetime import UTC, datetime, timedelta

import msgspec

from acmehub.models import (
    Account,
    Actor,
    Authority,
    AuthorizationMode,
    Certificate,
    Event,
    EventKind,
    ManagedChallenge,
    Order,
    Pause,
    Principal,
    PrincipalType,
    Propagation,
    PropagationMode,
    Role,
    RoleAssignment,
    Token,
    TokenLimits,
    TxtRecord,
    new_id,
)
from acmehub.models.identifiers import Identifier
from acmehub.ports.store import Store
from acmehub.rules.orders import Change, OrderBundle, open_order

NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A moment after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def a_principal(name: str = "firewall-01", created: datetime = NOW) -> Principal:
    """An application with two roles, one of them narrowed."""
    return Principal(
        name=name,
        type=PrincipalType.APPLICATION,
        roles=(
            RoleAssignment(Role.MANAGED_ACME_CONSUMER),
            RoleAssignment(Role.MANAGED_CHALLENGE_CONSUMER, ("production", "köln")),
        ),
        created=created,
    )


def a_token(principal: Principal, title: str = "EAB") -> Token:
    """A token with limits of every kind."""
    return Token(
        title=title,
        principal_id=principal.id,
        scope=(Role.MANAGED_ACME_CONSUMER,),
        names="*.corp.test",
        authorization=AuthorizationMode.ACCEPT,
        networks=("10.0.0.0/8", "2001:db8::/32"),
        use_limit=5,
        limits=TokenLimits(new_orders=7, token_names=0),
        expires=at(86400),
        secret_hash=b"\x00\xff hash",
        sealed_hmac_key=bytes(range(256)),
        created=NOW,
    )


def a_managed_challenge(name: str = "corp zone") -> ManagedChallenge:
    """A solver with tags and its own way to wait."""
    return ManagedChallenge(
        name=name,
        plugin="dns_rfc2136",
        match="corp.test, *.corp.test",
        tags=("production",),
        cname_zones=("acme.corp.test",),
        zone="corp.test",
        resolvers=("127.0.0.1:5353",),
        propagation=Propagation(PropagationMode.RESOLVERS, limit=7.5, servers=("127.0.0.1:5353",)),
        sealed_settings=b"sealed",
        created=NOW,
    )


def an_authority(name: str = "pebble") -> Authority:
    """A default CA with an account."""
    return Authority(
        name=name,
        plugin="ca_acme",
        default=True,
        tags=("lab",),
        sealed_settings=b"sealed",
        account_url="https://ca.test/acct/1",
        sealed_account_key=b"key",
        created=NOW,
        pauses=(Pause(NOW, "paused: é", ("www.corp.test",)),),
    )


def an_account(token: Token, thumbprint: str = "") -> Account:
    """An account that a token has bound."""
    return Account(
        jwk=b'{"kty":"EC"}',
        thumbprint=thumbprint or new_id(),
        contact=("mailto:ops@corp.test",),
        token_id=token.id,
        principal_id=token.principal_id,
        binding=b"{}",
        user_agent="certbot/2.1.0",
        created=NOW,
    )


def an_event(order: Order, kind: EventKind = EventKind.ORDER_OPENED) -> Event:
    """A line of a timeline, with all it can say."""
    return Event(order_id=order.id, at=NOW, kind=kind, detail="détail", server="https://ca.test/dir", seconds=0.25)


def a_certificate(order: Order, created: datetime = NOW) -> Certificate:
    """A certificate for an order."""
    return Certificate(
        order_id=order.id,
        account_id=order.account_id,
        authority_id=order.authority_id,
        names=tuple(item.value for item in order.identifiers),
        serial=new_id(),
        issuer="CN=Test CA",
        spki_sha256="ab" * 32,
        not_before=NOW,
        not_after=at(86400 * 90),
        chain="-----BEGIN CERTIFICATE-----\n",
        alternates=("-----BEGIN CERTIFICATE-----\nother\n",),
        created=created,
        name_set=order.name_set,
    )


class Seed(msgspec.Struct, frozen=True):
    """What stands in a store before there can be an order."""

    actor: Actor
    authority: Authority
    managed_challenge: ManagedChallenge

    def order(
        self, *names: str, created: datetime = NOW, mode: AuthorizationMode = AuthorizationMode.ACCEPT
    ) -> OrderBundle:
        """An order for `names` (`www.corp.test` when there are none), not yet stored, due at `created`."""
        identifiers = [Identifier("dns", name) for name in names or ("www.corp.test",)]
        return open_order(
            self.actor, identifiers, mode=mode, authority_id=self.authority.id, signing=False, now=created
        )

    def record(self, bundle: OrderBundle, value: str = "v") -> TxtRecord:
        """A TXT record for an order's first authorization, not yet stored."""
        return TxtRecord(
            order_id=bundle.order.id,
            authorization_id=bundle.authorizations[0].id,
            managed_challenge_id=self.managed_challenge.id,
            zone="corp.test",
            name="_acme-challenge.www.corp.test",
            value=value,
            run_at=NOW,
            created=NOW,
        )


async def sow(store: Store) -> Seed:
    """Store a principal, its token, an account, an authority and a managed challenge."""
    principal = a_principal()
    token = a_token(principal)
    authority = an_authority()
    managed_challenge = a_managed_challenge()
    await store.principals.add(principal)
    await store.tokens.add(token)
    await store.authorities.add(authority)
    await store.managed_challenges.add(managed_challenge)
    account, _ = await store.accounts.bind(an_account(token), lambda token, _: token)
    return Seed(Actor(account, token, principal), authority, managed_challenge)


def unchanged(bundle: OrderBundle) -> Change:
    """A rule that changes nothing."""
    return Change(order=bundle.order)
