"""What is ready to be pasted on a device, with its credentials in it."""

from collections.abc import Sequence

from acmehub.cli.snippets import Snippet, Values, snippet, snippets
from acmehub.rules.scopes import Addresses, match_rule

SHOWN = ("certbot", "lego", "Caddy", "acme.sh")


def commands(values: Values, asked: Sequence[str] = ()) -> list[str]:
    """Lines for the clients that are `asked` for (`KeyError` for an unknown one), else for the best known ones (and
    acme-tiny, when there is a secret directory); then which others there are."""
    usual = (*SHOWN, "acme-tiny") if values.secret_directory else SHOWN
    chosen = [snippet(client) for client in asked or usual]
    lines = [line for item in chosen for line in ("", f"# {item.heading(values)}", *_text(item, values))]
    others = [item.client for item in snippets() if item not in chosen]
    return lines if asked else [*lines, "", f"# with --client: {', '.join(others)}"]


def example_name(names: str) -> str:
    """A name that the token may have."""
    if not names:
        return "host.example.com"
    pattern = match_rule(names).patterns[0]
    if isinstance(pattern, Addresses):
        return str(pattern.example)
    text = str(pattern)
    return f"host.{text.removeprefix('*.')}" if pattern.below else text


def _text(item: Snippet, values: Values) -> list[str]:
    if item.secret_directory and not values.secret_directory:
        return ["# it needs the URL of a secret directory: acmehub token set TITLE --secret-directory"]
    return item.filled(values).expandtabs(4).splitlines()
