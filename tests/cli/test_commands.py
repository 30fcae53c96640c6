"""The command line as a whole: help, examples, --json, exit statuses, and docs/cli.md in step with it."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from acmehub.cli.root import VERBS, root
from acmehub.cli.shared.errors import EXPECTED, describe
from acmehub.cli.shared.exit_status import MEANINGS, Exit
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import Problem, ProblemType, subproblem
from acmehub.ports.dns import DnsProviderRefused
from tests.cli.conftest import COMMAND, Cli

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
SHOW_NOTHING = {"serve", "worker", "init"}
NEED_NO_HUB = {"key new"}


def leaves() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(root)
    for verb in VERBS:
        command = root.get_command(context, verb)
        assert command is not None, verb
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield f"{verb} {name}", inner
        else:
            yield verb, command


LEAVES = list(leaves())


@pytest.mark.parametrize(("name", "command"), LEAVES, ids=[name for name, _ in LEAVES])
def test_every_command_has_help_examples_and_the_common_options(name: str, command: click.Command) -> None:
    assert command.help
    assert command.epilog is not None
    assert f"acmehub {name}" in command.epilog
    options = {option for parameter in command.params for option in parameter.opts}
    assert all(
        parameter.help
        for parameter in command.params
        if isinstance(parameter, click.Option)
        if parameter.name not in ("limit",)
    )
    if name not in NEED_NO_HUB:
        assert {"--config", "--data-dir"} <= options
    assert ("--json" in options) == (name not in SHOW_NOTHING)


@pytest.mark.parametrize(("name", "command"), LEAVES, ids=[name for name, _ in LEAVES])
def test_every_command_and_its_own_options_stand_in_the_documentation(name: str, command: click.Command) -> None:
    text = DOCS.read_text()
    noun, _, verb = name.partition(" ")
    rows = [
        line
        for line in text.splitlines()
        if line.startswith(f"| `{noun}") and (not verb or f"`{verb}" in line or f" {verb}" in line)
    ]
    assert rows, f"docs/cli.md has no row for {name}"
    common = {"--config", "--data-dir", "--json"}
    if verb != "set":
        for parameter in command.params:
            for option in {*parameter.opts, *parameter.secondary_opts} - common:
                if option.startswith("--") and option not in ("--worker", "--migrate"):
                    assert any(f"{option}" in row for row in rows), f"docs/cli.md: {name} {option}"


def test_the_documentation_has_the_table_of_exit_statuses() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", DOCS.read_text(), re.MULTILINE)
    assert rows == [(str(status.value), meaning) for status, meaning in MEANINGS.items()]


def test_help_lists_every_verb_and_the_exit_statuses(cli: Cli) -> None:
    said = cli.ok("--help")
    assert all(re.search(rf"^  {verb} ", said, re.MULTILINE) for verb in VERBS)
    assert all(f"{status.value}  {meaning}" in said for status, meaning in MEANINGS.items())


def test_help_works_with_a_broken_configuration(cli: Cli) -> None:
    (cli.folder / "acmehub.toml").write_text("[")
    done = cli("--help")
    assert done.returncode == 0
    assert "verbs of plugins are not shown" in done.stderr


def test_an_unknown_verb_or_option_is_a_usage_error(cli: Cli) -> None:
    assert "No such command 'frobnicate'" in cli.refused(2, "frobnicate")
    assert "No such option" in cli.refused(2, "order", "list", "--no-such-option")


def test_the_version_is_told(cli: Cli) -> None:
    assert re.fullmatch(r"acmehub \d+\.\d+\.\d+\n", cli.ok("--version"))


def test_every_expected_error_has_a_status() -> None:
    assert len(EXPECTED) == len(set(EXPECTED))
    assert set(MEANINGS) == set(Exit)


def test_a_problem_is_told_with_one_line_per_name() -> None:
    parts = [
        subproblem(ProblemType.CAA, f"{name}: forbidden", Identifier("dns", name)) for name in ("a.test", "b.test")
    ]
    problem = Problem(ProblemType.CAA, "two names are refused", subproblems=parts)
    assert describe(problem) == ["caa: two names are refused", "  a.test: forbidden", "  b.test: forbidden"]


def test_an_error_of_a_server_names_the_server() -> None:
    assert describe(DnsProviderRefused("bad key", server="ns1.test")) == ["ns1.test: bad key"]


def test_an_error_of_the_system_names_the_file() -> None:
    assert describe(OSError(28, "No space left on device", "data/tls.pem")) == ["data/tls.pem: No space left on device"]


def test_a_reader_that_goes_away_is_no_traceback(cli: Cli) -> None:
    script = f"{COMMAND} --help | true"
    done = subprocess.run(
        ["sh", "-c", script], cwd=cli.folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert "Traceback" not in done.stderr


PLUGIN = """
import click
from acmehub import hookimpl

@hookimpl
def register_commands(cli):
    @cli.command()
    def greet():
        \"\"\"Say hello.\"\"\"
        click.echo("hello from a plugin")
"""


def test_a_plugin_of_the_configuration_adds_verbs(cli: Cli) -> None:
    site = cli.folder / "site"
    info = site / "hello-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[acmehub]\nhello = hello_plugin\n")
    (site / "hello_plugin.py").write_text(PLUGIN)
    cli.refused(2, "greet", PYTHONPATH=str(site))
    (cli.folder / "acmehub.toml").write_text('plugins = ["hello"]\n')
    assert cli.ok("greet", PYTHONPATH=str(site)) == "hello from a plugin\n"
    assert "greet" in cli.ok("--help", PYTHONPATH=str(site))
