"""`AcmeRelay`: an ACME CA as a `RelayAuthority`; each verb runs in a thread of its own pool.

The event loop watches the threads: it ends an exchange that takes too long, whose caller has gone, or that is under way
when the hub stops.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from acmehub.ports.authority import (
    IssuedChain,
    IssueRequest,
    UpstreamAccount,
    UpstreamAuthorization,
    UpstreamOrder,
    UpstreamRenewalInfo,
    UpstreamUnavailable,
)
from acmehub.ports.plugins import PluginContext
from acmehub.ports.settings import SettingsError
from acmehub.upstream import chains
from acmehub.upstream.connections import Watch
from acmehub.upstream.directories import DirectoryCache
from acmehub.upstream.exchange import Exchanger
from acmehub.upstream.hosts import Hosts
from acmehub.upstream.keys import new_account_key
from acmehub.upstream.nonces import UpstreamNonces
from acmehub.upstream.settings import RelaySettings
from acmehub.upstream.steps import Steps

THREADS = 32
P = ParamSpec("P")
R = TypeVar("R")


class AcmeRelay:
    """A `RelayAuthority` for any RFC 8555 CA. Raises `SettingsError` when there is no `ca_file`."""

    def __init__(self, settings: RelaySettings, context: PluginContext) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"relay {settings.directory}")
        self._watches: set[Watch] = set()
        self._closed = False
        hosts = Hosts(settings)
        self._exchanger = exchanger = Exchanger(
            settings.directory,
            user_agent=context.user_agent,
            ca_file=_ca_file(settings.ca_file, context.data_dir),
            timeout=settings.timeout,
            connections=THREADS,
            hosts=hosts,
            nonces=UpstreamNonces(context.clock.monotonic),
            now=context.clock.now,
        )
        directories = DirectoryCache(settings.directory, exchanger.get, hosts, context.clock.monotonic)
        self._steps = Steps(settings, exchanger, directories, hosts)

    def __repr__(self) -> str:
        return f"AcmeRelay({self.server!r})"

    @property
    def server(self) -> str:
        return self._settings.directory

    @property
    def allows_leaf_only(self) -> bool:
        return self._settings.allows_leaf_only

    def new_account_key(self) -> bytes:
        """Make a key of the type that the settings name."""
        return new_account_key(self._settings.account_key_type)

    def choose(self, chains_offered: tuple[str, ...]) -> int:
        """Compare `preferred_chain` with the common name of each chain's topmost issuer, as certbot and lego do."""
        return chains.choose(chains_offered, self._settings.preferred_chain)

    @property
    def poll_first(self) -> float:
        return self._settings.poll_first

    async def register(self, key: bytes) -> UpstreamAccount:
        """Register; where the CA requires terms or EAB that are not set, `UpstreamRefused` names the setting."""
        return await self._in_thread(self._steps.register, key)

    async def new_order(self, account: UpstreamAccount, request: IssueRequest) -> UpstreamOrder:
        """Order; a profile that the CA does not offer is `UpstreamRefused`."""
        return await self._in_thread(self._steps.new_order, account, request)

    async def order(self, account: UpstreamAccount, url: str) -> UpstreamOrder:
        return await self._in_thread(self._steps.order, account, url)

    async def authorization(self, account: UpstreamAccount, url: str) -> UpstreamAuthorization:
        return await self._in_thread(self._steps.authorization, account, url)

    async def answer(self, account: UpstreamAccount, challenge_url: str) -> None:
        """Respond to a challenge; succeeds when the CA has had the response before."""
        await self._in_thread(self._steps.answer, account, challenge_url)

    async def finalize(self, account: UpstreamAccount, finalize_url: str, order_url: str, csr: bytes) -> UpstreamOrder:
        """Send the CSR; succeeds when the CA has one already."""
        return await self._in_thread(self._steps.finalize, account, finalize_url, order_url, csr)

    async def certificate(self, account: UpstreamAccount, url: str) -> IssuedChain:
        return await self._in_thread(self._steps.certificate, account, url)

    async def revoke(self, account: UpstreamAccount, certificate: bytes, reason: int | None) -> None:
        """Revoke; succeeds when the certificate is revoked already."""
        await self._in_thread(self._steps.revoke, account, certificate, reason)

    async def renewal_info(self, cert_id: str) -> UpstreamRenewalInfo | None:
        return await self._in_thread(self._steps.renewal_info, cert_id)

    async def probe(self, account: UpstreamAccount | None) -> str:
        """Read the directory and, with `account`, ask newAccount for an existing account (RFC 8555 section 7.3.1)."""
        return await self._in_thread(self._steps.probe, account)

    async def aclose(self) -> None:
        """End the exchanges under way, and close the connections."""
        self._closed = True
        for watch in self._watches:
            watch.close("was ended, because the hub stops")
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._exchanger.close()

    async def _in_thread(self, verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self._closed:
            raise UpstreamUnavailable("the hub stops", server=self.server)
        loop = asyncio.get_running_loop()
        watch = Watch()
        self._watches.add(watch)
        timer = _Deadline(loop, watch, self._exchanger.seconds)
        try:
            return await loop.run_in_executor(self._threads, watch.run, lambda: verb(*args, **kwargs))
        finally:
            timer.cancel()
            watch.close("was ended, because nobody waits for it")
            self._watches.discard(watch)


class _Deadline:
    """Ends the exchange of a watch that takes longer than `seconds`; each exchange of a verb has that time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, watch: Watch, seconds: float) -> None:
        self._loop = loop
        self._watch = watch
        self._seconds = seconds
        self._handle = loop.call_later(seconds, self._look)

    def cancel(self) -> None:
        """The verb is over."""
        self._handle.cancel()

    def _look(self) -> None:
        left = self._watch.left()
        if left is not None and left <= 0:
            self._watch.close(f"took more than {self._seconds:g} s to answer")
        else:  # another exchange of the verb is under way, or none has a thread yet
            self._handle = self._loop.call_later(self._seconds if left is None else left, self._look)


def _ca_file(name: str, data_dir: Path) -> str:
    if not name:
        return ""
    places = (Path(name), data_dir / name)
    for place in places:
        if place.is_file():
            return str(place.resolve())
    raise SettingsError(f"ca_file: there is no {' and no '.join(str(place) for place in places)} - `$.ca_file`")
