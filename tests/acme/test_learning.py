"""Mode `auto` learns what suits a client from what it did (docs/client-rules.md section 4.4)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.acme.orders import learning
from acmehub.admin.access.errors import Invalid, NotFound
from acmehub.admin.operations.accounts import AccountPatch
from acmehub.models import Account, AuthorizationMode, Order, made_at, new_id
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.store import Conflict, StoreUnavailable
from acmehub.rules.authorization_modes import CLIENTS, explain_mode
from acmehub.rules.orders import Change
from acmehub.rules.permissions import Acting, Forbidden
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.acme_keys import make_csr
from tests.acme.lab import Lab

AUTO, ACCEPT, PREAPPROVED, VERIFY = (
    AuthorizationMode.AUTO,
    AuthorizationMode.ACCEPT,
    AuthorizationMode.PREAPPROVED,
    AuthorizationMode.VERIFY,
)
NAMES = ["a.corp.test"]
PLAIN = "device-client/1.0"
LEGO = "xenolf-acme/4.9.1 (release; linux; amd64)"
ROOT = Acting.machine("root")
PAUSE = 0.3


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a minute takes a fifth of a second here."""
    monkeypatch.setattr(learning, "SLOW", timedelta(seconds=0.2))
    monkeypatch.setattr(learning, "NOTED_FROM", timedelta(seconds=0.15))
    monkeypatch.setattr(learning, "TIME_TO_ANSWER", timedelta(seconds=0.2))


async def account(lab: Lab, client: AcmeClient) -> Account:
    actor = await lab.hub.store.accounts.actor(client.kid.rpartition("/")[2])
    assert actor is not None
    return actor.account


async def order(lab: Lab, reply: Reply) -> Order:
    return (await lab.stored(reply.location)).order


async def whats(lab: Lab, reply: Reply) -> list[str]:
    return [event.kind for event in await lab.hub.store.records.timeline((await order(lab, reply)).id)]


async def finalized(lab: Lab, client: AcmeClient) -> Reply:
    placed = await client.new_order(NAMES)
    return await client.finalize(placed.json, make_csr(NAMES)[0])


async def issued(lab: Lab, client: AcmeClient, *, slow: bool = True) -> Reply:
    """An order whose certificate was slow in coming, and is there."""
    reply = await finalized(lab, client)
    if slow:
        await asyncio.sleep(PAUSE)
    await lab.upstream_validates(reply.location)
    await lab.upstream_issues(reply.location)
    return reply


# -------------------------------------------------------------------------------- a client that cannot wait


async def test_a_client_that_orders_again_while_the_ca_is_at_work_is_offered_challenges(lab: Lab) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    first = await finalized(lab, client)
    await asyncio.sleep(PAUSE)
    again = await client.new_order(NAMES)
    assert again.json["status"] == "pending"
    assert (await order(lab, again)).mode is ACCEPT
    learned = await account(lab, client)
    assert learned.learned is ACCEPT
    assert (await order(lab, first)).id in learned.learned_why
    timeline = await lab.hub.store.records.timeline((await order(lab, again)).id)
    assert "accept: it ordered again while the CA was" in timeline[0].detail
    assert (await order(lab, await client.new_order(["b.corp.test"]))).mode is ACCEPT  # and for other names


async def test_a_client_that_never_fetched_its_certificate_is_offered_challenges(lab: Lab) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    first = await issued(lab, client)
    again = await client.new_order(NAMES)
    assert (await order(lab, again)).mode is ACCEPT
    assert (
        f"did not fetch the certificate of order {(await order(lab, first)).id}"
        in (await account(lab, client)).learned_why
    )


async def test_a_client_that_waited_and_fetched_it_goes_on_as_before(lab: Lab) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    first = await issued(lab, client)
    url = (await client.order(first.location)).json["certificate"]
    for _ in range(2):
        await client.certificate(url)
    assert (await whats(lab, first)).count("certificate downloaded") == 1
    assert (await order(lab, await client.new_order(NAMES))).mode is PREAPPROVED
    assert (await account(lab, client)).learned is None


async def test_of_a_quick_order_no_download_is_noted_and_nothing_is_learned(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    client = await lab.client(PLAIN, authorization=AUTO)
    first = await issued(lab, client, slow=False)
    await client.certificate((await client.order(first.location)).json["certificate"])
    assert "certificate downloaded" not in await whats(lab, first)
    second = await issued(lab, client, slow=False)  # never fetched, but it was quick: it may have crashed
    assert (await order(lab, second)).mode is PREAPPROVED
    assert (await order(lab, await client.new_order(NAMES))).mode is PREAPPROVED


async def test_an_order_that_failed_says_nothing_of_its_client(lab: Lab) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    first = await finalized(lab, client)
    await asyncio.sleep(PAUSE)
    await lab.upstream_refuses(first.location)
    assert (await order(lab, await client.new_order(NAMES))).mode is PREAPPROVED


async def test_nor_does_one_for_other_names_or_of_another_account(lab: Lab) -> None:
    client, other = await lab.client(PLAIN, authorization=AUTO), await lab.client(PLAIN, authorization=AUTO)
    await finalized(lab, client)
    await asyncio.sleep(PAUSE)
    assert (await order(lab, await client.new_order(["b.corp.test"]))).mode is PREAPPROVED
    assert (await order(lab, await other.new_order(NAMES))).mode is PREAPPROVED


@pytest.mark.parametrize(
    "user_agent",
    [
        "cert-manager-orders/v1.19 (linux/amd64)",
        "acme-tiny",
        "acme.sh/3.1.4 (https://github.com/acmesh-official/acme.sh)",
        "node-acme-client/5.4.0",
        "Caddy/2.6.2 CertMagic acmez (linux; amd64)",
        "instant-acme/0.8.4",
        "HAProxy",
        "uacme/1.7.4 (https://github.com/ndilieto/uacme)",
        "ansible-httpget",
    ],
)
async def test_a_client_that_must_never_be_offered_challenges_is_not(lab: Lab, user_agent: str) -> None:
    """Because it looks for its own proof first, or waits longer for a certificate than for a challenge."""
    client = await lab.client(user_agent, authorization=AUTO)
    await finalized(lab, client)
    await asyncio.sleep(PAUSE)
    assert (await order(lab, await client.new_order(NAMES))).mode is PREAPPROVED
    assert (await account(lab, client)).learned is None


# -------------------------------------------------------------------- a client that does not answer challenges


async def test_a_client_that_never_answered_a_challenge_is_not_asked_for_one_again(lab: Lab) -> None:
    client = await lab.client(LEGO, authorization=AUTO)
    first = await client.new_order(NAMES)
    assert first.json["status"] == "pending"
    await asyncio.sleep(PAUSE)
    again = await client.new_order(NAMES)
    assert again.location != first.location
    assert again.json["status"] == "ready"
    learned = await account(lab, client)
    assert (learned.learned, learned.learned_why) == (
        PREAPPROVED,
        f"it answered no challenge of order {(await order(lab, first)).id}",
    )


async def test_an_order_that_lapsed_unanswered_counts_too(lab: Lab) -> None:
    client = await lab.client(LEGO, authorization=AUTO)
    first = await client.new_order(NAMES)
    id = (await order(lab, first)).id
    await lab.hub.store.orders.apply(id, lambda now: Change(order=replace(now.order, expires=lab.now)))
    await lab.hub.worker.pruner.work_off()
    assert (await order(lab, first)).status == "invalid"
    assert (await client.new_order(NAMES)).json["status"] == "ready"


async def test_a_client_that_is_only_quick_to_ask_again_joins_its_order(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "TIME_TO_ANSWER", timedelta(seconds=60))
    client = await lab.client(LEGO, authorization=AUTO)
    first = await client.new_order(NAMES)
    assert (await client.new_order(NAMES)).location == first.location
    assert (await account(lab, client)).learned is None


async def test_a_client_that_answered_goes_on_as_before(lab: Lab) -> None:
    client = await lab.client(LEGO, authorization=AUTO)
    first = await client.new_order(NAMES)
    authorization = await client.authorization(first.json["authorizations"][0])
    await client.respond(authorization.json["challenges"][0]["url"])
    await asyncio.sleep(PAUSE)
    assert (await order(lab, await client.new_order(NAMES))).mode is ACCEPT
    assert (await account(lab, client)).learned is None


async def test_what_was_learned_from_silence_is_not_unlearned_by_impatience(lab: Lab) -> None:
    """It can do neither, so the upstream's warm authorizations have to help it; it is not sent to and fro."""
    client = await lab.client(LEGO, authorization=AUTO)
    await client.new_order(NAMES)
    await asyncio.sleep(PAUSE)
    await finalized(lab, client)
    await asyncio.sleep(PAUSE)
    assert (await order(lab, await client.new_order(NAMES))).mode is PREAPPROVED
    assert (await account(lab, client)).learned is PREAPPROVED


# ----------------------------------------------------------------------------------------------- what ends it


async def test_another_kind_of_client_begins_anew_and_another_release_does_not(lab: Lab) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    await finalized(lab, client)
    await asyncio.sleep(PAUSE)
    await client.new_order(NAMES)
    client.user_agent = "device-client/2.0"
    assert (await order(lab, await client.new_order(["b.corp.test"]))).mode is ACCEPT
    client.user_agent = "other-client/1.0"
    assert (await order(lab, await client.new_order(["c.corp.test"]))).mode is PREAPPROVED
    client.user_agent = ""  # not said: no other client
    assert (await order(lab, await client.new_order(["d.corp.test"]))).mode is PREAPPROVED
    changed = await account(lab, client)
    assert (changed.learned, changed.learned_why, changed.user_agent) == (None, "", "other-client/1.0")


async def test_lego_stays_lego_whatever_is_made_of_it(lab: Lab) -> None:
    client = await lab.client(LEGO, authorization=AUTO)
    await client.new_order(NAMES)
    await asyncio.sleep(PAUSE)
    client.user_agent = "lego-cli/5.3.1 xenolf-acme/5.3.1 (release; linux; amd64)"
    assert (await order(lab, await client.new_order(NAMES))).mode is PREAPPROVED


@pytest.mark.parametrize("mode", [PREAPPROVED, ACCEPT, VERIFY])
async def test_what_the_token_says_is_not_learned_about(lab: Lab, mode: AuthorizationMode) -> None:
    client = await lab.client(PLAIN, authorization=mode)
    await client.new_order(NAMES)
    await asyncio.sleep(PAUSE)
    assert (await order(lab, await client.new_order(NAMES))).mode is mode
    assert (await account(lab, client)).learned is None


async def test_with_an_authority_that_signs_by_itself_nothing_is_learned_nor_used(lab: Lab) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    await lab.hub.admin.accounts.set((await account(lab, client)).id, AccountPatch(learned=ACCEPT), ROOT)
    await lab.no_authority()
    await lab.authority("ca_local", name="signs")
    await finalized(lab, client)
    await asyncio.sleep(PAUSE)
    assert (await order(lab, await client.new_order(NAMES))).mode is PREAPPROVED


async def test_an_account_that_changed_meanwhile_is_not_written(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    await finalized(lab, client)
    await asyncio.sleep(PAUSE)

    async def conflict(_account: Account) -> Account:
        raise Conflict("version", "somebody was quicker")

    with monkeypatch.context() as patch:
        patch.setattr(lab.hub.store.accounts, "replace", conflict)
        assert (await order(lab, await client.new_order(NAMES))).mode is PREAPPROVED


@pytest.mark.parametrize("user_agent", [PLAIN, "other-client/1.0"])
async def test_an_order_that_is_refused_for_its_dates_leaves_the_account_as_it_was(lab: Lab, user_agent: str) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    await finalized(lab, client)
    await asyncio.sleep(PAUSE)
    before = await account(lab, client)
    client.user_agent = user_agent
    refused = await client.new_order(NAMES, status=400, notAfter="2036-12-01T00:00:00Z")
    assert "notAfter" in refused.json["detail"]
    assert await account(lab, client) == before
    placed = await client.new_order(NAMES)
    assert (await order(lab, placed)).mode is (ACCEPT if user_agent == PLAIN else PREAPPROVED)
    assert await account(lab, client) != before


async def test_an_order_that_is_refused_for_its_names_or_by_the_policy_leaves_the_account_as_it_was(lab: Lab) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    before = await account(lab, client)
    client.user_agent = "other-client/1.0"
    await client.new_order(["a.outside.test"], status=403)
    lab.plugin.objection = Problem(ProblemType.REJECTED_IDENTIFIER, "not on Fridays")
    await client.new_order(NAMES, status=403)
    assert await account(lab, client) == before


async def test_a_download_succeeds_though_it_cannot_be_noted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    reply = await issued(lab, client)
    url = (await client.order(reply.location)).json["certificate"]

    async def full(_events: Any) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(lab.hub.store.records, "note", full)
    assert (await client.certificate(url)).startswith("-----BEGIN")


# ---------------------------------------------------------------------------------------------- the operator


async def test_the_operator_corrects_what_was_learned_and_that_stays(lab: Lab) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    id = (await account(lab, client)).id
    await lab.hub.admin.accounts.set(id, AccountPatch(learned=ACCEPT), ROOT)
    first = await client.new_order(NAMES)
    assert first.json["status"] == "pending"
    await asyncio.sleep(PAUSE)
    assert (await client.new_order(NAMES)).location == first.location  # it answered nothing: no matter
    await lab.hub.admin.accounts.set(id, AccountPatch(learned=None), ROOT)
    assert (await account(lab, client)).learned is None
    assert [(entry.action, entry.detail) for entry in await lab.hub.store.records.audited(2)] == [
        ("account.set", "learned: none"),
        ("account.set", "learned: accept"),
    ]


async def test_who_has_no_right_to_it_is_refused_and_audited(lab: Lab) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    id = (await account(lab, client)).id
    with pytest.raises(Forbidden):
        await lab.hub.admin.accounts.set(id, AccountPatch(learned=ACCEPT), Acting("reader", frozenset()))
    (entry,) = await lab.hub.store.records.audited(1)
    assert (entry.action, entry.actor, entry.allowed) == ("account.set", "reader", False)
    assert (await account(lab, client)).learned is None


async def test_only_modes_that_can_be_learned_are_taken_and_only_for_accounts_that_are_there(lab: Lab) -> None:
    client = await lab.client(PLAIN, authorization=AUTO)
    with pytest.raises(Invalid):
        await lab.hub.admin.accounts.set((await account(lab, client)).id, AccountPatch(learned=VERIFY), ROOT)
    with pytest.raises(NotFound):
        await lab.hub.admin.accounts.set("none", AccountPatch(learned=ACCEPT), ROOT)


@pytest.mark.parametrize(
    ("asked", "user_agent", "learned", "mode", "why"),
    [
        (VERIFY, LEGO, ACCEPT, VERIFY, "its token says so"),
        (AUTO, PLAIN, None, PREAPPROVED, "nothing special is known of this client"),
        (AUTO, LEGO, None, ACCEPT, "known client (xenolf-acme): it waits 30 s for a certificate"),
        (AUTO, LEGO, PREAPPROVED, PREAPPROVED, "learned: it answered no challenge"),
    ],
)
def test_the_mode_of_an_account_is_explained(
    asked: AuthorizationMode, user_agent: str, learned: AuthorizationMode | None, mode: AuthorizationMode, why: str
) -> None:
    words = "it answered no challenge of order 1" if learned else ""
    row = Account(
        jwk=b"",
        thumbprint="",
        token_id="",
        principal_id="",
        user_agent=user_agent,
        created=made_at(new_id()),
        learned=learned,
        learned_why=words,
    )
    explained = explain_mode(asked, row)
    assert explained.mode is mode
    assert explained.why.startswith(why)


def test_an_id_tells_when_it_was_made() -> None:
    before = datetime.now(UTC)
    made = made_at(new_id())
    assert before - timedelta(milliseconds=1) <= made <= datetime.now(UTC)
    assert made_at("018bcfe5680000").year == 2023


def test_every_known_client_says_why() -> None:
    assert all(client.why for client in CLIENTS)
