"""Contacts of an account: plain `mailto` URLs with one address each (RFC 8555 section 7.3)."""

import re
from collections.abc import Sequence
from urllib.parse import unquote

from acmehub.models.problems import Problem, ProblemType

_MOST = 10
_LONGEST = 254  # RFC 5321 errata 1690
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=^_`{|}~-]+)*"
    r"@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+"
)


def check_contacts(contacts: Sequence[str]) -> tuple[str, ...]:
    """The contacts as they are stored: blanks around the address, which getssl sends, are left out.

    Raises `unsupportedContact` for a scheme other than `mailto`, `invalidContact` if it is not exactly one address.
    """
    if len(contacts) > _MOST:
        raise _invalid(f"{len(contacts)} contacts; at most {_MOST} are kept")
    checked = []
    for contact in contacts:
        scheme, colon, rest = contact.partition(":")
        rest = rest.strip(" ")
        if not colon or scheme.lower() != "mailto":
            raise Problem(
                ProblemType.UNSUPPORTED_CONTACT, f"contact {contact[:64]!a}: only mailto: addresses are supported"
            )
        if "?" in rest:
            raise _invalid(f"contact {contact[:64]!a}: header fields are not allowed")
        address = unquote(rest)
        if "," in address:
            raise _invalid(f"contact {contact[:64]!a}: one address per contact")
        if len(address) > _LONGEST or not _ADDRESS.fullmatch(address):
            raise _invalid(f"contact {contact[:64]!a} is not a mail address")
        checked.append(f"{scheme}:{rest}")
    return tuple(checked)


def _invalid(detail: str) -> Problem:
    return Problem(ProblemType.INVALID_CONTACT, detail)
