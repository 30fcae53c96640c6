"""Renewal campaigns."""

from datetime import datetime

from acmehub.models.base import Model


class Campaign(Model, frozen=True, kw_only=True):
    """A request by an operator that clients renew certificates between `starts` and `renew_by` (RFC 9773 windows).

    It covers the certificates that were issued before its creation and meet each of its criteria: authority, profile,
    a domain match rule that one of the names meets, principal (empty: all). Clients see `explanation_url`; `ended` is
    when an operator ended it.
    """

    name: str
    reason: str = ""
    authority_id: str = ""
    profile: str = ""
    names: str = ""
    principal_id: str = ""
    starts: datetime
    renew_by: datetime
    explanation_url: str = ""
    ended: datetime | None = None
    created: datetime
