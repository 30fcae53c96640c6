from datetime import timedelta
from pathlib import Path

import pytest
from acmehub_ca_small import Settings, SmallCa

from acmehub import PluginContext, SystemClock, read_settings
from acmehub.testing.authority_contract import SigningAuthorityContract


class SmallLab:
    longest = timedelta(days=7)

    def __init__(self, folder: Path) -> None:
        self.context = PluginContext("tests", folder, SystemClock())
        self.settings = read_settings({"lifetime_days": 7}, Settings)

    async def authority(self) -> SmallCa:
        self.settings = await SmallCa(self.settings, self.context).complete() or self.settings
        return SmallCa(self.settings, self.context)


class TestSmallCa(SigningAuthorityContract):
    @pytest.fixture
    def lab(self, tmp_path: Path) -> SmallLab:
        return SmallLab(tmp_path)
