"""How much of the API is answered: per address, per token; and how large a request may be."""

from typing import Any

import httpx
import pytest

from acmehub.api.routes import MOST_BYTES, MOST_BYTES_OF_FILE
from tests.api.desk import API, Desk


def refused(answer: httpx.Response, limit: str) -> None:
    assert answer.status_code == 429, answer.text
    assert answer.json()["type"] == "/docs/problems#rate-limited"
    assert f"limit api.{limit}" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_token_has_its_requests_and_another_one_its_own(desk: Desk) -> None:
    async with desk.another(token_requests=2) as http:
        for _ in range(2):
            assert (await desk.ask("GET", "/me", http=http)).status_code == 200
        refused(await desk.ask("GET", "/me", http=http), "token_requests")
        assert (await desk.ask("GET", "/me", http=http, as_="auditor")).status_code == 200


async def test_an_address_has_its_requests_whatever_the_token(desk: Desk) -> None:
    async with desk.another(address_requests=2) as http:
        for who in ("auditor", "operator"):
            assert (await desk.ask("GET", "/me", http=http, as_=who)).status_code == 200
        refused(await desk.ask("GET", "/me", http=http, as_=None), "address_requests")


async def test_wrong_secrets_are_not_verified_beyond_the_limit_and_known_tokens_still_are(desk: Desk) -> None:
    verified: list[str] = []
    whole = desk.admin.tokens.authenticate

    async def counted(id: str, *rest: Any) -> Any:
        verified.append(id)
        return await whole(id, *rest)

    object.__setattr__(desk.admin.tokens, "authenticate", counted)
    async with desk.another(new_credentials=3) as http:
        assert (await desk.ask("GET", "/me", http=http)).status_code == 200
        for number in range(2):
            desk.bearers["guess"] = f"Bearer acmehub_{desk.ids['token']}_guess{number}"
            assert (await desk.ask("GET", "/me", http=http, as_="guess")).status_code == 401
        desk.bearers["guess"] = f"Bearer acmehub_{desk.ids['token']}_guess"
        refused(await desk.ask("GET", "/me", http=http, as_="guess"), "new_credentials")
        assert len(verified) == 3
        assert (await desk.ask("GET", "/me", http=http)).status_code == 200


@pytest.mark.parametrize(("path", "most"), [("/principals", MOST_BYTES), ("/apply", MOST_BYTES_OF_FILE)])
async def test_a_body_has_a_size(desk: Desk, path: str, most: int) -> None:
    headers = {"authorization": desk.bearers["administrator"], "content-type": "application/json"}
    fits = await desk.http.post(API + path, content=b" " * (most - 2) + b"{}", headers=headers)
    assert fits.status_code != 413
    large = await desk.http.post(API + path, content=b" " * (most - 1) + b"{}", headers=headers)
    assert (large.status_code, large.json()["type"]) == (413, "/docs/problems#too-large")
