"""Settings of a local CA: those of the operator, and the keys and certificates that the CA makes itself."""

from typing import Self

from acmehub import PluginSettings, Secret


class LocalSettings(PluginSettings, frozen=True, kw_only=True):
    """`name`: the start of the names of root and intermediate. `lifetime_days`: the longest validity of a certificate.

    The CA makes root and intermediate (PEM, keys as PKCS #8) at its first use. To use your own, set all four; the
    root's key may stay empty, but then the intermediate is not renewed.
    """

    name: str = "acmehub local CA"
    lifetime_days: float = 90.0
    root_certificate: str = ""
    root_key: Secret = Secret("")
    intermediate_certificate: str = ""
    intermediate_key: Secret = Secret("")

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
