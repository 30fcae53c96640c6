"""Files in the data directory that `serve` writes and the commands beside it read."""

from pathlib import Path

from acmehub.app.own_certificate import OWN_FILE

ROOT_FILE = "ca.pem"  # what clients must trust when the hub's own certificate is from one of its authorities
URL_FILE = "url"
FILES = (OWN_FILE, ROOT_FILE, URL_FILE)
"""All that `serve` writes there, besides what the storage does; the master key is made by `app.bootstrap`."""


def note_url(data_dir: Path, url: str) -> None:
    """Keep the URL under which `serve` answers: without `public_url` it follows from the options of `serve`."""
    (data_dir / URL_FILE).write_text(url + "\n")


def last_url(data_dir: Path) -> str:
    """The URL that was kept; empty when there is none that can be read."""
    try:
        return (data_dir / URL_FILE).read_text().strip()
    except OSError:
        return ""
