from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from acmehub_dns_folder import FolderProvider, Settings

from acmehub import PluginContext, SystemClock, read_settings
from acmehub.testing.provider_contract import DnsProviderContract


class FolderLab:
    zone = "corp.test"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def provider(self) -> FolderProvider:
        return self.factory()()

    def factory(self) -> Callable[[], FolderProvider]:
        settings = read_settings({"folder": str(self.folder)}, Settings)
        return partial(FolderProvider, settings, PluginContext("tests", self.folder, SystemClock()))

    async def values(self, name: str) -> set[str]:
        return {value for file in self.folder.iterdir() for owner, value in [file.name.split(" ")] if owner == name}

    async def put(self, name: str, value: str) -> None:
        (self.folder / f"{name} {value}").touch()


class TestFolderProvider(DnsProviderContract):
    @pytest.fixture
    def lab(self, tmp_path: Path) -> FolderLab:
        return FolderLab(tmp_path)
