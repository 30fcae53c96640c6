"""How far a long verb is, on one line of a terminal."""

import sys
import time

import click

_EVERY = 0.2  # seconds


class CountLine:
    """The number of things so far (`noun`); silent where standard error is no terminal."""

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._next = 0.0 if sys.stderr.isatty() else float("inf")
        self._shown = False

    def __call__(self, count: int) -> None:
        if time.monotonic() >= self._next:
            self._next, self._shown = time.monotonic() + _EVERY, True
            click.echo(f"\r{count} {self._noun}", nl=False, err=True)

    def end(self) -> None:
        """Clear the line."""
        if self._shown:
            click.echo("\r" + " " * 24 + "\r", nl=False, err=True)
