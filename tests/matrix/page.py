"""docs/clients.md: the parts of it that are written by the matrix, between markers."""

from collections.abc import Sequence
from pathlib import Path

from acmehub.cli.snippets import Values
from acmehub.cli.snippets import snippets as all_snippets
from tests.matrix import table
from tests.matrix.cases import Result

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "clients.md"
VALUES = Values(
    directory="https://acme.example.com/acme/directory",
    kid="KEY_ID",
    hmac_key="HMAC_KEY",
    name="host.example.com",
    ca="/etc/acmehub-ca.pem",
    secret_directory="https://acme.example.com/acme/SECRET/directory",
)


def write_results(results: Sequence[Result], part: str = "results") -> None:
    """Put the tables of a run into the page; those of clients from source into the part `sources`."""
    _replace(part, table.tables(results))


def write_snippets() -> None:
    """Put what users paste into the page."""
    _replace("snippets", snippets())


def snippets() -> str:
    """A section per client."""
    sections = []
    for item in all_snippets():
        remark = item.heading(VALUES).removeprefix(item.client).strip().removeprefix("(").removesuffix(")")
        words = [f"{remark[:1].upper()}{remark[1:]}." if remark[:1].isalpha() else f"{remark}."] if remark else []
        if item.matrix == "no":
            words.append("Not run by us as it stands here.")
        elif item.matrix == "from source":
            words.append("Run from [its sources](#clients-from-their-sources).")
        elif item.matrix != "runs it":
            words.append(f"What the matrix runs is [a program](../tests/matrix/{item.matrix}) that says the same.")
        told = f"{' '.join(words)}\n\n" if words else ""
        sections.append(f"### {item.client}\n\n{told}```{item.language}\n{item.filled(VALUES)}\n```\n")
    return "\n".join(sections)


def between(part: str) -> str:
    """What stands in the page between the markers of `part`; `ValueError` without them."""
    return _split(part)[1]


def _replace(part: str, text: str) -> None:
    before, _, after = _split(part)
    PAGE.write_text(f"{before}{_begin(part)}\n\n{text}\n{_end(part)}{after}")


def _split(part: str) -> tuple[str, str, str]:
    before, begin, rest = PAGE.read_text().partition(_begin(part))
    inside, end, after = rest.partition(_end(part))
    if not begin or not end:
        raise ValueError(f"{PAGE} has no {_begin(part)} … {_end(part)}")
    return before, inside.strip("\n") + "\n", after


def _begin(part: str) -> str:
    return f"<!-- {part}: written by `make matrix` -->"


def _end(part: str) -> str:
    return f"<!-- end of {part} -->"
