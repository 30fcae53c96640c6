from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from acmehub_dns_rest import RestProvider, Settings
from record_sets import RecordSets

from acmehub import PluginContext, SystemClock, read_settings
from acmehub.testing.provider_contract import RemoteDnsProviderContract

TOKEN = "the token of the tests"
CONTEXT = PluginContext("tests", Path(), SystemClock())


class RestLab:
    zone = "corp.test"
    foreign_zone = "elsewhere.test"
    seconds = 1.0
    secrets = (TOKEN, "another token")

    def __init__(self, server: RecordSets) -> None:
        self.server = server
        self.made: list[RestProvider] = []

    def factory(self, **settings: str | float) -> Callable[[], RestProvider]:
        raw = {"url": self.server.url, "token": TOKEN, **settings}
        return partial(RestProvider, read_settings(raw, Settings), CONTEXT)

    def provider(self, **settings: str | float) -> RestProvider:
        self.made.append(self.factory(**settings)())
        return self.made[-1]

    def provider_with_wrong_credentials(self) -> RestProvider:
        return self.provider(token="another token")

    def provider_at(self, host: str, port: int) -> RestProvider:
        return self.provider(url=f"http://{host}:{port}", timeout=self.seconds)

    async def values(self, name: str) -> set[str]:
        return self.server.values.get(name, set())

    async def put(self, name: str, value: str) -> None:
        self.server.values.setdefault(name, set()).add(value)


class TestRestProvider(RemoteDnsProviderContract):
    @pytest.fixture
    async def lab(self) -> AsyncIterator[RestLab]:
        with RecordSets("corp.test", TOKEN) as server:
            lab = RestLab(server)
            yield lab
            for provider in lab.made:
                await provider.aclose()
