"""What an operator may set of a local CA, and what it fills in itself."""

from typing import Self

from acmehub import PluginSettings, Secret


class LocalSettings(PluginSettings, frozen=True, kw_only=True):
    """`name` is the start of the CA's own names, `lifetime_days` the longest a certificate lasts.

    Root and intermediate (PEM, keys as PKCS #8) are made at first use. To bring your own, give all four: the
    intermediate's key signs, the root's key may then stay empty (the intermediate is not renewed without it).
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
