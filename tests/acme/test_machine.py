"""What clients do, what the worker does, what CA, DNS and clock do, in any order: no answer breaks
docs/client-rules.md section 4.1.

`make test` tries the same few thousand steps each time. For a long search among new ones:
`MACHINE_MINUTES=5 .venv/bin/pytest tests/acme/test_machine.py`; what it finds it prints as steps to repeat.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from acmehub.models import AuthorizationMode
from acmehub.models.problems import ProblemDocument
from acmehub.ports.authority import UpstreamAccountLost, UpstreamObjectLost, UpstreamRateLimited, UpstreamUnavailable
from acmehub.ports.dns import DnsProviderRefused, DnsProviderUnavailable
from tests.acme.machine_acts import BAD_CSRS, Acts
from tests.acme.machine_model import Known
from tests.acme.machine_world import World

MINUTES = float(os.environ.get("MACHINE_MINUTES", "0"))
EXAMPLES = 40
STEPS = 40
NAMES = ("corp.test", "*.corp.test", "a.corp.test", "b.corp.test")
AGENTS = ("strict-client/1", "xenolf-acme/4.9", "CertbotACMEClient/2.1", "instant-acme/0.7")
VERBS = ("new_order", "order", "authorization", "answer", "finalize", "certificate", "register")
POINTS = tuple(f"F{number}" for number in range(2, 13))
SERVER = "https://ca.test/directory"
TROUBLES: dict[str, Callable[[], BaseException]] = {
    "gone": lambda: UpstreamUnavailable("connection refused", server=SERVER),
    "limit": lambda: UpstreamRateLimited("too many", server=SERVER, retry_after=40.0),
    "account lost": lambda: UpstreamAccountLost("no such account", server=SERVER),
    "object lost": lambda: UpstreamObjectLost("no such object", server=SERVER),
}
CAA = ProblemDocument("urn:ietf:params:acme:error:caa", "CAA record for corp.test forbids it", 403)
WRONG_CHAIN = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"

pick = st.integers(0, 5)
some_names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
has_orders = precondition(lambda self: self.acts.orders)


class AcmeMachine(RuleBasedStateMachine):
    """The acts of clients, between those of the worker and of the outside."""

    template: Path
    world: World | None = None

    @initialize(
        signing=st.sampled_from([False, False, True]),
        adopts=st.booleans(),
        agent=st.sampled_from(AGENTS),
        mode=st.sampled_from(AuthorizationMode),
        names=some_names,
    )
    def begin(self, signing: bool, adopts: bool, agent: str, mode: AuthorizationMode, names: list[str]) -> None:
        self.world = World(self.template, signing=signing, adopts=adopts)
        self.acts = Acts(self.world, agent, mode)
        self.acts.order(names)

    @property
    def outside(self) -> World:
        assert self.world is not None
        return self.world

    def known(self, number: int) -> Known:
        return self.acts.orders[number % len(self.acts.orders)]

    # ----------------------------------------------------------------------------------------------- clients

    @rule(names=some_names)
    def new_order(self, names: list[str]) -> None:
        self.acts.order(names)

    @has_orders
    @rule(number=pick, works=st.booleans(), times=st.integers(1, 8))
    def client_goes_on(self, number: int, works: bool, times: int) -> None:
        for _ in range(times):
            self.acts.go_on(self.known(number))
            if works:
                self.work(waits=1)
                self.every_order_is_as_the_rules_have_it()

    @has_orders
    @rule(number=pick, which=pick)
    def read(self, number: int, which: int) -> None:
        known = self.known(number)
        self.acts.read(known)
        self.acts.read_authorization(known, authorization(known, which))

    @has_orders
    @rule(number=pick, which=pick, kind=pick, plants=st.booleans(), times=st.integers(1, 2))
    def answer(self, number: int, which: int, kind: int, plants: bool, times: int) -> None:
        known = self.known(number)
        self.acts.answer(known, authorization(known, which), kind, plants=plants, times=times)

    @has_orders
    @rule(number=pick, kind=st.sampled_from(["good", "same", "of another order", *BAD_CSRS]))
    def finalize(self, number: int, kind: str) -> None:
        self.acts.finalize(self.known(number), kind)

    @has_orders
    @rule(number=pick, same=st.booleans(), works=st.booleans())
    def finalize_twice_at_once(self, number: int, same: bool, works: bool) -> None:
        self.acts.finalize_twice(self.known(number), same=same, works=works)

    @has_orders
    @rule(number=pick, which=pick)
    def deactivate_authorization(self, number: int, which: int) -> None:
        known = self.known(number)
        self.acts.deactivate_authorization(known, authorization(known, which))

    @precondition(lambda self: len(self.acts.orders) > 1)
    @rule()
    def deactivate_account(self) -> None:
        self.acts.deactivate_account()

    @rule()
    def change_key(self) -> None:
        self.acts.change_key()

    @precondition(lambda self: any(item.status == "valid" for item in self.acts.orders))
    @rule(number=pick)
    def revoke(self, number: int) -> None:
        valid = [item for item in self.acts.orders if item.status == "valid"]
        self.acts.revoke(valid[number % len(valid)])

    @has_orders
    @rule(number=pick)
    def other_acts(self, number: int) -> None:
        self.acts.register_again()
        self.acts.list_orders()
        self.acts.ask_as_a_stranger(self.known(number))
        self.acts.replay(self.known(number))

    # ------------------------------------------------------------------------------------- worker and clock

    @rule(waits=st.integers(0, 6))
    def work(self, waits: int) -> None:
        """What is due now, and then what becomes due, `waits` times."""
        self.outside.run(self.outside.work())
        for _ in range(waits):
            self.outside.until_due()
            self.outside.run(self.outside.work())

    @rule(point=st.sampled_from(POINTS), passage=st.integers(1, 2))
    def worker_dies(self, point: str, passage: int) -> None:
        self.outside.crash(point, passage)

    @rule(seconds=st.sampled_from([0.5, 5.0, 31.0, 300.0, 4000.0, 90_000.0, 8 * 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        self.outside.pass_time(seconds)

    @rule(seconds=st.sampled_from([-3600.0, -5.0, 5.0, 3600.0]), prunes=st.booleans())
    def wall_clock_jumps(self, seconds: float, prunes: bool) -> None:
        self.outside.clock.jump(seconds)
        if prunes:
            self.outside.prune()

    # -------------------------------------------------------------------------------------------- CA and DNS

    @rule(verb=st.sampled_from(VERBS), trouble=st.sampled_from(sorted(TROUBLES)), lost=st.booleans())
    def upstream_fails(self, verb: str, trouble: str, lost: bool) -> None:
        """Before the verb, or after it (an answer that is lost on its way)."""
        after = lost and trouble == "gone"
        self.outside.relay.fail(verb, TROUBLES[trouble](), when="after" if after else "before")

    @rule(
        validation=st.integers(0, 3),
        processing=st.integers(0, 3),
        asks=st.sampled_from([None, 3.0, 700.0]),
        reuses=st.sets(st.sampled_from(["reuse_orders", "reuse_authorizations", "alternates"])),
    )
    def upstream_behaves(self, validation: int, processing: int, asks: float | None, reuses: set[str]) -> None:
        relay = self.outside.relay
        relay.validation_looks, relay.processing_looks, relay.retry_after = validation, processing, asks
        for name in ("reuse_orders", "reuse_authorizations", "alternates"):
            setattr(relay, name, name in reuses)

    @rule(name=st.sampled_from(["a.corp.test", "b.corp.test"]), refuses=st.booleans(), wrong=st.booleans())
    def upstream_is_hostile(self, name: str, refuses: bool, wrong: bool) -> None:
        self.outside.relay.refused = {name: CAA} if refuses else {}
        if wrong:
            self.outside.relay.substitute = self.outside.signer.substitute = lambda _chain: WRONG_CHAIN

    @rule(verb=st.sampled_from(["add_txt", "remove_txt"]), refused=st.booleans())
    def dns_fails(self, verb: str, refused: bool) -> None:
        self.outside.provider.fail(verb, (DnsProviderRefused if refused else DnsProviderUnavailable)("no"))

    @rule()
    def outside_is_well_again(self) -> None:
        self.outside.heal()

    # ----------------------------------------------------------------------------------- what always holds

    @invariant()
    def every_order_is_as_the_rules_have_it(self) -> None:
        if self.world is not None:
            for known in (*self.acts.orders, *self.acts.orphans):
                known.together(*self.world.run(self.world.shown(known.url)))

    def teardown(self) -> None:
        """Everything ends, nothing is left behind, and no order cost more than one certificate."""
        if self.world is None:
            return
        try:
            if sys.exc_info()[0] is None:
                self.world.settle()
                self.every_order_is_as_the_rules_have_it()
                self.end_is_good(self.world)
        finally:
            self.world.close()

    def end_is_good(self, world: World) -> None:
        orders = (*self.acts.orders, *self.acts.orphans)
        for known in orders:
            if known.csr is not None:
                assert known.status in ("valid", "invalid"), known
                assert world.issued_for(known.csr) <= sum(item.csr == known.csr for item in orders)
        assert world.provider.records == {}
        assert not world.run(world.hub.store.txt_records.list())


def authorization(known: Known, number: int) -> str:
    urls: list[str] = known.seen["authorizations"]
    return urls[number % len(urls)]


@pytest.mark.timeout(0 if MINUTES else 600)
def test_no_answer_breaks_the_rules_whatever_happens_in_whatever_order(founded: Path) -> None:
    class Machine(AcmeMachine):
        template = founded

    common: dict[str, Any] = {
        "stateful_step_count": STEPS,
        "deadline": None,
        "database": None,
        "suppress_health_check": list(HealthCheck),
    }
    if not MINUTES:
        phases = (Phase.generate,)  # shrinking what is found may take minutes: MACHINE_MINUTES does it
        always_the_same = settings(max_examples=EXAMPLES, derandomize=True, phases=phases, **common)
        run_state_machine_as_test(Machine, settings=always_the_same)
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end:
        run_state_machine_as_test(Machine, settings=settings(max_examples=100, print_blob=True, **common))
