"""The audit log, to which entries are only ever added."""

from datetime import datetime

import msgspec


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to which object, and whether it was allowed; contains no secret."""

    at: datetime
    actor: str
    action: str
    object: str
    detail: str = ""
    allowed: bool = True
