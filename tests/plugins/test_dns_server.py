"""The DNS server that tests and the demo stand on must itself be right: answers, updates, faults, its process."""

import base64
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update
import dns.zone
import pytest

from acmehub.testing.dns_server import DnsServer, FaultKind, running_in_thread, tsig_key
from acmehub.testing.dns_server.zones import NoZone

SECRET = base64.b64encode(b"k" * 32).decode()
KEY = tsig_key("hub.", "HMAC-SHA256", SECRET)
FIRST, SECOND = "127.0.0.1", "127.0.0.2"


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer(["corp.test", "sub.corp.test"], addresses=[FIRST, SECOND], keys=[KEY]) as running:
        yield running


async def ask(server: DnsServer, name: str, kind: str, *, at: str = FIRST, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    over = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await over(query, at, port=server.port, timeout=2)


async def texts(server: DnsServer, name: str, at: str = FIRST) -> set[str]:
    return {text.strip('"') for rrset in (await ask(server, name, "TXT", at=at)).answer for text in map(str, rrset)}


async def update(server: DnsServer, *steps: tuple[str, *tuple[Any, ...]], zone: str = "corp.test") -> str:
    message = dns.update.UpdateMessage(zone, keyring=KEY)
    for verb, *arguments in steps:
        getattr(message, verb)(*arguments)
    response = await dns.asyncquery.tcp(message, FIRST, port=server.port, timeout=2)
    return dns.rcode.to_text(response.rcode())


# -------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("tcp", [False, True])
async def test_what_was_added_is_answered_with_authority(server: DnsServer, tcp: bool) -> None:
    server.zones.add("www.corp.test", "A", "127.0.0.9")
    response = await ask(server, "WWW.corp.test", "A", tcp=tcp)
    assert response.flags & dns.flags.AA
    assert [str(rrset) for rrset in response.answer] == ["WWW.corp.test. 60 IN A 127.0.0.9"]


async def test_each_zone_has_an_soa_and_every_address_as_name_server(server: DnsServer) -> None:
    assert (await ask(server, "sub.corp.test", "SOA")).answer[0][0].serial == 1
    assert {str(item) for item in (await ask(server, "corp.test", "NS")).answer[0]} == {
        "ns1.corp.test.",
        "ns2.corp.test.",
    }
    assert str((await ask(server, "ns2.corp.test", "A", at=SECOND)).answer[0][0]) == SECOND


async def test_a_name_that_is_not_there_and_a_type_that_is_not_there_are_told_apart(server: DnsServer) -> None:
    server.zones.add("a.b.corp.test", "CAA", '0 issue "ca.test"')
    missing = await ask(server, "nothing.corp.test", "TXT")
    assert (missing.rcode(), missing.authority[0].rdtype) == (dns.rcode.NXDOMAIN, dns.rdatatype.SOA)
    for name in ("a.b.corp.test", "b.corp.test", "corp.test"):
        empty = await ask(server, name, "TXT")
        assert (empty.rcode(), empty.answer, empty.authority[0].rdtype) == (dns.rcode.NOERROR, [], dns.rdatatype.SOA)


async def test_a_name_outside_every_zone_is_refused(server: DnsServer) -> None:
    assert (await ask(server, "example.com", "A")).rcode() == dns.rcode.REFUSED


async def test_a_cname_is_followed_into_another_zone_and_out_of_all(server: DnsServer) -> None:
    server.zones.add("alias.corp.test", "CNAME", "target.sub.corp.test.")
    server.zones.add("target.sub.corp.test", "TXT", "here")
    server.zones.add("away.corp.test", "CNAME", "www.example.com.")
    server.zones.add("loop.corp.test", "CNAME", "loop.corp.test.")
    followed = await ask(server, "alias.corp.test", "TXT")
    assert [rrset.rdtype.name for rrset in followed.answer] == ["CNAME", "TXT"]
    assert [rrset.rdtype.name for rrset in (await ask(server, "alias.corp.test", "CNAME")).answer] == ["CNAME"]
    assert (await ask(server, "away.corp.test", "TXT")).rcode() == dns.rcode.NOERROR
    assert (await ask(server, "loop.corp.test", "TXT")).rcode() == dns.rcode.NOERROR


async def test_a_wildcard_answers_for_names_that_are_not_there(server: DnsServer) -> None:
    server.zones.add("*.corp.test", "A", "127.0.0.7")
    server.zones.add("www.corp.test", "TXT", "x")
    assert str((await ask(server, "any.name.corp.test", "A")).answer[0]) == "any.name.corp.test. 60 IN A 127.0.0.7"
    assert (await ask(server, "www.corp.test", "A")).answer == []
    assert (await ask(server, "below.www.corp.test", "A")).rcode() == dns.rcode.NXDOMAIN


async def test_a_delegated_name_is_referred(server: DnsServer) -> None:
    server.zones.add("child.corp.test", "NS", "ns.elsewhere.test.")
    response = await ask(server, "www.child.corp.test", "A")
    assert (response.answer, response.authority[0].rdtype) == ([], dns.rdatatype.NS)
    assert not response.flags & dns.flags.AA


async def test_what_does_not_fit_into_a_datagram_is_truncated_and_complete_over_tcp(server: DnsServer) -> None:
    server.zones.add("corp.test", "TXT", *(f"{number:0200d}" for number in range(9)))
    cut = await ask(server, "corp.test", "TXT")
    assert (bool(cut.flags & dns.flags.TC), cut.answer) == (True, [])
    assert len((await ask(server, "corp.test", "TXT", tcp=True)).answer[0]) == 9


async def test_a_zone_can_be_transferred_over_tcp_only(server: DnsServer) -> None:
    server.zones.add("www.corp.test", "A", "127.0.0.9")
    zone = dns.zone.Zone("corp.test")
    await dns.asyncquery.inbound_xfr(FIRST, zone, port=server.port)
    assert "www" in {str(name) for name in zone}
    assert (await ask(server, "corp.test", "AXFR")).rcode() == dns.rcode.REFUSED
    assert (await ask(server, "www.corp.test", "AXFR", tcp=True)).rcode() == dns.rcode.NOTAUTH


# -------------------------------------------------------------------------------------------------- updates


async def test_values_are_added_and_deleted_one_by_one(server: DnsServer) -> None:
    assert await update(server, ("add", "x", 60, "TXT", "a"), ("add", "x", 60, "TXT", "b")) == "NOERROR"
    assert await update(server, ("add", "x", 60, "TXT", "a")) == "NOERROR"
    assert await texts(server, "x.corp.test") == {"a", "b"}
    assert await update(server, ("delete", "x", "TXT", "a")) == "NOERROR"
    assert await update(server, ("delete", "x", "TXT", "not there")) == "NOERROR"
    assert await texts(server, "x.corp.test") == {"b"}
    assert server.zones.txt() == {"x.corp.test": ["b"]}


async def test_whole_types_and_names_can_be_deleted_but_not_what_makes_a_zone(server: DnsServer) -> None:
    server.zones.add("x.corp.test", "TXT", "a", "b")
    server.zones.add("x.corp.test", "A", "127.0.0.9")
    assert await update(server, ("delete", "x", "TXT")) == "NOERROR"
    assert [item.rdtype.name for item in (await ask(server, "x.corp.test", "ANY")).answer] == ["A"]
    assert await update(server, ("delete", "x"), ("delete", "@"), ("delete", "@", "NS", "ns1")) == "NOERROR"
    assert (await ask(server, "x.corp.test", "A")).rcode() == dns.rcode.NXDOMAIN
    assert {str(item) for item in (await ask(server, "corp.test", "NS")).answer[0]} == {"ns2.corp.test."}
    assert await update(server, ("delete", "@", "NS", "ns2")) == "NOERROR"
    assert (await ask(server, "corp.test", "NS")).answer


async def test_a_cname_stays_alone(server: DnsServer) -> None:
    server.zones.add("alias.corp.test", "CNAME", "www.corp.test.")
    await update(server, ("add", "alias", 60, "TXT", "ignored"), ("add", "@", 60, "CNAME", "ignored"))
    assert [item.rdtype.name for item in (await ask(server, "alias.corp.test", "ANY")).answer] == ["CNAME"]
    await update(server, ("add", "alias", 60, "CNAME", "other"))
    assert str((await ask(server, "alias.corp.test", "CNAME")).answer[0][0]) == "other.corp.test."


async def test_only_a_change_moves_the_serial(server: DnsServer) -> None:
    async def serial() -> int:
        found: int = (await ask(server, "corp.test", "SOA")).answer[0][0].serial
        return found

    before = await serial()
    await update(server, ("add", "x", 60, "TXT", "a"))
    assert await serial() == before + 1
    await update(server, ("add", "x", 60, "TXT", "a"))
    await update(server, ("delete", "x", "TXT", "b"))
    assert await serial() == before + 1


@pytest.mark.parametrize(
    ("prerequisite", "rcode"),
    [
        (("present", "x"), "NOERROR"),
        (("present", "nothing"), "NXDOMAIN"),
        (("present", "x", "TXT"), "NOERROR"),
        (("present", "x", "A"), "NXRRSET"),
        (("present", "x", "TXT", "a"), "NXRRSET"),
        (("absent", "nothing"), "NOERROR"),
        (("absent", "x"), "YXDOMAIN"),
        (("absent", "x", "A"), "NOERROR"),
        (("absent", "x", "TXT"), "YXRRSET"),
    ],
)
async def test_prerequisites_decide_whether_anything_is_done(
    server: DnsServer, prerequisite: tuple[str, *tuple[Any, ...]], rcode: str
) -> None:
    server.zones.add("x.corp.test", "TXT", "a", "b")
    assert await update(server, prerequisite, ("add", "done", 60, "TXT", "yes")) == rcode
    assert await texts(server, "done.corp.test") == ({"yes"} if rcode == "NOERROR" else set())


async def test_prerequisites_by_value_mean_the_whole_set(server: DnsServer) -> None:
    server.zones.add("x.corp.test", "TXT", "a", "b")
    both = (("present", "x", "TXT", "a"), ("present", "x", "TXT", "b"))
    assert await update(server, *both, ("add", "done", 60, "TXT", "yes")) == "NOERROR"


async def test_a_zone_that_is_not_here_and_a_name_outside_are_refused(server: DnsServer) -> None:
    assert await update(server, ("add", "x", 60, "TXT", "a"), zone="other.test") == "NOTAUTH"
    assert await update(server, ("add", "x.example.com.", 60, "TXT", "a")) == "NOTZONE"


async def test_an_update_needs_a_key_where_there_are_keys(server: DnsServer) -> None:
    message = dns.update.UpdateMessage("corp.test")
    message.add("x", 60, "TXT", "a")
    response = await dns.asyncquery.udp(message, FIRST, port=server.port, timeout=2)
    assert response.rcode() == dns.rcode.REFUSED
    async with DnsServer(["open.test"]) as unguarded:
        message = dns.update.UpdateMessage("open.test")
        message.add("x", 60, "TXT", "a")
        await dns.asyncquery.udp(message, FIRST, port=unguarded.port, timeout=2)
        assert unguarded.zones.txt() == {"x.open.test": ["a"]}


@pytest.mark.parametrize(
    ("key", "hours", "error"),
    [
        (tsig_key("other.", "hmac-sha256", SECRET), 0, dns.tsig.PeerBadKey),
        (tsig_key("hub.", "hmac-sha512", SECRET), 0, dns.tsig.PeerBadKey),
        (tsig_key("hub.", "hmac-sha256", base64.b64encode(b"wrong").decode()), 0, dns.tsig.PeerBadSignature),
        (KEY, -2, dns.tsig.PeerBadTime),
    ],
)
async def test_a_bad_signature_is_refused_with_its_reason(
    server: DnsServer, key: dns.tsig.Key, hours: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = dns.update.UpdateMessage("corp.test", keyring=key)
    message.add("x", 60, "TXT", "a")
    with monkeypatch.context() as patch:
        patch.setattr("dns.message.time", SimpleNamespace(time=lambda: time.time() + hours * 3600))
        message.to_wire()
        wire, mac = message.to_wire(), message.mac
    answer, _ = server.handle(wire, FIRST, "tcp")
    assert answer is not None
    assert mac is not None
    with pytest.raises(error):
        dns.message.from_wire(answer, keyring=key, request_mac=mac)
    assert server.zones.txt() == {}


# --------------------------------------------------------------------------------------------------- faults


async def test_one_server_can_lag_behind_the_other(server: DnsServer) -> None:
    server.lag(SECOND)
    server.zones.add("x.corp.test", "TXT", "new")
    assert await texts(server, "x.corp.test") == {"new"}
    assert await texts(server, "x.corp.test", at=SECOND) == set()
    server.lag(SECOND, 0)
    assert await texts(server, "x.corp.test", at=SECOND) == {"new"}


async def test_a_lag_in_seconds_passes(server: DnsServer) -> None:
    server.lag(SECOND, 60)
    server.zones.add("x.corp.test", "TXT", "new")
    assert await texts(server, "x.corp.test", at=SECOND) == set()
    server.lag(SECOND, 0.1)
    deadline = time.monotonic() + 20
    while not await texts(server, "x.corp.test", at=SECOND):
        assert time.monotonic() < deadline


async def test_a_fault_applies_to_what_it_names_and_as_often_as_it_says(server: DnsServer) -> None:
    server.zones.add("x.corp.test", "TXT", "right")
    with server.fault(FaultKind.SERVFAIL, address=SECOND, name="x.corp.test", rdtype="TXT", times=1):
        assert (await ask(server, "x.corp.test", "TXT")).rcode() == dns.rcode.NOERROR
        assert (await ask(server, "corp.test", "SOA", at=SECOND)).rcode() == dns.rcode.NOERROR
        assert (await ask(server, "x.corp.test", "TXT", at=SECOND)).rcode() == dns.rcode.SERVFAIL
        assert (await ask(server, "x.corp.test", "TXT", at=SECOND)).rcode() == dns.rcode.NOERROR


async def test_each_kind_of_fault_is_as_it_says(server: DnsServer) -> None:
    server.zones.add("x.corp.test", "TXT", "right")
    with server.fault(FaultKind.REFUSED):
        assert (await ask(server, "x.corp.test", "TXT")).rcode() == dns.rcode.REFUSED
    with server.fault(FaultKind.WRONG):
        assert await texts(server, "x.corp.test") == {"not what you seek"}
    with server.fault(FaultKind.TRUNCATE):
        assert (await ask(server, "x.corp.test", "TXT")).flags & dns.flags.TC
        assert (await ask(server, "x.corp.test", "TXT", tcp=True)).answer
    with server.fault(FaultKind.NO_EFFECT):
        assert await update(server, ("add", "x", 60, "TXT", "b")) == "NOERROR"
        assert await texts(server, "x.corp.test") == {"right"}
    with server.fault(FaultKind.DELAY, seconds=0.2):
        began = time.monotonic()
        assert await texts(server, "x.corp.test") == {"right"}
        assert time.monotonic() - began >= 0.2
    query = dns.message.make_query("x.corp.test", "TXT")
    with server.fault(FaultKind.DROP), pytest.raises(dns.exception.Timeout):
        await dns.asyncquery.udp(query, FIRST, port=server.port, timeout=0.2)
    assert await texts(server, "x.corp.test") == {"right"}


async def test_one_address_can_be_closed(server: DnsServer) -> None:
    await ask(server, "corp.test", "SOA", at=SECOND, tcp=True)
    await server.close(SECOND)
    with pytest.raises(ConnectionRefusedError):
        await ask(server, "corp.test", "SOA", at=SECOND, tcp=True)
    assert (await ask(server, "corp.test", "SOA", tcp=True)).answer


async def test_what_was_asked_can_be_read(server: DnsServer) -> None:
    await ask(server, "x.corp.test", "TXT", at=SECOND, tcp=True)
    seen = server.seen[-1]
    assert (seen.address, seen.transport, seen.name, seen.rdtype) == (SECOND, "tcp", "x.corp.test", "TXT")
    assert seen.rcode == "NXDOMAIN"


async def test_noise_is_ignored(server: DnsServer) -> None:
    assert server.handle(b"\x00" * 5, FIRST, "udp") == (None, 0.0)
    answer = dns.message.make_response(dns.message.make_query("corp.test", "A"))
    assert server.handle(answer.to_wire(), FIRST, "udp") == (None, 0.0)


def test_records_outside_the_zones_cannot_be_added() -> None:
    with pytest.raises(NoZone):
        DnsServer(["corp.test"]).zones.add("www.example.com", "A", "127.0.0.1")


async def test_a_port_in_use_is_an_error(server: DnsServer) -> None:
    with pytest.raises(OSError, match="in use"):
        async with DnsServer(["corp.test"], port=server.port):
            pytest.fail("two servers on one port")


# ------------------------------------------------------------------------------------- thread, file, process


def test_it_runs_in_a_thread() -> None:
    with running_in_thread(DnsServer(["corp.test"])) as server:
        server.zones.add("x.corp.test", "TXT", "a")
        response = dns.query.udp(dns.message.make_query("x.corp.test", "TXT"), FIRST, port=server.port, timeout=2)
        assert response.answer
        with pytest.raises(OSError, match="in use"), running_in_thread(DnsServer(["corp.test"], port=server.port)):
            pytest.fail("two servers on one port")


async def test_values_come_from_a_folder_that_changes(tmp_path: Path) -> None:
    folder = tmp_path / "txt"
    async with DnsServer(["corp.test"], txt_folder=folder) as server:
        server.zones.add("x.corp.test", "TXT", "own")
        assert await texts(server, "x.corp.test") == {"own"}
        folder.mkdir()
        for name in ("x.corp.test a", "x.corp.test -b_", "outside.test ignored", "noise", ".hidden"):
            (folder / name).touch()
        assert await texts(server, "x.corp.test") == {"own", "a", "-b_"}
        (folder / "x.corp.test a").unlink()
        assert await texts(server, "x.corp.test") == {"own", "-b_"}


def test_it_runs_as_a_process_and_stops_on_sigterm(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    command = [sys.executable, "-W", "error", "-m", "acmehub.testing.dns_server", "--zone", "corp.test"]
    command += ["--tsig", f"hub.:hmac-sha256:{secret}", "--record", "www.corp.test A 127.0.0.9"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        port = int(re.findall(r"port (\d+)", line)[0])
        message = dns.update.UpdateMessage("corp.test", keyring=KEY)
        message.add("x", 60, "TXT", "a")
        assert dns.query.tcp(message, FIRST, port=port, timeout=5).rcode() == dns.rcode.NOERROR
        response = dns.query.udp(dns.message.make_query("www.corp.test", "A"), FIRST, port=port, timeout=5)
        assert str(response.answer[0][0]) == "127.0.0.9"
        process.terminate()
        assert (process.wait(10), process.stderr.read()) == (0, "")
