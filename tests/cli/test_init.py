"""`acmehub init`: its file is the defaults, told."""

import re
from pathlib import Path

import msgspec

from acmehub.cli.init import TEMPLATE
from acmehub.config import Config, Section, load_config
from tests.cli.conftest import Cli


def load(folder: Path, text: str) -> Config:
    path = folder / "written.toml"
    path.write_text(text)
    config = load_config(path)
    assert config.data_dir == folder / "data"
    return msgspec.structs.replace(config, data_dir=Path("data"))


def test_the_written_file_says_exactly_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, TEMPLATE) == Config()


def test_every_setting_stands_in_the_file(tmp_path: Path) -> None:
    missing = []

    def look(section: Section, heading: str) -> None:
        body = TEMPLATE if not heading else TEMPLATE.split(f"[{heading}]\n")[1].split("\n[")[0]
        for key in section.__struct_fields__:
            value = getattr(section, key)
            if isinstance(value, Section):
                look(value, key)
            elif not re.search(rf"^(# )?({key} = |\[\[{key}\]\]$)", body, re.MULTILINE):
                missing.append(f"{heading}.{key}")

    look(Config(), "")
    assert missing == []


def test_the_command_writes_it_once_and_replaces_it_when_told(cli: Cli) -> None:
    assert cli.ok("init") == "wrote acmehub.toml\n"
    assert (cli.folder / "acmehub.toml").read_text() == TEMPLATE
    assert "--force" in cli.refused(4, "init")
    (cli.folder / "acmehub.toml").write_text("")
    cli.ok("init", "--force")
    assert (cli.folder / "acmehub.toml").read_text() == TEMPLATE


def test_a_place_that_cannot_be_written_is_named(cli: Cli) -> None:
    assert "no/such/folder/a.toml: No such file or directory" in cli.refused(1, "init", "no/such/folder/a.toml")


def test_the_written_file_is_for_its_owner_alone(cli: Cli) -> None:
    path = cli.folder / "acmehub.toml"
    cli.ok("init")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    cli.ok("init", "--force")
    assert path.stat().st_mode & 0o777 == 0o600


def test_every_verb_refuses_a_configuration_with_a_secret_for_others_and_names_what_to_do(cli: Cli) -> None:
    path = cli.folder / "acmehub.toml"
    path.write_text('[storage]\nplugin = "storage_postgres"\nsettings = { dsn = "postgresql://hub:secret@db/hub" }\n')
    path.chmod(0o644)
    for verb in (("serve",), ("check", "www.corp.test"), ("order", "list")):
        said = cli.refused(2, *verb)
        assert "$.storage.settings.dsn: " in said
        assert "acmehub.toml: others may read this secret (mode 0644): chmod 640 " in said
        assert "hub:secret" not in said
