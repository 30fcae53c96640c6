"""Files with secrets that others may read or change."""

from pathlib import Path

import pytest

from acmehub.config import ConfigError, load_config, permissions, warnings_of
from acmehub.config.permissions import no_secrets

LITERAL = 'master_keys = ["as written"]\n'
REFERENCES = 'master_keys = ["env:KEY", "file:key"]\n[storage]\nsettings = { dsn = "env:KEY", path = "x.db" }\n'
NOTIFIER = '[[notifier]]\nplugin = "notify"\nsettings = { url = "https://chat.test/secret", room = "ops" }\n'
ENVIRON = {"KEY": "from the environment"}


def write(folder: Path, text: str, mode: int) -> Path:
    path = folder / "acmehub.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def secrets_of(hook: str, plugin: str) -> frozenset[str]:
    return {("notifier", "notify"): frozenset({"url"}), ("storage", "pg"): frozenset({"dsn"})}.get(
        (hook, plugin), frozenset()
    )


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o660, 0o641, 0o666])
def test_a_configuration_with_a_secret_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, LITERAL, mode)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"$.master_keys[0]: {path}: others may ")
    assert f"chmod 640 {path} (or 600), or write it as env:NAME or file:PATH" in str(caught.value)
    assert "as written" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o440, 0o700])
def test_its_owner_and_a_group_that_reads_are_enough(tmp_path: Path, mode: int) -> None:
    assert load_config(write(tmp_path, LITERAL, mode)).master_keys
    assert warnings_of(write(tmp_path, LITERAL, mode), {}, no_secrets) == []


def test_references_are_no_secrets_and_the_files_that_they_name_are_looked_at(tmp_path: Path) -> None:
    path = write(tmp_path, REFERENCES, 0o644)
    key = tmp_path / "key"
    key.write_text("k")
    key.chmod(0o640)
    assert load_config(path, environ=ENVIRON).master_keys
    for mode in (0o644, 0o660):
        key.chmod(mode)
        with pytest.raises(ConfigError, match=rf"^\$.master_keys\[1\]: {key}: .* chmod 640 {key} \(or 600\)$"):
            load_config(path, environ=ENVIRON)


def test_a_file_that_a_variable_names_is_looked_at(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k")
    key.chmod(0o644)
    environ = {"ACMEHUB_MASTER_KEYS": f"file:{key}"}
    with pytest.raises(ConfigError, match="chmod 640"):
        load_config(environ=environ)
    dsn = {"ACMEHUB_STORAGE__PLUGIN": "pg", "ACMEHUB_STORAGE__SETTINGS__DSN": f"file:{key}"}
    with pytest.raises(ConfigError, match=r"\$.storage.settings.dsn: .*chmod 640"):
        warnings_of(None, dsn, secrets_of)


def test_a_secret_from_a_variable_does_not_stand_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "", 0o644)
    assert load_config(path, environ={"ACMEHUB_MASTER_KEYS": "as written"}).master_keys


def test_settings_of_plugins_are_secret_where_the_plugin_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, NOTIFIER, 0o644)
    assert load_config(path).notifier
    assert warnings_of(path, {}, no_secrets) == []
    with pytest.raises(ConfigError, match=r"^\$.notifier\[0\].settings.url: "):
        warnings_of(path, {}, secrets_of)
    assert warnings_of(write(tmp_path, NOTIFIER.replace('"https', '"env:X https'), 0o644), {}, secrets_of) == []


def kubernetes(folder: Path) -> Path:
    """A volume as Kubernetes makes it: the files are links into a folder that `..data` links to."""
    (folder / "..2026").mkdir()
    (folder / "..data").symlink_to("..2026")
    write(folder / "..2026", LITERAL, 0o644)
    (folder / "acmehub.toml").symlink_to("..data/acmehub.toml")
    return folder / "acmehub.toml"


def test_a_file_in_a_volume_of_kubernetes_is_taken_with_a_warning(tmp_path: Path) -> None:
    path = kubernetes(tmp_path)
    assert load_config(path).master_keys
    (warning,) = warnings_of(path, {}, no_secrets)
    assert "others may read this secret (mode 0644); the file is mounted" in warning
    path.chmod(0o646)
    with pytest.raises(ConfigError, match="others may change"):
        load_config(path)


def test_a_file_that_is_a_mount_of_its_own_is_taken_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "with blank"
    folder.mkdir()
    path = write(folder, LITERAL, 0o644)
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"36 35 98:0 / {str(path).replace(' ', chr(92) + '040')} rw - ext4 /dev/sda rw\n")
    monkeypatch.setattr(permissions, "_MOUNTS", mounts)
    assert load_config(path).master_keys
    assert len(warnings_of(path, {}, no_secrets)) == 1


def test_the_file_systems_of_this_machine_are_read() -> None:
    assert permissions.is_mounted(Path("/proc"))
    assert not permissions.is_mounted(Path(__file__))
