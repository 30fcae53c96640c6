"""A running hub as what the load client wants to know of it."""

import ssl
from urllib.parse import urlsplit

from acmehub.testing.hub_process import HubProcess
from bench.acme_client import AccountKey, Client, Stats, Target


async def target_of(hub: HubProcess) -> Target:
    """The hub's directory, read over TLS that is checked against its own CA."""
    tls = ssl.create_default_context(cafile=hub.ca_file)
    bare = Target(directory=hub.directory, address=("127.0.0.1", hub.port), urls={}, tls=tls)
    answer = await Client(bare, Stats(), {}, AccountKey("ec256")).http("GET", hub.directory)
    assert urlsplit(answer.json()["newOrder"]).hostname == "localhost"
    return Target(directory=hub.directory, address=bare.address, urls=answer.json(), tls=tls)
