"""The `acmehub` command: one module per noun; verbs call services and print what those return."""

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its status, one of `shared.exit_status.MEANINGS`."""
    from acmehub.cli.root import run

    sys.exit(run(arguments))
