"""What an operator may not have meant, in a line each on standard error."""

from collections.abc import Sequence
from datetime import UTC, datetime

from acmehub.admin.resources.authorities import AuthorityView
from acmehub.admin.resources.document import New
from acmehub.admin.resources.remarks import remarks_on, remarks_on_authorities
from acmehub.cli.shared.session import Session
from acmehub.cli.shared.terminal import say


def remark(*items: New) -> None:
    """Say it of resources that were added or changed."""
    now = datetime.now(UTC)
    say(*(f"acmehub: {text}" for item in items for text in remarks_on(item, now)), err=True)


async def remark_authorities(session: Session, before: Sequence[AuthorityView], *touched: str) -> None:
    """Say what follows from a change of the authorities that have or had these names, or of none; `before` are all
    those there were."""
    if not touched:
        return
    authorities = await session.admin.authorities.list(session.acting)
    profiles = await session.admin.profiles.list(session.acting)
    own_tls = next((item.name for item in before if item.signs_own_tls), "")
    remarks = remarks_on_authorities(touched, authorities, profiles, own_tls)
    say(*(f"acmehub: {text}" for text in remarks), err=True)


def authority_name(found: Sequence[AuthorityView], ref: str) -> str:
    """The name of an authority that is given by name or id."""
    return next((item.name for item in found if ref == item.id), ref)
