"""The API of a real hub: schemathesis finds nothing, and a generated client does an operator's work."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from acmehub.api.openapi import document
from acmehub.testing.hub_process import HubProcess

EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "2")
PHASES = os.environ.get("SCHEMATHESIS_PHASES", "examples,fuzzing")  # make nightly: with coverage
HOOKS = """\
import schemathesis

@schemathesis.serializer("application/toml")
def toml(context, value):
    return value.encode() if isinstance(value, str) else b""

@schemathesis.deserializer("application/jsonl")
def lines(context, response):
    return response.content.decode()
"""
CONFIG = """\
hooks = "hooks.py"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 412, 422, 502]
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 415, 422]
"""


@pytest.fixture  # each test its own: schemathesis leaves much behind
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    config = "[api]\naddress_requests = 0\ntoken_requests = 0\nnew_credentials = 0\n"
    with HubProcess(tmp_path_factory.mktemp("hub"), config=config) as running:
        yield running


def bearer(hub: HubProcess, name: str, role: str) -> str:
    """A new API token, as it is sent."""
    hub.run("principal", "add", name, "--role", role)
    added = hub.json("token", "add", name, "--principal", name, "--scope", role, "--reveal", "--delegates")
    return f"acmehub_{added['id']}_{added['secret']}"


def test_schemathesis_finds_nothing(hub: HubProcess, tmp_path: Path) -> None:
    token = bearer(hub, "fuzzer", "administrator")
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", str(tmp_path / "schemathesis.toml")),
            *("run", f"https://localhost:{hub.port}/api/v1/openapi.json"),
            *("--url", f"https://localhost:{hub.port}/api/v1", "--tls-verify", str(hub.ca_file)),
            *("--header", f"Authorization: Bearer {token}"),
            *("--max-examples", EXAMPLES, "--seed", "1", "--phases", PHASES),
            *("--checks", "all", "--generation-database", "none", "--no-color", "--continue-on-failure"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2_000:]
    assert hub.exit_status is None


GENERATOR = """\
package_name_override: hub_client
post_hooks: []
content_type_overrides:
  application/toml: application/octet-stream
  application/jsonl: text/plain
  application/pem-certificate-chain: text/plain
  application/merge-patch+json: application/json
"""
WALK = """\
import os, ssl
from hub_client import AuthenticatedClient
from hub_client.api.managed_challenges import challenge_add, challenge_show
from hub_client.api.principals import principal_add, principal_list
from hub_client.api.tokens import token_add, token_eab
from hub_client.models import NewManagedChallenge, NewManagedChallengeSettings, NewPrincipal, NewToken, RoleAssignment
from hub_client.models import ProblemBody, Role

trust = ssl.create_default_context(cafile=os.environ["CA_FILE"])
client = AuthenticatedClient(base_url=os.environ["HUB"], token=os.environ["TOKEN"], verify_ssl=trust)
settings = NewManagedChallengeSettings.from_dict(
    {"server": "192.0.2.53", "key_name": "acmehub", "key_secret": "c2VjcmV0LW9mLXRoZS1rZXk="}
)
challenge = NewManagedChallenge(name="corp zone", plugin="dns_rfc2136", match="*.corp.test", settings=settings)
made = challenge_add.sync(client=client, body=challenge)
assert challenge_show.sync(made.id, client=client) == made
principal = NewPrincipal(name="walker", roles=[RoleAssignment(role=Role.MANAGED_ACME_CONSUMER)])
walker = principal_add.sync(client=client, body=principal)
token = token_add.sync(client=client, body=NewToken(title="Walker 01", principal="walker", names="*.corp.test"))
eab = token_eab.sync("Walker 01", client=client)
assert eab.kid == token.token.id and len(eab.hmac_key) == 43 and len(token.secret) == 43
taken = principal_add.sync(client=client, body=principal)
assert isinstance(taken, ProblemBody) and taken.type_ == "/docs/problems#taken"
print([item.name for item in principal_list.sync(client=client, limit=200).items if item.name == walker.name])
"""


def test_a_generated_client_makes_a_challenge_a_principal_a_token_and_views_the_eab(
    hub: HubProcess, tmp_path: Path
) -> None:
    token = bearer(hub, "generated", "administrator")
    (tmp_path / "openapi.json").write_bytes(document())
    (tmp_path / "settings.yml").write_text(GENERATOR)
    made = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json"),
            *("--output-path", "client", "--config", "settings.yml", "--fail-on-warning"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    walked = subprocess.run(
        [sys.executable, "-c", WALK],
        cwd=tmp_path / "client",
        env={"HUB": f"https://localhost:{hub.port}/api/v1", "TOKEN": token, "CA_FILE": str(hub.ca_file)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert walked.returncode == 0, walked.stderr
    assert walked.stdout == "['walker']\n"
