"""Inputs from good ones: bytes flipped, cut and moved, DER with false lengths and swapped parts, JSON that is odd."""

import json
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

LARGEST = 64 * 1024
ODD_BYTES = (0, 1, 0x7F, 0x80, 0x81, 0x84, 0x88, 0xA0, 0xFE, 0xFF)
TAGS = (
    0x01,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x0C,
    0x13,
    0x14,
    0x16,
    0x17,
    0x1E,
    0x30,
    0x31,
    0x80,
    0x81,
    0x82,
    0x87,
    0xA0,
)

# ------------------------------------------------------------------------------------------------------- bytes


def mutate_bytes(chance: Random, good: bytes) -> bytes:
    """A few changes of single bytes, of pieces, or of the length."""
    data = bytearray(good)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(data) + 1)
        piece = bytes(data[at : at + chance.choice((1, 2, 4, 16, 64, 400))])
        match chance.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(data):
                data[at] = chance.choice(ODD_BYTES)
            case 2 if at < len(data):
                data[at] = chance.randrange(256)
            case 3:
                del data[at : at + len(piece)]
            case 4:
                data[at:at] = piece * chance.choice((1, 2, 8))
            case 5:
                data[at:at] = chance.randbytes(chance.choice((1, 2, 4, 32)))
            case 6:
                other = chance.randrange(len(data) + 1)
                data[other : other + len(piece)] = piece
            case _:
                del data[at:]
    return bytes(data[:LARGEST])


# --------------------------------------------------------------------------------------------------------- DER


def elements(der: bytes, begin: int = 0, end: int | None = None, depth: int = 0) -> Iterator[tuple[int, int, int]]:
    """The elements of DER and of what is constructed or wrapped in it: where each begins, its content begins, ends."""
    at, end = begin, len(der) if end is None else end
    while at + 2 <= end and depth < 30:
        size, content = der[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, content = int.from_bytes(der[content : content + count], "big"), content + count
        if content + size > end:
            return
        yield at, content, content + size
        if der[at] & 0x20:
            yield from elements(der, content, content + size, depth + 1)
        elif der[at] in (0x03, 0x04):
            skip = 1 if der[at] == 0x03 else 0
            inner = content + skip
            if inner < content + size and der[inner] == 0x30:
                yield from elements(der, inner, content + size, depth + 1)
        at = content + size


def wrapped(tag: int, content: bytes) -> bytes:
    """An element."""
    size = len(content)
    length = (
        bytes([size]) if size < 128 else bytes([0x80 | (n := (size.bit_length() + 7) // 8)]) + size.to_bytes(n, "big")
    )
    return bytes([tag]) + length + content


def splice(der: bytes, begin: int, end: int, new: bytes) -> bytes:
    """DER with a piece exchanged, and the lengths of all elements around it put right."""
    around = [item for item in elements(der) if item[1] <= begin and end <= item[2] and item[0] != begin]
    for start, content, stop in sorted(around, reverse=True):
        skip = der[content : content + 1] if der[start] == 0x03 and begin > content else b""
        inner = der[content + len(skip) : begin] + new + der[end:stop]
        begin, end, new = start, stop, wrapped(der[start], skip + inner)
    return der[:begin] + new + der[end:]


def mutate_der(chance: Random, good: bytes) -> bytes:
    """Elements exchanged, doubled, dropped, retagged or refilled, the lengths right again, or with a false length."""
    der = good
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        found = list(elements(der))
        if not found:
            return der
        begin, content, end = chance.choice(found)
        whole, inner = der[begin:end], der[content:end]
        match chance.randrange(10):
            case 0:
                der = splice(der, begin, end, b"")
            case 1:
                der = splice(der, begin, end, whole * chance.choice((2, 3, 20)))
            case 2:
                other = chance.choice(found)
                der = splice(der, begin, end, der[other[0] : other[2]])
            case 3:
                der = splice(der, begin, end, wrapped(chance.choice(TAGS), inner))
            case 4:
                der = splice(der, begin, end, wrapped(der[begin], mutate_bytes(chance, inner)))
            case 5:
                filled = wrapped(der[begin], inner[:1] + chance.randbytes(chance.choice((0, 1, 7, 200, 2000))))
                der = splice(der, begin, end, filled)
            case 6:
                nested = whole
                for _ in range(chance.choice((1, 3, 50))):
                    nested = wrapped(chance.choice((0x30, 0x31, 0xA0, 0x04)), nested)
                der = splice(der, begin, end, nested)
            case 7:  # a false length, the rest as it was
                size = chance.choice((b"\x00", b"\x7f", b"\x80", b"\x81\x01", b"\x82\x00\x01", b"\x84\xff\xff\xff\xff"))
                der = der[: begin + 1] + size + der[content:]
            case 8:
                times = min(chance.choice((40, 400)), LARGEST // (len(whole) + 1))
                der = splice(der, begin, end, whole * times)
            case _:
                der = splice(der, begin, end, wrapped(der[begin], chance.randbytes(len(inner))))
    return der[:LARGEST]


# -------------------------------------------------------------------------------------------------------- JSON

ODD_TEXTS = (
    '""', '"\\ud800"', '"\\u0000"', '"é"', '"\\u202e#"', '"' + "a" * 3000 + '"', '"=="', '"_"', '"//8"', '"../.."',
)  # fmt: skip
ODD_VALUES = (
    "null", "true", "0", "-0", "1e999", "1E400", "-1", "0.1", "9" * 400, "9" * 5000, "1" + "0" * 30_000, "NaN",
    "Infinity",
    "[]", "{}", "[[]]", "[" * 200 + "]" * 200, "[" * 20_000 + "]" * 20_000, '{"a":' * 9000 + "1" + "}" * 9000,
    '{"a":1,"a":2}', "[null]", '[""]', '{"":{}}', "[1,2,3]", *ODD_TEXTS,
)  # fmt: skip


def mutate_json(chance: Random, good: dict[str, Any]) -> str:
    """A JSON text like `good`: members odd, missing, twice, more, or the text itself damaged."""
    members = [(json.dumps(name), json.dumps(value)) for name, value in good.items()]
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(members)) if members else 0
        match chance.randrange(9):
            case 0 if members:
                members[at] = (members[at][0], chance.choice(ODD_VALUES))
            case 1 if members:
                del members[at]
            case 2 if members:
                members.append((members[at][0], chance.choice((members[at][1], chance.choice(ODD_VALUES)))))
            case 3:
                members.append((chance.choice(('"x"', '""', '"crit"', '"b64"', '"d"')), chance.choice(ODD_VALUES)))
            case 4 if members:
                name = members[at][0]
                members[at] = (f'"\\u{ord(name[1]):04x}{name[2:]}', members[at][1])
            case 5 if members:
                members[at] = (members[at][0], _inside(chance, members[at][1]))
            case 6:
                chance.shuffle(members)
            case _:
                text = _text(members)
                return mutate_bytes(chance, text.encode("utf-8", "surrogatepass")).decode("latin-1")
    return _text(members)


def _inside(chance: Random, text: str) -> str:
    """A change within a value: of a member of an object, or of a string's characters."""
    try:
        value = json.loads(text) if len(text) < 3000 else None
    except ValueError:
        return text  # odd already
    if isinstance(value, dict) and value:
        return mutate_json(chance, value)
    if isinstance(value, list) and value:
        return json.dumps(value * chance.choice((2, 50, 300)))
    if isinstance(value, str) and value:
        changed = mutate_bytes(chance, value.encode("utf-8", "surrogatepass")).decode("latin-1")
        return json.dumps(changed) if chance.random() < 0.5 else json.dumps(changed, ensure_ascii=False)
    return chance.choice(ODD_VALUES)


def _text(members: Sequence[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{name}:{value}" for name, value in members) + "}"


Mutate = Callable[[Random, bytes], bytes]
