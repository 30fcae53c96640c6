"""The REST provider of the examples, without its marker; for another process."""

from pathlib import Path

from acmehub_dns_rest import RestProvider, Settings

from acmehub import PluginContext, Secret, SystemClock


class Unmarked(RestProvider):
    rewrites_record_sets = False


def make_unmarked(url: str, token: str) -> Unmarked:
    """A provider that does not say that it replaces record sets."""
    return Unmarked(Settings(url=url, token=Secret(token)), PluginContext("tests", Path(), SystemClock()))
