"""Figures of administration: what the documentation promises, and what bounds a list, a text, a line."""

import pytest

from acmehub.admin.access import names
from acmehub.admin.operations import audit, backup_file
from acmehub.admin.operations.certificates import REASONS
from acmehub.admin.resources import campaign_progress, campaigns, profile_fields, rows, service, token_fields, tokens
from tests.figures import is_said


def test_what_the_documentation_says_holds() -> None:
    assert backup_file._LONGEST == 16 * 1024 * 1024
    assert is_said("security.md", "reads none that is larger than 16 MiB")


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (names._MOST_COUNTED, 1000),
        (names._SHOWN, 3),
        (campaigns.SHOWN, 5),
        (campaigns._LONGEST_REASON, 500),
        (profile_fields._MAX_DESCRIPTION, 500),
        (profile_fields._MAX_DAYS, 3650),
        (rows.MAX_VALUE, 200),
        (service.MAX_NAME, 100),
        (token_fields._MOST_USES, 2_147_483_647),
        (tokens.SECRET_BYTES, 32),
    ],
)
def test_what_is_shown_and_stored_is_bounded(figure: int, value: int) -> None:
    assert figure == value


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (audit.PAGE, 500),
        (backup_file._PAGE, 500),
        (backup_file._LEVEL, 1),
        (backup_file.FORMAT, 1),
        (campaign_progress.PAGE, 500),
        (tokens._ACCOUNTS_AT_ONCE, 500),
    ],
)
def test_rows_go_through_memory_in_pages_of_one_format(figure: int, value: int) -> None:
    assert figure == value


def test_reasons_of_a_revocation_have_the_numbers_of_rfc_5280() -> None:
    assert REASONS == {
        "unspecified": 0,
        "keyCompromise": 1,
        "affiliationChanged": 3,
        "superseded": 4,
        "cessationOfOperation": 5,
        "privilegeWithdrawn": 9,
    }
