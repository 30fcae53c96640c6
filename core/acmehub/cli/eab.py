"""Commands that are ready to be pasted on a device, with its credentials in them."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from acmehub.scopes import match_rule

MAIL = "you@example.org"


def commands(directory: str, kid: str, key: str, root: Path | None, names: str) -> Sequence[str]:
    """Lines for certbot, lego, Caddy and acme.sh; `root` is the CA file that they must trust, if any."""
    name = example_name(names)
    ca = shlex.quote(str(root)) if root else ""
    return [
        "",
        "# certbot (any authenticator will do: nobody connects to the device)",
        _line(
            f"REQUESTS_CA_BUNDLE={ca}" if ca else "",
            f"certbot certonly -n --agree-tos -m {MAIL} --server {directory}",
            f"--eab-kid {kid} --eab-hmac-key {key} --standalone -d {name}",
        ),
        "",
        "# lego",
        _line(
            f"LEGO_CA_CERTIFICATES={ca}" if ca else "",
            f"lego -s {directory} -a -m {MAIL} --eab --kid {kid} --hmac {key}",
            f"--http --http.port 127.0.0.1:8081 -d {name} run",
        ),
        "",
        "# Caddy (global options of the Caddyfile)",
        *_caddy(directory, kid, key, root),
        "",
        "# acme.sh",
        _line(
            f"acme.sh --register-account --server {directory} --eab-kid {kid} --eab-hmac-key {key} -m {MAIL}",
            f"--ca-bundle {ca}" if ca else "",
        ),
        _line(f"acme.sh --issue --stateless -d {name} --server {directory}", f"--ca-bundle {ca}" if ca else ""),
    ]


def example_name(names: str) -> str:
    """A name that the token may have."""
    if not names:
        return "host.example.com"
    pattern = match_rule(names).patterns[0]
    text = str(pattern)
    return f"host.{text.removeprefix('*.')}" if pattern.below else text


def _line(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _caddy(directory: str, kid: str, key: str, root: Path | None) -> list[str]:
    trust = [f"\tacme_ca_root {root}"] if root else []
    return [
        "{",
        f"\tacme_ca {directory}",
        *trust,
        "\tacme_eab {",
        f"\t\tkey_id {kid}",
        f"\t\tmac_key {key}",
        "\t}",
        "}",
    ]
