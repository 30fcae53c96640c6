"""What an operator may not have meant, in a line each on standard error."""

from datetime import UTC, datetime

from acmehub.admin.resources.document import New
from acmehub.admin.resources.remarks import remarks_on, remarks_on_authorities
from acmehub.cli.shared.session import Session
from acmehub.cli.shared.terminal import say


def remark(*items: New) -> None:
    """Say it of resources that were added or changed."""
    now = datetime.now(UTC)
    say(*(f"acmehub: {text}" for item in items for text in remarks_on(item, now)), err=True)


async def remark_authorities(session: Session, *touched: str) -> None:
    """Say what follows from a change of the authorities that have or had these names."""
    admin, tls = session.hub.admin, session.hub.config.tls
    authorities = await admin.authorities.list(session.acting)
    profiles = await admin.profiles.list(session.acting)
    own_tls = tls.authority if tls.mode == "auto" else ""
    remarks = remarks_on_authorities(touched, authorities, profiles, own_tls)
    say(*(f"acmehub: {text}" for text in remarks), err=True)


async def authority_name(session: Session, ref: str) -> str:
    """The name of an authority that is given by name or id."""
    found = await session.hub.admin.authorities.list(session.acting)
    return next((item.name for item in found if ref == item.id), ref)
