"""Configuration and commands of ACME clients, to be pasted on a device: the one place that has them.

`acmehub token eab` prints those of `cli.snippets` with a token's credentials, docs/clients.md shows them
(tests/test_docs_clients.py compares), and the client matrix runs those that are marked `run`.
"""

import re
import shlex

import msgspec

MAIL = "you@example.org"
PORT = 8081
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


class Snippet(msgspec.Struct, frozen=True, kw_only=True):
    """What one client needs; `language` is `sh`, or that of its configuration file; `run` says that the matrix runs it
    as it is here, `program` which folder in tests/matrix has one around it. In `text`, `{name}` and the like stand for
    `Values`; `[[…]]` is there only with a private CA."""

    client: str
    text: str
    language: str = "sh"
    remark: str = ""
    run: bool = True
    program: str = ""
    secret_directory: bool = False

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
