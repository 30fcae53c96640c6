"""Settings of a Let's Encrypt authority."""

from typing import Literal, Self

from acmehub import PluginSettings, RelaySettings

DIRECTORIES = {
    "production": "https://acme-v02.api.letsencrypt.org/directory",
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
TERMS = "https://letsencrypt.org/repository/"


class LetsEncryptSettings(PluginSettings, frozen=True, kw_only=True):
    """`environment`: `production`, or `staging`, which has generous limits and a root that clients do not trust.

    By setting `terms_of_service_agreed` to true, the operator agrees to Let's Encrypt's subscriber agreement. The other
    settings are those of `RelaySettings`.
    """

    environment: Literal["production", "staging"] = "production"
    terms_of_service_agreed: bool = False
    email: str = ""
    account_key_type: Literal["ec256", "ec384", "rsa2048", "rsa3072", "rsa4096"] = "ec256"
    preferred_chain: str = ""
    profile: str = ""
    timeout: float = 30.0

    def validate(self) -> Self:
        if not self.terms_of_service_agreed:
            raise ValueError(
                f"terms_of_service_agreed: read the subscriber agreement at {TERMS} and set it to true"
                " - `$.terms_of_service_agreed`"
            )
        self.relay_settings().validate()
        return self

    def relay_settings(self) -> RelaySettings:
        """These settings for `AcmeRelay`."""
        return RelaySettings(
            directory=DIRECTORIES[self.environment],
            email=self.email,
            account_key_type=self.account_key_type,
            preferred_chain=self.preferred_chain,
            profile=self.profile,
            timeout=self.timeout,
            terms_of_service_agreed=self.terms_of_service_agreed,
        )
