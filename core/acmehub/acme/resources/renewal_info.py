"""When to renew a certificate (RFC 9773 section 4): unsigned, answered from what is stored alone."""

from acmehub.acme.server.rendering import timestamp
from acmehub.acme.server.responses import Answer, json_answer
from acmehub.acme.server.routing import Request, plain_get
from acmehub.models.problems import Problem, ProblemType, not_found
from acmehub.models.wire import RenewalInfo, SuggestedWindow
from acmehub.rules.renewal import advise, identifier, retry_after, serial_in

_CACHED_SECONDS = 300  # so long others may repeat it; a new campaign is not to be hidden for hours


@plain_get("/acme/renewal-info/{cert_id}")
async def renewal_info(request: Request) -> Answer:
    """The window of one certificate; everybody may ask, as it says nothing that is in no log of certificates."""
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
    return json_answer(
        RenewalInfo(suggested_window=window, explanation_url=advice.explanation_url or None),
        retry_after=seconds,
        cache=f"public, max-age={min(_CACHED_SECONDS, seconds)}",
    )
