"""The settings of `dns_rfc2136`."""

import base64
import binascii
from typing import Annotated, Literal, Self

import dns.exception
import dns.name
import dns.tsig
from msgspec import Meta

from acmehub import PluginSettings, Secret

Algorithm = Literal["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"]


class _HiddenKey(dns.tsig.Key):
    def __repr__(self) -> str:
        return f"<TSIG key {self.name} {self.algorithm}>"


class Rfc2136Settings(PluginSettings, frozen=True, kw_only=True):
    """The primary of the zones, and the key that may change them."""

    server: Annotated[str, Meta(description="the zones' primary: a host name or an address")]
    key_name: Annotated[str, Meta(description="the TSIG key's name on the server")]
    key_secret: Annotated[Secret, Meta(description="its secret in base64, as tsig-keygen prints it")]
    key_algorithm: Annotated[Algorithm, Meta(description="its algorithm")] = "hmac-sha256"
    port: Annotated[int, Meta(ge=1, le=65535, description="the server's TCP port")] = 53
    ttl: Annotated[int, Meta(ge=0, le=86400, description="of the records, in seconds")] = 60
    timeout: Annotated[float, Meta(gt=0, le=300, description="of an update, in seconds")] = 10.0

    def validate(self) -> Self:
        if not self.server or any(mark in self.server for mark in "/ @[]"):
            raise ValueError("server: expected a host name or an IP address, without port or scheme")
        try:
            name = dns.name.from_text(self.key_name)
        except dns.exception.DNSException as error:
            raise ValueError(f"key_name: {self.key_name!r} is no DNS name: {error}") from error
        if name == dns.name.root:
            raise ValueError("key_name: empty; expected the key's name as the DNS server has it")
        try:
            key = base64.b64decode("".join(self.key_secret.reveal().split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(
                "key_secret: not base64; expected the `secret` of the key, as tsig-keygen prints it"
            ) from error
        if not key:
            raise ValueError("key_secret: empty; expected the `secret` of the key, as tsig-keygen prints it")
        return self

    def tsig(self) -> dns.tsig.Key:
        """The key for dnspython, which does not show its secret."""
        secret = "".join(self.key_secret.reveal().split())
        return _HiddenKey(dns.name.from_text(self.key_name.lower()), secret, f"{self.key_algorithm}.")
