"""Validates challenges that clients have responded to (mode `verify`)."""

import asyncio

from acmehub.config import Verify
from acmehub.dns01 import Solver
from acmehub.models import Authorization, ChallengeType
from acmehub.models.problems import ProblemType
from acmehub.validation.dns01 import Dns01
from acmehub.validation.egress import Egress
from acmehub.validation.errors import ValidationFailed
from acmehub.validation.http01 import Http01
from acmehub.validation.tls_alpn01 import TlsAlpn01

USER_AGENT = "acmehub (ACME validation)"


class Validator:
    """Makes one validation attempt per call; between calls it keeps how often each target was asked."""

    def __init__(self, solver: Solver, settings: Verify) -> None:
        resolver = solver.resolver.asking(settings.resolvers)
        egress = Egress(settings, resolver)
        self._seconds = settings.timeout
        self._dns01 = Dns01(settings, egress, resolver)
        self._http01 = Http01(settings, egress, USER_AGENT)
        self._tls_alpn01 = TlsAlpn01(settings, egress)

    async def validate(self, authorization: Authorization, thumbprint: str) -> str:
        """Validate the challenge that the client has responded to; returns where the proof was found, for people.

        `thumbprint` is that of the account's key (RFC 7638). Raises `ValidationFailed`.
        """
        proof = key_authorization(authorization.token, thumbprint)
        name = authorization.identifier.value
        if authorization.answered is ChallengeType.DNS_01:
            return await self._dns01.validate(name, proof)
        trail: list[str] = []
        try:
            async with asyncio.timeout(self._seconds):
                if authorization.answered is ChallengeType.HTTP_01:
                    return await self._http01.validate(name, authorization.token, proof, trail)
                return await self._tls_alpn01.validate(authorization.identifier, proof, trail)
        except TimeoutError as error:
            if not trail:
                raise ValidationFailed(
                    ProblemType.DNS, f"{name}: no answer from DNS within {self._seconds:g} s"
                ) from error
            message = f"{name}: no complete answer within {self._seconds:g} s (last tried: {trail[-1]})"
            raise ValidationFailed(ProblemType.CONNECTION, message) from error


def key_authorization(token: str, thumbprint: str) -> str:
    """The key authorization of a challenge (RFC 8555 section 8.1)."""
    return f"{token}.{thumbprint}"
