"""Where a hub is, for those who asked for one where none is: `no hub in DIR: …; did you mean …?`."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote

from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.config import FILE_NAME, Config

DATABASE = "acmehub.db"
PACKAGED = (Path("/etc/acmehub") / FILE_NAME, Path("/var/lib/acmehub"))
_MOST = 3


def no_hub(config: Config, place: str, environ: Mapping[str, str], folder: Path) -> Failed:
    """The error of a verb for which there is no hub. `place`: what the storage says of where it looked."""
    own = config.storage.plugin == "storage_sqlite"
    where = str(config.data_dir) if own else place
    found = list(dict.fromkeys(_candidates(config, environ, folder)))[:_MOST]
    hint = f"did you mean {' or '.join(found)}?" if found else "`acmehub serve` or `acmehub init --hub` makes one"
    return Failed(f"no hub in {where}: nothing has been founded there; {hint}", Exit.NO_HUB)


def _candidates(config: Config, environ: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Options that lead to another hub, nearest first: environment, this folder and those above it, as packaged."""
    looked_at = config.data_dir.absolute()
    files = [Path(environ["ACMEHUB_CONFIG"])] if environ.get("ACMEHUB_CONFIG") else []
    folders = [Path(environ["ACMEHUB_DATA_DIR"])] if environ.get("ACMEHUB_DATA_DIR") else []
    for place in (folder, *folder.parents):
        files += [place / FILE_NAME, *sorted(_matching(place / ".run", f"*/{FILE_NAME}"))]
        folders.append(place / "data")
    files.append(PACKAGED[0])
    folders.append(PACKAGED[1])
    for file in files:
        data_dir = _data_dir_of(file.absolute())
        if data_dir is not None and _has_hub(data_dir) and data_dir.resolve() != looked_at.resolve():
            yield f"--config {quote(str(file.absolute()))}"
    named = {data_dir for file in files if (data_dir := _data_dir_of(file.absolute())) is not None}
    for data_dir in folders:
        if data_dir.absolute() not in named and _has_hub(data_dir) and data_dir.resolve() != looked_at.resolve():
            yield f"--data-dir {quote(str(data_dir.absolute()))}"


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        return list(folder.glob(pattern))
    except OSError:  # may not be looked into: nothing there is proposed
        return []


def _data_dir_of(file: Path) -> Path | None:
    """The data directory that a configuration file names; None when it cannot be read, or keeps its hub elsewhere."""
    try:
        raw = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None
    data_dir = raw.get("data_dir", "data")
    return file.parent / data_dir if isinstance(data_dir, str) else None


def _has_hub(data_dir: Path) -> bool:
    try:
        return (data_dir / DATABASE).stat().st_size > 0
    except OSError:
        return False
