"""Refused requests, told to operators: a line of the log each time that something new is refused, and few entries in
the audit however often a client asks.

A caller with an active credential leaves one entry an hour for each thing that it is refused for one reason, up to
`MOST_OF_ACCOUNT` an hour. Callers without one leave an entry, and a line, an address and minute.
"""

import logging
from collections.abc import Mapping
from hashlib import blake2b

from acmehub.models import Actor, AuditActor
from acmehub.models.addresses import address_key
from acmehub.models.problems import Problem
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.rate_limits import HOUR, MINUTE, Charge, TokensLacking, charge, limit
from acmehub.runtime.audit import Audit
from acmehub.runtime.client_limits.buckets import Buckets
from acmehub.runtime.lru import Lru

NOWHERE = "an unknown address"
MOST_OF_ACCOUNT = 60
MOST_OF_TOKEN = 600

_STRANGER = limit("stranger", 1, MINUTE, "reports")
_STRANGERS = limit("strangers", 60, MINUTE, "reports")
_REFUSAL = limit("refusal", 1, HOUR, "reports")
_OF_ACCOUNT = limit("refusals_of_account", MOST_OF_ACCOUNT, HOUR, "reports")
_OF_TOKEN = limit("refusals_of_token", MOST_OF_TOKEN, HOUR, "reports")
_MOST_KNOWN = 10_000
_MOST_SHOWN = 500  # characters of what was asked for, in the audit

_WORDS = {"certificate.revoke": "revocation refused", "account.rekeyed": "key change refused"}
_log = logging.getLogger(__name__)


class Refusals:
    """Counts refusals, in the buckets in which limits are counted as well."""

    def __init__(self, store: Store, clock: Clock, buckets: Buckets) -> None:
        self._audit = Audit(store, clock)
        self._buckets = buckets
        self._uncounted: Lru[str, int] = Lru(_MOST_KNOWN)

    async def stranger(self, address: str, action: str, detail: str, *, object: str = "") -> None:
        """A caller without an active credential was refused: one entry an address and minute, with how many more there
        were before; never more than 60 a minute in all."""
        subject = address_key(address) or NOWHERE
        more = await self._more(subject, charge(_STRANGER, subject), charge(_STRANGERS, "all"))
        if more is None:
            return
        extra = {"address": subject, **({"object": object} if object else {}), "reason": detail, "more": more}
        _log.warning("%s", _words(action), extra=extra)
        await self._audit.note(
            AuditActor.device(f"address {subject}", address=subject),
            action,
            object or f"address {subject}",
            detail + _since(more),
            allowed=False,
        )

    async def caller(
        self, actor: Actor, action: str, refusal: Problem, asked: Mapping[str, object], address: str
    ) -> None:
        """The request of an active account was refused; `asked` says for what, as members of the line."""
        account, token, problem = actor.account.id, actor.token, refusal.type.value[0]
        about = refusal.about or next((f"{noun} {id}" for noun, id in asked.items() if noun != "names"), "")
        names = asked.get("names", ())
        what = about or ", ".join(names if isinstance(names, tuple) else ())
        digest = blake2b(what.encode("utf-8", "replace"), digest_size=16).hexdigest()
        cause = str(refusal.__cause__) if refusal.status >= 500 and refusal.__cause__ is not None else ""
        extra = {
            **asked,
            "account": account,
            "token": token.title,
            "principal": actor.principal.name,
            "address": address,
            "problem": problem,
            "reason": refusal.detail,
            **({"cause": cause} if cause else {}),
            "said_of": (account, action, problem, digest),
        }
        _log.warning("%s", _words(action), extra=extra)
        shown = what if len(what) <= _MOST_SHOWN else what[:_MOST_SHOWN] + "…"
        parts = (f"token {token.title}" if about else "", "" if about else shown, problem, refusal.detail, cause)
        detail = ": ".join(filter(None, parts))
        subject = f"{account}/{action}/{problem}/{digest}"
        more = await self._more(
            subject, charge(_REFUSAL, subject), charge(_OF_ACCOUNT, account), charge(_OF_TOKEN, token.id)
        )
        if more is None:
            return
        await self._audit.note(
            AuditActor.device(f"account {account}", id=account, address=address, token_id=token.id),
            action,
            about or f"token {token.title}",
            detail + _since(more),
            allowed=False,
        )

    async def _more(self, subject: str, *charges: Charge) -> int | None:
        """How many more there were since the last entry; None where there is none now."""
        before = self._uncounted.get(subject) or 0
        if isinstance(await self._buckets.take(charges), TokensLacking):
            self._uncounted.put(subject, before + 1)
            return None
        self._uncounted.put(subject, 0)
        return before


def _words(action: str) -> str:
    """The text of the line: of `order.refused`, "order refused"."""
    return _WORDS.get(action) or action.replace(".", " ")


def _since(more: int) -> str:
    return f"; {more} more since the last entry" if more else ""
