"""Text and addresses from outside."""

import sys
import unicodedata

import pytest

from acmehub.models.addresses import address_key, parse_address, parse_network
from acmehub.models.text import escape_controls

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CONTROLS = [*map(chr, [*range(0x20), *range(0x7F, 0xA0)]), *BIDI, "\u2028", "\u2029", "\ud800", "\udfff"]


@pytest.mark.parametrize("character", CONTROLS, ids=lambda character: f"U+{ord(character):04X}")
def test_a_control_character_is_shown_as_its_number(character: str) -> None:
    shown = escape_controls(f"a{character}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert int(shown[3:-1], 16) == ord(character)


def test_every_other_character_stays() -> None:
    others = "".join(map(chr, range(sys.maxunicode + 1))).translate(dict.fromkeys(map(ord, CONTROLS)))
    others = "".join(item for item in others if unicodedata.category(item) != "Cs")
    assert escape_controls(others) == others
    assert escape_controls("") == ""
    assert escape_controls("Bücher \\x1b") == "Bücher \\x1b"


def test_what_is_escaped_is_one_line() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert len(escape_controls(everything).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("0:0:0:0:0:FFFF:c000:0201", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1%eth0", "192.0.2.1"),
        ("::1%a\nforged line", "::1"),
    ],
)
def test_an_address_has_one_spelling(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_a_network_has_one_spelling(text: str, network: str) -> None:
    assert str(parse_network(text)) == network


@pytest.mark.parametrize("text", ["", "unknown", "192.0.2.1:443", "[::1]", "192.0.2.01", "1", " ::1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)
    with pytest.raises(ValueError):
        parse_network(text or "none")


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:db8:0:1::", "2001:db8:0:1::/64"),
        ("::1", "::/64"),
        ("", ""),
    ],
)
def test_a_subscriber_has_one_key(address: str, key: str) -> None:
    assert address_key(address) == key
