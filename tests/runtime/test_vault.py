"""Sealing at rest, and the master key file."""

import multiprocessing
import os
import secrets
from pathlib import Path

import pytest

from acmehub.runtime.vault import Vault, VaultError, decode_key, encode_key, make_key_file, read_key_file

OLD = bytes(range(32))
NEW = bytes(range(32, 64))


def test_what_was_sealed_opens_again() -> None:
    vault = Vault([NEW])
    assert vault.open("token.hmac", "row", vault.seal("token.hmac", "row", b"secret")) == b"secret"


def test_two_sealings_of_one_value_differ() -> None:
    vault = Vault([NEW])
    assert vault.seal("token.hmac", "row", b"secret") != vault.seal("token.hmac", "row", b"secret")


@pytest.mark.parametrize(("purpose", "row"), [("token.hmac", "other row"), ("authority.settings", "row")])
def test_a_value_moved_to_another_row_or_column_does_not_open(purpose: str, row: str) -> None:
    vault = Vault([NEW])
    sealed = vault.seal("token.hmac", "row", b"secret")
    with pytest.raises(VaultError, match="damaged, or sealed for another row"):
        vault.open(purpose, row, sealed)


def test_a_changed_byte_anywhere_is_noticed() -> None:
    vault = Vault([NEW])
    sealed = vault.seal("p", "r", b"secret")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(VaultError):
            vault.open("p", "r", bytes(changed))


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x02" + bytes(40)])
def test_bytes_that_are_no_sealed_value_are_refused(sealed: bytes) -> None:
    with pytest.raises(VaultError, match="not a sealed value"):
        Vault([NEW]).open("p", "r", sealed)


def test_an_older_master_key_of_the_ring_opens_and_its_values_are_stale() -> None:
    sealed = Vault([OLD]).seal("p", "r", b"secret")
    ring = Vault([NEW, OLD])
    assert ring.open("p", "r", sealed) == b"secret"
    assert ring.stale(sealed)
    assert not ring.stale(ring.seal("p", "r", b"secret"))


def test_a_value_under_a_key_that_left_the_ring_names_that_key() -> None:
    sealed = Vault([OLD]).seal("p", "r", b"secret")
    with pytest.raises(VaultError, match="which is not in master_keys"):
        Vault([NEW]).open("p", "r", sealed)


def test_derived_keys_differ_by_label_and_agree_between_processes() -> None:
    assert Vault([NEW]).derive("nonces") == Vault([NEW, OLD]).derive("nonces")
    assert Vault([NEW]).derive("nonces") != Vault([NEW]).derive("other")
    assert Vault([NEW]).derive("nonces") != Vault([OLD]).derive("nonces")


def test_a_ring_without_keys_does_nothing_until_it_gets_its_first() -> None:
    vault = Vault([])
    assert vault.empty
    with pytest.raises(VaultError, match="the ring is empty"):
        vault.seal("p", "r", b"secret")
    with pytest.raises(VaultError, match="the ring is empty"):
        vault.derive("nonces")
    vault.begin(NEW)
    assert Vault([NEW]).open("p", "r", vault.seal("p", "r", b"secret")) == b"secret"


def test_a_ring_knows_which_values_are_under_its_keys() -> None:
    sealed = Vault([OLD]).seal("p", "r", b"secret")
    assert Vault([NEW, OLD]).knows(sealed)
    assert not Vault([NEW]).knows(sealed)


@pytest.mark.parametrize("keys", [[b"short"], [NEW, b"short"]])
def test_a_ring_without_usable_keys_is_refused(keys: list[bytes]) -> None:
    with pytest.raises(VaultError):
        Vault(keys)


def test_no_error_and_no_repr_shows_a_key_or_a_value() -> None:
    vault = Vault([NEW])
    sealed = vault.seal("p", "r", b"clear text")
    texts = [repr(vault)]
    for wrong in (sealed[:-1], b"\x01" + bytes(40)):
        with pytest.raises(VaultError) as caught:
            vault.open("p", "r", wrong)
        texts.append(str(caught.value))
    with pytest.raises(VaultError) as caught:
        decode_key(encode_key(NEW) + "AAAA")
    texts.append(str(caught.value))
    for text in texts:
        assert "clear text" not in text
        assert encode_key(NEW)[:10] not in text
        assert sealed.hex()[20:40] not in text


def test_a_master_key_reads_as_base64url_or_base64_with_or_without_padding() -> None:
    key = b"\xfb\xff" + bytes(30)
    text = encode_key(key)
    assert decode_key(text) == decode_key(text + "=") == decode_key(text.replace("-", "+").replace("_", "/")) == key


@pytest.mark.parametrize("text", ["", "not base64 at all!", "AAAA", "ä" * 43])
def test_a_text_that_is_no_master_key_is_refused(text: str) -> None:
    with pytest.raises(VaultError):
        decode_key(text)


def test_the_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = make_key_file(path)
    assert make_key_file(path) == read_key_file(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["master.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o660])
def test_a_key_file_that_others_may_touch_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    make_key_file(path)
    path.chmod(mode)
    with pytest.raises(VaultError, match=f"chmod 600 {path}"):
        read_key_file(path)
    with pytest.raises(VaultError, match=f"chmod 600 {path}"):
        make_key_file(path)


def test_a_damaged_key_file_is_named_and_not_shown_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.touch(0o600)
    path.write_text("half-a-key")
    with pytest.raises(VaultError, match=r"master\.key") as caught:
        make_key_file(path)
    assert "half-a-key" not in str(caught.value)
    assert path.read_text() == "half-a-key"


def _make(path: Path) -> bytes:
    return make_key_file(path)


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = set(pool.map(_make, [tmp_path / "master.key"] * 12, chunksize=1))
    assert len(keys) == 1
    assert os.listdir(tmp_path) == ["master.key"]  # noqa: PTH208


def test_the_key_of_a_process_that_was_a_moment_quicker_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "master.key"
    first = make_key_file(path)
    monkeypatch.setattr(Path, "exists", lambda _path: False)  # looked before the other one wrote
    assert make_key_file(path) == first == read_key_file(path)
    assert os.listdir(tmp_path) == ["master.key"]  # noqa: PTH208


def test_random_values_of_all_sizes_survive() -> None:
    vault = Vault([NEW])
    for size in (0, 1, 15, 16, 17, 4096):
        clear = secrets.token_bytes(size)
        assert vault.open("p", "r", vault.seal("p", "r", clear)) == clear
