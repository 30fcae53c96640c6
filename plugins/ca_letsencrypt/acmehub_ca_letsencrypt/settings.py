"""Settings of a Let's Encrypt authority."""

from typing import Annotated, Literal, Self

from msgspec import Meta

from acmehub import PluginSettings, RelaySettings

DIRECTORIES = {
    "production": "https://acme-v02.api.letsencrypt.org/directory",
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
POLL_FIRST = 0.5  # seconds: it validates and signs within a second or a few
TERMS = "https://letsencrypt.org/repository/"


class LetsEncryptSettings(PluginSettings, frozen=True, kw_only=True):
    """The environment, the agreement, and the other settings of `RelaySettings` that Let's Encrypt has a use for."""

    environment: Annotated[
        Literal["production", "staging"],
        Meta(description="staging has generous limits, and a root that clients do not trust"),
    ] = "production"
    terms_of_service_agreed: Annotated[
        bool, Meta(description="true: the operator agrees to Let's Encrypt's subscriber agreement")
    ] = False
    email: Annotated[str, Meta(description="the account's contact")] = ""
    account_key_type: Annotated[
        Literal["ec256", "ec384", "rsa2048", "rsa3072", "rsa4096"], Meta(description="of the account's key")
    ] = "ec256"
    preferred_chain: Annotated[str, Meta(description="common name of the preferred topmost issuer")] = ""
    profile: Annotated[str, Meta(description="requested when the client names none")] = ""
    timeout: Annotated[float, Meta(description="seconds that the CA may be silent")] = 30.0

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
            poll_first=POLL_FIRST,
            terms_of_service_agreed=self.terms_of_service_agreed,
        )
