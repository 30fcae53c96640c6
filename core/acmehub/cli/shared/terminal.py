"""The one exit of the command line: lines on standard output and standard error."""

import click

from acmehub.models.text import escape_controls


def say(*lines: str, err: bool = False) -> None:
    """Print lines; what a CA, a DNS server or a client put into one can neither end it nor steer the terminal."""
    for line in lines:
        click.echo(escape_controls(line), err=err)
