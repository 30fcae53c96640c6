"""TXT values that the test DNS server takes from a folder: how `examples/plugin` can answer a real order."""

from pathlib import Path

from acmehub.testing.dns_server.zones import NoZone, TestZones, dns_name


class TxtFolder:
    """A folder in which a file called `<name> <value>` stands for a TXT value; followed as it changes."""

    def __init__(self, path: Path, zones: TestZones) -> None:
        self._path = path
        self._zones = zones
        self._known: set[tuple[str, str]] = set()

    def read(self) -> None:
        """Take over what is new and take away what has gone; files that name nothing in the zones are passed over."""
        files = [file.name.partition(" ") for file in self._path.iterdir()] if self._path.is_dir() else []
        found = {(name, value) for name, _, value in files if value and self._holds(name)}
        for name, value in found - self._known:
            self._zones.add(name, "TXT", f'"{value}"')
        for name, value in self._known - found:
            self._zones.remove(name, "TXT", f'"{value}"')
        self._known = found

    def _holds(self, name: str) -> bool:
        try:
            self._zones.holding(dns_name(name))
        except NoZone:
            return False
        return True
