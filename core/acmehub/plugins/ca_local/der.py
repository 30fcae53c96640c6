"""The DER (X.690) that a leaf certificate needs.

The builder of `cryptography` takes three times as long as the signature, to convert objects that do not change. This
module encodes the parts that differ between leaves; `cryptography` encodes the constant parts once.
"""

from datetime import UTC, datetime

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
UTF8_STRING = 0x0C
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31
DNS_NAME = 0x82  # GeneralName [2], RFC 5280 section 4.2.1.6
IP_ADDRESS = 0x87  # GeneralName [7]
EXTENSIONS = 0xA3  # TBSCertificate [3]

TRUE = b"\x01\x01\xff"
VERSION_3 = b"\xa0\x03\x02\x01\x02"
COMMON_NAME = b"\x06\x03\x55\x04\x03"
SUBJECT_KEY_IDENTIFIER = b"\x06\x03\x55\x1d\x0e"
SUBJECT_ALTERNATIVE_NAME = b"\x06\x03\x55\x1d\x11"


def wrap(tag: int, content: bytes) -> bytes:
    """One element: tag, length, content."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def time(when: datetime) -> bytes:
    """A time in whole seconds, in the form that RFC 5280 section 4.1.2.5 requires for its year."""
    when = when.astimezone(UTC)
    text = f"{when:%Y%m%d%H%M%S}Z".encode()
    return wrap(UTC_TIME, text[2:]) if when.year < 2050 else wrap(GENERALIZED_TIME, text)


def common_name(name: str) -> bytes:
    """A distinguished name with only a common name; an empty one for an empty text."""
    if not name:
        return wrap(SEQUENCE, b"")
    attribute = wrap(SEQUENCE, COMMON_NAME + wrap(UTF8_STRING, name.encode()))
    return wrap(SEQUENCE, wrap(SET, attribute))


def extension(oid: bytes, value: bytes, *, critical: bool = False) -> bytes:
    """One extension; `value` is the DER of its content."""
    return wrap(SEQUENCE, oid + (TRUE if critical else b"") + wrap(OCTET_STRING, value))
