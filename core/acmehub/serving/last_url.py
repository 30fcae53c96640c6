"""The URL under which `serve` answered last, so that commands beside it can tell it to clients.

Only for a hub whose configuration has no `public_url`: then the URL follows from the options `serve` was given.
"""

from pathlib import Path

_FILE = "url"


def note_url(data_dir: Path, url: str) -> None:
    """Keep the URL."""
    (data_dir / _FILE).write_text(url + "\n")


def last_url(data_dir: Path) -> str:
    """The URL that was kept; empty when there is none."""
    try:
        return (data_dir / _FILE).read_text().strip()
    except FileNotFoundError:
        return ""
