"""Figures of the ACME client: what the documentation promises, and what bounds what a CA can cost."""

import pytest

from acmehub.upstream import authority, directories, documents, exchange, failures, hosts, keys, members, nonces, steps
from tests.figures import is_said


@pytest.mark.parametrize(
    ("figure", "value", "page", "words"),
    [
        (exchange.LONGEST_RETRY_AFTER, 3600.0, "reliability.md", "(seconds or an HTTP date), up to an hour"),
        (steps.LONGEST_RENEWAL_RETRY, 86_400.0, "renewal.md", "a day"),
    ],
)
def test_what_the_documentation_says_holds(figure: float, value: float, page: str, words: str) -> None:
    assert figure == value
    assert is_said(page, words)


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (authority.CONNECTIONS, 32),
        (exchange.NONCE_ATTEMPTS, 8),
        (exchange._SPARE_REDIRECTS, 5),
        (directories.LIFETIME, 3600.0),
        (nonces.LIFETIME, 300.0),
        (nonces._MOST, 64),
        (keys._QUICK_RSA, 2048),
    ],
)
def test_what_a_ca_is_asked_for_is_bounded(figure: float, value: float) -> None:
    assert figure == value


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (members.LONGEST_TEXT, 2000),
        (documents._LONGEST_STATUS, 32),
        (documents._MOST_ALTERNATES, 8),
        (documents._MOST_LINKS, 64),
        (documents._MOST_CHALLENGES, 32),
        (failures._LONGEST_TYPE, 200),
        (failures._MOST_PARTS, 100),
        (hosts._SHOWN, 200),
    ],
)
def test_what_is_read_of_an_answer_is_bounded(figure: int, value: int) -> None:
    assert figure == value


def test_the_answers_that_stand_for_something_else() -> None:
    assert exchange._REDIRECTS == (301, 302, 303, 307, 308)
    assert exchange._NOTHING == (400, 404, 410)
    assert steps._ALIVE == ("valid", "")
