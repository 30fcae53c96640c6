"""Who may read and change a file with secrets: `acmehub.toml` when it has some, and files that `file:` names.

Such a file is for its owner, and for a group to read (0640 at most). A file that a container runtime has mounted has
the group and mode that the runtime gives it: it is taken as it is, with a warning, unless others may write to it.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from acmehub.config.errors import ConfigError

_BEYOND_0640 = 0o027
_MOUNTS = Path("/proc/self/mountinfo")  # the fifth field of a line is where it is mounted, with blanks as \040

Secrets = Callable[[str, str], frozenset[str]]
"""The names of the secret settings of a plugin, by the hook that offers it (`storage`, `notifier`) and its name."""


def no_secrets(_hook: str, _plugin: str) -> frozenset[str]:
    """For those who do not load plugins: `master_keys` are looked at, settings of plugins are not."""
    return frozenset()


def check_permissions(
    file: Path | None, raw: Mapping[str, Any], merged: Mapping[str, Any], secrets: Secrets
) -> list[str]:
    """A warning for each mounted file that others can read.

    `raw` is what stands in `file` (None: the current folder has none), `merged` the same with the environment's
    settings. `secrets` is asked only for plugins whose settings stand in a file that others can read or change. Raises
    `ConfigError` that names file, mode and what to do.
    """
    warnings = []
    written = {(place, value) for place, value, _ in _candidates(raw, secrets)}
    for place, value, is_secret in _candidates(merged, secrets):
        if value.startswith("file:"):
            path = (file.parent if file is not None else Path()) / value.removeprefix("file:")
        elif file is not None and (place, value) in written and not value.startswith("env:"):
            path = file
        else:
            continue
        mode = _mode(path)
        if not mode & _BEYOND_0640 or not is_secret():
            continue
        can = "change" if mode & 0o022 else "read"
        found = f"$.{place}: {path}: others may {can} this secret (mode {mode:04o})"
        if mode & stat.S_IWOTH or not is_mounted(path):
            other = ", or write it as env:NAME or file:PATH" if path == file else ""
            raise ConfigError(f"{found}: chmod 640 {path} (or 600){other}")
        warnings.append(f"{found}; the file is mounted, and taken as it is")
    return warnings


def is_mounted(path: Path) -> bool:
    """Whether a container runtime has put a file there: on a read-only file system, as a mount of its own, or by the
    link `..data` with which Kubernetes exchanges the files of a volume."""
    if os.statvfs(path).f_flag & os.ST_RDONLY or (path.parent / "..data").is_symlink():
        return True
    try:
        mounts = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return False
    points = {re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), line.split(" ")[4]) for line in mounts}
    return str(path.absolute()) in points or str(path.resolve()) in points


def _candidates(raw: Mapping[str, Any], secrets: Secrets) -> Iterator[tuple[str, str, Callable[[], bool]]]:
    """Texts that may be secrets: where they stand, the text, and whether it is one."""
    for index, key in enumerate(raw.get("master_keys", ())):
        yield f"master_keys[{index}]", key, lambda: True
    storage = raw.get("storage", {})
    tables = [("storage", "storage", {"plugin": "storage_sqlite", **storage})]
    tables += [("notifier", f"notifier[{index}]", item) for index, item in enumerate(raw.get("notifier", ()))]
    for hook, place, table in tables:
        for name, value in table.get("settings", {}).items():
            if isinstance(value, str):
                yield (
                    f"{place}.settings.{name}",
                    value,
                    lambda hook=hook, table=table, name=name: name in secrets(hook, table["plugin"]),  # type: ignore[misc]
                )


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:  # said where it is read
        return 0
