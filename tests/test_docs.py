"""Documentation that is run: commands, configuration and resource files in it work, and its links lead somewhere.

Code fences say what they are: `console test` (each `$ ` line is run, in one folder for the whole page), `toml config`
(an `acmehub.toml`), `toml resources` (a file for `acmehub apply`), `sh install clone` and `sh install wheels` (run by
tests/e2e/test_distribution.py). Others are for reading.
"""

import base64
import re
import shlex
from pathlib import Path

import pytest

from acmehub.config import load_config
from acmehub.testing.hub_process import HubProcess

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/*/README.md")])
FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)#\s]+)(?:#(?P<anchor>[^)\s]+))?\)")


def fences(kind: str) -> list[tuple[Path, str]]:
    found = [(page, match) for page in PAGES for match in FENCE.finditer(page.read_text())]
    return [(page, match["body"]) for page, match in found if match["kind"].strip() == kind]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def pages_with(kind: str) -> list[Path]:
    return sorted({page for page, _ in fences(kind)})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    links = [match["target"] for match in LINK.finditer(FENCE.sub("", page.read_text()))]
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nothing_is_installed_by_a_name_of_ours_from_an_index(page: Path) -> None:
    """On an index, such a name may be somebody else's until a release is there."""
    commands = re.findall(r"(?:pip|pipx|uv add|uv pip|uv tool) (?:install )?([^`\n]*)", page.read_text())
    named = [part for command in commands for part in re.findall(r"[^\s'\"]+", command.partition("#")[0])]
    assert [part for part in named if re.fullmatch(r"acmehub[\w-]*([\[=<>~].*)?", part)] == []


@pytest.mark.parametrize("page", pages_with("console test"), ids=name_of)
def test_commands_work(page: Path, tmp_path: Path) -> None:
    hub = HubProcess(tmp_path)
    hub.found()
    for where, body in fences("console test"):
        if where == page:
            commands = [line[2:] for line in body.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
            assert commands, f"nothing to run in {body}"
            for command in commands:
                program, *arguments = shlex.split(command)
                assert program == "acmehub"
                hub.run(*arguments)


@pytest.mark.parametrize(
    ("page", "body"), fences("toml config"), ids=lambda value: name_of(value) if isinstance(value, Path) else ""
)
def test_configurations_can_be_read(page: Path, body: str, tmp_path: Path) -> None:
    path = tmp_path / "acmehub.toml"
    path.write_text(body)
    for file in re.findall(r'"file:([^"]+)"', body):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(secret())
        (tmp_path / file).chmod(0o600)
    load_config(path, environ={name: secret() for name in re.findall(r'"env:(\w+)"', body)})


@pytest.mark.parametrize(
    ("page", "body"), fences("toml resources"), ids=lambda value: name_of(value) if isinstance(value, Path) else ""
)
def test_resources_can_be_applied(page: Path, body: str, tmp_path: Path) -> None:
    hub = HubProcess(tmp_path)
    environment = {name: secret() for name in re.findall(r'"env:(\w+)"', body)}
    hub.apply(body, **environment)
    assert "0 changed" in hub.apply(body, **environment)


def secret() -> str:
    """Something that every kind of secret in the documentation can be."""
    return base64.b64encode(bytes(range(32))).decode()
