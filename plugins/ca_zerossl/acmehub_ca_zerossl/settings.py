"""Settings of a ZeroSSL authority."""

from typing import Annotated, Self

from msgspec import Meta

from acmehub import RelaySettings, Secret, https_or_loopback

DIRECTORY = "https://acme.zerossl.com/v2/DV90"
API = "https://api.zerossl.com"


class ZeroSslSettings(RelaySettings, frozen=True, kw_only=True):
    """`RelaySettings` with ZeroSSL's directory.

    Required is one of: `eab_kid` with `eab_hmac_key`, from ZeroSSL's console; `api_key`, to fetch both once; `email`
    alone, to fetch both for an account that ZeroSSL creates for the address. `api_url`: where they are fetched.
    """

    directory: Annotated[str, Meta(description="the CA's directory URL")] = DIRECTORY
    poll_first: Annotated[
        float,
        Meta(description="seconds until the first look at what came of a request; the pauses after it double"),
    ] = 0.5
    api_key: Annotated[Secret, Meta(description="of ZeroSSL's API: fetches eab_kid and eab_hmac_key once")] = Secret("")
    api_url: Annotated[str, Meta(description="where ZeroSSL's API is")] = API

    def validate(self) -> Self:
        super().validate()
        if not (self.eab_kid or self.api_key or self.email):
            raise ValueError("api_key: give api_key, or email, or eab_kid and eab_hmac_key - `$.api_key`")
        if not https_or_loopback(self.api_url):
            raise ValueError("api_url: an https:// URL is needed - `$.api_url`")
        return self
