"""`register_routes(hub)`: what a plugin's routes can reach, and what they cannot."""

import inspect

import httpx
import pytest
from litestar import Request, get

from acmehub import Origin, PluginHub, Unauthenticated, Via, hookimpl
from acmehub.app.asgi import create_app
from acmehub.runtime.plugins import PluginError
from acmehub.runtime.vault import Vault
from tests.api.desk import Desk


class Routes:
    """A face of its own: the titles of orders for the token in a header."""

    def __init__(self, path: str = "/face") -> None:
        self.path = path
        self.hub: PluginHub | None = None

    @hookimpl
    def register_routes(self, hub: PluginHub) -> list[object]:
        self.hub = hub

        @get(self.path)
        async def face(request: Request[object, object, object]) -> list[str]:
            id, secret = request.headers["x-token"].split(":")
            acting = await hub.sign_in(id, secret, Origin(Via.DOOR, hub.address_of(request.scope)))
            return [name for item in await hub.admin.orders.list(acting) for name in item.names]

        return [face]


class Old:
    """An implementation of the time before the argument."""

    @hookimpl
    def register_routes(self) -> list[object]:
        @get("/old", sync_to_thread=False)
        def old() -> str:
            return "old"

        return [old]


async def test_a_plugin_reaches_the_verbs_by_the_rights_of_a_token_and_an_older_one_still_works(desk: Desk) -> None:
    routes = Routes()
    desk.hub.registry.add("routes", routes)
    desk.hub.registry.add("old", Old())
    _, id, secret = desk.bearers["auditor"].split("_", 2)
    transport = httpx.ASGITransport(create_app(desk.hub))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="https://hub.test") as http:
        assert (await http.get("/old")).text == "old"
        answer = await http.get("/face", headers={"x-token": f"{id}:{secret}"})
        assert set(answer.json()) == {"b.test", "a.b.test"}
    assert routes.hub is not None
    with pytest.raises(Unauthenticated):
        await routes.hub.sign_in(id, "guess", Origin())


async def test_a_plugin_gets_a_key_of_its_own_and_no_secret_of_the_hub(desk: Desk) -> None:
    one, other = PluginHub(desk.hub, "one"), PluginHub(desk.hub, "other")
    assert one.key("csrf") == PluginHub(desk.hub, "one").key("csrf") != one.key("session")
    assert one.key("csrf") != other.key("csrf")
    assert one.key("csrf") != desk.hub.vault.derive("csrf")
    assert one.config.master_keys == ()
    assert one.config.storage.settings == {}
    public = [value for name, value in inspect.getmembers(one) if not name.startswith("_")]
    assert not [value for value in public if isinstance(value, Vault) or value is desk.hub.store]


@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/orders", "/api/v1/{name:str}"])
async def test_a_plugin_cannot_take_a_path_of_the_api(desk: Desk, path: str) -> None:
    desk.hub.registry.add("routes", Routes(path))
    with pytest.raises(PluginError, match="/api/v1"):
        create_app(desk.hub)
