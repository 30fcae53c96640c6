"""The configuration: places, overrides, secrets, and errors that name the place and a hint."""

import os
from pathlib import Path
from typing import get_type_hints

import pytest

from acmehub.config import Config, ConfigError, Section, find_config, load_config
from acmehub.config.lines import line_of
from acmehub.models.choices import choices_of
from acmehub.ports.settings import Secret


def write(folder: Path, text: str) -> Path:
    path = folder / "acmehub.toml"
    path.write_text(text)
    return path


def error_of(folder: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text), environ=environ)
    return str(caught.value)


def test_without_a_file_everything_has_a_default() -> None:
    assert load_config() == Config()


def test_a_file_sets_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, 'listen = "0.0.0.0:443"\n[acme]\nhold = 5\n'))
    assert (config.listen, config.acme.hold, config.worker) == ("0.0.0.0:443", 5, Config().worker)


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = 'data_dir = "store"\n[tls]\nmode = "files"\ncertificate = "c.pem"\nkey = "/etc/k.pem"\n'
    config = load_config(write(tmp_path, text))
    assert config.data_dir == tmp_path / "store"
    assert (config.tls.certificate, config.tls.key) == (tmp_path / "c.pem", Path("/etc/k.pem"))


def test_a_data_dir_given_as_an_option_is_relative_to_the_working_directory(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, ""), overrides={"data_dir": Path("here")}).data_dir == Path("here")


def test_options_win_over_environment_and_that_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'listen = "127.0.0.1:1"\npublic_url = "https://file.test"\n')
    environ = {"ACMEHUB_LISTEN": "127.0.0.1:2", "ACMEHUB_PUBLIC_URL": "https://environment.test"}
    config = load_config(path, environ=environ, overrides={"listen": "127.0.0.1:3", "public_url": None})
    assert (config.listen, config.public_url) == ("127.0.0.1:3", "https://environment.test")


def test_the_environment_sets_tables_lists_numbers_and_plugin_settings() -> None:
    config = load_config(
        environ={
            "ACMEHUB_TLS__MODE": "off",
            "ACMEHUB_PLUGINS": "dns_cloudflare, ca_zerossl",
            "ACMEHUB_ACME__HOLD": "2.5",
            "ACMEHUB_STORAGE__SETTINGS__DSN": "postgresql://db/hub",
            "ACMEHUB_DNS__RESOLVERS": "",
            "PATH": "/bin",
        }
    )
    assert config.tls.mode == "off"
    assert config.plugins == ("dns_cloudflare", "ca_zerossl")
    assert config.acme.hold == 2.5
    assert config.storage.settings == {"dsn": "postgresql://db/hub"}
    assert config.dns.resolvers == ()


def test_a_misspelt_variable_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"ACMEHUB_TLS__MOD: no setting of that name; did you mean mode\?"):
        load_config(environ={"ACMEHUB_TLS__MOD": "off"})


def test_a_variable_for_a_whole_table_is_an_error_that_shows_how() -> None:
    with pytest.raises(ConfigError, match="ACMEHUB_TLS__MODE"):
        load_config(environ={"ACMEHUB_TLS": "off"})


def test_a_variable_below_a_value_is_an_error() -> None:
    with pytest.raises(ConfigError, match="is not a table"):
        load_config(environ={"ACMEHUB_LISTEN__PORT": "1"})


def test_variables_that_kubernetes_sets_for_a_service_of_this_name_are_no_settings() -> None:
    environ = {"ACMEHUB_SERVICE_HOST": "10.0.0.1", "ACMEHUB_PORT": "tcp://x", "ACMEHUB_PORT_8443_TCP": "tcp://x"}
    assert load_config(environ=environ) == Config()


def test_a_wrong_value_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigError, match=r"environment variable ACMEHUB_WORKER__CONCURRENCY: \$\.worker\.concurrency"):
        load_config(environ={"ACMEHUB_WORKER__CONCURRENCY": "many"})


def test_an_unknown_key_is_named_with_file_line_and_nearest_key(tmp_path: Path) -> None:
    text = error_of(tmp_path, 'listen = "127.0.0.1:1"\n\n[tls]\nmod = "off"\n')
    assert text == f"{tmp_path}/acmehub.toml:4: $.tls.mod: unknown key; did you mean mode?"


def test_an_unknown_key_with_no_near_one_lists_the_known_ones(tmp_path: Path) -> None:
    text = error_of(tmp_path, "[tls]\nxyz = 1\n")
    assert text.endswith("$.tls.xyz: unknown key; known here: mode, certificate, key, authority, names")


def test_an_unknown_table_is_named_with_its_line(tmp_path: Path) -> None:
    assert ":2: $.wroker: unknown key; did you mean worker?" in error_of(tmp_path, "\n[wroker]\nlease = 1\n")


def test_an_unknown_key_in_a_dotted_or_inline_table_is_found(tmp_path: Path) -> None:
    assert "toml:2: $.tls.mod:" in error_of(tmp_path, '\ntls.mod = "off"\n')
    assert "toml:3: $.tls.mod:" in error_of(tmp_path, '\n\ntls = { mod = "off" }\n')


def test_a_value_of_the_wrong_type_names_line_key_and_what_was_expected(tmp_path: Path) -> None:
    text = error_of(tmp_path, '[acme]\nhold = 1\n\n[dns]\nport = "53"\n')
    assert text == f"{tmp_path}/acmehub.toml:5: $.dns.port: expected `int`, got `str`"


def choices() -> list[tuple[str, str, tuple[str, ...]]]:
    """Table, key and values of every setting that has one of some values."""
    sections = {"": Config, **{name: kind for name, kind in get_type_hints(Config).items() if isinstance(kind, type)}}
    return [
        (table, key, values)
        for table, section in sections.items()
        if issubclass(section, Section)
        for key, kind in get_type_hints(section).items()
        if (values := choices_of(kind))
    ]


@pytest.mark.parametrize(("table", "key", "values"), choices())
def test_a_setting_that_is_none_of_its_values_lists_them(
    tmp_path: Path, table: str, key: str, values: tuple[str, ...]
) -> None:
    right = ", ".join(values)
    text = f'listen = ":1"\n[{table}]\n{key} = "on"\n'
    assert error_of(tmp_path, text).endswith(f"acmehub.toml:3: $.{table}.{key}: 'on' is not one of {right}")
    assert f"`str`, got `int`: one of {right}" in error_of(tmp_path, f"[{table}]\n{key} = 1\n")
    variable = f"ACMEHUB_{table}__{key}".upper()
    said = error_of(tmp_path, "", **{variable: "on"})
    assert said == f"environment variable {variable}: $.{table}.{key}: 'on' is not one of {right}"


def test_there_are_settings_of_that_kind() -> None:
    assert [(table, key) for table, key, _ in choices()] == [("tls", "mode"), ("log", "level"), ("log", "format")]


FLAWED = [
    ('listen = "nonsense"', "listen"),
    ('public_url = "ftp://hub"', "public_url"),
    ('trusted_proxies = ["10.0.0.0/8", "proxy"]', "trusted_proxies[1]"),
    ('[tls]\nmode = "files"', "tls"),
    ('[tls]\ncertificate = "a.pem"', "tls"),
    ('[acme]\nterms_text = "words"', "acme.terms_text"),
    ('[dns]\nresolvers = ["192.0.2.1", "ns1.example"]', "dns.resolvers[1]"),
    ('[verify]\nresolvers = ["ns1.example"]', "verify.resolvers[0]"),
    ('[verify]\nnetworks = ["everything"]', "verify.networks[0]"),
    ('[verify]\nzones = ["-"]', "verify.zones[0]"),
    ('master_keys = ["env:NO_SUCH_KEY"]', "master_keys[0]"),
    ('master_keys = ["file:no/such.key"]', "master_keys[0]"),
    ('[storage]\nsettings = { dsn = "env:NO_SUCH_DSN" }', "storage.settings.dsn"),
    (
        '[[notifier]]\nplugin = "a"\n[[notifier]]\nplugin = "b"\nsettings = { x = "env:NO_SUCH" }',
        "notifier[1].settings.x",
    ),
    ('[acme]\nterms_of_service = "hub"\nterms_text = "file:none.html"', "acme.terms_text"),
]


@pytest.mark.parametrize(("text", "key"), FLAWED)
def test_a_value_that_does_not_fit_names_file_and_line(tmp_path: Path, text: str, key: str) -> None:
    last = len(text.splitlines()) + 2 - (key == "tls")
    assert error_of(tmp_path, f"\n# a remark\n{text}\n").startswith(f"{tmp_path}/acmehub.toml:{last}: $.{key}: ")


def test_a_value_of_an_option_names_the_option(tmp_path: Path) -> None:
    path = write(tmp_path, 'listen = ":1"\n')
    with pytest.raises(ConfigError, match=r"^--public-url: \$\.public_url: "):
        load_config(path, overrides={"public_url": "nonsense", "data_dir": None})


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a",), 2),
        (("t", "b"), 4),
        (("t", "none"), 3),
        (("list", 0, "x"), 6),
        (("list", 1, "x"), 9),
        (("list", 1, "deep", "y"), 11),
        (("list", 1, "none"), 8),
        (("list", 1, "deep", "none"), 10),
        (("list", 0, "inline", "key"), 7),
        (("quoted key", "c.d"), 13),
        (("nowhere",), 1),
    ],
)
def test_the_line_of_a_value_is_found(path: tuple[str | int, ...], line: int) -> None:
    text = """# first
a = 1
[t]
b = [1, 2]
[[list]]
x = 1
inline = { key = 1 }
[[list]]
x = 2
[list.deep]
y = 1
["quoted key"]
"c.d" = 1
"""
    assert line_of(text, path) == line


def test_broken_toml_gives_line_and_column(tmp_path: Path) -> None:
    text = error_of(tmp_path, 'listen = "127.0.0.1:1"\n[tls\n')
    assert "acmehub.toml: not TOML: " in text
    assert "line 2, column" in text


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "acmehub.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(path)


@pytest.mark.parametrize("listen", ["8443", "localhost", "127.0.0.1:x", "::1:8443", "host:99999"])
def test_a_listen_address_without_host_and_port_is_refused(tmp_path: Path, listen: str) -> None:
    assert "$.listen:" in error_of(tmp_path, f'listen = "{listen}"')


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:2", ("::1", 2)), (":3", ("", 3)), ("hub.test:4", ("hub.test", 4))],
)
def test_a_listen_address_is_taken_apart(listen: str, expected: tuple[str, int]) -> None:
    assert load_config(overrides={"listen": listen}).address == expected


@pytest.mark.parametrize(
    ("listen", "public", "mode", "expected"),
    [
        ("127.0.0.1:8443", "", "auto", "https://localhost:8443"),
        ("0.0.0.0:443", "", "auto", "https://localhost:443"),
        ("[::1]:8443", "", "off", "http://localhost:8443"),
        ("10.0.0.5:8443", "", "auto", "https://10.0.0.5:8443"),
        ("[2001:db8::1]:8443", "", "auto", "https://[2001:db8::1]:8443"),
        ("127.0.0.1:8443", "https://hub.example.com/", "off", "https://hub.example.com"),
    ],
)
def test_the_base_url_follows_from_public_url_or_listen(listen: str, public: str, mode: str, expected: str) -> None:
    config = load_config(environ={"ACMEHUB_TLS__MODE": mode}, overrides={"listen": listen, "public_url": public})
    assert config.base_url == expected


@pytest.mark.parametrize("url", ["hub.example.com", "https://hub/acme", "https://u:p@hub", "ftp://hub"])
def test_a_public_url_with_a_path_or_without_a_scheme_is_refused(tmp_path: Path, url: str) -> None:
    assert "$.public_url:" in error_of(tmp_path, f'public_url = "{url}"')


def test_tls_files_need_the_mode_and_the_mode_needs_files(tmp_path: Path) -> None:
    assert "needs both" in error_of(tmp_path, '[tls]\nmode = "files"\ncertificate = "c.pem"\n')
    assert "mode files only" in error_of(tmp_path, '[tls]\ncertificate = "c.pem"\nkey = "k.pem"\n')


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("acme", "order_days", "0", "`int` >= 1"),
        ("acme", "renewal_info_seconds", "0", "`int` >= 1"),
        ("acme", "same_csr_seconds", "-1", "`float` >= 0.0"),
        ("dns", "port", "65536", "`int` <= 65535"),
        ("dns", "timeout", "0", "`float` > 0.0"),
        ("verify", "http_port", "0", "`int` >= 1"),
        ("verify", "tls_port", "65536", "`int` <= 65535"),
        ("verify", "redirects", "-1", "`int` >= 0"),
        ("verify", "timeout", "nan", "`float` > 0.0"),
        ("verify", "response_bytes", "0", "`int` >= 1"),
        ("verify", "remember_days", "-0.5", "`float` >= 0.0"),
        ("worker", "concurrency", "0", "`int` >= 1"),
        ("worker", "lease", "0", "`float` > 0.0"),
        ("worker", "issuance_timeout_hours", "-1", "`float` > 0.0"),
        ("worker", "keep_days", "-1", "`float` >= 0.0"),
        ("limits", "connections", "0", "`int` >= 1"),
        ("limits", "header_bytes", "0", "`int` >= 1"),
        ("limits", "request_seconds", "0", "`float` > 0.0"),
        ("limits", "idle_seconds", "0", "`int` >= 1"),
    ],
)
def test_a_number_out_of_range_names_line_key_and_range(
    tmp_path: Path, section: str, key: str, value: str, expected: str
) -> None:
    text = error_of(tmp_path, f"[{section}]\n{key} = {value}\n")
    assert text == f"{tmp_path}/acmehub.toml:2: $.{section}.{key}: expected {expected}"


def test_a_number_out_of_range_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigError, match=r"variable ACMEHUB_WORKER__LEASE: \$\.worker\.lease: expected `float` > 0"):
        load_config(environ={"ACMEHUB_WORKER__LEASE": "0"})


def test_networks_must_be_networks(tmp_path: Path) -> None:
    text = error_of(tmp_path, '[verify]\nnetworks = ["10.0.0.0/8", "10.0.0.1/8"]\n')
    assert "$.verify.networks[1]: '10.0.0.1/8' is not" in text
    assert "$.trusted_proxies[0]: 'proxy' is not" in error_of(tmp_path, 'trusted_proxies = ["proxy"]')


def test_resolvers_must_be_addresses_and_zones_names(tmp_path: Path) -> None:
    good = '[dns]\nresolvers = ["192.0.2.53", "192.0.2.53:54", "2001:db8::53", "[2001:db8::53]:54", "[2001:db8::53]"]\n'
    load_config(write(tmp_path, good + '[verify]\nresolvers = ["127.0.0.1"]\nzones = ["lan", "home.arpa"]\n'))
    assert "$.dns.resolvers[0]: 'ns1.corp.test' is not an address" in error_of(
        tmp_path, '[dns]\nresolvers = ["ns1.corp.test"]'
    )
    for wrong in ("192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "2001:db8::53:99999", "[2001:db8::53]:x", ""):
        assert "$.verify.resolvers[1]" in error_of(tmp_path, f'[verify]\nresolvers = ["::1", "{wrong}"]')
    assert "$.verify.zones[0]: '.': the name is empty" in error_of(tmp_path, '[verify]\nzones = ["."]')


def test_secrets_come_from_environment_and_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from file\n")
    (tmp_path / "key").chmod(0o640)
    text = 'master_keys = ["env:KEY", "file:key", "as written"]\n[storage]\nsettings = { dsn = "env:DSN", pool = 3 }\n'
    write(tmp_path, text).chmod(0o600)
    config = load_config(tmp_path / "acmehub.toml", environ={"KEY": "from environment", "DSN": "postgresql://x"})
    assert config.master_keys == (Secret("from environment"), Secret("from file"), Secret("as written"))
    assert config.storage.settings == {"dsn": "postgresql://x", "pool": 3}
    assert "from file" not in repr(config)


def test_a_master_key_file_that_anybody_may_read_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a key")
    for mode in (0o604, 0o602, 0o644):
        (tmp_path / "key").chmod(mode)
        text = error_of(tmp_path, 'master_keys = ["file:key"]')
        assert "$.master_keys[0]:" in text
        assert f"chmod 640 {tmp_path}/key" in text


def test_a_secret_that_is_missing_names_key_and_variable_or_file(tmp_path: Path) -> None:
    assert "$.master_keys[0]: the environment has no variable KEY" in error_of(tmp_path, 'master_keys = ["env:KEY"]')
    assert "cannot be read: No such file" in error_of(tmp_path, 'master_keys = ["file:none"]')
    assert "$.storage.settings.dsn:" in error_of(tmp_path, '[storage]\nsettings = { dsn = "env:DSN" }')


def test_the_named_file_wins_over_the_environment_and_that_over_the_folder(tmp_path: Path) -> None:
    here = write(tmp_path, "")
    other = tmp_path / "other.toml"
    other.touch()
    assert find_config(None, {}, tmp_path) == here
    assert find_config(None, {"ACMEHUB_CONFIG": str(other)}, tmp_path) == other
    assert find_config(here, {"ACMEHUB_CONFIG": str(other)}, tmp_path) == here
    assert find_config(None, {}, tmp_path / "elsewhere") is None


def test_a_named_file_that_is_missing_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="acmehub init"):
        find_config(tmp_path / "none.toml", {}, tmp_path)


def test_nothing_is_taken_from_the_process_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "ACMEHUB_LISTEN", "127.0.0.1:1")
    assert load_config() == Config()


def test_terms_stand_in_a_file_and_only_where_the_hub_shows_them(tmp_path: Path) -> None:
    (tmp_path / "terms.html").write_text("<p>Be kind.</p>\n")
    text = '[acme]\nterms_of_service = "hub"\nterms_text = "file:terms.html"\n'
    assert load_config(write(tmp_path, text)).acme.terms_text == "<p>Be kind.</p>"
    assert "$.acme.terms_text: " in error_of(tmp_path, text.replace('"hub"', '"https://x.test/terms"'))
    assert "$.acme.terms_text: " in error_of(tmp_path, text.replace("terms.html", "none.html"))
