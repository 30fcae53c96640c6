"""Renewal information (RFC 9773 section 4); the answer comes from the storage alone."""

from acmehub.acme.server.rendering import timestamp
from acmehub.acme.server.responses import AcmeResponse, json_response
from acmehub.acme.server.routing import Request, plain_get
from acmehub.models.problems import Problem, ProblemType, not_found
from acmehub.models.wire import RenewalInfo, SuggestedWindow
from acmehub.rules.renewal import advise, identifier, retry_after, serial_in

_CACHED_SECONDS = 300  # caches hide a new campaign for this long


@plain_get("/acme/renewal-info/{cert_id}")
async def renewal_info(request: Request) -> AcmeResponse:
    """The renewal window of one certificate; needs no signature, as it tells nothing that CT logs do not."""
    hub = request.context.hub
    text = request.parts["cert_id"]
    try:
        serial = serial_in(text)
    except ValueError as error:
        detail = f"this is no identifier of a certificate (RFC 9773 section 4.1): {ascii(str(error))[1:-1]}"
        raise Problem(ProblemType.MALFORMED, detail) from None
    same = await hub.store.certificates.by_serial(serial)
    certificate = next((item for item in same if identifier(item) == text), None)
    if certificate is None:
        raise not_found()
    now = hub.clock.now()
    campaigns = await (await hub.snapshots.current()).campaigns()
    advice = advise(certificate, campaigns.rows, now)
    seconds = retry_after(certificate, advice, hub.config.acme.renewal_info_seconds, now)
    window = SuggestedWindow(start=timestamp(advice.window.start), end=timestamp(advice.window.end))
    return json_response(
        RenewalInfo(suggested_window=window, explanation_url=advice.explanation_url or None),
        retry_after=seconds,
        cache=f"public, max-age={min(_CACHED_SECONDS, seconds)}",
    )
