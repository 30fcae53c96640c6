"""revokeCert (RFC 8555 section 7.6)."""

import msgspec

from acmehub.acme.server.responses import AcmeResponse
from acmehub.acme.server.signed import KeySigned, Signed, any_signed_post
from acmehub.models.wire import RevokeCert

_REVOKE = msgspec.json.Decoder(RevokeCert)


@any_signed_post("/acme/revoke-cert", refused="certificate.revoke")
async def revoke_certificate(signed: Signed | KeySigned) -> AcmeResponse:
    """Signed by an account, or by the certificate's own key; 200 without a body once the authority has confirmed."""
    revocations, asked = signed.request.context.hub.client_revocations, signed.object(_REVOKE)
    if isinstance(signed, Signed):
        await revocations.by_account(signed.actor, asked, signed.address)
    else:
        await revocations.by_key(signed.jwk, asked, signed.accept, signed.address)
    return AcmeResponse()
