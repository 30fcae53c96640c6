"""What log and audit say of requests: accounts, orders, and what known callers are refused, few times however often
they ask."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.config import Acme, Limits, Log
from acmehub.models import AuditRecord, AuthorizationMode
from acmehub.rules.rate_limits import SECOND
from acmehub.runtime.client_limits import refusals
from acmehub.serving import logs
from acmehub.serving.logs import set_up_logs
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import ExternalAccount, compact, make_csr
from acmehub.testing.fakes import ManualClock
from tests.acme.lab import Lab, laboratory


class Heard(logging.Handler):
    """What is left of the log after the filter."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(logs.Repeats())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append({**vars(record), "text": record.getMessage()})

    def of(self, *texts: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["text"] in texts]


@pytest.fixture
def heard(loggers_as_they_were: None) -> Heard:
    del loggers_as_they_were
    handler = Heard()
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    return handler


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """The time that the buckets see."""
    made = ManualClock()
    monkeypatch.setattr(
        "acmehub.runtime.client_limits.buckets.microseconds", lambda _: int(made.now().timestamp() * SECOND)
    )
    return made


async def refused(lab: Lab) -> Sequence[AuditRecord]:
    return [entry for entry in await lab.hub.store.records.audited(500) if not entry.allowed]


def account_of(client: AcmeClient) -> str:
    return client.kid.rpartition("/")[2]


# ---------------------------------------------------------------------------------------------------- accounts


async def test_an_account_is_bound_with_its_token_and_principal(lab: Lab, heard: Heard) -> None:
    client = await lab.client(title="Firewall 01")
    (line,) = heard.of("account bound")
    (principal,) = [row for row in await lab.hub.store.principals.list() if row.name == line["principal"]]
    assert (line["account"], line["token"], line["levelname"]) == (account_of(client), "Firewall 01", "INFO")
    assert principal.name
    await client.register(status=200)  # it has one
    assert len(heard.of("account bound")) == 1


async def test_why_an_account_is_refused_is_said_once_an_address_and_minute(
    lab: Lab, heard: Heard, clock: ManualClock
) -> None:
    stranger = await lab.stranger()
    for _ in range(5):
        await stranger.register(status=403)
    (line,) = heard.of("account refused")
    assert line["levelname"] == "WARNING"
    assert "needs external account binding" in line["reason"]
    clock.advance(60)
    token, external = await lab.token(networks=("192.0.2.0/24",))
    await stranger.register(external, status=403)
    assert len(await refused(lab)) == 2
    second = heard.of("account refused")[1]
    assert (second["object"], second["more"]) == (f"token {token.id}", 4)


@pytest.mark.parametrize("flaw", ["contact", "binding", "terms"])
async def test_an_account_that_is_refused_for_its_request_is_told_too(folder: Path, heard: Heard, flaw: str) -> None:
    acme = Acme(hold=0.05, terms_of_service="https://hub.test/terms")
    async with laboratory(folder, acme) as lab:
        _, external = await lab.token()
        stranger = await lab.stranger()
        url = stranger.directory["newAccount"]
        payload: dict[str, Any] = {"termsOfServiceAgreed": flaw != "terms"}
        payload["contact"] = ["mailto:a@b.test?x=y"] if flaw == "contact" else []
        binding = ExternalAccount(external.kid, external.key).binding(stranger.key, url)
        payload["externalAccountBinding"] = {**binding, "protected": "AAAA"} if flaw == "binding" else binding
        reply = await stranger.send(url, await stranger.sign(url, compact(payload)))
        assert reply.status in (400, 403)
        (line,) = heard.of("account refused")
        assert line["reason"] == reply.json["detail"]


# ------------------------------------------------------------------------------------------------------ orders


async def test_an_order_is_opened_with_who_and_what_and_joined_in_silence(lab: Lab, heard: Heard) -> None:
    client = await lab.client(title="Firewall 01")
    opened = await client.new_order(["a.corp.test", "b.corp.test"], status=201)
    await client.new_order(["a.corp.test", "b.corp.test"], status=201)
    (line,) = heard.of("order opened")
    assert line["order"] == (opened.location or "").rpartition("/")[2]
    assert line["names"] == ("a.corp.test", "b.corp.test")
    assert (line["account"], line["token"], line["authority"]) == (account_of(client), "Firewall 01", "ca_stand_in")


async def test_a_refused_authorization_names_its_name(lab: Lab, heard: Heard) -> None:
    client = await lab.client()
    payload = {"identifier": {"type": "dns", "value": "www.other.test"}}
    await client.post(client.directory["newAuthz"], payload, status=403)
    (entry,) = await refused(lab)
    assert entry.action == "authorization.refused"
    assert entry.detail.startswith("www.other.test: rejectedIdentifier: ")


async def test_a_refused_order_is_one_line_and_one_entry_an_hour_and_names_the_token(
    lab: Lab, heard: Heard, clock: ManualClock
) -> None:
    client = await lab.client(title="Firewall 01")
    for _ in range(30):
        await client.new_order(["www.other.test"], status=403)
    (line,) = heard.of("order refused")
    assert (line["names"], line["account"], line["token"]) == (("www.other.test",), account_of(client), "Firewall 01")
    assert (line["problem"], line["levelname"]) == ("rejectedIdentifier", "WARNING")
    (entry,) = await refused(lab)
    assert (entry.actor, entry.action) == (f"account {account_of(client)}", "order.refused")
    assert entry.object == "token Firewall 01"
    assert entry.detail.startswith("www.other.test: rejectedIdentifier: ")
    assert line["reason"] in entry.detail
    clock.advance(3600)
    await client.new_order(["www.other.test"], status=403)
    newest = (await refused(lab))[0]
    assert "29 more since the last entry" in newest.detail
    await client.new_order(["mail.other.test"], status=403)  # another one
    assert len(heard.of("order refused")) == 2
    assert len(await refused(lab)) == 3


async def test_a_client_that_asks_for_another_name_each_time_fills_neither_log_nor_audit(
    lab: Lab, heard: Heard, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del clock
    monkeypatch.setattr(logs, "MOST_OF_CALLER", 10)
    monkeypatch.setattr(refusals, "_OF_ACCOUNT", replace(refusals._OF_ACCOUNT, number=5))
    loud, calm = await lab.client(), await lab.client()
    for number in range(30):
        await loud.new_order([f"n{number}.other.test"], status=403)
    await calm.new_order(["www.other.test"], status=403)
    said = [line["account"] for line in heard.of("order refused")]
    assert said == [account_of(loud)] * 10 + [account_of(calm)]
    assert len(await refused(lab)) == 6


async def test_an_order_whose_authority_cannot_be_used_is_refused_with_the_cause(lab: Lab, heard: Heard) -> None:
    client = await lab.client()
    await lab.no_authority()
    await lab.authority("ca_stand_in")
    (row,) = await lab.hub.store.authorities.list()
    await lab.hub.store.authorities.replace(replace(row, plugin="ca_nowhere"))
    for _ in range(3):
        await client.new_order(["a.corp.test"], status=503)
    (line,) = [line for line in heard.lines if line["levelno"] >= logging.WARNING]
    assert (line["text"], line["problem"]) == ("order refused", "serverInternal")
    assert "ca_nowhere" in line["cause"]
    (entry,) = await refused(lab)
    assert "ca_nowhere" in entry.detail


async def test_what_else_known_callers_are_refused_is_told(lab: Lab, heard: Heard) -> None:
    client, other = await lab.client(title="one"), await lab.client(title="two")
    order = await client.new_order(["a.corp.test"], status=201)
    await lab.upstream_validates(order.location or "")
    csr, _ = make_csr(["b.corp.test"])
    for _ in range(2):
        await client.finalize(order.json, csr, status=400)
        await client.key_change(other.key, status=409)
        await client.new_authz("a.other.test", status=403)
        await client.post(order.json["finalize"], {"csr": "!"}, status=400)
    assert sorted((line["text"], line["problem"], line["token"]) for line in heard.lines if line["levelno"] > 20) == [
        ("authorization refused", "rejectedIdentifier", "one"),
        ("finalize refused", "badCSR", "one"),
        ("key change refused", "malformed", "one"),
    ]
    entries = {entry.action: entry for entry in await refused(lab)}
    assert entries.keys() == {"authorization.refused", "finalize.refused", "account.rekeyed"}
    order_id = (order.location or "").rpartition("/")[2]
    assert entries["finalize.refused"].object == f"order {order_id}"
    assert entries["finalize.refused"].detail.startswith("token one: badCSR: ")


async def test_what_polling_clients_meet_is_not_told(lab: Lab, heard: Heard) -> None:
    client = await lab.client(authorization=AuthorizationMode.ACCEPT)
    order = await client.new_order(["a.corp.test"], status=201)
    csr, _ = make_csr(["a.corp.test"])
    await client.finalize(order.json, csr, status=403)  # orderNotReady
    await client.post((order.location or "")[:-4] + "0000", status=404)
    assert [line["text"] for line in heard.lines if line["levelno"] > 20] == []
    assert await refused(lab) == []


async def test_an_order_that_a_limit_refuses_is_told_with_its_names_and_token(folder: Path, heard: Heard) -> None:
    async with laboratory(folder, Acme(hold=0.05), limits=Limits(new_orders=1)) as lab:
        await lab.managed_challenge()
        client = await lab.client(title="Firewall 01")
        await client.new_order(["a.corp.test"], status=201)
        await client.new_order(["b.corp.test", "c.corp.test"], status=429)
        (line,) = [line for line in heard.lines if line["levelno"] > 20]
        assert "is refused: too many new orders" in line["text"]
        assert (line["names"], line["token"]) == (("b.corp.test", "c.corp.test"), "Firewall 01")
        assert [entry.action for entry in await refused(lab)] == ["limit.reached"]


# ---------------------------------------------------------------------------------- orders that clients end


async def test_an_order_whose_client_gives_it_up_fails_once(lab: Lab, heard: Heard) -> None:
    client = await lab.client()
    order = await client.new_order(["a.corp.test"], status=201)
    for _ in range(2):
        await client.post(order.json["authorizations"][0], {"status": "deactivated"}, status=200)
    (line,) = heard.of("order failed")
    assert line["names"] == ("a.corp.test",)
    assert "was deactivated" in line["reason"]
    await client.new_order(["b.corp.test"], status=201)
    await client.post(client.kid, {"status": "deactivated"}, status=200)
    last = heard.of("order failed")[1:]
    assert [(item["names"], item["reason"]) for item in last] == [(("b.corp.test",), "the account was deactivated")]


# ----------------------------------------------------------------------------------------------------- safety


async def test_words_of_clients_cannot_forge_a_line_or_a_member(
    lab: Lab,
    capsys: pytest.CaptureFixture[str],
    loggers_as_they_were: None,
) -> None:
    del loggers_as_they_were
    client = await lab.client(title='x" account=forged')
    set_up_logs(Log())
    capsys.readouterr()
    await client.new_order(["a b=c\nerror acmehub: forged", "\x1b[31m\u202e", 'q"uote'], status=400)
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line
    assert "\u202e" not in line
    assert 'names="a b=c\\nerror acmehub: forged",' in line
    assert 'token="x\\" account=forged"' in line


async def test_a_request_with_a_thousand_names_is_one_short_line(lab: Lab, heard: Heard) -> None:
    client = await lab.client()
    await client.new_order([f"n{number}.other.test" for number in range(1000)], status=400)
    (line,) = heard.of("order refused")
    assert line["names"][-1] == "…"
    assert len("".join(line["names"])) < 2010
    (entry,) = await refused(lab)
    assert len(entry.detail) < 1000
