"""Let's Encrypt's rate limits in production (https://letsencrypt.org/docs/rate-limits/, read 2026-11).

Token buckets: `capacity` at once, refilled evenly over `refill`. Renewals that name the replaced certificate (ARI,
RFC 9773) are exempt from all of them; renewals of the same set of names from "registered domain" only.
"""

from datetime import timedelta
from typing import Literal

import msgspec


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How many of `what` are allowed per `per`; `everyone`: those of other accounts count, too."""

    what: Literal["orders", "certificates", "failed authorizations", "failed authorizations in a row", "accounts"]
    per: Literal["account", "registered domain", "set of names", "name and account", "address"]
    capacity: int
    refill: timedelta | None
    everyone: bool = False


LIMITS = (
    Limit(what="orders", per="account", capacity=300, refill=timedelta(hours=3)),
    Limit(what="certificates", per="registered domain", capacity=50, refill=timedelta(days=7), everyone=True),
    Limit(what="certificates", per="set of names", capacity=5, refill=timedelta(days=7), everyone=True),
    Limit(what="failed authorizations", per="name and account", capacity=5, refill=timedelta(hours=1)),
    # no refill: at the limit, the name is paused for the account until its owner unpauses it
    Limit(what="failed authorizations in a row", per="name and account", capacity=1152, refill=None),
    Limit(what="accounts", per="address", capacity=10, refill=timedelta(hours=3)),
)
