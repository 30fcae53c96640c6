"""What the server sends and receives: the objects of RFC 8555, RFC 9773 and the profiles draft, as msgspec Structs.

These objects are not stored; `acme/server/rendering.py` makes them of stored ones. Required members have no default, so
that `omit_defaults` never drops them; absent members are omitted, never null (docs/client-rules.md rule 17).
Payloads may have unknown members (RFC 8555 section 6.2 and docs/client-rules.md rule 16), and `null` for an optional
member means that it is absent.
"""

import msgspec

from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemDocument


class Wire(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Base of every object that is sent or received; JSON names are in camel case."""


class DirectoryMeta(Wire, frozen=True, kw_only=True):
    """RFC 8555 section 7.1.1, with the `profiles` of draft-ietf-acme-profiles."""

    external_account_required: bool = False
    terms_of_service: str = ""
    website: str = ""
    caa_identities: tuple[str, ...] = ()
    profiles: dict[str, str] = {}


class Directory(Wire, frozen=True, kw_only=True):
    """RFC 8555 section 7.1.1; the hub lists only what it supports."""

    new_nonce: str
    new_account: str
    new_order: str
    meta: DirectoryMeta
    revoke_cert: str = ""
    key_change: str = ""
    renewal_info: str = ""
    new_authz: str = ""


class NewAccount(Wire, frozen=True, kw_only=True):
    """The payload of newAccount (RFC 8555 section 7.3); the binding is a flattened JWS (`binding`)."""

    contact: tuple[str, ...] | None = None
    terms_of_service_agreed: bool | None = None
    only_return_existing: bool | None = None
    external_account_binding: msgspec.Raw = msgspec.Raw()

    @property
    def binding(self) -> bytes:
        """The external account binding as it was sent; empty when there is none."""
        raw = bytes(self.external_account_binding)
        return b"" if raw == b"null" else raw


class AccountUpdate(Wire, frozen=True, kw_only=True):
    """The payload of a POST to an account (RFC 8555 sections 7.3.2 and 7.3.6)."""

    contact: tuple[str, ...] | None = None
    status: str | None = None


class AccountObject(Wire, frozen=True, kw_only=True):
    """RFC 8555 section 7.1.2."""

    status: str
    orders: str
    contact: tuple[str, ...] = ()
    terms_of_service_agreed: bool = False
    external_account_binding: msgspec.Raw | None = None


class OrdersList(Wire, frozen=True, kw_only=True):
    """RFC 8555 section 7.1.2.1."""

    orders: tuple[str, ...]


class NewOrder(Wire, frozen=True, kw_only=True):
    """The payload of newOrder (RFC 8555 section 7.4), with `replaces` (RFC 9773) and `profile`."""

    identifiers: tuple[Identifier, ...]
    not_before: str | None = None
    not_after: str | None = None
    replaces: str | None = None
    profile: str | None = None


class OrderObject(Wire, frozen=True, kw_only=True):
    """RFC 8555 section 7.1.3; timestamps are RFC 3339 in UTC, whole seconds."""

    status: str
    expires: str
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[str, ...]
    finalize: str
    not_before: str | None = None
    not_after: str | None = None
    error: ProblemDocument | None = None
    certificate: str | None = None
    profile: str | None = None
    replaces: str | None = None


class ChallengeObject(Wire, frozen=True, kw_only=True):
    """RFC 8555 section 8, for all challenge types."""

    type: str
    url: str
    status: str
    token: str
    validated: str | None = None
    error: ProblemDocument | None = None


class AuthorizationObject(Wire, frozen=True, kw_only=True):
    """RFC 8555 section 7.1.4; `wildcard` is present only when true."""

    identifier: Identifier
    status: str
    expires: str
    challenges: tuple[ChallengeObject, ...]
    wildcard: bool = False


class AuthorizationUpdate(Wire, frozen=True, kw_only=True):
    """The payload of a POST to an authorization: deactivation (RFC 8555 section 7.5.2)."""

    status: str | None = None


class Finalize(Wire, frozen=True, kw_only=True):
    """The payload of finalize: the CSR in DER, base64url (RFC 8555 section 7.4)."""

    csr: str


class KeyChange(Wire, frozen=True, kw_only=True):
    """The inner payload of keyChange (RFC 8555 section 7.3.5)."""

    account: str
    old_key: msgspec.Raw


class RevokeCert(Wire, frozen=True, kw_only=True):
    """The payload of revokeCert: the leaf in DER, base64url (RFC 8555 section 7.6); reasons as RFC 5280 5.3.1."""

    certificate: str
    reason: int | None = None


class NewAuthz(Wire, frozen=True, kw_only=True):
    """The payload of newAuthz (RFC 8555 section 7.4.1)."""

    identifier: Identifier


class SuggestedWindow(Wire, frozen=True, kw_only=True):
    """When to renew (RFC 9773 section 4.2): RFC 3339 in UTC, whole seconds."""

    start: str
    end: str


class RenewalInfo(Wire, frozen=True, kw_only=True):
    """RFC 9773 section 4.2."""

    suggested_window: SuggestedWindow
    explanation_url: str | None = msgspec.field(name="explanationURL", default=None)
