"""What an operator has to do about an order that waits, or that has ended, by the kind of its last trouble."""

from acmehub.models import EventKind

_AUTHORITY = "`acmehub authority set {authority} …`"
_CHALLENGE = "`acmehub challenge set NAME …`"
_ADVICE = {
    EventKind.CA_UNAVAILABLE: f"is the CA reachable from here? Its address: {_AUTHORITY}",
    EventKind.DNS_PROVIDER_REFUSED: f"mend the credentials or rights at the provider: {_CHALLENGE}",
    EventKind.DNS_PROVIDER_UNAVAILABLE: f"is the provider reachable from here? Its address: {_CHALLENGE}",
    EventKind.NEEDS_OPERATOR: "change what it names, or install the plugin and restart the hub",
    EventKind.UNEXPECTED_ERROR: "a defect: the log has it; start a release that mends it",
    EventKind.WRONG_CERTIFICATE: f"ask the CA; a chain of the leaf alone is allowed by {_AUTHORITY}",
}
_ALONE = {
    EventKind.CA_PAUSED: "do at the CA what it asks for, then `acmehub authority clear-pause {authority}`",
    EventKind.CERTIFICATE_NOT_FETCHED: "`acmehub order retry {order}` has the certificate fetched after all",
    EventKind.DNS_UNCLEAR: "are the name servers of the name, and `[dns] resolvers`, reachable from here?",
}
ADVISED = frozenset(_ADVICE) | frozenset(_ALONE)
"""The kinds for which there is something to do."""


def advice(kind: EventKind | None, *, order: str, authority: str, failed: bool) -> str:
    """What to do, in one line; empty when there is nothing. `authority` is its name as a shell takes it, `order` the
    id, `failed` whether the order has ended."""
    if kind in _ADVICE:
        text = _ADVICE[kind] + ("; its client must order again" if failed else "; the order then goes on at once")
    else:
        text = _ALONE.get(kind, "") if kind is not None else ""
    return text.format(order=order, authority=authority)
