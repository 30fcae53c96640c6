"""Domain match rules, and the scope of a token: who may have which name (docs/vocabulary.md, "Scope").

Rules compare labels, not text: `evilcorp.test` is not below `corp.test`. A rule may also have addresses and networks,
which cover only `ip` identifiers.
"""

import functools
import ipaddress
from collections.abc import Mapping, Sequence

import msgspec

from acmehub.models import ManagedChallenge, Principal, Role, RoleAssignment, Token
from acmehub.models.addresses import parse_network
from acmehub.models.identifiers import Identifier, canonical, is_address, is_wildcard, labels
from acmehub.models.problems import Problem, ProblemType, Subproblem, gathered, subproblem
from acmehub.rules.eab import may_use
from acmehub.rules.names import shown, syntax_flaw

Labels = tuple[str, ...]


class Pattern(msgspec.Struct, frozen=True):
    """A name in a rule: `labels` from the right. With `below` (`*.name`), it covers every name under it at any depth
    and the wildcards there, but not the name itself."""

    labels: Labels
    below: bool = False

    @property
    def rank(self) -> tuple[bool, int]:
        """How specific it is: an exact name before `*.`, then the longer name."""
        return (not self.below, len(self.labels))

    def matches(self, name: Labels) -> bool:
        """Whether it covers a name (its labels from the right)."""
        if self.below:
            return len(name) > len(self.labels) and name[: len(self.labels)] == self.labels
        return name == self.labels

    def __str__(self) -> str:
        return ("*." if self.below else "") + ".".join(reversed(self.labels))


class Addresses(msgspec.Struct, frozen=True):
    """An address or a network (CIDR) in a rule, for `ip` identifiers."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network

    @property
    def rank(self) -> tuple[bool, int]:
        """How specific it is: an address before a network, then the smaller network."""
        return (self.network.prefixlen == self.network.max_prefixlen, self.network.prefixlen)

    @property
    def example(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """One of the addresses."""
        return self.network.network_address + (self.network.num_addresses > 2)

    def matches(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Whether it covers an address."""
        return address in self.network

    def __str__(self) -> str:
        return str(self.network.network_address if self.rank[0] else self.network)


class MatchRule(msgspec.Struct, frozen=True):
    """A domain match rule: its comma-separated patterns."""

    patterns: tuple[Pattern | Addresses, ...]

    def matches(self, name: str) -> bool:
        """Whether one of the patterns covers a name (`*.example.com` as a name is the wildcard) or an address."""
        if is_address(name):
            return self._has_address(name)
        parts = labels(name)
        return any(pattern.matches(parts) for pattern in self.patterns if isinstance(pattern, Pattern))

    def _has_address(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(pattern.matches(address) for pattern in self.patterns if isinstance(pattern, Addresses))

    def __str__(self) -> str:
        return ", ".join(map(str, self.patterns))


def parse_rule(text: str) -> tuple[Pattern | Addresses, ...]:
    """The patterns of a rule without duplicates. Raises `ValueError` that names the wrong part and why."""
    return tuple(dict.fromkeys(_parse_pattern(part.strip()) for part in text.split(",")))


@functools.lru_cache(maxsize=1024)
def match_rule(text: str) -> MatchRule:
    """The rule of a token or a managed challenge. Raises `ValueError`."""
    return MatchRule(parse_rule(text))


def _parse_pattern(part: str) -> Pattern | Addresses:
    address, slash, prefix = part.partition("/")
    if is_address(address):
        try:
            if "%" in part or (slash and not prefix.isdecimal()):
                raise ValueError("not an address (192.0.2.1, 2001:db8::1) or a network (10.0.0.0/8)")
            return Addresses(parse_network(part))
        except ValueError as error:
            raise ValueError(f"match rule, part '{shown(part)}': {error}") from None
    below = is_wildcard(part)
    name = part[2:] if below else part
    flaw = syntax_flaw(name)
    if flaw is not None:
        raise ValueError(f"match rule, part '{shown(part)}': {flaw}")
    return Pattern(labels(name), below)


class MatchIndex:
    """Managed challenges by their patterns. A lookup takes one step per label, independent of the number of rules.

    The most specific match wins (an exact name before `*.`), then the longest, then the oldest. Disabled managed
    challenges do not match. Raises `ValueError` for an invalid rule.
    """

    def __init__(self, managed_challenges: Sequence[ManagedChallenge]) -> None:
        self._exact: dict[Labels, list[ManagedChallenge]] = {}
        self._below: dict[Labels, list[ManagedChallenge]] = {}
        for item in sorted(managed_challenges, key=lambda item: (item.created, item.id)):
            if item.enabled:
                for pattern in parse_rule(item.match):
                    if isinstance(pattern, Addresses):  # dns-01 cannot prove an address; `admin` refuses such a rule
                        continue
                    (self._below if pattern.below else self._exact).setdefault(pattern.labels, []).append(item)

    def matching(self, name: str) -> list[ManagedChallenge]:
        """The managed challenges that cover a name, best first; none for an address."""
        if is_address(name):
            return []
        parts = labels(name)
        found = list(self._exact.get(parts, ()))
        for length in range(len(parts) - 1, 0, -1):
            found += self._below.get(parts[:length], ())
        return found

    def best(self, name: str) -> ManagedChallenge | None:
        """The managed challenge for a name, if any."""
        return next(iter(self.matching(name)), None)


class Scope(msgspec.Struct, frozen=True):
    """The managed challenge of each name of an order, where one is needed."""

    challenges: Mapping[str, ManagedChallenge]

    def challenge_of(self, name: str) -> ManagedChallenge | None:
        """The managed challenge of a name of the order; None when the authority asks for no challenge."""
        return self.challenges.get(canonical(name))


def opened_by(managed_challenge: ManagedChallenge, assignments: Sequence[RoleAssignment]) -> bool:
    """Whether one of the role assignments covers a managed challenge; an assignment without tags covers all."""
    return any(not item.tags or not set(item.tags).isdisjoint(managed_challenge.tags) for item in assignments)


def for_name(name: str, assignments: Sequence[RoleAssignment]) -> Sequence[RoleAssignment]:
    """Those of the role assignments whose domain rule covers a name; one without a rule covers any."""
    return [item for item in assignments if not item.names or match_rule(item.names).matches(name)]


def decide(
    identifiers: Sequence[Identifier],
    token: Token,
    principal: Principal,
    index: MatchIndex,
    *,
    needs_challenge: bool,
) -> Scope:
    """Check that a token may order the names; returns the managed challenge of each.

    If the token has `names`, they must cover each name, and so must the domain rule of one of the principal's role
    assignments. If the authority needs challenges, a managed challenge that this assignment covers must match as well.
    If it needs none, a token without `names` may have only names that those managed challenges match.
    Raises `unauthorized` when the token is not for ACME, or `rejectedIdentifier` with a subproblem per refused name.
    """
    if not may_use(token, principal, Role.MANAGED_ACME_CONSUMER):
        raise Problem(
            ProblemType.UNAUTHORIZED,
            "this API token may not order: token and principal both need the role managed_acme_consumer",
        )
    every = principal.assignments(Role.MANAGED_ACME_CONSUMER)
    ruled = any(item.names for item in every)
    narrowed = match_rule(token.names) if token.names else None
    challenges: dict[str, ManagedChallenge] = {}
    refused: list[Subproblem] = []
    for item in identifiers:
        name = canonical(item.value)
        assignments = for_name(name, every) if ruled else every
        if not assignments:
            rules = "; ".join(one.names for one in every)
            refused.append(_rejected(item, f"outside the domain rules of its principal's role ({rules})"))
        elif narrowed is not None and not narrowed.matches(name):
            refused.append(_rejected(item, f"outside the names of this API token ({narrowed}); {_needed(name)}"))
        elif item.type == "ip" and needs_challenge:
            refused.append(_rejected(item, "its authority asks for dns-01, which cannot prove an address"))
        elif item.type == "ip" and narrowed is None:
            refused.append(_rejected(item, f"an address must stand in the names of the API token; {_needed(name)}"))
        elif needs_challenge or narrowed is None:
            matching = index.matching(name)
            best = next((one for one in matching if opened_by(one, assignments)), None)
            if best is not None:
                challenges[name] = best
            elif matching:
                refused.append(
                    _rejected(item, f"its managed challenge is not open to {principal.name!a} (tags of the role)")
                )
            else:
                refused.append(_rejected(item, f"no managed challenge covers it; {_needed(name)}"))
    if refused:
        raise gathered(f"{len(refused)} of {len(identifiers)} names are outside the scope of this API token", refused)
    return Scope(challenges)


def _rejected(identifier: Identifier, why: str) -> Subproblem:
    return subproblem(ProblemType.REJECTED_IDENTIFIER, f"{shown(identifier.value)}: {why}", identifier)


def _needed(name: str) -> str:
    """The rules that would cover a name: the name itself, or `*.` with its parent."""
    if is_address(name):
        return f"a rule with {shown(name)}, or a network it is in, would be needed"
    parent = name.partition(".")[2]
    alternatives = [name] if is_wildcard(name) else [name, *([f"*.{parent}"] if parent else [])]
    return f"a rule with {shown(' or '.join(alternatives))} would be needed"
