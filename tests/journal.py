"""The logs of a test run, searched for secrets when it ends."""

from pathlib import Path


class Journal:
    """The logs of the whole run, and the secrets that must appear in none of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._secrets: dict[str, str] = {}
        self._count = 0

    def keep_secret(self, what: str, value: str) -> str:
        """Remember a secret used by a test; gives it back."""
        if len(value) < 8:
            raise ValueError(f"{what}: a secret of {len(value)} characters would be found by chance")
        self._secrets[value] = what
        return value

    def new_log(self, name: str) -> Path:
        """A file for the output of one server or client; searched when the run ends."""
        self._count += 1
        return self.folder / f"{self._count:04d}-{name}.log"

    def leaks(self) -> list[str]:
        """One line for each log file with a secret in it: which file, which secret (not its value)."""
        found = []
        for path in sorted(self.folder.glob("**/*.log")):
            text = path.read_bytes()
            found += [f"{path.name}: {what}" for value, what in self._secrets.items() if value.encode() in text]
        return found
