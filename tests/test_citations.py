"""Citations in code, tests and docs lead into the repository: pages, their numbered rules and sections, their headings.

A citation is a page (`docs/reliability.md`, or its name alone) with, where it is wanted, what of it: `rule 17`,
`rules 1-7, 14`, `section 5`, `2.9`, `F25`, `"Crashes"`, `#crashes`; or `ADR 7`. Relative links of Markdown
are the business of `tests/test_docs.py`.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ITSELF = Path(__file__).resolve()  # has dangling citations, to show that they are found
OUTSIDE = "ADMIN CAPACITY CLIENTS DESIGN HOUSE PEERS PERFORMANCE RELAYPERF RELIABILITY STACK"

_NUMBER = r"F?\d+(?:\.\d+)*"
_ITEM = rf"{_NUMBER}(?:(?:-|–| to ){_NUMBER})?"
_WORD = r"(?:rules?|sections?) "
_LIST = rf"(?:{_WORD}{_ITEM}|\d+\.\d+|F\d+(?: to F\d+)?)(?:(?:, and |, | and | or | \()(?:{_WORD})?{_ITEM}\)?)*"
PAGE = re.compile(
    r"(?<![\w./-])(?P<page>(?:[\w.-]+/)*[\w-][\w.-]*\.md)\b"
    rf"(?:#(?P<anchor>[\w-]+))?[)`\]]*(?:,? (?P<numbers>{_LIST}))?(?:,? \"(?P<heading>[^\"]+)\")?"
)
FILE = re.compile(r"(?<![\w./-])docs/[\w./-]*\w")
DECISION = re.compile(r"\bADR (\d+)\b")
OWN_ANCHOR = re.compile(r"\]\(#([\w-]+)\)")
AWAY = re.compile(rf"\b(?:{'|'.join(OUTSIDE.split())})(?:\.md\b|,? (?:{_WORD})?\d[\d.]*)|\.\./shared/[\w/.-]*\w")
HEADING = re.compile(r"^#{1,6} (?P<text>.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| (F\d+) \|", re.MULTILINE)


def sources() -> list[Path]:
    """Every text file of the repository that a person writes."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    paths = [ROOT / name for name in names if Path(name).suffix not in (".lock", ".sum", ".gz", ".db")]
    return sorted(path for path in paths if path.is_file() and path != ITSELF)


def text_of(path: Path) -> str:
    """The text of a file as one line, without URLs: a citation may be wrapped, and a URL is none."""
    text = re.sub(r"\w+://\S+", "", path.read_text(errors="replace"))
    return re.sub(r"\s*\n\s*(?:# )?", " ", text)


def named(page: str, where: Path) -> Path | None:
    """The file that a page's name means: from the file that names it, from the top, or in docs/."""
    places = (where.parent / page, ROOT / page, ROOT / "docs" / page)
    return next((place.resolve() for place in places if place.is_file()), None)


@cache
def headings(page: Path) -> tuple[str, ...]:
    return tuple(match["text"].replace("`", "") for match in HEADING.finditer(FENCE.sub("", page.read_text())))


@cache
def numbers(page: Path) -> frozenset[str]:
    """What can be cited of a page by number: headings such as `Rule 17: …`, `2.9 …`, `7. …`, and rows `| F25 | …`."""
    found = (re.match(r"(?:Rule )?(\d+(?:\.\d+)*)\b", text) for text in headings(page))
    return frozenset([match[1] for match in found if match] + ROW.findall(page.read_text()))


def titles(page: Path) -> set[str]:
    return {re.sub(r"^(?:Rule )?\d+(?:\.\d+)*[.:]? ", "", text) for text in headings(page)}


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w\s-]", "", text.lower()).replace(" ", "-") for text in headings(page)}


def cited(items: str) -> Iterator[str]:
    """`1-3, 14 and 4.4` as 1, 2, 3, 14, 4.4."""
    for first, last in re.findall(rf"({_NUMBER})(?:(?:-|–| to )({_NUMBER}))?", items):
        kind = "F" if first.startswith("F") else ""
        if last:
            yield from (f"{kind}{item}" for item in range(int(first[len(kind) :]), int(last[len(kind) :]) + 1))
        else:
            yield first


def missing_pages(text: str, where: Path) -> list[str]:
    pages = [match["page"] for match in PAGE.finditer(text) if named(match["page"], where) is None]
    files = [item for item in FILE.findall(text) if not item.endswith(".md") and not (ROOT / item).exists()]
    decisions = [f"ADR {item}" for item in DECISION.findall(text) if not decision(int(item))]
    return pages + files + decisions


def decision(number: int) -> list[Path]:
    return list((ROOT / "docs" / "adr").glob(f"{number:04}-*.md"))


def missing_parts(text: str, where: Path) -> list[str]:
    wrong = []
    for match in PAGE.finditer(text):
        page = named(match["page"], where)
        if page is None:
            continue
        wrong += [f"{match['page']} {item}" for item in cited(match["numbers"] or "") if item not in numbers(page)]
        if match["heading"] and match["heading"].replace("`", "") not in titles(page):
            wrong.append(f'{match["page"]} "{match["heading"]}"')
        if match["anchor"] and match["anchor"] not in anchors(page):
            wrong.append(f"{match['page']}#{match['anchor']}")
    if where.suffix == ".md":
        wrong += [f"#{item}" for item in OWN_ANCHOR.findall(text) if item not in anchors(where)]
    return wrong


def outside_pages(text: str, where: Path) -> list[str]:
    return [match.group() for match in AWAY.finditer(text)]


FINDERS = [missing_pages, missing_parts, outside_pages]


@pytest.mark.parametrize("find", FINDERS)
def test_no_citation_leads_nowhere(find: Callable[[str, Path], list[str]]) -> None:
    dangling = [f"{path.relative_to(ROOT)}: {item}" for path in sources() for item in find(text_of(path), path)]
    assert dangling == []


@pytest.mark.parametrize(
    ("citation", "page"),
    [
        ("as docs/no-such-page.md says", "docs/no-such-page.md"),
        ("(NOTES.md)", "NOTES.md"),
        ("see docs/pictures/way.svg", "docs/pictures/way.svg"),
        ("for the reasons of ADR 999", "ADR 999"),
    ],
)
def test_a_page_that_is_not_there_is_found(citation: str, page: str) -> None:
    assert missing_pages(citation, ITSELF) == [page]


@pytest.mark.parametrize(
    ("citation", "parts"),
    [
        ("docs/client-rules.md rule 17", []),
        ("docs/client-rules.md rule 170", ["docs/client-rules.md 170"]),
        ("docs/client-rules.md rules 1-3, 98 and 4.4", ["docs/client-rules.md 98"]),
        ("docs/client-rules.md sections 4.3 (rules 30, 99), 4.9", [f"docs/client-rules.md {n}" for n in ("99", "4.9")]),
        ("(docs/reliability.md 2.9, F25)", []),
        ("(docs/reliability.md 2.99, F25 and F99)", [f"docs/reliability.md {n}" for n in ("2.99", "F99")]),
        ("docs/reliability.md, F37 to F39", ["docs/reliability.md F39"]),
        ('docs/reliability.md section 5, "Identifiers"', []),
        ('(docs/reliability.md, "Nothing of the kind")', ['docs/reliability.md "Nothing of the kind"']),
        ("docs/reliability.md#crashes", []),
        ("docs/reliability.md#crushes", ["docs/reliability.md#crushes"]),
    ],
)
def test_a_rule_a_section_or_a_heading_that_is_not_there_is_found(citation: str, parts: list[str]) -> None:
    assert missing_parts(citation, ITSELF) == parts


@pytest.mark.parametrize("citation", ["STACK.md", "RELIABILITY section 6", "CLIENTS 4.4", "../shared/notes"])
def test_a_page_that_lives_elsewhere_is_found(citation: str) -> None:
    assert outside_pages(f"see {citation}, there", ITSELF) == [citation]


def test_a_constant_is_no_page() -> None:
    assert outside_pages("CLIENTS = 24\nif ADMIN in roles: ...", ITSELF) == []
