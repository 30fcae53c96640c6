"""What real clients get through a hub, from Pebble, which validates through BIND: names at the apex of a zone, in two
zones, and behind a CNAME. All else that clients do is in tests/matrix.
"""

from collections.abc import Callable

import pytest

from acmehub.testing.hub_process import HubProcess
from tests.e2e.clients import Caddy, Client, Lego, certbot_from_debian, certbot_from_pypi
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e
MakeClient = Callable[[str], Client]


@pytest.fixture
def client(request: pytest.FixtureRequest, stack: Stack, hub: HubProcess) -> Client:
    credentials = stack.credentials(hub, "device")
    arguments = (stack.new_folder(request.param), hub.ca_file, hub.directory, credentials)
    match request.param:
        case "certbot 2.1":
            return certbot_from_debian(*arguments)
        case "certbot current":
            return certbot_from_pypi(*arguments)
        case "lego":
            return Lego(*arguments)
        case _:
            return Caddy(*arguments, stack.new_log("caddy"))


def prefix(request: pytest.FixtureRequest) -> str:
    """A label of each test's own, so that no order is answered from another's authorizations."""
    return str(abs(hash(request.node.name)) % 10**8)


CLIENTS = ["certbot 2.1", "certbot current", "lego", "Caddy"]


@pytest.mark.parametrize("client", ["certbot current", "Caddy"], indirect=True)
def test_a_client_gets_an_apex_with_its_wildcard(client: Client, stack: Stack) -> None:
    chains = [stack.verified(path).names for path in client.issue("corp.test", "*.corp.test")]
    together = [{"corp.test", "*.corp.test"}]
    assert chains == together or (
        isinstance(client, Caddy) and sorted(map(sorted, chains)) == [["*.corp.test"], ["corp.test"]]
    )
    stack.assert_no_txt_left()


@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_a_client_gets_three_names_from_two_managed_challenges(
    client: Client, stack: Stack, request: pytest.FixtureRequest
) -> None:
    label = prefix(request)
    names = (f"a{label}.corp.test", f"b{label}.corp.test", f"c{label}.lab.test")
    chains = [stack.verified(path).names for path in client.issue(*names)]
    assert chains == ([{name} for name in names] if isinstance(client, Caddy) else [set(names)])
    stack.assert_no_txt_left()


@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_a_name_whose_challenge_is_a_cname_into_another_zone_works(
    client: Client, stack: Stack, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["client"]
    name = f"alias{CLIENTS.index(kind)}.corp.test"  # one for each, so that each makes Pebble follow the CNAME
    [chain] = client.issue(name)
    assert stack.verified(chain).names == {name}
    stack.assert_no_txt_left()
