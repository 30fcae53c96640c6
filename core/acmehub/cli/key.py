"""`acmehub key`."""

from pathlib import Path

import click

from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.cli.shared.session import Result, json_option, show
from acmehub.runtime.vault import encode_key, key_id, new_key, write_private

EPILOG = """\b
Examples:
  acmehub key new --out /etc/acmehub/master-2.key
  acmehub key new
"""


@click.group()
def key() -> None:
    """Master keys, which seal the secrets in the storage."""


@key.command(epilog=EPILOG)
@click.option("--out", type=click.Path(path_type=Path), help="Write it to this new file, for its owner alone (0600).")
@json_option
def new(out: Path | None, as_json: bool) -> None:
    """Make a master key, in the form that master_keys and a master.key take; no hub is asked or changed.

    Without --out it goes to standard output, where a terminal or a log may keep it.
    """
    made = new_key()
    text = encode_key(made)
    if out is None:
        show(Result({"key": text, "key_id": key_id(made)}, [text]), as_json)
        return
    try:
        write_private(out, text.encode() + b"\n")
    except FileExistsError:
        raise Failed(
            f"{out}: is there already, and a key is never overwritten: choose another file", Exit.CONFLICT
        ) from None
    except OSError as error:
        raise Failed(f"{out}: {error.strerror}") from None
    show(Result({"file": str(out), "key_id": key_id(made)}, [f"wrote {out} (key id {key_id(made)})"]), as_json)
