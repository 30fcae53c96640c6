"""Contract suites for DNS providers. They need pytest with pytest-asyncio.

    class TestMine(RemoteDnsProviderContract):
        @pytest.fixture
        async def lab(self): ...        # an object with the members of `RemoteLab`

`DnsProviderContract` is for any provider; `RemoteDnsProviderContract` adds the cases of a server that refuses, is down,
does not answer or answers nonsense. Several records are added by `add_txts` where the provider has it. One test has two
processes, each with a provider of its own (`Lab.factory`), change one name at once.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from acmehub import AddsManyRecords, DnsProvider, DnsProviderRefused, DnsProviderUnavailable
from acmehub.ports.dns import rewrites_record_sets
from acmehub.runtime.concurrency import gather_limited
from acmehub.testing.provider_processes import change_in_two_processes

A = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
B = "-_aB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI9jg"
SPARE_SECONDS = 2.0


class Lab(Protocol):
    """The environment of the suite; `zone`: a zone that the provider may change, without challenges at the start."""

    zone: str

    def provider(self) -> DnsProvider:
        """A provider with valid settings."""
        ...

    def factory(self) -> Callable[[], DnsProvider]:
        """What makes such a provider in another process: a function or class of a module, with its arguments, that can
        be pickled (`functools.partial(MyProvider, settings)`)."""
        ...

    async def values(self, name: str) -> set[str]:
        """The TXT values at `name`, read from the server and not through the provider."""
        ...

    async def put(self, name: str, value: str) -> None:
        """Add a TXT value without the provider."""
        ...


class RemoteLab(Lab, Protocol):
    """The environment for a provider with a server. `foreign_zone`: a zone that the server does not have; `seconds`:
    the (short) timeout of `provider_at`; `secrets`: texts that must not appear in messages."""

    foreign_zone: str
    seconds: float
    secrets: tuple[str, ...]

    def provider_with_wrong_credentials(self) -> DnsProvider:
        """A provider with credentials that the server does not accept."""
        ...

    def provider_at(self, host: str, port: int) -> DnsProvider:
        """A provider for a server at `host` and `port`."""
        ...


async def add_all(provider: DnsProvider, zone: str, records: Sequence[tuple[str, str]]) -> None:
    """Add several records, by `add_txts` if the provider has it."""
    if isinstance(provider, AddsManyRecords):
        await provider.add_txts(zone, records)
    else:
        for name, value in records:
            await provider.add_txt(zone, name, value)


class DnsProviderContract:
    """The contract of `DnsProvider` and `AddsManyRecords`: idempotent, by value."""

    async def test_a_value_stands_after_it_was_added_and_is_gone_after_it_was_removed(self, lab: Lab) -> None:
        provider, name = lab.provider(), f"_acme-challenge.{lab.zone}"
        await provider.add_txt(lab.zone, name, A)
        assert await lab.values(name) == {A}
        await provider.remove_txt(lab.zone, name, A)
        assert await lab.values(name) == set()

    async def test_two_values_stand_side_by_side_on_one_name(self, lab: Lab) -> None:
        provider, name = lab.provider(), f"_acme-challenge.{lab.zone}"
        await provider.add_txt(lab.zone, name, A)
        await provider.add_txt(lab.zone, name, B)
        assert await lab.values(name) == {A, B}

    async def test_only_the_named_value_is_removed(self, lab: Lab) -> None:
        provider, name = lab.provider(), f"_acme-challenge.{lab.zone}"
        await provider.add_txt(lab.zone, name, A)
        await provider.add_txt(lab.zone, name, B)
        await provider.remove_txt(lab.zone, name, A)
        assert await lab.values(name) == {B}

    async def test_adding_twice_is_as_adding_once(self, lab: Lab) -> None:
        provider, name = lab.provider(), f"_acme-challenge.{lab.zone}"
        await provider.add_txt(lab.zone, name, A)
        await provider.add_txt(lab.zone, name, A)
        assert await lab.values(name) == {A}
        await provider.remove_txt(lab.zone, name, A)
        assert await lab.values(name) == set()

    async def test_removing_what_is_not_there_is_fine(self, lab: Lab) -> None:
        provider, name = lab.provider(), f"_acme-challenge.www.{lab.zone}"
        await provider.remove_txt(lab.zone, name, A)
        await provider.add_txt(lab.zone, name, A)
        await provider.remove_txt(lab.zone, name, A)
        await provider.remove_txt(lab.zone, name, A)
        assert await lab.values(name) == set()

    async def test_records_of_somebody_else_are_not_touched(self, lab: Lab) -> None:
        provider, name, beside = lab.provider(), f"_acme-challenge.{lab.zone}", f"_acme-challenge.www.{lab.zone}"
        await lab.put(name, "somebody-else")
        await lab.put(beside, A)
        await provider.add_txt(lab.zone, name, A)
        await provider.remove_txt(lab.zone, name, A)
        assert await lab.values(name) == {"somebody-else"}
        assert await lab.values(beside) == {A}

    async def test_a_value_that_somebody_else_put_there_already_counts_as_added(self, lab: Lab) -> None:
        provider, name = lab.provider(), f"_acme-challenge.{lab.zone}"
        await lab.put(name, A)
        await provider.add_txt(lab.zone, name, A)
        assert await lab.values(name) == {A}

    async def test_what_one_provider_added_another_one_can_remove(self, lab: Lab) -> None:
        name = f"_acme-challenge.{lab.zone}"
        await lab.provider().add_txt(lab.zone, name, A)
        await lab.provider().remove_txt(lab.zone, name, A)
        assert await lab.values(name) == set()

    async def test_many_orders_at_once_do_not_disturb_each_other(self, lab: Lab) -> None:
        provider, name = lab.provider(), f"_acme-challenge.{lab.zone}"
        values = [f"{number:043d}" for number in range(8)]
        at_once = 1 if rewrites_record_sets(provider) else len(values)  # as the hub calls it
        await gather_limited(lambda value: provider.add_txt(lab.zone, name, value), values, at_once)
        assert await lab.values(name) == set(values)
        await gather_limited(lambda value: provider.remove_txt(lab.zone, name, value), values[1:], at_once)
        assert await lab.values(name) == {values[0]}

    async def test_several_records_of_a_zone_are_added_together(self, lab: Lab) -> None:
        provider, name, beside = lab.provider(), f"_acme-challenge.{lab.zone}", f"_acme-challenge.www.{lab.zone}"
        await lab.put(name, "somebody-else")
        await add_all(provider, lab.zone, [(name, A), (beside, A)])
        await add_all(provider, lab.zone, [(name, A), (name, B), (beside, A)])
        assert await lab.values(name) == {A, B, "somebody-else"}
        assert await lab.values(beside) == {A}
        await provider.remove_txt(lab.zone, name, A)
        assert await lab.values(name) == {B, "somebody-else"}

    async def test_two_processes_change_one_name_at_once_and_nothing_is_lost(self, lab: Lab, tmp_path: Path) -> None:
        """A provider that reads, changes and writes back needs `RewritesRecordSets` for this."""
        name = f"_acme-challenge.{lab.zone}"
        await lab.put(name, "somebody-else")
        rewrites = rewrites_record_sets(lab.provider())
        left = await change_in_two_processes(lab.factory(), lab.zone, name, tmp_path, rewrites=rewrites)
        assert await lab.values(name) == {*left, "somebody-else"}


class RemoteDnsProviderContract(DnsProviderContract):
    """The contract for errors of servers: `DnsProviderRefused` when an operator has to act, `DnsProviderUnavailable`
    when a retry may succeed."""

    async def test_a_zone_that_the_server_does_not_have_is_refused(self, lab: RemoteLab) -> None:
        with pytest.raises(DnsProviderRefused) as caught:
            await lab.provider().add_txt(lab.foreign_zone, f"_acme-challenge.{lab.foreign_zone}", A)
        assert lab.foreign_zone in caught.value.detail

    async def test_wrong_credentials_are_refused_without_showing_them(self, lab: RemoteLab) -> None:
        provider, name = lab.provider_with_wrong_credentials(), f"_acme-challenge.{lab.zone}"
        with pytest.raises(DnsProviderRefused) as caught:
            await provider.add_txt(lab.zone, name, A)
        with pytest.raises(DnsProviderRefused):
            await provider.remove_txt(lab.zone, name, A)
        assert await lab.values(name) == set()
        shown = f"{caught.value} {caught.value!r} {caught.value.__dict__} {provider!r}"
        assert not [secret for secret in lab.secrets if secret in shown]

    async def test_several_records_fail_as_one_does(self, lab: RemoteLab) -> None:
        foreign = f"_acme-challenge.{lab.foreign_zone}"
        with pytest.raises(DnsProviderRefused) as caught:
            await add_all(lab.provider(), lab.foreign_zone, [(foreign, A), (foreign, B)])
        assert lab.foreign_zone in caught.value.detail
        name = f"_acme-challenge.{lab.zone}"
        with pytest.raises(DnsProviderRefused) as caught:
            await add_all(lab.provider_with_wrong_credentials(), lab.zone, [(name, A), (name, B)])
        assert not [secret for secret in lab.secrets if secret in f"{caught.value} {caught.value!r}"]
        async with _listener(answer=b"") as port:
            with pytest.raises(DnsProviderUnavailable):
                await add_all(lab.provider_at("127.0.0.1", port), lab.zone, [(name, A), (name, B)])
        assert await lab.values(name) == set()

    async def test_a_dead_server_is_unavailable(self, lab: RemoteLab) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            provider = lab.provider_at("127.0.0.1", reserved.getsockname()[1])
            with pytest.raises(DnsProviderUnavailable) as caught:
                await provider.add_txt(lab.zone, f"_acme-challenge.{lab.zone}", A)
        assert caught.value.detail

    async def test_a_silent_server_is_unavailable_within_the_timeout(self, lab: RemoteLab) -> None:
        async with _listener(answer=None) as port:
            began = time.monotonic()
            with pytest.raises(DnsProviderUnavailable):
                await lab.provider_at("127.0.0.1", port).add_txt(lab.zone, f"_acme-challenge.{lab.zone}", A)
            assert time.monotonic() - began < lab.seconds + SPARE_SECONDS

    async def test_a_server_that_talks_nonsense_is_unavailable(self, lab: RemoteLab) -> None:
        async with _listener(answer=b"\x00\x10<html>Bad Gateway</html>") as port:
            with pytest.raises(DnsProviderUnavailable):
                await lab.provider_at("127.0.0.1", port).add_txt(lab.zone, f"_acme-challenge.{lab.zone}", A)

    async def test_a_verb_that_is_cancelled_ends_at_once(self, lab: RemoteLab) -> None:
        async with _listener(answer=None) as port:
            taken = []
            for _ in range(3):  # a busy machine may take its time once; a provider that waits takes it every time
                provider = lab.provider_at("127.0.0.1", port)
                task = asyncio.create_task(provider.add_txt(lab.zone, f"_acme-challenge.{lab.zone}", A))
                await asyncio.sleep(min(0.2, lab.seconds / 4))
                began = time.monotonic()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                taken.append(time.monotonic() - began)
                if taken[-1] < lab.seconds / 2:
                    return
            pytest.fail(f"a cancelled verb ends after {taken} s")


@asynccontextmanager
async def _listener(answer: bytes | None) -> AsyncIterator[int]:
    """A port that accepts connections and sends `answer` after the first bytes, or nothing, during the context."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(65536)
            if answer is None:
                await over.wait()
            else:
                writer.write(answer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        over.set()
        server.close()
