"""What a CA has paused: read from its words, kept once, found for an order."""

import pytest

from acmehub.models import Pause
from acmehub.models.identifiers import Identifier
from acmehub.rules.pauses import MOST_PAUSES, pause_for, pause_of, with_pause
from acmehub.testing.store_samples import NOW


def names(*values: str) -> list[Identifier]:
    return [Identifier("dns", value) for value in values]


@pytest.mark.parametrize(
    ("words", "paused"),
    [
        ("Your account is paused.", ()),
        ("paused for WWW.corp.test. Visit https://ca.test/", ("www.corp.test",)),
        ('paused: "corp.test", "www.corp.test"', ("*.corp.test", "corp.test", "www.corp.test")),
        ("paused: *.corp.test", ("*.corp.test",)),
        ("paused: www.corp.test.example, my-www.corp.test, xwww.corp.test, a.www.corp.test", ()),
        ("paused: wwwxcorp.test", ()),
    ],
)
def test_the_names_of_the_order_that_stand_in_the_words_are_paused_else_the_account(
    words: str, paused: tuple[str, ...]
) -> None:
    pause = pause_for(words, names("www.corp.test", "corp.test", "*.corp.test"), NOW)
    assert (pause.since, pause.detail, pause.names) == (NOW, words, paused)


def test_long_words_are_cut() -> None:
    assert len(pause_for("x" * 5000, names("a.test"), NOW).detail) == 2000


def test_a_pause_is_kept_once_and_not_without_end() -> None:
    first = Pause(NOW, "paused", ("a.test",))
    kept = with_pause((), first)
    assert with_pause(kept, Pause(NOW, "again", ("a.test",))) is kept
    for number in range(MOST_PAUSES):
        kept = with_pause(kept, Pause(NOW, "paused", (f"{number}.test",)))
    assert len(kept) == MOST_PAUSES
    assert first not in kept


def test_a_pause_counts_for_its_names_and_one_of_the_account_for_all() -> None:
    named, whole = Pause(NOW, "named", ("a.test",)), Pause(NOW, "account")
    assert pause_of((), names("a.test")) is None
    assert pause_of((named,), names("b.test")) is None
    assert pause_of((named,), names("b.test", "A.test")) is named
    assert pause_of((named, whole), names("b.test")) is whole
