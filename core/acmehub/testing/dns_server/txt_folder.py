"""TXT values in a folder, which the test DNS server serves: so `examples/plugin` can fulfil a real order."""

from pathlib import Path

from acmehub.testing.dns_server.zones import NoZone, TestZones, dns_name


class TxtFolder:
    """A folder in which each file `<name> <value>` is a TXT value; changes are picked up."""

    def __init__(self, path: Path, zones: TestZones) -> None:
        self._path = path
        self._zones = zones
        self._known: set[tuple[str, str]] = set()

    def read(self) -> None:
        """Add the values of new files, remove those of deleted ones; files for names outside the zones are ignored."""
        files = [file.name.partition(" ") for file in self._path.iterdir()] if self._path.is_dir() else []
        found = {(name, value) for name, _, value in files if value and self._holds(name)}
        for name, value in found - self._known:
            self._zones.add(name, "TXT", f'"{value}"')
        for name, value in self._known - found:
            self._zones.remove(name, "TXT", f'"{value}"')
        self._known = found

    def _holds(self, name: str) -> bool:
        try:
            self._zones.zone_of(dns_name(name))
        except NoZone:
            return False
        return True
