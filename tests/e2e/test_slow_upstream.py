"""An upstream that takes a minute before it validates: clients with little patience still get their certificate."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from acmehub.testing.hub_process import HubProcess
from tests.e2e.clients import Client, Lego, certbot_from_debian, certbot_from_pypi
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_certbot_and_lego_outlast_an_upstream_that_takes_a_minute(stack: Stack, hub: HubProcess) -> None:
    credentials = stack.credentials(hub, "device")
    makers = (certbot_from_debian, certbot_from_pypi, Lego)
    clients: list[Client] = [make(stack.new_folder("slow"), hub.ca_file, hub.directory, credentials) for make in makers]
    begin = time.monotonic()
    with ThreadPoolExecutor() as threads:
        results = [threads.submit(client.issue, f"n{n}.slow.test") for n, client in enumerate(clients)]
    for number, result in enumerate(results):
        assert stack.verified(result.result()[0]).names == {f"n{number}.slow.test"}
    assert time.monotonic() - begin > 60
    stack.assert_no_txt_left()
