"""Figures of the code that documentation names, or that bound what one client, CA or DNS server can cost."""

from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def is_said(page: str, words: str) -> bool:
    """Whether a page of docs/ has these words, however its lines are broken."""
    return words in " ".join((DOCS / page).read_text().split())
