"""Places: shared out among groups, given back by who waits, few for who does not answer."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from acmehub.runtime import places
from acmehub.runtime.places import FEW, Groups, Places


def made(count: int = 64, *, shared: bool = True, freed: Callable[[], None] = lambda: None) -> Places:
    return Places(count, freed, shared=shared)


def fill(of: Places, *shares: str, crowd: str = "", jobs: int = 1000) -> int:
    """As many jobs of these groups as may begin, at most `jobs`; how many they were."""
    groups = Groups(shares, crowd or f"crowd {shares}")
    for number in range(jobs):
        if not of.open_to(groups):
            return number
        of.take(f"{crowd}{shares}{number}", groups)
    return jobs


def test_one_group_gets_most_places_and_those_that_come_later_find_some() -> None:
    shares = made()
    assert [fill(shares, name) for name in "abcd"] == [48, 12, 3, 1]
    assert shares.free == 0


def test_a_group_with_more_than_its_share_gets_none_back_before_the_others_have_theirs() -> None:
    shares = made()
    fill(shares, "a"), fill(shares, "b")
    for number in range(24):
        shares.leave(f"('a',){number}")
    assert "b" not in shares.full()
    assert fill(shares, "b") > 10


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64])
def test_a_claim_for_the_room_never_gives_a_group_more_than_its_share(count: int) -> None:
    one_by_one, at_once = made(count), made(count)
    most = fill(one_by_one, "a")
    taken = 0
    while "a" not in at_once.full() and (room := at_once.room()):
        for _ in range(room):
            at_once.take(f"{taken}", Groups(("a",), "a x"))
            taken += 1
    assert taken == most


def test_a_group_is_not_robbed_by_another_kind_of_group() -> None:
    """Many principals at one authority: it is the authority that is full."""
    shares = made()
    for number in range(60):
        fill(shares, "ca", f"p{number}", crowd="ca", jobs=1)
    assert "ca" in shares.full()
    assert fill(shares, "other", "p99", jobs=5) == 5


async def test_a_job_that_waits_gives_its_place_back_and_takes_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PLACE_SECONDS", 0.01)
    woken = asyncio.Event()
    shares = made(2, freed=woken.set)
    shares.take("1", Groups(("a",), "c"))
    with shares.waiting("1"):
        assert shares.free == 1
        await woken.wait()
        assert shares.free == 2
        assert fill(shares, "b", crowd="d", jobs=2) == 2
    assert shares.free == -1
    assert shares.room() == 0
    shares.leave("1")
    assert shares.free == 0


async def test_each_job_that_waits_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One timer serves them all: who began later, or again, gives its place back later."""
    monkeypatch.setattr(places, "PLACE_SECONDS", 0.4)
    given: asyncio.Queue[int] = asyncio.Queue()
    shares = made(4, freed=lambda: given.put_nowait(shares.free))
    for name in "abc":
        shares.take(name, Groups((name,), name))
    with shares.waiting("a"):
        pass
    with shares.waiting("b"):
        await asyncio.sleep(0.2)
        with shares.waiting("a"), shares.waiting("c"):
            assert await given.get() == 2
            assert await given.get() in (3, 4)  # c began a moment later
            while shares.free < 4:
                await given.get()
        assert shares.free == 2
    assert shares.free == 1


async def test_a_crowd_that_waits_is_no_larger_than_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PLACE_SECONDS", 0.0)
    shares = made(4)
    begun = 0
    with ExitStack() as waits:
        while shares.open_to(Groups(("a",), "a x")):
            shares.take(f"{begun}", Groups(("a",), "a x"))
            waits.enter_context(shares.waiting(f"{begun}"))
            begun += 1
            await asyncio.sleep(0.001)
        assert begun == 4
        assert shares.open_to(Groups(("b",), "b x"))


def test_a_group_that_does_not_answer_gets_few_places_until_it_answers() -> None:
    shares = made()
    shares.answers("a", yes=False)
    assert fill(shares, "a") == FEW
    assert shares.room() >= 1
    shares.answers("a", yes=True)
    assert fill(shares, "a", crowd="more") > 40


def test_the_room_is_never_more_than_what_is_left_of_a_group_that_does_not_answer() -> None:
    shares = made()
    shares.answers("a", yes=False)
    fill(shares, "a", jobs=FEW - 1)
    assert shares.room() == 1


def test_places_that_are_not_shared_go_to_anybody() -> None:
    plain = made(8, shared=False)
    assert plain.room() == 8
    for number in range(8):
        plain.take(f"{number}", Groups(("a",)))
    assert plain.room() == 0
    assert plain.full() == frozenset()


async def test_a_job_that_comes_back_is_first_in_its_turn_and_before_those_that_are_claimed() -> None:
    freed: list[int] = []
    shares = made(2, freed=lambda: freed.append(shares.free))
    for name in ("1", "2"):
        shares.take(name, Groups((name,)))
    back = [asyncio.create_task(shares.come_back(key, Groups((key,)))) for key in ("older", "old")]
    newest = asyncio.create_task(shares.come_back("a", Groups(("x",))))
    await asyncio.sleep(0)
    shares.leave("1")
    await asyncio.wait({newest})
    assert not freed, "no claim may have the place"
    assert [task.done() for task in back] == [False, False]
    back[1].cancel()
    await asyncio.wait({back[1]})
    shares.leave("2")
    await asyncio.wait({back[0]})
    assert (shares.free, freed) == (0, [])
    shares.leave("a")
    assert freed == [1]


async def test_a_job_of_a_full_group_that_comes_back_lets_others_pass() -> None:
    shares = made(4)
    fill(shares, "a")
    back = asyncio.create_task(shares.come_back("a again", Groups(("a",))))
    await asyncio.sleep(0)
    assert not back.done()
    assert shares.open_to(Groups(("b",)))
    shares.let_in()
    await back


async def test_a_group_that_answers_again_lets_those_in_that_come_back() -> None:
    shares = made()
    shares.answers("a", yes=False)
    fill(shares, "a")
    back = asyncio.create_task(shares.come_back("again", Groups(("a",))))
    await asyncio.sleep(0)
    assert not back.done()
    shares.answers("a", yes=True)
    await back
