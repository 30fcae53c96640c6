"""Listening sockets: without a host, both families, or IPv4 where a machine has no IPv6."""

import socket
from pathlib import Path

import pytest

from acmehub.config import load_config
from acmehub.serving.sockets import bind


@pytest.mark.parametrize("has_ipv6", [False, socket.has_dualstack_ipv6()])
def test_a_port_alone_is_listened_on_whatever_families_there_are(
    has_ipv6: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: has_ipv6)
    config = load_config(overrides={"data_dir": tmp_path, "listen": ":0"})
    with bind(config) as bound:
        assert bound.family is (socket.AF_INET6 if has_ipv6 else socket.AF_INET)
        bound.listen()
        with socket.create_connection(("127.0.0.1", bound.getsockname()[1]), timeout=5):
            pass
