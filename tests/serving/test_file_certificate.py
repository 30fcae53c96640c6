"""Certificates of the operator's: read again when they change, and a pair that does not fit is told once."""

from pathlib import Path

import pytest
import trustme

from acmehub.serving.certificates import CertificateFiles


async def test_files_that_do_not_fit_are_told_once_until_something_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"

    def write(pair: trustme.LeafCert, other: trustme.LeafCert) -> None:
        chain.write_bytes(b"".join(item.bytes() for item in pair.cert_chain_pems))
        key.write_bytes(other.private_key_pem.bytes())
        key.chmod(0o600)

    caplog.set_level("INFO")
    first, second = (trustme.CA().issue_cert("localhost") for _ in range(2))
    write(first, first)
    files = CertificateFiles(chain, key)
    await files.prepare()
    write(second, first)
    for _ in range(3):
        await files.refresh()
    assert len(caplog.messages) == 1
    files.tell_again()  # SIGHUP
    await files.refresh()
    key.unlink()
    for _ in range(3):
        await files.refresh()
    assert len(caplog.messages) == 3
    assert all("not loaded again" in text for text in caplog.messages)
    write(second, second)
    await files.refresh()
    write(second, first)
    await files.refresh()
    assert [text.partition(":")[0] for text in caplog.messages[3:]] == [
        "TLS certificate loaded again",
        "TLS certificate not loaded again",
    ]
