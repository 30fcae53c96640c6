"""Settings of an authority that is an ACME CA."""

import base64
import binascii
from typing import Annotated, Literal, Self

from msgspec import Meta

from acmehub.ports.settings import PluginSettings, Secret
from acmehub.rules.urls import https_or_loopback, origin, place_of

KeyType = Literal["ec256", "ec384", "rsa2048", "rsa3072", "rsa4096"]


class RelaySettings(PluginSettings, frozen=True, kw_only=True):
    """The address of a CA, and the hub's account there.

    A relative `ca_file` is looked up in the working directory, then in the data directory. `timeout`: an exchange takes
    at most twice that. `terms_of_service_agreed` and `allow_leaf_only` default to yes for a private CA (one with a
    `ca_file`), and to no for every other.
    """

    directory: Annotated[str, Meta(description="the CA's directory URL (https; http for a CA on this machine)")]
    url_hosts: Annotated[
        tuple[str, ...], Meta(description="HOST[:PORT] beside the directory's that the CA's URLs may lead to")
    ] = ()
    ca_file: Annotated[str, Meta(description="PEM with the roots of its TLS instead of the system's")] = ""
    email: Annotated[str, Meta(description="the account's contact")] = ""
    eab_kid: Annotated[str, Meta(description="External Account Binding: the key id")] = ""
    eab_hmac_key: Annotated[Secret, Meta(description="External Account Binding: the key in base64url")] = Secret("")
    account_key_type: Annotated[KeyType, Meta(description="of the account's key")] = "ec256"
    preferred_chain: Annotated[str, Meta(description="common name of the preferred topmost issuer")] = ""
    profile: Annotated[str, Meta(description="requested when the client names none")] = ""
    timeout: Annotated[float, Meta(description="seconds that the CA may be silent")] = 30.0
    poll_first: Annotated[
        float,
        Meta(description="seconds until the first look at what came of a request; the pauses after it double"),
    ] = 0.04
    terms_of_service_agreed: Annotated[
        bool | None, Meta(description="true: the operator agrees to the CA's terms; default: true with a ca_file")
    ] = None
    allow_leaf_only: Annotated[
        bool | None, Meta(description="true: a chain may be the leaf alone; default: true with a ca_file")
    ] = None

    @property
    def agrees(self) -> bool:
        """Whether the hub may register at a CA that has terms of service."""
        return bool(self.ca_file) if self.terms_of_service_agreed is None else self.terms_of_service_agreed

    @property
    def allows_leaf_only(self) -> bool:
        """Whether a chain may be the leaf alone."""
        return bool(self.ca_file) if self.allow_leaf_only is None else self.allow_leaf_only

    def validate(self) -> Self:
        if not https_or_loopback(self.directory):
            raise ValueError(
                "directory: an https:// URL is needed, http:// only to this machine (localhost, 127.0.0.0/8, [::1])"
                " - `$.directory`"
            )
        for host in self.url_hosts:
            if not place_of(host, "https"):
                raise ValueError(f"url_hosts: {host!r} is not HOST or HOST:PORT - `$.url_hosts`")
        if self.email and (self.email.count("@") != 1 or any(mark in self.email for mark in " ,?\r\n")):
            raise ValueError("email: one plain address is needed - `$.email`")
        if bool(self.eab_kid) != bool(self.eab_hmac_key):
            raise ValueError("eab_kid and eab_hmac_key belong together: give both or none - `$.eab_kid`")
        if self.eab_hmac_key:
            hmac_key(self.eab_hmac_key)
        if not 1 <= self.timeout <= 300:
            raise ValueError("timeout: 1 to 300 seconds - `$.timeout`")
        if not 0.01 <= self.poll_first <= 60:
            raise ValueError("poll_first: 0.01 to 60 seconds - `$.poll_first`")
        return self

    def account_flaw(self, account_url: str) -> str:
        """Why the hub's account cannot be used: its URL leads to a host that is not the CA's."""
        flaw = self.host_flaw(account_url)
        return f"its account is at {account_url[:200]}, but {flaw}" if flaw else ""

    def host_flaw(self, url: str) -> str:
        """Why no URL of this CA may lead to the host of `url`, with the setting that allows it; empty if it may."""
        found, directory = origin(url), origin(self.directory)
        if found is None:
            return f"{url[:200]!r} is no URL"
        if directory is not None and found.place == directory.place:
            return ""
        if found.place in {place_of(host, found.scheme) for host in self.url_hosts}:
            return ""
        return (
            f"{found.place} is not the host of the CA's directory ({self.directory});"
            f' if it belongs to the CA, set url_hosts = ["{found.place}"]'
        )


def hmac_key(text: Secret) -> str:
    """The EAB key as base64url without padding; CAs show it in either alphabet, with or without padding."""
    plain = text.reveal().strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError("eab_hmac_key: base64url, as the CA shows it, is needed - `$.eab_hmac_key`")
    return plain
