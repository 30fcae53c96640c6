"""The hub's own TLS certificate over its life: issued, kept, renewed while serving, and what happens when it cannot."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from acmehub.app.hub import Hub, build_hub
from acmehub.config import ConfigError, TlsMode, load_config
from acmehub.serving.certificates import OwnCertificate, ServingCertificate, keep_fresh, new_context, own_names

BEGIN = datetime(2026, 11, 24, tzinfo=UTC)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.passed = timedelta()

    def now(self) -> datetime:
        return BEGIN + self.passed

    def monotonic(self) -> float:
        return self.passed.total_seconds()


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    hub = build_hub(load_config(overrides={"data_dir": tmp_path}), clock=Clock())
    async with hub.running():
        yield hub


def clock_of(hub: Hub) -> Clock:
    assert isinstance(hub.clock, Clock)
    return hub.clock


def stored(hub: Hub) -> x509.Certificate:
    return x509.load_pem_x509_certificates((hub.config.data_dir / "tls.pem").read_bytes())[0]


async def test_it_is_issued_once_and_chains_to_the_root_that_is_written_beside_it(hub: Hub) -> None:
    await OwnCertificate(hub).prepare()
    first = stored(hub)
    await OwnCertificate(hub).prepare()
    assert stored(hub) == first
    chain = x509.load_pem_x509_certificates((hub.config.data_dir / "tls.pem").read_bytes())
    root = x509.load_pem_x509_certificate((hub.config.data_dir / "ca.pem").read_bytes())
    chain[0].verify_directly_issued_by(chain[1])
    chain[1].verify_directly_issued_by(root)
    assert (hub.config.data_dir / "tls.pem").stat().st_mode & 0o777 == 0o600


async def test_it_is_kept_for_two_thirds_of_its_life_and_then_renewed(hub: Hub) -> None:
    certificate = OwnCertificate(hub)
    await certificate.prepare()
    first = stored(hub)
    life = first.not_valid_after_utc - first.not_valid_before_utc
    clock_of(hub).passed = life * 0.65
    assert certificate.seconds_to_next() > 0
    await certificate.refresh()
    assert stored(hub) == first
    clock_of(hub).passed = life * 0.67
    assert certificate.seconds_to_next() == 0
    await certificate.refresh()
    assert stored(hub) != first
    assert certificate.seconds_to_next() > 0


async def test_what_an_earlier_process_has_kept_is_loaded_without_the_storage(hub: Hub) -> None:
    assert not OwnCertificate(hub).load_kept()
    (hub.config.data_dir / "tls.pem").write_text("nothing")
    assert not OwnCertificate(hub).load_kept()
    await OwnCertificate(hub).prepare()
    await hub.store.close()
    assert OwnCertificate(hub).load_kept()
    await hub.store.open()


async def test_a_damaged_file_is_replaced(hub: Hub) -> None:
    (hub.config.data_dir / "tls.pem").write_text("nothing")
    await OwnCertificate(hub).prepare()
    assert stored(hub).not_valid_after_utc > hub.clock.now()


async def test_one_of_another_root_is_replaced(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> None:
    await OwnCertificate(hub).prepare()
    other = build_hub(load_config(overrides={"data_dir": tmp_path_factory.mktemp("other")}), clock=Clock())
    async with other.running():
        (other.config.data_dir / "tls.pem").write_bytes((hub.config.data_dir / "tls.pem").read_bytes())
        await OwnCertificate(other).prepare()
    assert stored(other) != stored(hub)


async def test_a_renewal_that_fails_is_logged_and_tried_again_in_an_hour(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = OwnCertificate(hub)
    await certificate.prepare()
    first = stored(hub)
    (local,) = await hub.store.authorities.list()
    await hub.store.authorities.remove(local)
    with caplog.at_level(logging.ERROR):
        await certificate.refresh()
    assert "own TLS certificate not renewed" in caplog.text
    assert stored(hub) == first
    assert certificate.seconds_to_next() == 3600


async def test_an_authority_that_does_not_sign_by_itself_is_refused(hub: Hub) -> None:
    tls = TlsMode(authority="nobody")
    other = msgspec.structs.replace(hub.config, tls=tls)
    hub.config = other
    with pytest.raises(ConfigError, match="acmehub authority add nobody"):
        await OwnCertificate(hub).prepare()


async def test_the_keeper_refreshes_when_asked_and_when_it_is_time() -> None:
    class Counting(ServingCertificate):
        def __init__(self) -> None:
            self.refreshed = 0
            self.done = asyncio.Event()
            self.waits = iter([60.0, 0.0, 60.0, 60.0])
            self.context = new_context()

        async def prepare(self) -> None:
            raise AssertionError("is prepared once, before")

        def load_kept(self) -> bool:
            raise AssertionError("is loaded while the storage is away")

        async def refresh(self) -> None:
            self.refreshed += 1
            self.done.set()

        def seconds_to_next(self) -> float:
            return next(self.waits)

    certificate, asked = Counting(), asyncio.Event()
    task = asyncio.create_task(keep_fresh(certificate, asked))
    asked.set()
    async with asyncio.timeout(5):
        while certificate.refreshed < 2:
            await certificate.done.wait()
            certificate.done.clear()
    task.cancel()
    assert certificate.refreshed == 2
    assert not asked.is_set()


@pytest.mark.parametrize(
    ("public", "more", "expected"),
    [
        ("", (), ("localhost", "127.0.0.1", "::1")),
        ("https://192.0.2.7", (), ("192.0.2.7",)),
        ("https://hub.example.com:8443", ("hub.internal",), ("hub.example.com", "hub.internal")),
        ("https://Hub.Example.com", ("hub.example.com.", "2001:DB8:0::1"), ("hub.example.com", "2001:db8::1")),
    ],
)
def test_its_names_are_the_host_of_the_url_and_those_of_the_configuration(
    public: str, more: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    config = load_config(overrides={"public_url": public})
    assert own_names(msgspec.structs.replace(config, tls=TlsMode(names=more))) == expected
