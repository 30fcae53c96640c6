"""What a renewal tells the CA: which certificate it replaces, where the CA can use that (RFC 9773 section 5)."""

from msgspec.structs import replace

from acmehub.issuance.job import Job
from acmehub.models import Certificate, EventKind
from acmehub.ports.authority import IssueRequest, UpstreamAccount
from acmehub.rules.renewal import identifier, serial_or_none


async def upstream_request(job: Job, account: UpstreamAccount) -> IssueRequest:
    """What is asked of the CA; with `replaces` only when the same account has the certificate from the same CA."""
    cert_id = job.order.replaces
    job.sent_replaces = False
    if cert_id is None:
        return job.request
    why = _objection(await _certificate(job, cert_id), job, account)
    if not why:
        job.sent_replaces = True
        return job.request
    if job.order.attempts == 0:
        job.noted.append(job.event(EventKind.REPLACES_NOT_SENT, why, exchange=False))
    return replace(job.request, replaces=None)


async def _certificate(job: Job, cert_id: str) -> Certificate | None:
    same = await job.context.store.certificates.by_serial(serial_or_none(cert_id) or "")
    return next((item for item in same if identifier(item) == cert_id), None)


def _objection(certificate: Certificate | None, job: Job, account: UpstreamAccount) -> str:
    if certificate is None:
        return "the certificate is not kept any more"
    if certificate.authority_id != job.order.authority_id:
        return "the certificate is another authority's"
    if certificate.account_url != account.url:
        return "the certificate is another upstream account's"
    return ""
