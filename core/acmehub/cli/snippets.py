"""Configuration and commands of ACME clients, to be pasted on a device: text files in `clients/`, one per client.

`acmehub token eab` prints them with a token's credentials, docs/clients.md shows them (tests/test_docs_clients.py
compares), and the client matrix runs them. A file begins with `key: value` lines and a blank one:

    client: OpenBSD acme-client      what it is called
    language: conf                   of its configuration file; without this line, sh
    remark: it knows no EAB          for people
    needs: secret directory          for a client without External Account Binding
    matrix: no                       "runs it" as it is here, "from source" where it has a checkout; else the folder in
                                     tests/matrix with a program, or "no"

In remark and text `{name}` and the like stand for `Values`; `[[…]]` is there only with a private CA.
"""

import functools
import importlib.resources
import re
import shlex
from collections.abc import Sequence

import msgspec

MAIL = "you@example.org"
PORT = 8081
FOLDER = importlib.resources.files("acmehub.cli") / "clients"
FILES = (  # in the order in which they are shown; the last six are for those who write a program with an ACME library
    "certbot",
    "lego",
    "lego-5",
    "caddy",
    "acme-sh",
    "apache-mod-md",
    "dehydrated",
    "uacme",
    "acme-tiny",
    "getssl",
    "node-acme-client",
    "ansible",
    "traefik",
    "cert-manager",
    "haproxy",
    "posh-acme",
    "win-acme",
    "nginx-acme",
    "proxmox-ve",
    "openbsd-acme-client",
    "certmagic",
    "acmez",
    "x-crypto-autocert",
    "instant-acme",
    "rustls-acme",
    "acme4j",
)
_IF_PRIVATE = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
_FIELD = re.compile(r"\{\w+\}")


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """What is filled in. `ca` is the file of the private CA that signed the hub's own certificate, empty when devices
    trust it anyway. `secret_directory` is for clients without External Account Binding. `port` is where a client may
    listen, though nobody will come."""

    directory: str
    kid: str
    hmac_key: str
    name: str
    ca: str = ""
    secret_directory: str = ""
    mail: str = MAIL
    port: int = PORT


class Snippet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file: the keys of its head, and its `text`."""

    client: str
    matrix: str
    text: str
    language: str = "sh"
    remark: str = ""
    needs: str = ""

    @property
    def secret_directory(self) -> bool:
        """Whether the client needs the token's secret directory, as it knows no External Account Binding."""
        return self.needs == "secret directory"

    def filled(self, values: Values) -> str:
        """The text with `values` in it, without a newline at its end."""
        return self._fill(self.text, values).strip("\n")

    def heading(self, values: Values) -> str:
        """The client and the remark."""
        return f"{self.client} ({self._fill(self.remark, values)})" if self.remark else self.client

    def _fill(self, text: str, values: Values) -> str:
        kept = _IF_PRIVATE.sub(r"\1" if values.ca else "", text)
        fields = {"{" + name + "}": str(value) for name, value in msgspec.structs.asdict(values).items()}
        if self.language == "sh":
            fields["{ca}"] = shlex.quote(values.ca)
        return _FIELD.sub(lambda found: fields.get(found[0], found[0]), kept)


@functools.cache
def snippets() -> Sequence[Snippet]:
    """All snippets, in the order of `FILES`."""
    return tuple(_read((FOLDER / f"{name}.txt").read_text("utf-8")) for name in FILES)


def snippet(client: str) -> Snippet:
    """The snippet of a client, by its name or a part of it (any case); `KeyError` for one that is not there."""
    wanted = client.lower()
    found = [item for item in snippets() if wanted in item.client.lower()]
    if not found:
        raise KeyError(client)
    return next((item for item in found if item.client.lower() == wanted), found[0])


def _read(content: str) -> Snippet:
    head, _, text = content.partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    return msgspec.convert({**fields, "text": text}, Snippet)
