"""The methods of uvicorn that are overridden are those that were read when the cap in pyproject.toml was set."""

import hashlib
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import uvicorn

from acmehub.acme.server.client_address import TrustedProxies
from acmehub.config import Limits
from acmehub.serving.connections import Connections
from acmehub.serving.protocol import limited_protocol
from acmehub.serving.server import HubServer

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
READ = {
    "HttpToolsProtocol.__init__": "4f08999410347141",
    "HttpToolsProtocol.connection_made": "6efb565ff3d36b91",
    "HttpToolsProtocol.connection_lost": "c91a4c9bf2e29c55",
    "HttpToolsProtocol.data_received": "010a7ae59a5d3b1a",
    "HttpToolsProtocol.on_headers_complete": "1ea8589acfad92d8",
    "HttpToolsProtocol.send_400_response": "ae5a4a3782b646fd",
    "HttpToolsProtocol.on_message_complete": "1fbad42dc31fc01f",
    "HttpToolsProtocol.shutdown": "d7351fa33f00d430",
    "HttpToolsProtocol.pause_writing": "17a8fd215d96a13c",
    "HttpToolsProtocol.resume_writing": "7844bbaa8cceb1ef",
    "HttpToolsProtocol.on_response_complete": "64e254f28e389e76",
    "Server.__init__": "c150b55284f7511e",
    "Server.shutdown": "9b33c50562992b1e",
    "Server.startup": "2aa1d70a244bfcf2",
    "Server.capture_signals": "e1bbcd4770d1c887",
    "Server.main_loop": "afccb353a119333f",
}


def overridden(cls: type) -> dict[str, str]:
    """`Base.method` → a hash of its source, for each method of the base class that `cls` has one of its own for."""
    base = cls.__bases__[0]
    names = [name for name, value in vars(cls).items() if inspect.isfunction(value) and hasattr(base, name)]
    sources = {f"{base.__name__}.{name}": inspect.getsource(getattr(base, name)) for name in names}
    return {name: hashlib.sha256(source.encode()).hexdigest()[:16] for name, source in sources.items()}


@pytest.mark.parametrize("cls", [limited_protocol(Limits(), Connections(Limits(), TrustedProxies())), HubServer])
def test_the_overridden_methods_of_uvicorn_are_those_that_were_read(cls: type) -> None:
    found = overridden(cls)
    changed = sorted(name for name, value in found.items() if READ.get(name) != value)
    assert changed == [], (
        f"uvicorn {uvicorn.__version__} has other code in these methods, which serving/ overrides: read them beside "
        f"serving/protocol.py and serving/server.py, then put their hashes here ({found}) and move the cap of uvicorn "
        "in pyproject.toml"
    )


def test_uvicorn_is_capped_to_the_release_that_was_read() -> None:
    requirements = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    minor = int(uvicorn.__version__.split(".")[1])
    assert f"uvicorn>=0.{minor},<0.{minor + 1}" in requirements


def test_uvloop_is_capped_to_the_release_whose_tls_is_extended() -> None:
    requirements = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    minor = int(version("uvloop").split(".")[1])
    assert any(f"uvloop>=0.{minor},<0.{minor + 1}" in requirement for requirement in requirements)
