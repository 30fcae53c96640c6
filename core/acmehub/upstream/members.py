"""A CA's JSON, read member by member: one that is missing, null, empty or of another type is absent."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from acmehub.models.text import escape_controls

LONGEST_TEXT = 2000


class Members:
    """The members of one JSON object."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def text(self, name: str, longest: int = LONGEST_TEXT) -> str:
        """A text for people or for comparison, fit to be stored and shown; empty when absent."""
        return words(self._members.get(name), longest)

    def plain(self, name: str) -> str:
        """A text as it is, for a caller that checks its characters (a URL, a time); empty when absent."""
        value = self._members.get(name)
        return value.strip() if isinstance(value, str) else ""

    def flag(self, name: str) -> bool:
        """Whether a member is `true`."""
        return self._members.get(name) is True

    def number(self, name: str) -> int:
        """An integer, or a text of digits; 0 when absent."""
        value = self._members.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    def array(self, name: str) -> list[Any]:
        """An array; empty when absent."""
        value = self._members.get(name)
        return value if isinstance(value, list) else []

    def texts(self, name: str) -> list[str]:
        """The texts of an array, as they are."""
        return [item.strip() for item in self.array(name) if isinstance(item, str) and item.strip()]

    def objects(self, name: str) -> list["Members"]:
        """The objects of an array."""
        return [Members(item) for item in self.array(name) if isinstance(item, dict) and item]

    def object(self, name: str) -> "Members | None":
        """An object; None when absent."""
        value = self._members.get(name)
        return Members(value) if isinstance(value, dict) and value else None

    def has(self, name: str) -> bool:
        """Whether a member is there, and neither null nor empty."""
        return bool(self._members.get(name))

    def names(self) -> list[str]:
        """The names of all members."""
        return [name for name in map(words, self._members) if name]


def decode(body: bytes) -> Members | None:
    """The JSON object in `body`; None when there is none."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = _decode_leniently(body)
    return Members(found) if isinstance(found, dict) else None


def _decode_leniently(body: bytes) -> Any:
    """JSON with what msgspec refuses anywhere in it: numbers out of range, half of a surrogate pair."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def words(value: object, longest: int = LONGEST_TEXT) -> str:
    """A text of a CA in one line of at most `longest` characters, without control characters; empty for any other
    value."""
    if not isinstance(value, str):
        return ""
    text = value.strip()[:longest]
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return escape_controls(text)[:longest]
