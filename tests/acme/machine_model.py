"""What a client may see of an order, as a model: docs/client-rules.md section 4.1, whatever happens behind."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from acmehub.models import AuthorizationStatus, OrderStatus
from acmehub.rules.orders import AUTHORIZATION_MOVES, ORDER_MOVES

BEFORE_FINALIZE = {"pending", "ready", "invalid"}
AFTER_FINALIZE = {"processing", "valid", "invalid"}


def reachable(moves: Any, begin: str) -> set[str]:
    """The states that can be seen after `begin`, itself included."""
    found, new = {begin}, {begin}
    while new := {target.value for state in new for target in moves[state]} - found:
        found |= new
    return found


ORDERS = {status.value: reachable(ORDER_MOVES, status.value) for status in OrderStatus}
AUTHORIZATIONS = {status.value: reachable(AUTHORIZATION_MOVES, status.value) for status in AuthorizationStatus}
AUTHORIZATIONS["expired"] = AUTHORIZATIONS["valid"]  # which it is until then, and again when the clock is set back


@dataclass
class Known:
    """An order as its client knows it: what was seen last, and the CSR that was accepted."""

    url: str
    seen: dict[str, Any]
    csr: bytes | None = None
    revoked: bool = False
    authorizations: dict[str, str] = field(default_factory=dict)
    challenges: dict[str, list[str]] = field(default_factory=dict)

    @property
    def status(self) -> str:
        return str(self.seen["status"])

    @property
    def names(self) -> set[str]:
        return {item["value"] for item in self.seen["identifiers"]}

    @property
    def expires(self) -> datetime:
        return datetime.fromisoformat(self.seen["expires"])

    def saw_order(self, now: dict[str, Any]) -> None:
        """Rules 2, 3, 6: only moves of the table, nothing that was promised changes, each end has its reason."""
        assert now["status"] in ORDERS[self.status], f"{self.status} -> {now['status']}"
        assert now["status"] in (BEFORE_FINALIZE if self.csr is None else AFTER_FINALIZE), (self.csr is None, now)
        for name in ("identifiers", "authorizations", "finalize", "expires"):
            assert now[name] == self.seen[name], f"{name} changed: {self.seen} -> {now}"
        assert ("certificate" in now) == (now["status"] == "valid")
        assert ("error" in now) == (now["status"] == "invalid")
        if self.status in ("valid", "invalid"):
            assert now == self.seen
        if now["status"] == "invalid":
            assert now["error"]["detail"]
        self.seen = now

    def saw_authorization(self, url: str, now: dict[str, Any]) -> None:
        """Rules 2, 6, 8: only moves of the table; no challenge contradicts its authorization."""
        before = self.authorizations.get(url, now["status"])
        assert now["status"] in AUTHORIZATIONS[before], f"{before} -> {now['status']}"
        found = [item["status"] for item in now["challenges"]]
        match now["status"]:
            case "pending":
                assert set(found) <= {"pending", "processing"}, now
                assert found.count("processing") <= 1, now
            case "valid":
                assert set(found) == {"valid"}, now
            case "invalid":
                assert all("error" in item for item in now["challenges"] if item["status"] == "invalid"), now
        self.authorizations[url] = now["status"]
        self.challenges[url] = [item["url"] for item in now["challenges"]]

    def together(self, order: dict[str, Any], authorizations: dict[str, dict[str, Any]]) -> None:
        """An order and its authorizations, seen in one moment: never the one without the other (rule 2)."""
        self.saw_order(order)
        for url, item in authorizations.items():
            self.saw_authorization(url, item)
        states = {item["status"] for item in authorizations.values()}
        match self.status:
            case "pending":
                assert "pending" in states, f"an order that waits for nothing: {states}"
                assert states <= {"pending", "valid"}, states
            case "ready":
                assert states <= {"valid", "expired"}, states
            case "processing" | "valid":
                assert states <= {"valid", "deactivated", "expired", "revoked"}, states
            case "invalid":  # the pending ones are left to the client after it has deactivated one
                assert "pending" not in states or "deactivated" in states, states
