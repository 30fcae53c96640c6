"""dns_rfc2136 against a real BIND and against the test DNS server, which can also misbehave."""

import asyncio
import base64
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import dns.message
import dns.rcode
import dns.tsig
import msgspec
import pytest

import acmehub_dns_rfc2136
from acmehub import DnsProviderRefused, DnsProviderUnavailable, PluginContext, SettingsError, SystemClock, read_settings
from acmehub.ports.settings import public_settings, secret_fields
from acmehub.testing.dns_server import DnsServer, FaultKind, tsig_key
from acmehub.testing.provider_contract import A, B, RemoteDnsProviderContract
from acmehub_dns_rfc2136 import connections
from acmehub_dns_rfc2136.provider import Rfc2136Provider
from acmehub_dns_rfc2136.settings import Rfc2136Settings
from tests.journal import Journal
from tests.servers.bind import Bind, TsigKey, Zone

SECRET = base64.b64encode(b"the hub's own key, 32 bytes long").decode()
WRONG = base64.b64encode(b"another key that nobody knows ...").decode()
NAME = "_acme-challenge.corp.test"


MADE: list[Rfc2136Provider] = []


def kept(provider: Rfc2136Provider) -> Rfc2136Provider:
    """A provider that is closed after the test."""
    MADE.append(provider)
    return provider


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """Close the providers that a test has made."""
    yield
    while MADE:
        await MADE.pop().aclose()


class Rfc2136Lab:
    """Gives providers for a server; see `acmehub.testing.provider_contract.RemoteLab`."""

    zone = "corp.test"
    foreign_zone = "elsewhere.test"
    seconds = 1.0
    secrets = (SECRET, WRONG)

    def __init__(self, host: str, port: int, txt: Callable[[], dict[str, list[str]]], add: Callable[[str, str], None]):
        self._server = {"server": host, "port": port}
        self._txt = txt
        self._add = add

    def provider(self, **settings: str | float) -> Rfc2136Provider:
        return kept(self.factory(**settings)())

    def factory(self, **settings: str | float) -> Callable[[], Rfc2136Provider]:
        raw = {"key_name": "hub.", "key_secret": SECRET, **self._server, **settings}
        return partial(Rfc2136Provider, read_settings(raw, Rfc2136Settings))

    def provider_with_wrong_credentials(self) -> Rfc2136Provider:
        return self.provider(key_secret=WRONG)

    def provider_at(self, host: str, port: int) -> Rfc2136Provider:
        return self.provider(server=host, port=port, timeout=self.seconds)

    async def values(self, name: str) -> set[str]:
        return set((await asyncio.to_thread(self._txt)).get(name, []))

    async def put(self, name: str, value: str) -> None:
        await asyncio.to_thread(self._add, name, value)


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory, journal: Journal) -> Iterator[Bind]:
    journal.keep_secret("the TSIG secret of dns_rfc2136's tests", SECRET)
    zones = [Zone("corp.test", hosts=("", "www"))]
    with Bind(
        tmp_path_factory.mktemp("bind"), zones, log=journal.new_log("bind"), key=TsigKey("hub.", secret=SECRET)
    ) as running:
        yield running


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer(["corp.test"], keys=[tsig_key("hub.", "hmac-sha256", SECRET)]) as running:
        yield running


class TestContractWithBind(RemoteDnsProviderContract):
    """The suite, against BIND with an update-policy that allows the key just these names."""

    @pytest.fixture
    def lab(self, bind: Bind) -> Iterator[Rfc2136Lab]:
        def add(name: str, value: str) -> None:
            bind.change("corp.test", add=[f"{name}. 60 TXT {value}"])

        yield Rfc2136Lab(bind.primary, bind.port, bind.txt, add)
        for name in bind.txt():
            bind.change("corp.test", delete=[f"{name}. TXT"])


class TestContractWithTheTestServer(RemoteDnsProviderContract):
    """The suite, against `acmehub.testing.dns_server`, so that both servers agree."""

    @pytest.fixture
    def lab(self, server: DnsServer) -> Rfc2136Lab:
        return _lab(server)


def _lab(server: DnsServer) -> Rfc2136Lab:
    return Rfc2136Lab(
        "127.0.0.1", server.port, server.zones.txt, lambda name, value: server.zones.add(name, "TXT", value)
    )


# -------------------------------------------------------------------------------- what BIND says, in words


def _at(bind: Bind, **settings: str | float) -> Rfc2136Provider:
    raw = {"server": bind.primary, "port": bind.port, "key_name": "hub.", "key_secret": SECRET, **settings}
    return kept(Rfc2136Provider(read_settings(raw, Rfc2136Settings)))


async def test_a_key_that_bind_does_not_know_is_named(bind: Bind) -> None:
    with pytest.raises(DnsProviderRefused, match=r"BADKEY.*'nobody\.'.*key_name and key_algorithm"):
        await _at(bind, key_name="nobody.").add_txt("corp.test", NAME, A)


async def test_another_algorithm_than_binds_is_named(bind: Bind) -> None:
    with pytest.raises(DnsProviderRefused, match=r"BADKEY.*hmac-sha512"):
        await _at(bind, key_algorithm="hmac-sha512").add_txt("corp.test", NAME, A)


async def test_another_secret_than_binds_is_named(bind: Bind) -> None:
    with pytest.raises(DnsProviderRefused, match=r"BADSIG.*check key_secret"):
        await _at(bind, key_secret=WRONG).add_txt("corp.test", NAME, A)


@pytest.mark.parametrize("hours", [-2, 2])
async def test_clocks_that_differ_are_named(bind: Bind, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    monkeypatch.setattr("dns.message.time", SimpleNamespace(time=lambda: time.time() + hours * 3600))
    with pytest.raises(DnsProviderRefused, match=r"BADTIME.*clocks.*NTP"):
        await _at(bind).add_txt("corp.test", NAME, A)


async def test_a_name_that_the_update_policy_does_not_allow_is_named(bind: Bind) -> None:
    with pytest.raises(DnsProviderRefused, match=r"REFUSED.*'hub\.'.*corp\.test.*update-policy"):
        await _at(bind).add_txt("corp.test", "_acme-challenge.other.corp.test", A)


async def test_a_name_outside_the_zone_is_named(bind: Bind) -> None:
    with pytest.raises(DnsProviderRefused, match="NOTZONE"):
        await _at(bind).add_txt("corp.test", "_acme-challenge.corp.example", A)


async def test_a_zone_the_server_is_not_primary_for_is_named(bind: Bind) -> None:
    with pytest.raises(DnsProviderRefused, match=r"NOTAUTH.*elsewhere\.test"):
        await _at(bind).add_txt("elsewhere.test", "_acme-challenge.elsewhere.test", A)


async def test_a_server_that_is_not_found_is_unavailable() -> None:
    provider = Rfc2136Provider(
        read_settings({"server": "no-such-host.invalid", "key_name": "hub.", "key_secret": SECRET}, Rfc2136Settings)
    )
    with pytest.raises(DnsProviderUnavailable, match=r"no-such-host\.invalid:53: cannot be reached"):
        await provider.add_txt("corp.test", NAME, A)


# ------------------------------------------------------------------------------------ servers that misbehave


async def test_a_server_in_trouble_is_unavailable(server: DnsServer) -> None:
    with server.fault(FaultKind.SERVFAIL, rdtype="UPDATE"), pytest.raises(DnsProviderUnavailable, match="SERVFAIL"):
        await _lab(server).provider().add_txt("corp.test", NAME, A)


@pytest.mark.parametrize(
    ("rcode", "words"),
    [(dns.rcode.REFUSED, "REFUSED"), (dns.rcode.NOTIMP, "does not take updates"), (dns.rcode.YXDOMAIN, "YXDOMAIN")],
)
async def test_an_unsigned_refusal_is_believed_and_named(rcode: dns.rcode.Rcode, words: str) -> None:
    async with _answering(lambda query: _unsigned(query, rcode)) as port:
        with pytest.raises(DnsProviderRefused, match=words):
            await _provider(port).add_txt("corp.test", NAME, A)


async def test_an_unsigned_success_is_not_believed() -> None:
    async with _answering(lambda query: _unsigned(query, dns.rcode.NOERROR)) as port:
        with pytest.raises(DnsProviderUnavailable, match="no verified response"):
            await _provider(port).add_txt("corp.test", NAME, A)


async def test_a_success_with_a_foreign_signature_is_not_believed() -> None:
    foreign = tsig_key("hub.", "hmac-sha256", WRONG)
    async with _answering(lambda query: _signed(query, foreign)) as port:
        with pytest.raises(DnsProviderUnavailable, match="no verified response"):
            await _provider(port).add_txt("corp.test", NAME, A)


async def test_an_answer_to_another_question_is_not_believed() -> None:
    def other_id(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.id ^= 1
        return response.to_wire()

    async with _answering(other_id) as port:
        with pytest.raises(DnsProviderUnavailable, match="no verified response"):
            await _provider(port).add_txt("corp.test", NAME, A)


def _provider(port: int) -> Rfc2136Provider:
    raw = {"server": "127.0.0.1", "port": port, "key_name": "hub.", "key_secret": SECRET, "timeout": 5}
    return kept(Rfc2136Provider(read_settings(raw, Rfc2136Settings)))


def _unsigned(query: dns.message.Message, rcode: dns.rcode.Rcode) -> bytes:
    query.keyring = None
    response = dns.message.make_response(query)
    response.set_rcode(rcode)
    return response.to_wire()


def _signed(query: dns.message.Message, key: dns.tsig.Key) -> bytes:
    query.keyring = key
    return dns.message.make_response(query).to_wire()


@asynccontextmanager
async def _answering(answer: Callable[[dns.message.Message], bytes]) -> AsyncIterator[int]:
    key = tsig_key("hub.", "hmac-sha256", SECRET)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2))
        wire = answer(dns.message.from_wire(await reader.readexactly(length), keyring=key))
        writer.write(len(wire).to_bytes(2) + wire)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        yield listener.sockets[0].getsockname()[1]


async def test_records_that_fail_together_count_as_refused_so_that_each_is_tried_by_itself(server: DnsServer) -> None:
    provider = _lab(server).provider()
    with server.fault(FaultKind.SERVFAIL, rdtype="UPDATE"):
        with pytest.raises(DnsProviderRefused, match="SERVFAIL"):
            await provider.add_txts("corp.test", [(NAME, A), (NAME, B)])
        with pytest.raises(DnsProviderUnavailable, match="SERVFAIL"):
            await provider.add_txt("corp.test", NAME, A)


async def test_bind_makes_all_records_of_a_message_or_none(bind: Bind) -> None:
    provider = _at(bind)
    with pytest.raises(DnsProviderRefused, match="REFUSED"):
        await provider.add_txts("corp.test", [(NAME, A), ("_acme-challenge.other.corp.test", B)])
    assert await asyncio.to_thread(bind.txt) == {}


# --------------------------------------------------------------------------------------- connections are kept


class Counting:
    """A server that confirms every update; `ended` counts the connections that clients have closed.

    Each connection is closed when `before` is asked about its next message and says so: `before(connection, message)`,
    both counted from 1. An answer waits for `go`.
    """

    def __init__(self, before: Callable[[int, int], bool] = lambda _connection, _message: False) -> None:
        self.connections = 0
        self.messages = 0
        self.ended = 0
        self.go = asyncio.Event()
        self.go.set()
        self.port = 0
        self._before = before
        self._key = tsig_key("hub.", "hmac-sha256", SECRET)
        self._changed = asyncio.Condition()

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something that is counted has happened."""
        async with asyncio.timeout(60.0), self._changed:
            await self._changed.wait_for(happened)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Counting"]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as listener:
            self.port = listener.sockets[0].getsockname()[1]
            yield self

    async def _count(self, **by: int) -> None:
        async with self._changed:
            for name, number in by.items():
                setattr(self, name, getattr(self, name) + number)
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._count(connections=1)
        connection, message = self.connections, 0
        try:
            while length := await reader.read(2):
                wire = await reader.readexactly(int.from_bytes(length))
                message += 1
                await self._count(messages=1)
                await self.go.wait()
                if self._before(connection, message):
                    return
                answer = _signed(dns.message.from_wire(wire, keyring=self._key), self._key)
                writer.write(len(answer).to_bytes(2) + answer)
            await self._count(ended=1)
        finally:
            writer.close()


async def test_updates_that_follow_each_other_share_a_connection() -> None:
    async with Counting().serving() as counting:
        provider = _provider(counting.port)
        for _ in range(3):
            await provider.add_txt("corp.test", NAME, A)
            await provider.remove_txt("corp.test", NAME, A)
        assert (counting.connections, counting.messages) == (1, 6)
        await provider.aclose()
        await counting.until(lambda: counting.ended == 1)


async def test_a_kept_connection_that_the_server_closes_is_replaced_by_a_new_one() -> None:
    async with Counting(lambda _connection, message: message == 2).serving() as counting:
        provider = _provider(counting.port)
        for _ in range(3):
            await provider.add_txt("corp.test", NAME, A)
        assert (counting.connections, counting.messages) == (3, 5)


async def test_a_new_connection_that_the_server_closes_is_not_replaced() -> None:
    async with Counting(lambda connection, message: (connection, message) != (1, 1)).serving() as counting:
        provider = _provider(counting.port)
        await provider.add_txt("corp.test", NAME, A)
        with pytest.raises(DnsProviderUnavailable, match="cannot be reached"):
            await provider.add_txt("corp.test", NAME, A)
        assert (counting.connections, counting.messages) == (2, 3)
        with pytest.raises(DnsProviderUnavailable, match="cannot be reached"):
            await provider.add_txt("corp.test", NAME, A)
        assert counting.connections == 3


async def test_eight_connections_are_kept_and_no_more() -> None:
    async with Counting().serving() as counting:
        provider = _provider(counting.port)
        counting.go.clear()
        updates = [asyncio.create_task(provider.add_txt("corp.test", NAME, A)) for _ in range(11)]
        await counting.until(lambda: counting.messages == 11)
        counting.go.set()
        await asyncio.gather(*updates)
        await counting.until(lambda: counting.ended == 3)
        await asyncio.gather(*(provider.add_txt("corp.test", NAME, A) for _ in range(8)))
        assert (counting.connections, counting.ended) == (11, 3)


async def test_a_connection_that_nothing_uses_for_a_while_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.05)
    async with Counting().serving() as counting:
        provider = _provider(counting.port)
        await provider.add_txt("corp.test", NAME, A)
        await counting.until(lambda: counting.ended == 1)
        await provider.add_txt("corp.test", NAME, A)
        assert counting.connections == 2


async def test_after_an_update_without_an_answer_no_kept_connection_is_used() -> None:
    async with Counting().serving() as counting:
        provider = _provider(counting.port)
        counting.go.clear()
        updates = [asyncio.create_task(provider.add_txt("corp.test", NAME, A)) for _ in range(2)]
        await counting.until(lambda: counting.messages == 2)
        counting.go.set()
        await asyncio.gather(*updates)
        counting.go.clear()
        update = asyncio.create_task(provider.add_txt("corp.test", NAME, A))
        await counting.until(lambda: counting.messages == 3)
        update.cancel()
        with pytest.raises(asyncio.CancelledError):
            await update
        counting.go.set()
        await provider.add_txt("corp.test", NAME, A)
        assert (counting.connections, counting.messages) == (3, 4)
        await counting.until(lambda: counting.ended == 2)


async def test_updates_go_on_after_bind_was_restarted(bind: Bind) -> None:
    provider = _at(bind)
    await provider.add_txt("corp.test", NAME, A)
    await asyncio.to_thread(bind.stop, bind.primary)
    with pytest.raises(DnsProviderUnavailable):
        await provider.remove_txt("corp.test", NAME, A)
    await asyncio.to_thread(bind.start, bind.primary)
    await provider.remove_txt("corp.test", NAME, A)
    assert await asyncio.to_thread(bind.txt) == {}


# ------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"server": ""}, "server: expected a host name"),
        ({"server": "127.0.0.1:53/x"}, "server: expected a host name"),
        ({"port": 70000}, r"65535.*\$\.port"),
        ({"key_name": "."}, "key_name: empty"),
        ({"key_name": "a..b"}, "key_name: 'a..b' is no DNS name"),
        ({"key_secret": "not base64!"}, "key_secret: not base64"),
        ({"key_secret": ""}, "key_secret: empty"),
        ({"key_algorithm": "hmac-md5"}, r"hmac-md5.*\$\.key_algorithm"),
        ({"ttl": -1}, r"\$\.ttl"),
        ({"timeout": 0}, r"\$\.timeout"),
        ({"tsig": "x"}, "tsig"),
    ],
)
def test_settings_that_do_not_fit_name_the_field_and_the_cure(change: dict[str, object], words: str) -> None:
    raw = {"server": "127.0.0.1", "key_name": "hub.", "key_secret": SECRET, **change}
    with pytest.raises(SettingsError, match=words):
        read_settings(raw, Rfc2136Settings)


def test_a_secret_that_is_no_base64_is_not_shown_in_the_error() -> None:
    raw = {"server": "127.0.0.1", "key_name": "hub.", "key_secret": "s3cr3t-no-base64!"}
    with pytest.raises(SettingsError) as caught:
        read_settings(raw, Rfc2136Settings)
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cr3t" not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__


async def test_the_secret_is_never_shown(server: DnsServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    raw = {"server": "127.0.0.1", "port": server.port, "key_name": "hub.", "key_secret": SECRET}
    settings = read_settings(raw, Rfc2136Settings)
    provider = kept(Rfc2136Provider(settings))
    await provider.add_txt("corp.test", NAME, A)
    shown = [repr(provider), repr(settings), str(public_settings(settings)), repr(vars(provider)), *caplog.messages]
    shown += [repr(settings.tsig()), str(settings.tsig())]
    assert not [text for text in shown if SECRET in text]


def test_the_readme_lists_the_settings_with_their_defaults() -> None:
    text = (Path(__file__).parents[2] / "plugins" / "dns_rfc2136" / "README.md").read_text()
    table = dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", text, flags=re.MULTILINE))
    fields = {field.name: field for field in msgspec.structs.fields(Rfc2136Settings)}
    assert table.keys() == fields.keys()
    for name, words in table.items():
        if fields[name].default is msgspec.NODEFAULT:
            assert words.startswith("required")
        else:
            assert words.strip("`") == format(
                fields[name].default, "" if isinstance(fields[name].default, str) else "g"
            )
    assert {name for name, words in table.items() if "secret" in words} == secret_fields(Rfc2136Settings)


async def test_the_plugin_registers_a_provider_made_from_the_settings_of_the_example(
    server: DnsServer, tmp_path: Path
) -> None:
    offers: dict[str, tuple[object, type]] = {}

    def register(name: str, factory: object, settings: type, summary: str = "") -> None:
        offers[name] = (factory, settings)

    acmehub_dns_rfc2136.register_dns_providers(register)
    factory, kind = offers["dns_rfc2136"]
    assert kind is Rfc2136Settings
    assert callable(factory)
    raw = {"server": "127.0.0.1", "port": server.port, "key_name": "hub.", "key_secret": SECRET}
    settings = read_settings(raw | {"key_algorithm": "hmac-sha256"}, kind)
    context = PluginContext(user_agent="acmehub/test", data_dir=tmp_path, clock=SystemClock())
    await kept(factory(settings, context)).add_txt("corp.test", NAME, A)
    assert server.zones.txt() == {NAME: [A]}
