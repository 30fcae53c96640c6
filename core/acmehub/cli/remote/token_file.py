"""The file with the API token that a remote hub is asked with."""

import os
import re
import stat
from pathlib import Path

from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.cli.shared.remote_hub import TOKEN_VARIABLE
from acmehub.ports.settings import Secret

_TOKEN = re.compile(r"acmehub_[0-9a-f]{32,64}_[A-Za-z0-9_-]{16,256}", re.ASCII)
_BEYOND_OWNER = 0o077
_LARGEST = 4096


def read_token(path: Path | None) -> Secret:
    """The token that stands in a file which its owner alone can read; `Failed` that names the file and what to do."""
    if path is None:
        raise Failed(f"--hub needs an API token: name its file by --token-file or {TOKEN_VARIABLE}", Exit.USAGE)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _BEYOND_OWNER:
                raise Failed(f"{path}: others may read this token (mode {mode:04o}): chmod 600 {path}", Exit.USAGE)
            content = file.read(_LARGEST)
    except OSError as error:
        raise Failed(f"{path}: the API token cannot be read: {error.strerror}", Exit.USAGE) from None
    token = content.decode("ascii", "replace").strip()
    if not _TOKEN.fullmatch(token):
        raise Failed(
            f"{path}: this is no API token: one line is needed, acmehub_ID_SECRET (`acmehub token add` shows it)",
            Exit.USAGE,
        )
    return Secret(token)
