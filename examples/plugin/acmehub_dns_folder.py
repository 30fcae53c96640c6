"""A DNS provider whose records are empty files: `<name> <value>` in a folder, for a name server that serves them."""

from pathlib import Path

from acmehub import PluginContext, PluginSettings, Register, hookimpl


class Settings(PluginSettings, frozen=True):
    folder: str


class FolderProvider:
    def __init__(self, settings: Settings, context: PluginContext) -> None:
        self.folder = Path(settings.folder)

    async def add_txt(self, zone: str, name: str, value: str) -> None:
        (self.folder / f"{name} {value}").touch()

    async def remove_txt(self, zone: str, name: str, value: str) -> None:
        (self.folder / f"{name} {value}").unlink(missing_ok=True)


@hookimpl
def register_dns_providers(register: Register) -> None:
    register("dns_folder", FolderProvider, Settings, "Records as files in a folder")
