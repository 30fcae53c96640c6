"""Settings of a local CA: those of the operator, and the keys and certificates that the CA makes itself."""

from typing import Annotated, Self

from msgspec import Meta

from acmehub import PluginSettings, Secret


class LocalSettings(PluginSettings, frozen=True, kw_only=True):
    """Names and lifetimes, and the CA's own keys and certificates.

    The CA makes root and intermediate (PEM, keys as PKCS #8) at its first use. To use your own, set all four; the
    root's key may stay empty, but then the intermediate is not renewed.
    """

    name: Annotated[str, Meta(description="the start of the names of root and intermediate")] = "acmehub local CA"
    lifetime_days: Annotated[float, Meta(description="the longest validity of a certificate")] = 90.0
    root_certificate: Annotated[str, Meta(description="the root in PEM; the CA makes it when it is empty")] = ""
    root_key: Annotated[Secret, Meta(description="its key, PKCS #8 in PEM; empty: kept elsewhere")] = Secret("")
    intermediate_certificate: Annotated[str, Meta(description="the intermediate in PEM")] = ""
    intermediate_key: Annotated[Secret, Meta(description="its key, PKCS #8 in PEM")] = Secret("")

    def validate(self) -> Self:
        if not 0 < len(self.name) <= 50:
            raise ValueError("name: 1 to 50 characters are needed - `$.name`")
        if not 0 < self.lifetime_days <= 825:
            raise ValueError("lifetime_days: more than 0 and at most 825 - `$.lifetime_days`")
        own = (bool(self.root_certificate), bool(self.intermediate_certificate), bool(self.intermediate_key))
        if any(own) and not all(own):
            raise ValueError(
                "root_certificate, intermediate_certificate and intermediate_key belong together: give all or none"
                " - `$.root_certificate`"
            )
        return self
