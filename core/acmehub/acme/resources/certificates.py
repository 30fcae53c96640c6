"""Issued chains (RFC 8555 section 7.4.2)."""

from acmehub.acme.server.responses import CHAIN, AcmeResponse
from acmehub.acme.server.signed import Signed, signed_post
from acmehub.models import Certificate
from acmehub.models.problems import not_found


@signed_post("/acme/cert/{certificate_id}", refused="download.refused")
async def certificate(signed: Signed) -> AcmeResponse:
    """The chain as PEM, leaf first, whatever `Accept` says, with `Link: rel="alternate"` for each alternate chain."""
    return _answer(signed, await _own(signed), 0)


@signed_post("/acme/cert/{certificate_id}/{number}", refused="download.refused")
async def alternate(signed: Signed) -> AcmeResponse:
    """An alternate chain for the same leaf, numbered from 1."""
    item = await _own(signed)
    number = signed.request.parts["number"]
    if number not in {str(index) for index in range(1, len(item.alternates) + 1)}:
        raise not_found()
    return _answer(signed, item, int(number))


async def _own(signed: Signed) -> Certificate:
    signed.nothing()
    hub = signed.request.context.hub
    item = await hub.orders.certificate(signed.actor, signed.request.parts["certificate_id"], signed.snapshot)
    await hub.learning.downloaded(item)
    return item


def _answer(signed: Signed, item: Certificate, number: int) -> AcmeResponse:
    chains = (item.chain, *item.alternates)
    urls = signed.request.context.urls
    others = (
        urls.alternate(item.id, other) if other else urls.certificate(item.id)
        for other in range(len(chains))
        if other != number
    )
    return AcmeResponse(
        body=chains[number].encode("ascii"),
        content_type=CHAIN,
        links=tuple((url, "alternate") for url in others),
    )
