"""What a start imports, nearly all that it costs: a number of modules, as the clock of a busy machine says nothing."""

import importlib
import sys
from pathlib import Path

import pytest

from acmehub.app.asgi import create_app
from acmehub.app.hub import build_hub
from acmehub.config import load_config
from acmehub.testing.hub_process import HubProcess

UNUSED = ("acme", "aiohttp", "black", "httpx", "jinja2", "piccolo.apps", "pydantic", "requests", "urllib3")
MOST_MODULES = 1190  # 1127 when this was written; 1331 with Pydantic and Piccolo's migration runner


@pytest.fixture
def imported(tmp_path: Path) -> list[str]:
    """The modules that a second start imports until it serves."""
    with HubProcess(tmp_path / "hub", log=tmp_path / "first.log") as hub:
        hub.stop()
    hub.log = tmp_path / "second.log"
    hub.start(PYTHONPROFILEIMPORTTIME="1")
    found = [line for line in hub.log.read_text(errors="replace").splitlines() if line.startswith("import time:")]
    hub.stop()
    return [line.rpartition("|")[2].strip() for line in found]


def test_a_start_on_a_schema_that_is_up_to_date_imports_nothing_that_it_does_not_use(imported: list[str]) -> None:
    assert "acmehub.serving.server" in imported
    assert [name for name in imported for unused in UNUSED if f"{name}.".startswith(f"{unused}.")] == []
    assert len(imported) <= MOST_MODULES


def test_routes_of_a_plugin_that_imports_pydantic_may_use_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = build_hub(load_config(overrides={"data_dir": tmp_path}))
    monkeypatch.delitem(sys.modules, "pydantic", raising=False)
    assert "PydanticPlugin" not in {type(plugin).__name__ for plugin in create_app(hub).plugins}
    monkeypatch.setitem(sys.modules, "pydantic", importlib.import_module("pydantic"))
    assert "PydanticPlugin" in {type(plugin).__name__ for plugin in create_app(hub).plugins}
