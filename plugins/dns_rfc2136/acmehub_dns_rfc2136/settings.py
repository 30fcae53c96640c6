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


class Rfc2136Settings(PluginSettings, frozen=True, kw_only=True):
    """`server` is the primary (name or address); `key_secret` is base64 as `tsig-keygen` prints it; `ttl` of the
    records and `timeout` of one exchange are in seconds."""

    server: str
    key_name: str
    key_secret: Secret
    key_algorithm: Algorithm = "hmac-sha256"
    port: Annotated[int, Meta(ge=1, le=65535)] = 53
    ttl: Annotated[int, Meta(ge=0, le=86400)] = 60
    timeout: Annotated[float, Meta(gt=0, le=300)] = 10.0

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
        """The key for dnspython."""
        secret = "".join(self.key_secret.reveal().split())
        return dns.tsig.Key(dns.name.from_text(self.key_name.lower()), secret, f"{self.key_algorithm}.")
