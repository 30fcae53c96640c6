"""What an operator may not have meant: it is done, and said with what follows from it."""

import shlex
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from acmehub.admin.resources.authorities import AuthorityView
from acmehub.admin.resources.document import New
from acmehub.admin.resources.managed_challenges import NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal
from acmehub.admin.resources.profiles import ProfileView
from acmehub.admin.resources.tokens import NewToken
from acmehub.rules.names import is_listed_suffix
from acmehub.rules.scopes import Pattern, parse_rule


def remarks_on(new: New, now: datetime) -> Iterator[str]:
    """What is to be said of a resource, new or changed, from its own fields."""
    match new:
        case NewToken():
            if new.expires is not None and new.expires <= now:
                yield f"token {new.title!r} has expired already ({new.expires:%Y-%m-%d %H:%MZ}): it binds no account"
            yield from _on_rule(f"token {new.title!r}: names", new.names)
        case NewManagedChallenge():
            yield from _on_rule(f"managed challenge {new.name!r}: match", new.match)
        case NewPrincipal() if not new.roles:
            command = f"acmehub principal set {shlex.quote(new.name)} --role ROLE"
            yield f"principal {new.name!r} has no role: it can do nothing, and its tokens bind no account; {command}"


def remarks_on_authorities(
    touched: Collection[str],
    authorities: Sequence[AuthorityView],
    profiles: Sequence[ProfileView],
    own_tls: str,
) -> Iterator[str]:
    """What follows for orders and for the hub's own TLS certificate now that the authorities of these names (before and
    after a change) were changed or removed; `own_tls` is the name of the one that signs it, if one does."""
    by_name = {item.name: item for item in authorities}
    disabled = [item for name in dict.fromkeys(touched) if (item := by_name.get(name)) and not item.enabled]
    enabled = sorted((item for item in authorities if item.enabled), key=lambda item: (item.created, item.id))
    for item in disabled:
        if item.default:
            follows = f"go to {enabled[0].name!r} now, the oldest enabled one" if enabled else "are refused now"
            yield f"authority {item.name!r} is the default, and disabled: orders that name no profile {follows}"
        for profile in profiles:
            if profile.enabled and profile.authority == item.name:
                yield f"profile {profile.name!r} leads to authority {item.name!r}: orders that name it are refused now"
        if item.name == own_tls:
            yield f"authority {item.name!r} still signs the hub's own TLS certificate: $.tls.authority names it"
    if own_tls in touched and own_tls not in by_name:
        yield (
            f"there is no authority {own_tls!r} any more, which signs the hub's own TLS certificate ($.tls.authority):"
            " it is not renewed, and `acmehub serve` does not start until that names another one"
        )


def _on_rule(where: str, rule: str) -> Iterator[str]:
    for part in parse_rule(rule) if rule else ():
        if isinstance(part, Pattern) and is_listed_suffix(".".join(reversed(part.labels))):
            covers = "every name below it, of any owner" if part.below else "a name for which no CA issues"
            yield f"{where}: '{part}' is a public suffix: the rule covers {covers}"
