"""Renewal information (RFC 9773): a certificate's identifier, and the window in which clients should renew it.

The window comes from the first of these that applies: revocation, an operator's campaign, the CA, the certificate's
dates.
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
OPEN = 0.03  # how long the window without other information is, as a share of the validity
LEFT_AT_END = 1 / 3 - OPEN  # what is left of the validity at its end
LEFT_AT_END_OF_SHORT = 1 / 2 - OPEN
MISSED = 0.5  # how long after its end a certificate is missed that nobody renews, as a share of its validity
LONGEST_MISSED = timedelta(days=200)
SLICES = 12  # the window of a certificate is a twelfth of its campaign
STALE = timedelta(days=1)  # how long the CA's window is used after the time for the next request
SOONEST_RETRY = 60  # seconds; this and one day are the limits of RFC 9773 section 4.3.2
LATEST_RETRY = 86_400
CAMPAIGN_RETRY = 3600
NEWS_RETRY = 900  # the least, when a client waits for the CA's next window
_SECOND = timedelta(seconds=1)


class WindowOrigin(enum.StrEnum):
    """The origin of a window."""

    REVOCATION = "revocation"
    CAMPAIGN = "campaign"
    UPSTREAM = "upstream"
    DATES = "dates"


class Window(msgspec.Struct, frozen=True):
    """A renewal window in whole seconds; `end` is after `start`."""

    start: datetime
    end: datetime


class Advice(msgspec.Struct, frozen=True):
    """When to renew a certificate, the reason, and the URL of an explanation (or empty)."""

    window: Window
    origin: WindowOrigin
    explanation_url: str = ""


# ------------------------------------------------------------------------------------------------- identifiers


def cert_id_of(leaf: x509.Certificate) -> str:
    """The identifier of a certificate (RFC 9773 section 4.1); empty if it has no authority key identifier."""
    for extension in leaf.extensions:
        value = extension.value
        if type(value) is x509.AuthorityKeyIdentifier:  # isinstance of an abstract class is slow
            return cert_id(value.key_identifier or b"", leaf.serial_number)
    return ""


def cert_id(key_identifier: bytes, serial: int) -> str:
    """The identifier for an authority key identifier and a serial number; empty without the former."""
    if not key_identifier:
        return ""
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")  # as in DER: a high first bit needs another octet
    return f"{encode_base64url(key_identifier)}.{encode_base64url(octets)}"


def cert_id_in(chain: str) -> str:
    """The identifier of the leaf of a chain (PEM); empty when there is none."""
    end = "-----END CERTIFICATE-----"
    try:
        return cert_id_of(x509.load_pem_x509_certificate((chain.partition(end)[0] + end).encode()))
    except UNREADABLE:
        return ""


def serial_in(text: str) -> str:
    """The serial number in an identifier, as in `Certificate.serial`. Raises `ValueError` for an invalid identifier."""
    issuer, _, serial = text.partition(".")
    octets = decode_base64url(serial)
    if not decode_base64url(issuer) or not octets:
        raise ValueError("both parts are needed: key identifier '.' serial number")
    if octets[0] & 0x80 or len(octets) > MOST_SERIAL_OCTETS:
        raise ValueError("the serial number is not a positive DER integer of at most 20 octets")
    return octets.lstrip(b"\0").hex() or "00"


def serial_or_none(text: str) -> str | None:
    """`serial_in`, but None for an invalid identifier."""
    try:
        return serial_in(text)
    except ValueError:
        return None


def identifier(certificate: Certificate) -> str:
    """A stored certificate's identifier, read from its chain if it was stored without."""
    return certificate.cert_id or cert_id_in(certificate.chain)


# ----------------------------------------------------------------------------------------------------- windows


def advise(certificate: Certificate, campaigns: Iterable[Campaign], now: datetime) -> Advice:
    """When to renew a certificate; of several campaigns, the one with the earliest window for it."""
    if certificate.revoked is not None:
        end = min(certificate.revoked, now)
        return Advice(_window(end - timedelta(hours=1), end - _SECOND), WindowOrigin.REVOCATION)
    ordinary = _ordinary(certificate, now)
    found = [
        (window.start, window, campaign)
        for campaign in campaigns
        if concerns(campaign, certificate) and (window := campaign_window(campaign, certificate.id, ordinary.window))
    ]
    if not found:
        return ordinary
    _, window, campaign = min(found, key=lambda item: item[0])
    return Advice(window, WindowOrigin.CAMPAIGN, campaign.explanation_url)


def concerns(campaign: Campaign, certificate: Certificate) -> bool:
    """Whether a campaign has not ended and covers the certificate."""
    return (
        campaign.ended is None
        and certificate.created < campaign.created
        and campaign.authority_id in ("", certificate.authority_id)
        and campaign.profile in ("", certificate.profile)
        and campaign.principal_id in ("", certificate.principal_id)
        and (not campaign.names or any(map(match_rule(campaign.names).matches, certificate.names)))
    )


def campaign_window(campaign: Campaign, certificate_id: str, ordinary: Window) -> Window | None:
    """A certificate's window in a campaign; ids spread the windows evenly over the campaign.

    It does not end after the ordinary window. None when the ordinary window ends before the campaign starts.
    """
    end = min(campaign.renew_by, ordinary.end)
    length = end - campaign.starts
    if length <= timedelta(0):
        return None
    width = length / SLICES
    start = campaign.starts + (length - width) * share(certificate_id)
    return _window(start, start + width)


def share(certificate_id: str) -> float:
    """A number from 0 to 1 that depends only on the id; evenly distributed over ids."""
    return int.from_bytes(hashlib.sha256(certificate_id.encode()).digest()[:6], "big") / 2**48


def _ordinary(certificate: Certificate, now: datetime) -> Advice:
    start, end, until = certificate.window_start, certificate.window_end, certificate.window_until
    if start is not None and end is not None and until is not None and start < end and now < until + STALE:
        return Advice(_window(start, end), WindowOrigin.UPSTREAM, certificate.explanation_url)
    return Advice(default_window(certificate.not_before, certificate.not_after), WindowOrigin.DATES)


def default_window(not_before: datetime, not_after: datetime) -> Window:
    """The window without other information: it starts after two thirds of the validity (half, if that is short) and is
    3 % of the validity long."""
    life = not_after - not_before
    left = life / 2 if life < SHORT_LIVED else life / 3
    start = not_after - left
    return _window(start, start + life * OPEN)


def _window(start: datetime, end: datetime) -> Window:
    """A window in whole seconds that is not empty (RFC 9773 section 4.2)."""
    end = end.replace(microsecond=0)
    return Window(min(start.replace(microsecond=0), end - _SECOND), end)


def retry_after(certificate: Certificate, advice: Advice, usual: int, now: datetime) -> int:
    """Retry-After for a client in seconds: less than `usual` in a campaign, or when the hub asks the CA sooner."""
    seconds = usual
    if advice.origin is WindowOrigin.CAMPAIGN:
        seconds = min(seconds, CAMPAIGN_RETRY)
    until = certificate.window_until
    if until is not None and until > now:
        seconds = min(seconds, max(NEWS_RETRY, int((until - now).total_seconds())))
    return seconds


def clamped(retry: float | None, usual: float) -> float:
    """Seconds until the hub asks the CA again: its Retry-After or else `usual`, within RFC 9773 section 4.3.2."""
    return min(max(retry if retry is not None else usual, SOONEST_RETRY), LATEST_RETRY)
