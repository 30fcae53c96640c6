"""When a certificate should be renewed (RFC 9773): its identifier, and the window that clients are told.

A window comes, first that applies: from the certificate's revocation, from an operator's campaign, from the CA that
issued it, from its dates.
"""

import enum
import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from cryptography import x509

from acmehub.models import Campaign, Certificate
from acmehub.rules.csr import UNREADABLE
from acmehub.rules.jws import decode_base64url, encode_base64url
from acmehub.rules.scopes import match_rule

MOST_SERIAL_OCTETS = 21  # RFC 5280 section 4.1.2.2: 20, and one for the sign
SHORT_LIVED = timedelta(days=10)
SLICES = 12  # of a campaign's time, one of which is a certificate's
STALE = timedelta(days=1)  # what the CA said may be so much overdue
SOONEST_RETRY = 60  # seconds, and one day: what clients are to keep to (RFC 9773 section 4.3.2)
LATEST_RETRY = 86_400
CAMPAIGN_RETRY = 3600
NEWS_RETRY = 900  # not sooner, for the sake of what the CA may say next
_SECOND = timedelta(seconds=1)


class Origin(enum.StrEnum):
    """Where a window comes from."""

    REVOCATION = "revocation"
    CAMPAIGN = "campaign"
    UPSTREAM = "upstream"
    DATES = "dates"


class Window(msgspec.Struct, frozen=True):
    """From `start` to `end`, whole seconds, `end` behind `start`."""

    start: datetime
    end: datetime


class Advice(msgspec.Struct, frozen=True):
    """When to renew a certificate, why then, and the page that says more (or empty)."""

    window: Window
    origin: Origin
    explanation_url: str = ""


# ------------------------------------------------------------------------------------------------- identifiers


def cert_id_of(leaf: x509.Certificate) -> str:
    """The identifier of a certificate (RFC 9773 section 4.1); empty when it does not name its issuer's key."""
    for extension in leaf.extensions:
        value = extension.value
        if type(value) is x509.AuthorityKeyIdentifier:  # isinstance of an abstract class is slow
            return cert_id(value.key_identifier or b"", leaf.serial_number)
    return ""


def cert_id(key_identifier: bytes, serial: int) -> str:
    """The identifier made of the issuer's key identifier and the serial number; empty without the former."""
    if not key_identifier:
        return ""
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")  # as DER has it: a high first bit takes one more
    return f"{encode_base64url(key_identifier)}.{encode_base64url(octets)}"


def cert_id_in(chain: str) -> str:
    """The identifier of the leaf of a chain (PEM); empty when there is none."""
    end = "-----END CERTIFICATE-----"
    try:
        return cert_id_of(x509.load_pem_x509_certificate((chain.partition(end)[0] + end).encode()))
    except UNREADABLE:
        return ""


def serial_in(text: str) -> str:
    """The serial number in an identifier, as `Certificate.serial` has it; `ValueError` for what is no identifier."""
    issuer, _, serial = text.partition(".")
    octets = decode_base64url(serial)
    if not decode_base64url(issuer) or not octets:
        raise ValueError("both parts are needed: key identifier '.' serial number")
    if octets[0] & 0x80 or len(octets) > MOST_SERIAL_OCTETS:
        raise ValueError("the serial number is not a positive DER integer of at most 20 octets")
    return octets.lstrip(b"\0").hex() or "00"


def serial_or_none(text: str) -> str | None:
    """As `serial_in`, but None for what is no identifier."""
    try:
        return serial_in(text)
    except ValueError:
        return None


def identifier(certificate: Certificate) -> str:
    """A stored certificate's identifier, also of one that was stored before the hub kept them."""
    return certificate.cert_id or cert_id_in(certificate.chain)


# ----------------------------------------------------------------------------------------------------- windows


def advise(certificate: Certificate, campaigns: Iterable[Campaign], now: datetime) -> Advice:
    """When to renew a certificate; of several campaigns the one that is earliest for it counts."""
    if certificate.revoked is not None:
        end = min(certificate.revoked, now)
        return Advice(_window(end - timedelta(hours=1), end - _SECOND), Origin.REVOCATION)
    ordinary = _ordinary(certificate, now)
    found = [
        (window.start, window, campaign)
        for campaign in campaigns
        if concerns(campaign, certificate) and (window := campaign_window(campaign, certificate.id, ordinary.window))
    ]
    if not found:
        return ordinary
    _, window, campaign = min(found, key=lambda item: item[0])
    return Advice(window, Origin.CAMPAIGN, campaign.explanation_url)


def concerns(campaign: Campaign, certificate: Certificate) -> bool:
    """Whether a campaign is on and asks for the certificate's renewal."""
    return (
        campaign.ended is None
        and certificate.created < campaign.created
        and campaign.authority_id in ("", certificate.authority_id)
        and campaign.profile in ("", certificate.profile)
        and campaign.principal_id in ("", certificate.principal_id)
        and (not campaign.names or any(map(match_rule(campaign.names).matches, certificate.names)))
    )


def campaign_window(campaign: Campaign, certificate_id: str, ordinary: Window) -> Window | None:
    """The slice of a campaign's time that is a certificate's, by its id, and so spread evenly over all.

    It never ends behind the ordinary window; None when that one has ended before the campaign starts.
    """
    end = min(campaign.renew_by, ordinary.end)
    length = end - campaign.starts
    if length <= timedelta(0):
        return None
    width = length / SLICES
    start = campaign.starts + (length - width) * share(certificate_id)
    return _window(start, start + width)


def share(certificate_id: str) -> float:
    """A certificate's place among all others: evenly distributed from 0 to 1, always the same for the same id."""
    return int.from_bytes(hashlib.sha256(certificate_id.encode()).digest()[:6], "big") / 2**48


def _ordinary(certificate: Certificate, now: datetime) -> Advice:
    start, end, until = certificate.window_start, certificate.window_end, certificate.window_until
    if start is not None and end is not None and until is not None and start < end and now < until + STALE:
        return Advice(_window(start, end), Origin.UPSTREAM, certificate.explanation_url)
    return Advice(default_window(certificate.not_before, certificate.not_after), Origin.DATES)


def default_window(not_before: datetime, not_after: datetime) -> Window:
    """Where the last third of a certificate's life begins, of a short-lived one's the second half; 3 % of it wide."""
    life = not_after - not_before
    left = life / 2 if life < SHORT_LIVED else life / 3
    start = not_after - left
    return _window(start, start + life * 0.03)


def _window(start: datetime, end: datetime) -> Window:
    """Whole seconds; never empty, for that is invalid (RFC 9773 section 4.2)."""
    end = end.replace(microsecond=0)
    return Window(min(start.replace(microsecond=0), end - _SECOND), end)


def retry_after(certificate: Certificate, advice: Advice, usual: int, now: datetime) -> int:
    """Seconds until a client should ask again: sooner than usual in a campaign, and when the CA is to be asked."""
    seconds = usual
    if advice.origin is Origin.CAMPAIGN:
        seconds = min(seconds, CAMPAIGN_RETRY)
    until = certificate.window_until
    if until is not None and until > now:
        seconds = min(seconds, max(NEWS_RETRY, int((until - now).total_seconds())))
    return seconds


def clamped(retry: float | None, usual: float) -> float:
    """Seconds until the CA is asked again, within what RFC 9773 section 4.3.2 says; `usual` when it does not say."""
    return min(max(retry if retry is not None else usual, SOONEST_RETRY), LATEST_RETRY)
