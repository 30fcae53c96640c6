"""The page at `/`, and HEAD of what load balancers ask."""

import httpx
import msgspec
import pytest
from litestar import get

import acmehub
from acmehub import hookimpl
from acmehub.app.asgi import create_app
from acmehub.app.health import INSTANCE_HEADER, INSTANCE_VARIABLE
from tests.acme.lab import DIRECTORY, Lab

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(("accept", "media"), [(BROWSER, "text/html"), ("*/*", "text/plain"), ("", "text/plain")])
async def test_the_page_says_what_this_is_to_browsers_and_others(lab: Lab, accept: str, media: str) -> None:
    answer = await lab.http.get("/", headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, f"{media}; charset=utf-8")
    for told in ("ACME server", DIRECTORY, "rfc8555", "docs/quickstart.md"):
        assert told in answer.text
    assert acmehub.__version__ not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"].startswith("public")
    assert answer.headers["vary"] == "accept"
    assert "set-cookie" not in answer.headers


async def test_the_operators_website_is_linked_and_cannot_add_markup(lab: Lab) -> None:
    for website, told in (
        ("https://pki.example.com/?a=1&b", '<a href="https://pki.example.com/?a=1&amp;b">'),
        ("javascript:<b>", "Operator: javascript:&lt;b&gt;</p>"),
    ):
        acme = msgspec.structs.replace(lab.hub.config.acme, website=website)
        lab.hub.config = msgspec.structs.replace(lab.hub.config, acme=acme)
        transport = httpx.ASGITransport(create_app(lab.hub))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="https://hub.test") as http:
            assert told in (await http.get("/", headers={"accept": BROWSER})).text
            assert website in (await http.get("/")).text


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
async def test_head_is_get_without_a_body(lab: Lab, path: str) -> None:
    whole, head = await lab.http.get(path), await lab.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert head.headers["content-type"] == whole.headers["content-type"]


async def test_a_plugin_may_have_the_page_of_its_own(lab: Lab) -> None:
    @get("/", sync_to_thread=False)
    def console() -> str:
        return "console"

    class Routes:
        @hookimpl
        def register_routes(self) -> list[object]:
            return [console]

    lab.hub.registry.add("routes", Routes())
    transport = httpx.ASGITransport(create_app(lab.hub))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="https://hub.test") as http:
        assert (await http.get("/")).text == "console"


@pytest.mark.parametrize(("given", "told"), [("4f0a", "4f0a"), ("", None), ("a\r\nb: c", None)])
async def test_readyz_names_the_instance_that_its_starter_named(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, given: str, told: str | None
) -> None:
    monkeypatch.setenv(INSTANCE_VARIABLE, given)
    transport = httpx.ASGITransport(create_app(lab.hub))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="https://hub.test") as http:
        assert (await http.get("/readyz")).headers.get(INSTANCE_HEADER) == told
