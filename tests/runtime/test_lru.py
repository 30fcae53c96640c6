"""The dict with a limit."""

from acmehub.runtime.lru import Lru


def test_the_least_recently_used_key_is_dropped() -> None:
    items: Lru[str, int] = Lru(3)
    for number, key in enumerate("abc"):
        items.put(key, number)
    assert items.get("a") == 0
    items.put("d", 3)
    assert [key for key in "abcd" if key in items] == ["a", "c", "d"]
    items.put("c", 9)
    items.put("e", 4)
    assert [items.get(key) for key in "abcde"] == [None, None, 9, 3, 4]
    assert len(items) == 3
